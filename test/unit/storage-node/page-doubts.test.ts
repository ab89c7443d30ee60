import { describe, expect, test } from 'vitest';
import type { PageNumber, PgIndex, VolumeId } from '../../../src/log/lsn.ts';
import { LAST_PAGE, SegmentKeys } from '../../../storage-node/core/keys.ts';
import { PageDoubts } from '../../../storage-node/core/page-doubts.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const page = (number: number): PageNumber => number as PageNumber;

describe('pages in doubt', () => {
  test('are a set of pages, whatever is added and removed', () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 50; round += 1) {
      const doubts = new PageDoubts();
      const twin = new Set<number>();
      for (let step = 0; step < 40; step += 1) {
        const first = random.below(60);
        const last = first + random.below(8);
        const isAdded = random.chance(0.6);
        if (isAdded) doubts.add(page(first), page(last));
        else doubts.remove(page(first), page(last));
        for (let at = first; at <= last; at += 1) {
          if (isAdded) twin.add(at);
          else twin.delete(at);
        }
        for (let at = 0; at < 70; at += 1) expect(doubts.covers(page(at))).toBe(twin.has(at));
      }
      const loaded = new PageDoubts();
      loaded.load(doubts.encode());
      expect(loaded.intervals).toEqual(doubts.intervals);
      for (const [index, interval] of doubts.intervals.entries()) {
        const next = doubts.intervals[index + 1];
        if (next !== undefined) expect(next.first).toBeGreaterThan(interval.last + 1);
      }
    }
  });

  test('stay few: rather too many pages than too many intervals', () => {
    const doubts = new PageDoubts();
    for (let at = 0; at < 5_000; at += 1) doubts.add(page(at * 3), page(at * 3));
    expect(doubts.intervals.length).toBeLessThanOrEqual(512);
    for (let at = 0; at < 5_000; at += 1) expect(doubts.covers(page(at * 3))).toBe(true);
  });
});

describe('keys of the store in doubt', () => {
  const keys = new SegmentKeys('vol00000' as VolumeId, 2 as PgIndex);
  const other = new SegmentKeys('vol00000' as VolumeId, 3 as PgIndex);

  test('name the pages whose entries lie between them', () => {
    const between = (from: Uint8Array, to: Uint8Array) => keys.pagesIn({ gte: from, lt: to });
    expect(between(keys.bundle(page(5), 7 as never), keys.image(page(9), 1 as never))).toEqual({
      first: 5,
      last: 9,
    });
    // LevelDB shortens the keys of its index.
    const short = keys.bundle(page(0x0105), 7 as never).subarray(0, keys.progress.length + 3);
    expect(between(keys.bundle(page(5), 7 as never), short)).toEqual({ first: 5, last: 0x1ff });
    expect(between(new Uint8Array(0), new Uint8Array(16).fill(255))).toEqual({ first: 0, last: LAST_PAGE });
    expect(between(other.bundle(page(5), 7 as never), other.bundle(page(6), 7 as never))).toBeNull();
    expect(between(new Uint8Array(0), keys.image(page(9), 1 as never))).toEqual({ first: 0, last: 9 });
  });

  test('touch what lies between them', () => {
    const all = { gte: new Uint8Array(0), lt: new Uint8Array(16).fill(255) };
    expect(keys.touches('manifest', all)).toBe(true);
    const chunks = { gte: keys.chunk(5 as never), lt: keys.chunk(9 as never) };
    expect(keys.touches('chunk', chunks)).toBe(true);
    expect(keys.touches('manifest', chunks)).toBe(false);
    expect(other.touches('chunk', chunks)).toBe(false);
    const manifest = { gte: keys.manifest, lt: Uint8Array.of(...keys.manifest, 0) };
    expect(keys.touches('manifest', manifest)).toBe(true);
    expect(other.touches('manifest', manifest)).toBe(false);
  });
});
