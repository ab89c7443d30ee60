/**
 * One real storage node: a process, LevelDB and journal on disk, gRPC on loopback. What it acknowledged is there after SIGKILL, after the store
 * lost what it had not synced, after both; what the disk changed is noticed and not taken for an answer.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import { createLogger, silentLogger } from '../../src/adapters/logger.ts';
import { formatNodeList } from '../../src/base/node-list.ts';
import type { Lsn, NodeId } from '../../src/log/lsn.ts';
import type { AppendReply, ReadPagesReply, StatusReply } from '../../src/messages/messages.ts';
import { type RunningStorageNode, startStorageNode } from '../../storage-node/start.ts';
import { type BlankPeers, startBlankPeers } from '../support/blank-peers.ts';
import { StreamLog } from '../contract/transport/transport-suite.ts';
import { TEST_CLUSTER, TEST_NODES } from '../support/storage-cluster.ts';
import { TestVolume } from '../support/storage-volume.ts';

const DIST = resolve(import.meta.dirname, '../../dist');
const CHILD = resolve(import.meta.dirname, '../support/storage-node-child.mjs');
const SELF = TEST_NODES[0]!;
const JOURNAL_BYTES = 8 * 1024 * 1024;

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'tidemark-node-'));
  cleanups.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** This node is alone but for peers that remember nothing. */
let peers: BlankPeers;
beforeAll(async () => {
  peers = await startBlankPeers(TEST_NODES, SELF.nodeId);
});
afterAll(() => peers.close());

class NodeProcess {
  readonly client: GrpcStorageNodeClient;
  readonly #child: ChildProcess;
  readonly stderr: string[];

  private constructor(child: ChildProcess, address: string, stderr: string[]) {
    this.#child = child;
    this.stderr = stderr;
    this.client = new GrpcStorageNodeClient({ nodeId: SELF.nodeId, address });
    cleanups.push(() => this.kill());
  }

  static async start(dataDir: string): Promise<NodeProcess> {
    const config = {
      nodeId: SELF.nodeId,
      az: SELF.az,
      listen: '127.0.0.1:0',
      dataDir,
      nodes: formatNodeList(peers.nodes),
      journalBytes: JOURNAL_BYTES,
    };
    const child = fork(CHILD, [DIST, JSON.stringify(config)], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    const stderr: string[] = [];
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk.toString()));
    const exited = once(child, 'exit').then(() => {
      throw new Error(`the storage node ended: ${stderr.join('')}`);
    });
    exited.catch(() => {});
    const [line] = (await Promise.race([once(child.stdout!, 'data'), exited])) as [Buffer];
    const { address } = JSON.parse(line.toString()) as { address: string };
    return new NodeProcess(child, address, stderr);
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    this.client.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exited;
  }
}

async function takeOver(client: GrpcStorageNodeClient, volume: TestVolume): Promise<void> {
  const fenced = await client.call('fence', volume.fence(), { timeoutMs: 10_000 });
  expect(fenced.refusal).toBeNull();
  const installed = await client.call('install', volume.install(), { timeoutMs: 10_000 });
  expect(installed).toMatchObject({ installed: true, refusal: null });
}

async function statusOf(client: GrpcStorageNodeClient): Promise<StatusReply> {
  return client.call('status', { clusterId: '' }, { timeoutMs: 10_000 });
}

/** Appends `rounds` boxcars one after another while `width` are on their way; returns the highest SCL acknowledged when told to stop. */
async function appendMany(
  client: GrpcStorageNodeClient,
  volume: TestVolume,
  options: { readonly rounds: number; readonly width: number; readonly stopAfterAcks?: number },
): Promise<{ readonly scl: number; readonly replies: readonly AppendReply[] }> {
  const log = new StreamLog<'append'>();
  const stream = client.openStream('append', log);
  await log.until(log.has('up'));
  let sent = 0;
  const enough = options.stopAfterAcks ?? options.rounds;
  while (sent < options.rounds && log.replies.length < enough) {
    while (sent < options.rounds && sent - log.replies.length < options.width) {
      const vdl = (log.replies.at(-1)?.scl ?? 0) as Lsn;
      stream.send(volume.append(volume.writeMany(3, 8), { vdl }));
      sent += 1;
    }
    const seen = log.replies.length;
    await log.until(() => log.replies.length > seen);
  }
  await log.until(() => log.replies.length >= Math.min(enough, sent));
  const refused = log.replies.find((reply) => reply.refusal !== null);
  expect(refused).toBeUndefined();
  const scl = Math.max(0, ...log.replies.map((reply) => reply.scl));
  stream.close();
  return { scl, replies: log.replies };
}

async function readPages(
  client: GrpcStorageNodeClient,
  volume: TestVolume,
  lsn: number,
): Promise<ReadPagesReply> {
  const log = new StreamLog<'readPages'>();
  const stream = client.openStream('readPages', log);
  await log.until(log.has('up'));
  stream.send(volume.readPages([1, 2, 3, 4, 5, 6, 7, 8], { lsn: lsn as Lsn }));
  await log.until(() => log.replies.length === 1);
  stream.close();
  return log.replies[0]!;
}

async function expectPages(client: GrpcStorageNodeClient, volume: TestVolume, lsn: number): Promise<void> {
  const { refusal, pages } = await readPages(client, volume, lsn);
  expect(refusal).toBeNull();
  for (const { page, data } of pages) {
    const expected = volume.replay({ volume: volume.volume, run: volume.headRun, lsn: lsn as Lsn }, page);
    expect(Buffer.from(data).equals(expected ?? Buffer.alloc(0)), `page ${page}`).toBe(true);
  }
}

describe('a storage node process', () => {
  it('has everything it acknowledged after SIGKILL in the middle of appends', async () => {
    const dataDir = await temporaryDirectory();
    const first = await NodeProcess.start(dataDir);
    const volume = new TestVolume();
    await takeOver(first.client, volume);
    const { scl } = await appendMany(first.client, volume, { rounds: 600, width: 16, stopAfterAcks: 300 });
    expect(scl).toBeGreaterThan(800);
    await first.kill();

    const second = await NodeProcess.start(dataDir);
    const [segment] = (await statusOf(second.client)).segments;
    expect(segment?.scl).toBeGreaterThanOrEqual(scl);
    expect(segment?.quarantined).toBe(false);
    await expectPages(second.client, volume, scl);
    // The same writer goes on; the node's promise and manifest were not forgotten.
    const older = new TestVolume();
    const refused = await second.client.call('fence', older.fence(0, { number: 0, writerId: 'old' }), {
      timeoutMs: 5_000,
    });
    expect(refused.refusal?.code).toBe('STALE_EPOCH');
    await second.kill();
  });

  it('has it even when the store lost all that it had not synced', async () => {
    const dataDir = await temporaryDirectory();
    const first = await NodeProcess.start(dataDir);
    const volume = new TestVolume();
    await takeOver(first.client, volume);
    const { scl } = await appendMany(first.client, volume, { rounds: 100, width: 4 });
    await first.kill();
    const store = join(dataDir, 'store');
    for (const name of await readdir(store)) if (name.endsWith('.log')) await truncate(join(store, name), 0);

    const second = await NodeProcess.start(dataDir);
    const status = await statusOf(second.client);
    expect(status.segments[0]).toMatchObject({ scl, quarantined: false });
    expect(second.stderr.join('')).toMatch(/the journal supplied records that the store had lost/);
    await expectPages(second.client, volume, scl);
    await second.kill();
  });

  it('notices one flipped byte in the journal, waits for its peers, and does not forget over further starts', async () => {
    const dataDir = await temporaryDirectory();
    const first = await NodeProcess.start(dataDir);
    const volume = new TestVolume();
    await takeOver(first.client, volume);
    await appendMany(first.client, volume, { rounds: 40, width: 1 });
    await first.kill();
    const ring = await open(join(dataDir, 'journal', 'ring'), 'r+');
    const byte = Buffer.alloc(1);
    const at = 20 * 4096 + 90;
    await ring.read(byte, 0, 1, at);
    await ring.write(Buffer.from([byte[0]! ^ 0x10]), 0, 1, at);
    await ring.close();

    for (let start = 0; start < 3; start++) {
      const again = await NodeProcess.start(dataDir);
      const status = await statusOf(again.client);
      expect(status.segments[0]?.quarantined).toBe(true);
      const log = new StreamLog<'append'>();
      const stream = again.client.openStream('append', log);
      await log.until(log.has('up'));
      stream.send(volume.append(volume.writeMany(1, 8)));
      await log.until(() => log.replies.length === 1);
      expect(log.replies[0]?.refusal?.code).toBe('QUARANTINED');
      await again.kill(start === 1 ? 'SIGTERM' : 'SIGKILL');
    }
  });

  it('comes back from a clean stop with nothing to replay', async () => {
    const dataDir = await temporaryDirectory();
    const first = await NodeProcess.start(dataDir);
    const volume = new TestVolume();
    await takeOver(first.client, volume);
    const { scl } = await appendMany(first.client, volume, { rounds: 50, width: 8 });
    const before = await statusOf(first.client);
    await first.kill('SIGTERM');
    // Not even the ring is needed then.
    await writeFile(join(dataDir, 'journal', 'ring'), Buffer.alloc(JOURNAL_BYTES));
    const second = await NodeProcess.start(dataDir);
    const after = await statusOf(second.client);
    expect(after.segments[0]).toMatchObject({ scl, quarantined: false });
    expect(after.clusterId).toBe(TEST_CLUSTER);
    expect(after.incarnation).not.toBe(before.incarnation);
    await expectPages(second.client, volume, scl);
    await second.kill();
  });
});

describe('startStorageNode', () => {
  const start = async (
    over: Partial<Parameters<typeof startStorageNode>[0]> = {},
  ): Promise<RunningStorageNode> => {
    const node = await startStorageNode({
      nodeId: SELF.nodeId,
      az: SELF.az,
      listen: '127.0.0.1:0',
      dataDir: over.dataDir ?? (await temporaryDirectory()),
      nodes: peers.nodes,
      journalBytes: JOURNAL_BYTES,
      logger: silentLogger,
      ...over,
    });
    cleanups.push(() => node.close());
    return node;
  };

  it('runs on a ring that is reused many times over', async () => {
    const dataDir = await temporaryDirectory();
    const told: string[] = [];
    const logger = createLogger({ level: 'warn', write: (line) => void told.push(line) });
    const node = await start({ dataDir, logger });
    const client = new GrpcStorageNodeClient({ nodeId: node.nodeId, address: node.address });
    const volume = new TestVolume();
    await takeOver(client, volume);
    const log = new StreamLog<'append'>();
    const stream = client.openStream('append', log);
    await log.until(log.has('up'));
    const images = () =>
      Array.from({ length: 8 }, (_, i) => volume.write(1 + i, volume.lastLsn + i, { image: true }));
    for (let round = 0; round < 700; round++) {
      stream.send(volume.append(images(), { vdl: (log.replies.at(-1)?.scl ?? 0) as Lsn }));
      await log.until(() => log.replies.length >= round - 8);
    }
    await log.until(() => log.replies.length === 700);
    expect(log.replies.at(-1)).toMatchObject({ scl: 5_600, refusal: null });
    // A page in doubt would say why.
    expect(told.filter((line) => line.includes('doubt'))).toEqual([]);
    await expectPages(client, volume, 5_600);
    expect(told.filter((line) => line.includes('doubt'))).toEqual([]);
    client.close();
  }, 60_000);

  it('says what is wrong when it cannot start', async () => {
    const dataDir = await temporaryDirectory();
    const node = await start({ dataDir });
    await expect(start({ dataDir })).rejects.toMatchObject({ code: 'IN_USE' });
    await expect(start({ listen: node.address })).rejects.toMatchObject({ code: 'IN_USE' });
    await node.close();
    const other = TEST_NODES[1]!;
    await expect(start({ dataDir, nodeId: other.nodeId, az: other.az })).rejects.toMatchObject({
      code: 'WRONG_CLUSTER',
    });
    const identity = (name: string) => join(dataDir, name);
    await writeFile(identity('tidemark.json'), 'garbage');
    const healed = await start({ dataDir });
    await healed.close();
    expect(await readFile(identity('tidemark.json'))).toEqual(await readFile(identity('tidemark.copy.json')));
    for (const name of ['tidemark.json', 'tidemark.copy.json']) await writeFile(identity(name), 'garbage');
    await expect(start({ dataDir })).rejects.toMatchObject({ code: 'CORRUPT' });
    const newer = `{"format":2,"nodeId":"az1-a","crc32":${nodeCrc32(Buffer.from('2 az1-a'))}}`;
    await writeFile(identity('tidemark.json'), newer);
    await expect(start({ dataDir })).rejects.toMatchObject({ code: 'WRONG_FORMAT' });
    const foreign = await temporaryDirectory();
    await writeFile(join(foreign, 'diary.txt'), 'dear diary');
    await expect(start({ dataDir: foreign })).rejects.toMatchObject({ code: 'NOT_EMPTY' });
    await expect(start({ nodeId: 'az9-z' as NodeId })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(start({ az: 'az9' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(start({ listen: 'nowhere' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(start({ journalBytes: 100 })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(start({ dataDir: join(foreign, 'diary.txt', 'data') })).rejects.toMatchObject({
      code: 'IO_ERROR',
    });
  });
});
