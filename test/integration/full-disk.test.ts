/**
 * A storage node that fills its own small disk (tmpfs): it refuses appends before anything fails, goes on reading and fencing, survives a restart, and
 * takes appends again once there is room. Needs root; says so loudly where it cannot mount.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import { silentLogger } from '../../src/adapters/logger.ts';
import { MIB } from '../../src/base/limits.ts';
import { encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, type PageNumber, type PgIndex, toLsn } from '../../src/log/lsn.ts';
import type { AppendRequest } from '../../src/messages/messages.ts';
import { type RunningStorageNode, startStorageNode } from '../../storage-node/start.ts';
import { StreamLog } from '../contract/transport/transport-suite.ts';
import { type BlankPeers, startBlankPeers } from '../support/blank-peers.ts';
import { TEST_NODES } from '../support/storage-cluster.ts';
import { TestVolume } from '../support/storage-volume.ts';

const SELF = TEST_NODES[0]!;
const DISK_BYTES = 256 * MIB;
const PG = 0 as PgIndex;
const RECORDS_PER_APPEND = 32;
const run = promisify(execFile);

let mounted: string | null = null;
let peers: BlankPeers | null = null;
let node: RunningStorageNode | null = null;
const failures: Error[] = [];

afterEach(async () => {
  await node?.close();
  await peers?.close();
  if (mounted === null) return;
  await run('umount', [mounted]);
  await rm(mounted, { recursive: true, force: true });
});

/** Why there can be no small disk here; null when there is one. */
async function mountSmallDisk(): Promise<string | null> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-small-disk-'));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory]);
  } catch (error) {
    await rm(directory, { recursive: true });
    return (error as Error).message.trim();
  }
  mounted = directory;
  return null;
}

async function startNode(): Promise<GrpcStorageNodeClient> {
  peers ??= await startBlankPeers(TEST_NODES, SELF.nodeId);
  node = await startStorageNode({
    nodeId: SELF.nodeId,
    az: SELF.az,
    listen: '127.0.0.1:0',
    dataDir: join(mounted as string, 'data'),
    nodes: peers.nodes,
    journalBytes: 8 * MIB,
    logger: silentLogger,
    onFatal: (error) => failures.push(error),
  });
  return new GrpcStorageNodeClient({ nodeId: SELF.nodeId, address: node.address });
}

/** Images that no compression makes smaller. */
class Load {
  readonly volume = new TestVolume('vol00000', { pgPages: 4_096 });
  readonly pages = new Map<number, Uint8Array>();
  private lastLsn: Lsn = NO_LSN;
  scl: Lsn = NO_LSN;
  private pending: AppendRequest | null = null;

  /** Appends one after the other until one is refused; its code, or null after `most`. The refused one comes first the next time. */
  async append(client: GrpcStorageNodeClient, most: number): Promise<string | null> {
    const log = new StreamLog<'append'>();
    const stream = client.openStream('append', log);
    await log.until(log.has('up'));
    try {
      for (let sent = 1; sent <= most; sent += 1) {
        this.pending ??= this.next();
        stream.send(this.pending);
        await log.until(() => log.replies.length === sent);
        const { refusal, scl } = log.replies[sent - 1]!;
        if (refusal !== null) return refusal.code;
        this.pending = null;
        this.scl = scl;
      }
      return null;
    } finally {
      stream.close();
    }
  }

  /** Until it is refused for some seconds: what is written between two looks at the disk is reckoned with caution first. */
  async fill(client: GrpcStorageNodeClient): Promise<void> {
    for (let refusals = 0; refusals < 8; refusals += 1) {
      const before = this.scl;
      expect(await this.append(client, 2_000)).toBe('DISK_FULL');
      if (this.scl > before) refusals = 0;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  private next(): AppendRequest {
    const { volume } = this;
    const context = recordContext(volume.volume, PG, volume.epoch, nodeCrc32);
    const records = Array.from({ length: RECORDS_PER_APPEND }, () => {
      const lsn = toLsn(this.lastLsn + 1);
      const page = (1 + (lsn % 4_096)) as PageNumber;
      const body = new Uint8Array(randomBytes(4_096));
      const header = { page, lsn, prevLsn: this.lastLsn, isCpl: true, commitTimeMicros: lsn * 10 };
      this.lastLsn = lsn;
      this.pages.set(page, body);
      return sealRecord({ ...header, kind: 'image', body }, context, nodeCrc32);
    });
    const boxcar = encodeBoxcar(
      { volume: volume.volume, pg: PG, birthEpoch: volume.epoch, records },
      nodeCrc32,
    );
    return { ...volume.append([], { vdl: this.scl }), tail: this.scl, boxcar };
  }
}

it('refuses appends before its disk is full, and goes on with the rest', async (test) => {
  const missing = await mountSmallDisk();
  test.skip(missing !== null, `NO SMALL DISKS ON THIS MACHINE: ${missing}`);
  let client = await startNode();
  const load = new Load();
  const { volume } = load;
  const call = { timeoutMs: 10_000 };
  expect((await client.call('fence', volume.fence(), call)).promised).toBe(true);
  expect((await client.call('install', volume.install(), call)).installed).toBe(true);
  await load.fill(client);
  expect(load.scl).toBeGreaterThan(1_000);

  const expectServed = async (): Promise<void> => {
    const { scl } = load;
    const log = new StreamLog<'readPages'>();
    const stream = client.openStream('readPages', log);
    await log.until(log.has('up'));
    const pages = [scl - 3, scl - 2, scl - 1].map((lsn) => 1 + (lsn % 4_096));
    stream.send({ ...volume.readPages(pages, { lsn: scl }), requiredScl: scl });
    await log.until(() => log.replies.length === 1);
    expect(log.replies[0]?.refusal).toBeNull();
    for (const { page, data } of log.replies[0]?.pages ?? [])
      expect(Buffer.compare(data, load.pages.get(page) ?? new Uint8Array(0))).toBe(0);
    stream.close();
    expect((await client.call('fence', volume.fence(), call)).scl).toBe(scl);
  };
  await expectServed();

  client.close();
  await node?.close();
  client = await startNode();
  await load.fill(client);
  await expectServed();

  await run('mount', ['-o', `remount,size=${2 * DISK_BYTES}`, mounted as string]);
  const full = load.scl;
  await expect.poll(() => load.append(client, 20), { timeout: 10_000 }).toBe(null);
  expect(load.scl).toBeGreaterThanOrEqual(full + 20 * RECORDS_PER_APPEND);
  await expectServed();
  expect(failures).toEqual([]);
  client.close();
}, 120_000);
