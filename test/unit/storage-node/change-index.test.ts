/**
 * Which pages changed between two LSNs: against a plain search of the log. What a reader could see must be named wherever the records are now: in memory, in
 * page form, with the index, without it, above the floor or collected in part.
 */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PageNumber, RunId } from '../../../src/log/lsn.ts';
import { KIND, trailingLsn } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_CLUSTER } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const PAGES = 12;
const DAMAGED = new Uint8Array(12);
const LIMITS = {
  roundAgeMs: 50,
  roundRecords: 8,
  chainRecords: 3,
  keptImageDeltaBytes: 20,
  collectIntervalMs: 100,
  roundsRemembered: 3,
};

function written() {
  const cluster = new StorageCluster({ limits: LIMITS });
  const volume = new TestVolume('vol00000', { pgPages: 16 });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (count: number, pages = PAGES) => {
    for (let i = 0; i < count; i += 4) {
      const records = volume.writeMany(4, pages);
      for (const node of cluster.nodeIds)
        cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    }
  };
  const ask = (afterLsn: number, throughLsn: number, afterPage = 0) =>
    cluster.ask(NODE, 'changedPages', {
      clusterId: TEST_CLUSTER,
      volume: volume.volume,
      pg: 0 as never,
      afterLsn: afterLsn as Lsn,
      throughLsn: throughLsn as Lsn,
      requiredScl: 0 as Lsn,
      afterPage: afterPage as PageNumber,
    });
  const changed = (afterLsn: number, throughLsn: number): readonly number[] => {
    const { pages, done, refusal } = ask(afterLsn, throughLsn);
    expect(refusal).toBeNull();
    expect(done).toBe(true);
    return pages;
  };
  const inLog = (afterLsn: number, throughLsn: number): number[] => {
    const made = volume.log.filter(({ record: { lsn } }) => lsn > afterLsn && lsn <= throughLsn);
    return [...new Set(made.map(({ record }) => record.page as number))].sort((a, b) => a - b);
  };
  /** Pages that differ between two points of a run, by replay. */
  const differing = (run: number, afterLsn: number, throughLsn: number): number[] => {
    const at = (lsn: number, page: number) =>
      volume.replay({ volume: volume.volume, run: run as RunId, lsn: lsn as Lsn }, page) ?? new Uint8Array(0);
    return Array.from({ length: PAGES }, (_, index) => index + 1).filter(
      (page) => Buffer.compare(at(afterLsn, page), at(throughLsn, page)) !== 0,
    );
  };
  const entries = () =>
    [...cluster.disk(NODE).entries()].map(([key]) => key).filter((key) => key[0] === KIND.changes);
  return { cluster, volume, append, ask, changed, inLog, differing, entries };
}

describe('changedPages', () => {
  test('is exact for what is in memory', () => {
    const { volume, append, changed, inLog } = written();
    append(24);
    for (let from = 0; from <= volume.lastLsn; from += 1)
      for (let to = from; to <= volume.lastLsn; to += 1) expect(changed(from, to)).toEqual(inLog(from, to));
  });

  test('in page form, names all that changed and nothing of rounds outside the range', () => {
    const { cluster, volume, append, changed, inLog, entries } = written();
    append(40);
    cluster.advance(500);
    append(6);
    const ends = entries().map(trailingLsn);
    expect(ends.length).toBeGreaterThan(3);
    for (let from = 0; from <= volume.lastLsn; from += 1) {
      for (let to = from; to <= volume.lastLsn; to += 1) {
        const named = changed(from, to);
        expect(named).toEqual(expect.arrayContaining(inLog(from, to)));
        const widerFrom = Math.max(0, ...ends.filter((end) => end <= from));
        const widerTo = Math.min(volume.lastLsn, ...ends.filter((end) => end >= to));
        expect(inLog(widerFrom, widerTo)).toEqual(expect.arrayContaining([...named]));
      }
    }
  });

  test('costs what differs: reads no page entries while the index is whole', () => {
    const { cluster, volume, append, changed, inLog } = written();
    append(40);
    cluster.advance(500);
    const last = volume.lastLsn;
    append(4, 2);
    cluster.advance(500);
    const disk = cluster.disk(NODE);
    for (const [key] of [...disk.entries()]) if (key[0] === KIND.page) disk.put(key, DAMAGED);
    expect(changed(last, volume.lastLsn)).toEqual(inLog(last, volume.lastLsn));
  });

  test('goes through the pages where the index has a hole', () => {
    const { cluster, volume, append, changed, inLog, entries } = written();
    append(40);
    cluster.advance(500);
    const disk = cluster.disk(NODE);
    const [, second, third] = entries();
    disk.put(third!, DAMAGED);
    expect(changed(trailingLsn(second!), volume.lastLsn)).toEqual(
      inLog(trailingLsn(second!), volume.lastLsn),
    );
    for (const key of entries()) disk.delete(key);
    for (let from = 0; from < volume.lastLsn; from += 3)
      expect(changed(from, volume.lastLsn)).toEqual(inLog(from, volume.lastLsn));
  });

  test('after a take-over and a restart', () => {
    const { cluster, volume, append, changed, inLog } = written();
    append(20);
    volume.takeOver('w2', volume.lastLsn, { run: 0 as RunId, lsn: 6 as Lsn });
    for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
    append(12);
    cluster.advance(500);
    cluster.restart(NODE);
    cluster.pump();
    for (let from = 0; from <= volume.lastLsn; from += 5)
      expect(changed(from, volume.lastLsn)).toEqual(expect.arrayContaining(inLog(from, volume.lastLsn)));
  });

  test('below the floor goes what no pin needs, and every visible change is named still', () => {
    const { cluster, volume, append, changed, differing, entries } = written();
    for (let i = 0; i < 12; i += 1) {
      append(8);
      cluster.advance(200);
    }
    const before = entries().length;
    const point = { volume: volume.volume, run: 0 as RunId, lsn: 20 as Lsn };
    const raise = (floor: number, pins: readonly { name: string; point: typeof point }[]) => {
      for (const node of cluster.nodeIds)
        cluster.call(node, 'install', volume.install(0, volume.retention(floor, pins)));
      cluster.advance(8_000);
    };
    raise(50, [{ name: 'old', point }]);
    expect(entries().length).toBeLessThan(before);
    expect(Math.min(...entries().map(trailingLsn))).toBeGreaterThanOrEqual(20);
    expect(Math.min(...entries().map(trailingLsn))).toBeLessThan(30);
    const expectAll = (from: number) => {
      for (const to of [50, 60, volume.lastLsn])
        expect(changed(from, to)).toEqual(expect.arrayContaining(differing(0, from, to)));
    };
    expectAll(20);
    expect(changed(20, 50).length).toBeGreaterThan(0);
    raise(60, []);
    expect(Math.min(...entries().map(trailingLsn))).toBeGreaterThanOrEqual(60);
    for (const to of [60, 70, volume.lastLsn])
      expect(changed(0, to)).toEqual(expect.arrayContaining(differing(0, 0, to)));
  });

  test('goes on behind a page, and answers for nothing that it does not hold', () => {
    const { volume, append, ask, inLog } = written();
    append(24);
    const all = inLog(0, volume.lastLsn);
    const middle = all[3] as number;
    expect(ask(0, volume.lastLsn, middle).pages).toEqual(all.filter((page) => page > middle));
    expect(ask(0, volume.lastLsn + 1).refusal?.code).toBe('BEHIND');
  });
});
