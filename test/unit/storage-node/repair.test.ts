/** Pages that were lost or damaged on one node's disk: never a wrong answer from there, and whole again by themselves. */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PageNumber } from '../../../src/log/lsn.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import { after, IMAGE, parseKey, parsePageKey, SegmentKeys } from '../../../storage-node/core/keys.ts';
import { StorageCluster } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const PAGES = 12;
const EVERYTHING = { gte: new Uint8Array(0), lt: new Uint8Array(16).fill(0xff) };

function opened(limits: Partial<CoreLimits> = {}) {
  const cluster = new StorageCluster({ limits: { roundRecords: 24, roundAgeMs: 100, ...limits } });
  const volume = new TestVolume('vol00000', { pgPages: 64 });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (count: number, pages = PAGES) => {
    const records = volume.writeMany(count, pages);
    for (const node of cluster.nodeIds) {
      if (cluster.core(node) !== null)
        cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    }
    cluster.advance(200);
  };
  for (let i = 0; i < 6; i += 1) append(40);
  return { cluster, volume, append };
}

type World = ReturnType<typeof opened>;

function segmentOf({ cluster, volume }: World, node = NODE) {
  const segment = cluster.core(node)?.segments.get(volume.volume, 0 as never);
  if (segment == null) throw new Error('no segment');
  return segment;
}

/** Reads every page at many read points: right, or refused. Returns how many were refused. */
function readAll({ cluster, volume }: World, from = 0): number {
  let refused = 0;
  for (let lsn = from; lsn <= volume.lastLsn; lsn += 7) {
    for (let page = 1; page <= PAGES; page += 1) {
      const at = { run: volume.headRun, lsn: lsn as Lsn };
      const reply = cluster.ask(NODE, 'readPages', volume.readPages([page], at));
      if (reply.refusal !== null) {
        refused += 1;
        continue;
      }
      const wanted = volume.replay({ volume: volume.volume, ...at }, page);
      expect(Buffer.from(reply.pages[0]?.data ?? []).equals(Buffer.from(wanted ?? []))).toBe(true);
    }
  }
  return refused;
}

function pageEntries({ cluster }: World, page: number): Uint8Array[] {
  return [...cluster.disk(NODE).entries()]
    .map(([key]) => key)
    .filter((key) => parseKey(key)?.kind === 'page' && parsePageKey(key).page === page);
}

describe('pages in doubt', () => {
  test('of a damaged table are not read, copied from a peer, and then whole', () => {
    const world = opened();
    const { cluster, volume } = world;
    const keys = new SegmentKeys(volume.volume, 0 as never);
    // The newest entries of pages 3 to 5 are gone, as with a lost block.
    for (const page of [3, 4, 5])
      for (const key of pageEntries(world, page).slice(-3)) cluster.disk(NODE).delete(key);
    const doubts = {
      gte: keys.bundle(3 as PageNumber, 0 as Lsn),
      lt: keys.image(5 as PageNumber, 9_999 as Lsn),
    };
    for (const peer of cluster.nodeIds) if (peer !== NODE) cluster.cut(NODE, peer);
    cluster.restart(NODE, { storeDoubts: [doubts] });
    cluster.advance(500);
    expect(segmentOf(world).doubts.intervals).toEqual([{ first: 3, last: 5 }]);
    const code = (page: number) =>
      cluster.ask(NODE, 'readPages', volume.readPages([page], { lsn: volume.lastLsn })).refusal?.code ??
      'served';
    expect([2, 3, 4, 5, 6].map(code)).toEqual([
      'served',
      'QUARANTINED',
      'QUARANTINED',
      'QUARANTINED',
      'served',
    ]);
    expect(cluster.core(NODE)?.isIntact).toBe(false);

    // Remembered over a restart that finds nothing itself.
    cluster.restart(NODE);
    cluster.advance(500);
    expect([2, 3, 6].map(code)).toEqual(['served', 'QUARANTINED', 'served']);

    cluster.heal();
    cluster.advance(2_000);
    expect(segmentOf(world).doubts.isEmpty).toBe(true);
    expect(cluster.core(NODE)?.isIntact).toBe(true);
    expect(readAll(world)).toBe(0);
    cluster.restart(NODE);
    cluster.advance(500);
    expect(segmentOf(world).doubts.isEmpty).toBe(true);
    expect(readAll(world)).toBe(0);
  });

  test.each([
    ['the newest rounds', 3, false],
    ['the newest rounds and how far they went', 3, true],
  ])('marks of %s that are gone leave nothing behind that is read', (_, count, isProgressGone) => {
    const world = opened({ chainRecords: 3 });
    const { cluster, volume, append } = world;
    // Small rounds, many of which make one when they are done again.
    for (let i = 0; i < 9; i += 1) append(7, 2);
    const keys = new SegmentKeys(volume.volume, 0 as never);
    const disk = cluster.disk(NODE);
    const marks = [...disk.entries()].map(([key]) => key).filter((key) => parseKey(key)?.kind === 'round');
    const [first] = marks.slice(-count);
    if (first === undefined) throw new Error('no rounds');
    for (const key of marks.slice(-count)) disk.delete(key);
    const storeDoubts = [{ gte: first, lt: keys.rounds().lt }];
    if (isProgressGone) {
      disk.delete(keys.progress);
      storeDoubts.push({ gte: keys.progress, lt: after(keys.progress) });
    }
    cluster.restart(NODE, { storeDoubts });
    cluster.advance(500);
    // Images that were shortcuts are thinned out.
    for (let i = 0; i < 6; i += 1) append(29);
    cluster.advance(2_000);
    expect(segmentOf(world).doubts.isEmpty).toBe(true);
    expect(readAll(world)).toBe(0);
  });

  test('without word of the damage a lost newest entry would be served as an older page after a restart', () => {
    // What the doubts are for: nothing else can know.
    const world = opened();
    for (const key of pageEntries(world, 3).slice(-3)) world.cluster.disk(NODE).delete(key);
    world.cluster.restart(NODE);
    expect(() => readAll(world)).toThrow();
  });

  test('grow with writes meanwhile and come out right', () => {
    const world = opened();
    const { cluster } = world;
    cluster.restart(NODE, { storeDoubts: [EVERYTHING] });
    // Its own lease promises have run out by then.
    cluster.advance(550);
    for (let i = 0; i < 10; i += 1) world.append(30);
    cluster.advance(4_000);
    expect(segmentOf(world).doubts.isEmpty).toBe(true);
    expect(cluster.core(NODE)?.isIntact).toBe(true);
    expect(readAll(world)).toBe(0);
  });

  test('are given to nobody', () => {
    const world = opened();
    const { cluster, volume } = world;
    cluster.core(NODE)?.doubtPages(segmentOf(world), 3 as PageNumber, 3 as PageNumber, 'test');
    const pull = (firstPage: number, lastPage: number) =>
      cluster.ask(NODE, 'pullPages', {
        clusterId: 'testcluster00001',
        volume: volume.volume,
        pg: 0 as never,
        throughLsn: 0 as Lsn,
        firstPage,
        lastPage,
        cursor: null,
        maxBytes: 100_000,
      }).refusal?.code ?? 'given';
    expect([pull(1, 2), pull(2, 3), pull(4, 9)]).toEqual(['given', 'QUARANTINED', 'given']);
  });
});

describe('damage met', () => {
  test.each(['read', 'round', 'peer'] as const)('by a %s is repaired by itself', (who) => {
    const world = opened();
    const { cluster, volume } = world;
    const [key] = pageEntries(world, 3)
      .filter((entry) => parsePageKey(entry).kind !== IMAGE)
      .slice(-1);
    if (key === undefined) throw new Error('no bundle of page 3');
    const [, value] = [...cluster.disk(NODE).entries()].find(([other]) => Buffer.from(other).equals(key)) as [
      Uint8Array,
      Uint8Array,
    ];
    value[value.length - 3] = (value[value.length - 3] as number) ^ 1;
    cluster.restart(NODE);
    cluster.disk(NODE).put(key, value);
    if (who === 'read') {
      const reply = cluster.ask(NODE, 'readPages', volume.readPages([3], { lsn: volume.lastLsn }));
      expect(reply.refusal?.code).toBe('CORRUPT');
    } else if (who === 'peer') {
      cluster.ask(NODE, 'pullPages', {
        clusterId: 'testcluster00001',
        volume: volume.volume,
        pg: 0 as never,
        throughLsn: 0 as Lsn,
        firstPage: 1,
        lastPage: 9,
        cursor: null,
        maxBytes: 100_000,
      });
    } else {
      cluster.advance(550);
      world.append(60);
    }
    expect(cluster.logs.some(({ node, message }) => node === NODE && message === 'pages in doubt')).toBe(
      true,
    );
    cluster.advance(1_000);
    expect(segmentOf(world).doubts.isEmpty).toBe(true);
    expect(readAll(world)).toBe(0);
  });

  test('a head read that ends below the newest record known of the page is damage, not an answer', () => {
    const world = opened();
    const { cluster, volume } = world;
    // Entries vanish under a running node: LevelDB skips a damaged block without a word.
    for (const key of pageEntries(world, 3).slice(-3)) cluster.disk(NODE).delete(key);
    cluster.core(NODE)?.cache.dropSegment(segmentOf(world).name);
    expect(segmentOf(world).heads.get(3 as PageNumber)?.newestLsn).toBeGreaterThan(0);
    const read = () => cluster.ask(NODE, 'readPages', volume.readPages([3], { lsn: volume.lastLsn }));
    expect(read().refusal?.code).toBe('CORRUPT');
    cluster.advance(1_000);
    expect(read().refusal).toBeNull();
    expect(readAll(world)).toBe(0);
  });
});

describe('scrub', () => {
  function scrub({ cluster }: World): ReturnType<typeof status> {
    cluster.ask(NODE, 'scrub', { clusterId: 'testcluster00001', start: true, onlyVolume: '' });
    cluster.advance(5_000);
    return status(cluster);
  }
  const status = (cluster: StorageCluster) =>
    cluster.ask(NODE, 'scrub', { clusterId: 'testcluster00001', start: false, onlyVolume: '' });

  test('finds nothing in a healthy cluster', () => {
    const world = opened();
    expect(scrub(world)).toMatchObject({
      running: false,
      checkedPages: PAGES,
      totalPages: PAGES,
      damagedPages: 0,
      unequalRanges: 0,
      findings: [],
    });
    expect(status(world.cluster).finishedMicros).toBeGreaterThan(0);
    expect(world.cluster.ask(NODE, 'status', { clusterId: '' }).lastScrubMicros).toBeGreaterThan(0);
  });

  test('finds by its peers that newest entries are lost, and repairs', () => {
    const world = opened();
    for (const key of pageEntries(world, 3).slice(-3)) world.cluster.disk(NODE).delete(key);
    world.cluster.restart(NODE);
    const reply = scrub(world);
    expect(reply.findings[0]).toMatch(/differ from what .* agree on/);
    expect(reply.pagesInDoubt).toBe(0);
    expect(readAll(world)).toBe(0);
  });

  test('finds a damaged value, and one missing between others, in history that nobody reads', () => {
    for (const how of ['damaged', 'missing'] as const) {
      const world = opened();
      const bundles = pageEntries(world, 3).filter((entry) => parsePageKey(entry).kind !== IMAGE);
      const key = bundles[1] as Uint8Array;
      if (how === 'missing') world.cluster.disk(NODE).delete(key);
      else world.cluster.disk(NODE).put(key, new Uint8Array(90));
      expect(scrub(world)).toMatchObject({ damagedPages: 1, pagesInDoubt: 0 });
      expect(readAll(world)).toBe(0);
    }
  });

  test('pulls chunks of the log again that are damaged, or gone from the middle', () => {
    for (const how of ['damaged', 'missing'] as const) {
      const world = opened();
      const disk = world.cluster.disk(NODE);
      const log = () =>
        new Map(
          [...disk.entries()]
            .filter(([key]) => parseKey(key)?.kind === 'chunk')
            .map(([key, value]) => [Buffer.from(key).toString('hex'), Buffer.from(value).toString('hex')]),
        );
      const before = log();
      const keys = [...before.keys()].sort();
      const key = Buffer.from(keys[2] as string, 'hex');
      if (how === 'damaged') disk.put(key, new Uint8Array(90));
      else disk.delete(key);
      expect(scrub(world).findings).toEqual([
        expect.stringMatching(/^the log of vol00000\/0 .*: pulled again$/),
      ]);
      expect(log()).toEqual(before);
      expect(scrub(world).findings).toEqual([]);
    }
  });

  test('ends although the log grows faster than it walks', () => {
    const { cluster, volume } = opened();
    cluster.ask(NODE, 'scrub', { clusterId: 'testcluster00001', start: true, onlyVolume: '' });
    for (let step = 0; step < 20; step += 1) {
      for (let chunk = 0; chunk < 12; chunk += 1) {
        const records = volume.writeMany(2, PAGES);
        for (const node of cluster.nodeIds)
          cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
      }
      cluster.advance(60);
    }
    expect(status(cluster)).toMatchObject({ running: false, findings: [] });
  });

  test('of a volume leaves others alone', () => {
    const world = opened();
    world.cluster.ask(NODE, 'scrub', { clusterId: 'testcluster00001', start: true, onlyVolume: 'other' });
    world.cluster.advance(500);
    expect(status(world.cluster)).toMatchObject({ running: false, totalPages: 0 });
  });
});

test('a commit index in doubt names no moments before it was copied anew', () => {
  const world = opened();
  const { cluster, volume } = world;
  const keys = new SegmentKeys(volume.volume, 0 as never);
  const range = keys.commitsBetween(0 as Lsn);
  for (const [key] of cluster.disk(NODE).entries())
    if (parseKey(key)?.kind === 'commits') cluster.disk(NODE).delete(key);
  for (const peer of cluster.nodeIds) if (peer !== NODE) cluster.cut(NODE, peer);
  cluster.restart(NODE, { storeDoubts: [range] });
  cluster.advance(500);
  const find = () =>
    cluster.ask(NODE, 'findCommit', {
      clusterId: 'testcluster00001',
      volume: volume.volume,
      pg: 0 as never,
      run: volume.headRun,
      throughLsn: 100 as Lsn,
      throughMicros: Number.MAX_SAFE_INTEGER,
      requiredScl: 100 as Lsn,
    });
  expect(find().refusal?.code).toBe('QUARANTINED');
  expect(
    cluster.ask(NODE, 'readPages', volume.readPages([1, 2, 3], { lsn: volume.lastLsn })).refusal,
  ).toBeNull();
  cluster.heal();
  cluster.advance(1_000);
  expect(find()).toMatchObject({ lsn: 100, commitTimeMicros: 1_000, refusal: null });
  expect(cluster.core(NODE)?.isIntact).toBe(true);
});

test('store keys of a segment in doubt beyond its pages', () => {
  const world = opened();
  const keys = new SegmentKeys(world.volume.volume, 0 as never);
  const at = (key: Uint8Array) => ({ gte: key, lt: after(key) });
  // Without the newest retention value nobody knows which history is whole.
  world.cluster.restart(NODE, { storeDoubts: [at(keys.retention)] });
  world.cluster.pump();
  expect(segmentOf(world).doubts.covers(1 as PageNumber)).toBe(true);
  world.cluster.advance(1_000);
  expect(segmentOf(world).doubts.isEmpty).toBe(true);
  // Without the newest manifest it may not vouch for what it lacks before its peers have spoken.
  world.cluster.restart(NODE, { storeDoubts: [at(keys.manifest)] });
  world.cluster.pump();
  expect(segmentOf(world).isQuarantined).toBe(true);
  world.cluster.advance(3_000);
  expect(segmentOf(world).isQuarantined).toBe(false);
  expect(readAll(world)).toBe(0);
});
