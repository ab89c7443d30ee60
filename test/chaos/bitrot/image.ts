/**
 * A small storage node stopped in the middle of its work: its real files (journal, guard, LevelDB with tables and a write-ahead log), the disks of its
 * five peers as they were then, and the truth about all that it had acknowledged.
 *
 * The node's core runs in a cluster in memory, and what it gives to its disk goes through the real journal and the real store as well. The files are
 * copied while these are open, as a SIGKILL leaves them.
 */
import { cp, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { KIB } from '../../../src/base/limits.ts';
import type { KvOp } from '../../../src/env/env.ts';
import type { Epoch } from '../../../src/log/epoch.ts';
import { type Lsn, type NodeId, type PgIndex, type RunId, toLsn } from '../../../src/log/lsn.ts';
import { encodeCluster } from '../../../src/register/codec.ts';
import type { ReadPoint } from '../../../src/timeline/run.ts';
import { openDataDirectory } from '../../../storage-node/adapters/data-directory.ts';
import { FileJournalDisk } from '../../../storage-node/adapters/journal-disk.ts';
import { Journal } from '../../../storage-node/adapters/journal.ts';
import { LevelStore } from '../../../storage-node/adapters/level-store.ts';
import type { CoreEffect, DurableOp } from '../../../storage-node/core/effects.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import { readMarker, writeMarker } from '../../../storage-node/driver/journal-marker.ts';
import { StoreWriter } from '../../../storage-node/driver/store-writer.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import type { TestDisk } from '../../support/storage-disk.ts';
import { TestVolume } from '../../support/storage-volume.ts';

export const NODE = 'az1-a' as NodeId;
export const PAGES_PER_PG = 6;
export const PG_COUNT = 2;
export const LIMITS: Partial<CoreLimits> = {
  roundRecords: 10,
  roundAgeMs: 100,
  chainRecords: 4,
  keptImageDeltaBytes: 200,
  collectIntervalMs: 200,
};
const RING_BYTES = 96 * KIB;
/** Persists that share a journal entry. */
const PERSISTS_PER_ENTRY = 5;

type DiskEffect = Extract<CoreEffect, { kind: 'persist' | 'write' }>;

/** What one segment had acknowledged. */
export interface SegmentTruth {
  readonly pg: PgIndex;
  readonly scl: Lsn;
  readonly promised: Epoch;
}

export interface NodeImage {
  readonly directory: string;
  /** Below the directory. */
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[];
  readonly peers: ReadonlyMap<NodeId, TestDisk>;
  readonly volume: TestVolume;
  /** Read points that must be served, and hold. */
  readonly points: readonly ReadPoint[];
  /** Of those the one below the floor. */
  readonly pinned: ReadPoint;
  readonly segments: readonly SegmentTruth[];
  /** Ballot that was promised and accepted at every key. */
  readonly registers: ReadonlyMap<string, Epoch>;
}

export async function makeImage(root: string): Promise<NodeImage> {
  const effects: DiskEffect[] = [];
  const cluster = new StorageCluster({
    limits: LIMITS,
    onDisk: (nodeId, effect) => {
      if (nodeId === NODE) effects.push(effect);
    },
  });
  const volume = new TestVolume('vol00000', { pgPages: PAGES_PER_PG, pgCount: PG_COUNT });
  const { points, pinned, registers } = live(cluster, volume);
  const segments = [...(cluster.core(NODE)?.segments.all() ?? [])].map(({ pg, scl, promised }) => ({
    pg,
    scl,
    promised,
  }));
  const peers = new Map(
    cluster.nodeIds
      .filter((nodeId) => nodeId !== NODE)
      .map((nodeId) => [nodeId, cluster.disk(nodeId).copy()]),
  );
  const directory = join(root, 'image');
  await writeFiles(join(root, 'live'), directory, effects);
  return { directory, files: await filesOf(directory), peers, volume, points, pinned, segments, registers };
}

/** A life with a bit of everything: rounds, images, a take-over, a raised floor with a pin, collection, registers; some records not in page form yet. */
function live(cluster: StorageCluster, volume: TestVolume) {
  const everywhere = (what: (node: NodeId) => void): void => cluster.nodeIds.forEach(what);
  const registers = new Map<string, Epoch>();
  const accept = (key: string, ballot: Epoch, value: Uint8Array, clusterId = TEST_CLUSTER): void => {
    everywhere((node) => cluster.ask(node, 'registerAccept', { clusterId, key, ballot, version: 1, value }));
    registers.set(key, ballot);
  };
  const install = (retention = volume.retention(0)): void => {
    for (let pg = 0; pg < PG_COUNT; pg += 1) {
      everywhere((node) => cluster.send(node, 'install', volume.install(pg, retention), () => undefined));
    }
    cluster.advance(700);
  };
  const append = (count: number): void => {
    const byPg = new Map<PgIndex, ReturnType<TestVolume['write']>[]>();
    for (let i = 0; i < count; i += 1) {
      const lsn = volume.lastLsn + 1;
      const made = volume.write(1 + ((lsn * 7 + Math.floor(lsn / 5)) % (PAGES_PER_PG * PG_COUNT)), lsn * 3);
      byPg.set(made.pg, [...(byPg.get(made.pg) ?? []), made]);
    }
    for (const [pg, records] of byPg) {
      everywhere((node) => cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn, pg })));
    }
  };
  accept('cluster', { number: 1, writerId: 'p' }, clusterValue(), '');
  accept('name/main', { number: 2, writerId: 'p' }, Uint8Array.of(1, 2, 3));
  install();
  for (let i = 0; i < 8; i += 1) {
    append(10);
    cluster.advance(150);
  }
  const pinned: ReadPoint = { volume: volume.volume, run: volume.headRun, lsn: toLsn(33) };
  const closedAt = volume.lastLsn;
  volume.takeOver('w2');
  for (let pg = 0; pg < PG_COUNT; pg += 1) everywhere((node) => cluster.ask(node, 'fence', volume.fence(pg)));
  const floor = toLsn(60);
  install(volume.retention(floor, [{ name: 'p', point: pinned }]));
  accept(`manifest/${volume.volume}`, volume.epoch, Uint8Array.of(9, 9));
  for (let i = 0; i < 6; i += 1) {
    append(10);
    cluster.advance(250);
  }
  append(7);
  append(4);
  const at = (run: number, lsn: Lsn): ReadPoint => ({ volume: volume.volume, run: run as RunId, lsn });
  const middle = toLsn(volume.lastLsn - 30);
  const points = [at(0, floor), pinned, at(0, closedAt), at(1, middle), at(1, volume.lastLsn)];
  return { points, pinned, registers };
}

function clusterValue(): Uint8Array {
  return encodeCluster({
    format: 1,
    clusterId: TEST_CLUSTER,
    nodes: TEST_NODES,
    draining: [],
    constants: { lal: 1_000, leaseTermMs: 500, defaultPgPages: PAGES_PER_PG },
  });
}

/** The same through the real journal and store, which are then copied as they stand. */
async function writeFiles(live: string, copy: string, effects: readonly DiskEffect[]): Promise<void> {
  const { journalPath, storePath } = await openDataDirectory(live, NODE);
  const store = await LevelStore.open(storePath, { writeBufferBytes: 64 * KIB });
  const disk = await FileJournalDisk.open(journalPath, RING_BYTES);
  const failed = (error: Error): void => {
    throw error;
  };
  const writer = new StoreWriter(store, nodeTimers, failed);
  const flushStore = async (): Promise<void> => {
    await writer.written();
    await store.flush();
  };
  const { journal } = await Journal.open({
    disk,
    crc32: nodeCrc32,
    timers: nodeTimers,
    flushStore,
    onEntry: (sequence) => writeMarker(writer, sequence),
    rememberedSequence: await readMarker(store),
    onFatal: failed,
  });
  journal.replayed();
  let waiting = 0;
  for (const effect of effects) {
    writer.put(effect.kind === 'persist' ? homeOps(effect.ops) : effect.ops);
    if (effect.kind === 'write') {
      if (effect.isLasting) await flushStore();
      continue;
    }
    journal.append(effect.ops, () => undefined);
    waiting += 1;
    if (waiting % PERSISTS_PER_ENTRY === 0) await journal.drain();
  }
  await journal.drain();
  await writer.written();
  await rm(copy, { recursive: true, force: true });
  await mkdir(copy, { recursive: true });
  await cp(live, copy, { recursive: true });
  await journal.close();
  await writer.written();
  await store.close();
}

function homeOps(ops: readonly DurableOp[]): readonly KvOp[] {
  return ops
    .filter((op) => op.kind === 'home')
    .map(({ key, value }) => (value === null ? { type: 'del', key } : { type: 'put', key, value }));
}

async function filesOf(directory: string): Promise<{ path: string; sizeBytes: number }[]> {
  const files: { path: string; sizeBytes: number }[] = [];
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name).slice(directory.length + 1);
    files.push({ path, sizeBytes: (await stat(join(directory, path))).size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
