/**
 * Copies of pages between real processes, under load: a newcomer that replaces a node, and a node whose disk was lost. In the end the pages of all
 * six are the same, by their digests.
 */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from '@libsql/client';
import { afterEach, expect, it } from 'vitest';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import type { Lsn, NodeId, PageNumber, RunId } from '../../src/log/lsn.ts';
import type { SegmentStatus, StatusReply } from '../../src/messages/messages.ts';
import { MAIN, RealCluster, STORAGE_NODES, type StorageNodeName } from '../support/real-cluster.ts';

const BLOBS = 64;
const BLOB_BYTES = 256 * 1024;
const WHOLE_WITHIN_MS = 60_000;
/** Of a digest. */
const PAGES = 200;
let real: RealCluster;

afterEach(async () => {
  await real.destroy();
}, 60_000);

async function asking<Result>(
  node: StorageNodeName,
  ask: (client: GrpcStorageNodeClient) => Promise<Result>,
): Promise<Result> {
  const client = new GrpcStorageNodeClient({ nodeId: node as NodeId, address: real.addressOf(node) });
  try {
    return await ask(client);
  } finally {
    client.close();
  }
}

function statusOf(node: StorageNodeName): Promise<StatusReply> {
  return asking(node, (client) => client.call('status', { clusterId: '' }, { timeoutMs: 2_000 }));
}

async function segmentOf(node: StorageNodeName): Promise<SegmentStatus> {
  const { segments } = await statusOf(node);
  expect(segments).toHaveLength(1);
  return segments[0] as SegmentStatus;
}

/** Neither in quarantine nor hydrating, and as far as the others. */
async function expectWhole(nodes: readonly StorageNodeName[]): Promise<void> {
  const look = async (): Promise<string> => {
    const statuses = await Promise.all(nodes.map(statusOf));
    const segments = statuses.flatMap((status) => status.segments);
    const troubles = segments.filter((segment) => segment.quarantined || !segment.hydrated).length;
    const coalesced = new Set(segments.map((segment) => `${segment.scl}/${segment.coalescedLsn}`));
    return `${segments.length} segments, ${troubles} not whole, ${coalesced.size} states`;
  };
  const wanted = `${nodes.length} segments, 0 not whole, 1 states`;
  await expect.poll(look, { timeout: WHOLE_WITHIN_MS, interval: 200 }).toBe(wanted);
}

async function digestsOf(node: StorageNodeName, pageCount: number, lsn: Lsn): Promise<readonly number[]> {
  const { clusterId } = await statusOf(node);
  const { volume, pg } = await segmentOf(node);
  return await asking(node, async (client) => {
    const digests: number[] = [];
    for (let first = 1; first <= pageCount; first += PAGES) {
      const reply = await client.call(
        'digestPages',
        {
          clusterId,
          volume,
          pg,
          run: 0 as RunId,
          lsn,
          requiredScl: lsn,
          firstPage: first as PageNumber,
          pageCount: PAGES,
        },
        { timeoutMs: 10_000 },
      );
      expect(reply.refusal).toBeNull();
      digests.push(reply.digest);
    }
    return digests;
  });
}

/** Rows one by one, until told to stop. */
function startLoad(): { stop(): Promise<number> } {
  let isStopping = false;
  let acknowledged = 0;
  const run = async (): Promise<void> => {
    const db = createClient({ url: real.url() });
    while (!isStopping) {
      await db.execute({
        sql: 'INSERT INTO entry(text) VALUES (?)',
        args: ['a row of the load '.repeat(20)],
      });
      acknowledged += 1;
      await sleep(2);
    }
    db.close();
  };
  const running = run();
  return {
    stop: async () => {
      isStopping = true;
      await running;
      return acknowledged;
    },
  };
}

/** MiB/s of each hydration that the node has done. */
async function speedsOf(node: StorageNodeName): Promise<readonly number[]> {
  const lines = (await real.log(node)).split('\n').filter((line) => line.includes('all pages are copied'));
  return lines.map((line) => {
    const [bytes, tookMs] = ['bytes', 'tookMs'].map((field) =>
      Number(new RegExp(`${field}"?[=:] ?(\\d+)`).exec(line)?.[1]),
    ) as [number, number];
    return bytes / 1_048.576 / Math.max(1, tookMs);
  });
}

it('a newcomer and a node whose disk was lost are whole again under load, page for page', async () => {
  real = await RealCluster.start({ commitTimeoutMs: 30_000 });
  const db = createClient({ url: real.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT)');
  await db.execute('CREATE TABLE blob(id INTEGER PRIMARY KEY, bytes BLOB)');
  for (let i = 0; i < BLOBS; i += 1) {
    await db.execute({ sql: 'INSERT INTO blob(bytes) VALUES (randomblob(?))', args: [BLOB_BYTES] });
  }
  const load = startLoad();

  await real.startSpare('az1-c');
  const tidemark = (...args: string[]) =>
    promisify(execFile)(process.execPath, [MAIN, ...args, '--url', real.url()]);
  await tidemark('node', 'add', real.listEntry('az1-c'));
  await tidemark('node', 'replace', 'az1-a', 'az1-c');
  const speeds = await speedsOf('az1-c');
  expect(speeds).toHaveLength(1);
  console.log(`hydrated at ${speeds[0]?.toFixed(1)} MiB/s`);
  await expect
    .poll(async () => (await statusOf('az1-a')).segments.length, { timeout: 20_000, interval: 200 })
    .toBe(0);

  await real.signal('az3-a', 'SIGKILL');
  await rm(real.dataDirectory('az3-a'), { recursive: true });
  await real.startStorage('az3-a');
  await sleep(1_000);
  const acknowledged = await load.stop();
  const members = STORAGE_NODES.map((node) => (node === 'az1-a' ? ('az1-c' as const) : node));
  await expectWhole(members);

  const pageCount = Number((await db.execute('PRAGMA page_count')).rows[0]?.page_count);
  const { scl } = await segmentOf('az2-a');
  const all = await Promise.all(members.map((node) => digestsOf(node, pageCount, scl)));
  expect(pageCount).toBeGreaterThan((BLOBS * BLOB_BYTES) / 4096);
  for (const digests of all) expect(digests).toEqual(all[0]);

  const { rows } = await db.execute(
    'SELECT (SELECT count(*) FROM entry) AS n, (SELECT sum(length(bytes)) FROM blob) AS b',
  );
  expect({ ...rows[0] }).toEqual({ n: acknowledged, b: BLOBS * BLOB_BYTES });
  expect((await db.execute('PRAGMA integrity_check')).rows[0]?.integrity_check).toBe('ok');
  db.close();
  expect(real.crashes).toEqual([]);
}, 180_000);
