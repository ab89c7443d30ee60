/** Newcomers, segments that lost everything, and nodes that leave: who is believed when, and that the copy is whole. */
import { describe, expect, test } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId } from '../../../src/log/lsn.ts';
import { beginHydration } from '../../../storage-node/core/hydration.ts';
import { SegmentKeys, compareKeys } from '../../../storage-node/core/keys.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import type { StorageNodeCore } from '../../../storage-node/core/node.ts';
import type { Segment } from '../../../storage-node/core/segment.ts';
import { ValueCodec } from '../../../storage-node/core/values.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const PG = 0 as PgIndex;
const OLD = 'az3-b' as NodeId;
const NEW = 'az3-c' as NodeId;
const NODES = [...TEST_NODES, { nodeId: NEW, az: 'az3', address: 'az3-c:7100' }];
const PAGES = 6;
const LIMITS: Partial<CoreLimits> = {
  roundRecords: 12,
  roundAgeMs: 100,
  chainRecords: 4,
  keptImageDeltaBytes: 120,
  collectIntervalMs: 100,
  collectBatch: 3,
  copyReplyBytes: 9_000,
  gossipIntervalMs: 50,
  gossipQuietIntervalMs: 100,
};

function grown({ records = 120, limits = {} as Partial<CoreLimits> } = {}) {
  const cluster = new StorageCluster({ limits: { ...LIMITS, ...limits }, nodes: NODES });
  const volume = new TestVolume('vol00000', { pgPages: PAGES });
  const install = (nodes: readonly NodeId[] = hosts()) => {
    for (const node of nodes) cluster.call(node, 'install', volume.install(0, retention));
  };
  const hosts = (): readonly NodeId[] => [...new Set([...volume.members, ...(volume.proposed ?? [])])];
  let retention = volume.retention(0);
  const write = (count: number, nodes = hosts()) => {
    const made = volume.writeMany(count, PAGES);
    for (const node of nodes) cluster.call(node, 'append', volume.append(made, { vdl: volume.lastLsn }));
    for (const node of nodes) cluster.call(node, 'append', volume.append([], { vdl: volume.lastLsn }));
  };
  const raise = (
    floor: number,
    pins: Parameters<TestVolume['retention']>[1] = [],
    nodes: readonly NodeId[] = hosts(),
  ) => {
    retention = volume.retention(floor, pins);
    install(nodes);
  };
  install();
  for (let made = 0; made < records; made += 6) {
    write(6);
    cluster.advance(50);
  }
  cluster.advance(500);
  return {
    cluster,
    volume,
    install,
    hosts,
    write,
    raise,
    segment: (node: NodeId): Segment | null => cluster.core(node)?.segments.get(volume.volume, PG) ?? null,
    logged: (message: string) => cluster.logs.filter((line) => line.message === message).length,
    /** 'right', or the code of the refusal. */
    read: (node: NodeId, lsn: number, run = 0) => {
      const at = { run: run as RunId, lsn: lsn as Lsn };
      const pages = Array.from({ length: PAGES }, (_, page) => page + 1);
      const reply = cluster.ask(node, 'readPages', volume.readPages(pages, at));
      if (reply.refusal !== null) return reply.refusal.code;
      for (const { page, data } of reply.pages) {
        const expected = volume.replay({ volume: volume.volume, ...at }, page) ?? new Uint8Array(0);
        expect(Buffer.compare(data, expected), `page ${page} at ${lsn} of ${node}`).toBe(0);
      }
      return 'right';
    },
  };
}

function propose(made: ReturnType<typeof grown>): void {
  made.volume.propose(OLD, NEW);
  made.install();
}

describe('a newcomer', () => {
  test('copies pages, follows the log, and only then counts', () => {
    const made = grown();
    const { cluster, volume, segment, read } = made;
    made.raise(60);
    cluster.advance(2_000);
    propose(made);
    expect(segment(NEW)).toMatchObject({ isHydrated: false, quarantine: { kind: 'hydrating' } });
    const fence = cluster.ask(NEW, 'fence', volume.fence());
    expect(fence).toMatchObject({ promised: true, intact: false, scl: 0 });
    made.write(6);
    expect(read(NEW, volume.lastLsn)).toBe('QUARANTINED');
    cluster.advance(3_000);
    made.write(6);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, quarantine: null, scl: volume.lastLsn });
    expect(cluster.ask(NEW, 'fence', volume.fence())).toMatchObject({ intact: true, scl: volume.lastLsn });
    for (let lsn = 60; lsn <= volume.lastLsn; lsn += 1) expect(read(NEW, lsn)).toBe('right');
    expect(read(NEW, 59)).toBe('GONE');
  });

  test('whose first word is a fence has no manifest yet, and vouches for nothing', () => {
    const { cluster, volume } = grown({ records: 12 });
    volume.propose(OLD, NEW);
    expect(cluster.ask(NEW, 'fence', volume.fence())).toMatchObject({ promised: true, intact: false });
    cluster.restart(NEW);
    cluster.pump();
    expect(cluster.ask(NEW, 'fence', volume.fence())).toMatchObject({ promised: true, intact: false });
  });

  test('of the first configuration is born empty: what it does not hold it never held', () => {
    const cluster = new StorageCluster({ limits: LIMITS });
    const volume = new TestVolume('vol00001');
    expect(cluster.ask(OLD, 'fence', volume.fence())).toMatchObject({ promised: true, intact: true });
    cluster.ask(OLD, 'install', volume.install());
    expect(cluster.core(OLD)?.segments.get(volume.volume, PG)).toMatchObject({ isHydrated: true });
  });

  test('goes on where it was after a restart, and with another source', () => {
    const made = grown({ limits: { copyBytesPerSecond: 100_000 } });
    const { cluster, volume, segment, read } = made;
    propose(made);
    cluster.advance(250);
    const before = segment(NEW)?.hydration;
    expect(before?.cursor).not.toBeNull();
    cluster.restart(NEW);
    cluster.pump();
    expect(cluster.ask(NEW, 'fence', volume.fence())).toMatchObject({ promised: true, intact: false });
    expect(segment(NEW)?.hydration).toMatchObject({ id: before?.id, throughLsn: before?.throughLsn });
    expect(segment(NEW)?.hydration?.cursor).not.toBeNull();
    for (const gone of volume.members.slice(0, 3)) cluster.crash(gone);
    cluster.advance(10_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) expect(read(NEW, lsn)).toBe('right');
  });

  test('takes over the highest promise of those who vouch for its end', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    propose(made);
    const newer = { number: 9, writerId: 'w9' };
    for (const node of volume.members) cluster.ask(node, 'fence', volume.fence(0, newer));
    cluster.advance(5_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, promised: newer });
  });

  test('needs three members that are whole', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    propose(made);
    for (const gone of volume.members.slice(0, 4)) cluster.crash(gone);
    cluster.advance(5_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: false });
    cluster.restart(volume.members[0] as NodeId);
    cluster.advance(5_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: true });
  });

  test('is found out by asking around when nobody installs it', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    // It knows its cluster by another volume.
    cluster.ask(NEW, 'fence', new TestVolume('vol00001').fence());
    volume.propose(OLD, NEW);
    made.raise(60, [], volume.members);
    cluster.advance(12_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    // It learnt with the pages what its sources collect by.
    expect(segment(NEW)?.floor).toBe(60);
    expect(made.read(NEW, 59)).toBe('GONE');
  });

  test('takes no record that is in no run', () => {
    const made = grown();
    const { cluster, volume, segment, read } = made;
    volume.takeOver('w2');
    for (const node of volume.members) cluster.ask(node, 'fence', volume.fence());
    made.install();
    made.write(12);
    cluster.advance(1_000);
    // Between the runs: valid by its checksum, and cut.
    const values = new ValueCodec(nodeCrc32);
    const ghost = new SegmentKeys(volume.volume, PG).image(3 as PageNumber, 150 as Lsn);
    const image = { isRecord: true, isKept: true, prevLsn: 1 as Lsn, sinceKeptBytes: 0 };
    const value = values.encodeImage(ghost, { ...image, data: new Uint8Array(4096).fill(7) });
    for (const node of volume.members.slice(0, 5)) cluster.disk(node).put(ghost, value);
    propose(made);
    cluster.advance(8_000);
    expect(cluster.logs.filter(({ node, fields }) => node === NEW && fields.code === 'CUT')).not.toEqual([]);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 221; lsn <= volume.lastLsn; lsn += 1) expect(read(NEW, lsn, 1)).toBe('right');
  });

  test('knows when commits were made', () => {
    const made = grown();
    const { cluster, volume } = made;
    propose(made);
    cluster.advance(3_000);
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) {
      const question = {
        clusterId: TEST_CLUSTER,
        volume: volume.volume,
        pg: PG,
        run: 0 as RunId,
        throughLsn: lsn as Lsn,
        throughMicros: Number.MAX_SAFE_INTEGER,
        requiredScl: 0 as Lsn,
      };
      expect(cluster.ask(NEW, 'findCommit', question)).toMatchObject({ lsn, refusal: null });
    }
  });
});

describe('a segment that cannot go on from what it has', () => {
  /** OLD comes back with much that it has not put in page form, and is hydrated slowly. */
  function damaged() {
    const made = grown({ limits: { copyBytesPerSecond: 60_000 } });
    const { cluster, volume } = made;
    for (let i = 0; i < 5; i += 1) made.write(7);
    cluster.restart(OLD, { chance: () => 0.9 });
    cluster.pump();
    const core = cluster.core(OLD) as StorageNodeCore;
    const old = made.segment(OLD) as Segment;
    const keys = new SegmentKeys(volume.volume, PG);
    const stray = keys.bundle(2 as PageNumber, 33 as Lsn);
    const body = new Uint8Array([0, 1, 2]);
    const values = new ValueCodec(nodeCrc32);
    const records = [{ lsn: 33 as Lsn, body }];
    cluster.disk(OLD).put(stray, values.encodeBundle(stray, { prevLsn: 2 as Lsn, records }));
    beginHydration(core, old, 'a test says so');
    cluster.advance(100);
    return { ...made, stray };
  }

  test('serves nothing meanwhile, coalesces nothing, and has what its source has in the end', () => {
    const { cluster, volume, segment, read, stray } = damaged();
    const before = segment(OLD)?.coalesced;
    expect(read(OLD, 30)).toBe('QUARANTINED');
    cluster.advance(300);
    expect(segment(OLD)?.quarantine?.kind).toBe('hydrating');
    expect(segment(OLD)?.coalesced).toBe(before);
    cluster.advance(10_000);
    expect(segment(OLD)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) expect(read(OLD, lsn)).toBe('right');
    const left = [...cluster.disk(OLD).entries()].filter(([key]) => compareKeys(key, stray) === 0);
    for (const [key, value] of left)
      expect(new ValueCodec(nodeCrc32).decodeBundle(key, value).prevLsn).not.toBe(2);
  });
});

describe('a segment that was left behind', () => {
  test('is hydrated when its peers’ logs begin above its own', () => {
    const made = grown({ limits: { absentAfterMs: 500, absentLogBytes: 0 } });
    const { cluster, volume, segment, read } = made;
    const rest = volume.members.filter((node) => node !== OLD);
    cluster.crash(OLD);
    for (let times = 0; times < 6; times += 1) made.write(5, rest);
    cluster.advance(1_000);
    made.raise(140);
    cluster.advance(2_000);
    cluster.restart(OLD);
    cluster.advance(8_000);
    expect(made.logged('a segment is to be hydrated')).toBe(1);
    expect(segment(OLD)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 140; lsn <= volume.lastLsn; lsn += 1) expect(read(OLD, lsn)).toBe('right');
  });

  test('is not when the log suffices', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    cluster.crash(OLD);
    made.write(
      30,
      volume.members.filter((node) => node !== OLD),
    );
    cluster.restart(OLD);
    cluster.advance(8_000);
    expect(made.logged('a segment is to be hydrated')).toBe(0);
    expect(segment(OLD)).toMatchObject({ scl: volume.lastLsn });
  });
});

describe('a node that leaves', () => {
  test('deletes what it has and keeps its promise', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    propose(made);
    cluster.advance(3_000);
    const stale = { fence: volume.fence(), install: volume.install(), append: volume.append([]) };
    volume.endChange('new');
    made.install();
    cluster.advance(3_000);
    expect(segment(OLD)).toBeNull();
    expect([...cluster.disk(OLD).entries()]).toEqual([]);
    for (let restarts = 0; restarts < 2; restarts += 1) {
      expect(cluster.ask(OLD, 'fence', stale.fence).refusal?.code).toBe('STALE_CONFIG');
      expect(cluster.ask(OLD, 'install', stale.install).refusal?.code).toBe('STALE_CONFIG');
      expect(cluster.ask(OLD, 'append', stale.append).refusal?.code).toBe('NO_SEGMENT');
      expect(cluster.core(OLD)?.segments.known(volume.volume, PG)?.promised).toEqual(volume.epoch);
      cluster.restart(OLD);
      cluster.pump();
    }
  });

  test('does so when a change is taken back, and can come again', () => {
    const made = grown();
    const { cluster, volume, segment, read } = made;
    propose(made);
    cluster.advance(1_000);
    volume.endChange('old');
    made.install();
    cluster.advance(3_000);
    expect(segment(NEW)).toBeNull();
    expect([...cluster.disk(NEW).entries()]).toEqual([]);
    made.write(12);
    cluster.advance(500);
    propose(made);
    cluster.advance(3_000);
    expect(segment(NEW)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) expect(read(NEW, lsn)).toBe('right');
  });

  test('and is asked back before it has heard that it left, is as new as any other', () => {
    const made = grown();
    const { cluster, volume, segment, read } = made;
    propose(made);
    cluster.advance(3_000);
    cluster.crash(OLD);
    volume.endChange('new');
    made.install();
    made.write(12);
    volume.propose(NEW, OLD);
    made.install();
    cluster.restart(OLD);
    made.install();
    expect(cluster.ask(OLD, 'fence', volume.fence())).toMatchObject({ promised: true, intact: false });
    cluster.advance(5_000);
    expect(segment(OLD)).toMatchObject({ isHydrated: true, scl: volume.lastLsn });
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) expect(read(OLD, lsn)).toBe('right');
    // The same manifest again, or another of this change, is no reason to begin anew.
    made.install();
    volume.takeOver('w2');
    for (const node of [...volume.members, OLD]) cluster.call(node, 'fence', volume.fence());
    made.install();
    expect(segment(OLD)).toMatchObject({ isHydrated: true });
  });

  test('stays so over a restart that finds records of before in its log', () => {
    const made = grown({ limits: { copyBytesPerSecond: 1 } });
    const { cluster, volume, segment } = made;
    made.write(5);
    propose(made);
    volume.endChange('new');
    volume.propose(NEW, OLD);
    made.install();
    expect(segment(OLD)?.scl).toBeGreaterThan(segment(OLD)?.coalesced ?? 0);
    expect(segment(OLD)).toMatchObject({ isHydrated: false });
    for (const node of cluster.nodeIds) if (node !== OLD) cluster.cut(OLD, node);
    cluster.restart(OLD);
    cluster.advance(200);
    expect(segment(OLD)).toMatchObject({ isHydrated: false, quarantine: { kind: 'hydrating' } });
  });

  test('hears of it from the others when it was not there', () => {
    const made = grown();
    const { cluster, volume, segment } = made;
    propose(made);
    cluster.advance(3_000);
    cluster.crash(OLD);
    volume.endChange('new');
    made.install(volume.members);
    cluster.restart(OLD);
    cluster.advance(3_000);
    expect(segment(OLD)).toBeNull();
    expect([...cluster.disk(OLD).entries()]).toEqual([]);
  });
});
