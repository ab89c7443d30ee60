/**
 * Storage nodes that come back with an old copy of their data directory, or with none: real processes and files. They must be found out before they
 * vote or acknowledge, be made whole by the others, and lose nobody anything.
 */
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '@libsql/client';
import { afterEach, expect, it } from 'vitest';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { SegmentStatus } from '../../src/messages/messages.ts';
import { RealCluster, STORAGE_NODES, type StorageNodeName } from '../support/real-cluster.ts';

/** The lag of the peers' memory. */
const TOLD_MS = 1_000;
const HEALED_WITHIN_MS = 40_000;
let real: RealCluster;

afterEach(async () => {
  await real.destroy();
}, 60_000);

const directoryOf = (node: StorageNodeName) => real.dataDirectory(node);
const imageOf = (node: StorageNodeName) => join(real.directory, `${node}.image`);

async function takeImage(node: StorageNodeName): Promise<void> {
  await real.signal(node, 'SIGKILL');
  await cp(directoryOf(node), imageOf(node), { recursive: true });
  await real.startStorage(node);
}

/** null: the disk is lost. */
async function putBack(node: StorageNodeName, image: string | null): Promise<void> {
  await rm(directoryOf(node), { recursive: true, force: true });
  if (image !== null) await cp(image, directoryOf(node), { recursive: true });
}

async function insert(rows: number): Promise<void> {
  const db = createClient({ url: real.url() });
  for (let row = 0; row < rows; row += 1) await db.execute("INSERT INTO entry(text) VALUES ('a row')");
  db.close();
}

async function countRows(): Promise<number> {
  const db = createClient({ url: real.url() });
  const { rows } = await db.execute('SELECT count(*) AS n FROM entry');
  db.close();
  return Number(rows[0]?.n);
}

async function segmentsOf(node: StorageNodeName): Promise<readonly SegmentStatus[]> {
  const client = new GrpcStorageNodeClient({ nodeId: node as NodeId, address: real.addressOf(node) });
  try {
    return (await client.call('status', { clusterId: '' }, { timeoutMs: 2_000 })).segments;
  } finally {
    client.close();
  }
}

/** Every node holds what the others hold, and doubts nothing. */
async function expectHealed(): Promise<void> {
  await expect
    .poll(
      async () => {
        const all = await Promise.all(STORAGE_NODES.map((node) => segmentsOf(node)));
        const segments = all.flatMap((list) => list.map(({ scl, quarantined }) => ({ scl, quarantined })));
        const isWhole = segments.length === STORAGE_NODES.length && segments.every((s) => !s.quarantined);
        return isWhole && new Set(segments.map(({ scl }) => scl)).size === 1;
      },
      { timeout: HEALED_WITHIN_MS, interval: 250 },
    )
    .toBe(true);
}

async function doubtsOf(node: StorageNodeName): Promise<number> {
  return (await real.log(node)).split('may have forgotten').length - 1;
}

it('old copies of two directories at once, and a lost one: found out, made whole, nothing lost', async () => {
  real = await RealCluster.start();
  const db = createClient({ url: real.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT)');
  db.close();
  await insert(10);
  for (const node of ['az1-a', 'az2-b'] as const) await takeImage(node);
  await insert(20);
  // Somebody else becomes the writer: promises change, too.
  await real.signal('compute-1', 'SIGKILL');
  await real.startCompute();
  await insert(20);
  await new Promise((resolve) => setTimeout(resolve, TOLD_MS));

  for (const node of ['az1-a', 'az2-b'] as const) await real.signal(node, 'SIGKILL');
  for (const node of ['az1-a', 'az2-b'] as const) await putBack(node, imageOf(node));
  await Promise.all((['az1-a', 'az2-b'] as const).map((node) => real.startStorage(node)));
  await insert(5);
  await expectHealed();
  for (const node of ['az1-a', 'az2-b'] as const) expect(await doubtsOf(node)).toBe(1);

  await real.signal('az3-a', 'SIGKILL');
  await putBack('az3-a', null);
  await real.startStorage('az3-a');
  await insert(5);
  await expectHealed();
  expect(await doubtsOf('az3-a')).toBe(1);

  // All that is left of a quorum are those three and one more: a take-over must find everything with them.
  for (const node of ['az1-b', 'az3-b'] as const) await real.signal(node, 'SIGKILL');
  await real.signal('compute-1', 'SIGKILL');
  await real.startCompute();
  expect(await countRows()).toBe(60);
  await insert(1);
  expect(await countRows()).toBe(61);
}, 180_000);

it('six that are killed and started together suspect nobody, and go on', async () => {
  real = await RealCluster.start();
  const db = createClient({ url: real.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT)');
  db.close();
  for (let round = 1; round <= 2; round += 1) {
    await insert(10);
    await real.killAll();
    await real.startAll();
    expect(await countRows()).toBe(10 * round);
  }
  for (const node of STORAGE_NODES) expect(await doubtsOf(node)).toBe(0);
}, 120_000);
