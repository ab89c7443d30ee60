/** The page cache against a dumb twin: every answer is right or a miss, whatever was evicted and in whatever order things come. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageCache, ZERO_PAGE } from '../../../compute-node/engine/worker/page-cache.ts';

const PAGE = 4096;
function frame(cache: PageCache, lsn: number): Uint8Array {
  const data = cache.takeFrame();
  new DataView(data.buffer, data.byteOffset).setUint32(0, lsn);
  return data;
}
function fetched(lsn: number): Uint8Array {
  const data = new Uint8Array(PAGE);
  new DataView(data.buffer).setUint32(0, lsn);
  return data;
}
function stamp(data: Uint8Array | null): number | null {
  return data === null ? null : new DataView(data.buffer, data.byteOffset).getUint32(0);
}

describe('PageCache', () => {
  it('finds the version of a read point', () => {
    const cache = new PageCache(100 * PAGE);
    cache.putFetched(7, 5, 10, fetched(5), false);
    cache.putHandedOver(7, 12, frame(cache, 12));
    cache.putHandedOver(7, 15, frame(cache, 15));
    expect([4, 5, 11, 12, 14, 15, 99].map((at) => stamp(cache.get(7, at)))).toEqual([
      null,
      5,
      5,
      12,
      12,
      15,
      15,
    ]);
    expect(cache.get(8, 99)).toBe(null);
  });

  it('never drops what is above VDL, and drops it after', () => {
    const cache = new PageCache(4 * PAGE);
    cache.advance(10, 10);
    for (let i = 0; i < 10; i += 1) cache.putHandedOver(i + 1, 11 + i, frame(cache, 11 + i));
    for (let i = 0; i < 10; i += 1) expect(stamp(cache.peek(i + 1, 20))).toBe(11 + i);
    expect(cache.isOverLimit).toBe(true);
    cache.advance(15, 15);
    for (let i = 5; i < 10; i += 1) expect(stamp(cache.peek(i + 1, 20))).toBe(11 + i);
    cache.advance(20, 20);
    expect(cache.bytes).toBeLessThanOrEqual(4 * PAGE);
  });

  it('stays within its limit while nothing can be evicted but what was fetched', () => {
    const cache = new PageCache(8 * PAGE);
    cache.advance(10, 10);
    for (let i = 0; i < 8; i += 1) cache.putHandedOver(i + 1, 11 + i, frame(cache, 11 + i));
    for (let page = 100; page < 200; page += 1) cache.putFetched(page, 3, 10, fetched(3), false);
    expect(cache.bytes).toBeLessThanOrEqual(9 * PAGE);
  });

  it('keeps old versions while a read point or VDL needs them, no longer', () => {
    const cache = new PageCache(100 * PAGE);
    for (let lsn = 1; lsn <= 10; lsn += 1) cache.putHandedOver(1, lsn, frame(cache, lsn));
    cache.advance(6, 3);
    expect([2, 3, 6, 10].map((at) => stamp(cache.peek(1, at)))).toEqual([null, 3, 6, 10]);
    cache.advance(6, 6);
    expect([5, 6, 10].map((at) => stamp(cache.peek(1, at)))).toEqual([null, 6, 10]);
    cache.advance(10, 10);
    expect(cache.bytes).toBe(PAGE);
  });

  it('does not take a late answer for the newest version', () => {
    const cache = new PageCache(1 * PAGE);
    cache.advance(10, 10);
    // Asked for at 10; meanwhile version 12 was written, became durable, and was evicted.
    cache.putHandedOver(1, 12, frame(cache, 12));
    cache.advance(12, 12);
    cache.putHandedOver(2, 13, frame(cache, 13));
    cache.advance(13, 13);
    cache.putFetched(3, 1, 13, fetched(1), false);
    expect(cache.peek(1, 12)).toBe(null);
    cache.putFetched(1, 5, 10, fetched(5), true);
    expect(stamp(cache.peek(1, 10))).toBe(5);
    expect(cache.peek(1, 12)).toBe(null);
    expect(cache.peek(1, 13)).toBe(null);
  });

  it('refuses an answer older than what it knows for that read point', () => {
    const cache = new PageCache(100 * PAGE);
    cache.putHandedOver(1, 12, frame(cache, 12));
    expect(() => cache.putFetched(1, 5, 12, fetched(5), false)).toThrow(
      expect.objectContaining({ code: 'CORRUPT' }),
    );
  });

  it('refuses a version that its own writer never wrote', () => {
    const cache = new PageCache(100 * PAGE);
    cache.putFetched(1, 5, 10, fetched(5), false);
    expect(() => cache.putFetched(1, 8, 10, fetched(8), false)).toThrow(
      expect.objectContaining({ code: 'CORRUPT' }),
    );
  });

  it('reads never-written pages as zeros, without spending memory', () => {
    const cache = new PageCache(100 * PAGE);
    cache.putFetched(1, 0, 10, null, false);
    expect(cache.get(1, 11)).toBe(ZERO_PAGE);
    expect(cache.bytes).toBe(0);
    cache.putHandedOver(1, 12, frame(cache, 12));
    expect([11, 12].map((at) => stamp(cache.get(1, at)))).toEqual([0, 12]);
  });

  it('a scan does not throw out what is read again and again', () => {
    const cache = new PageCache(20 * PAGE);
    cache.advance(10, 10);
    for (let page = 1; page <= 5; page += 1) cache.putFetched(page, 1, 10, fetched(1), false);
    for (let scanned = 100; scanned < 400; scanned += 1) {
      cache.putFetched(scanned, 1, 10, fetched(1), true);
      expect(cache.get(scanned, 10)).not.toBe(null);
      for (let page = 1; page <= 5; page += 1) expect(cache.get(page, 10)).not.toBe(null);
    }
    expect(cache.bytes).toBeLessThanOrEqual(20 * PAGE);
  });

  it('keeps what was fetched ahead until it is read, in a scan larger than the cache', () => {
    const cache = new PageCache(64 * PAGE);
    cache.advance(10, 10);
    for (let first = 1; first < 2_000; first += 16) {
      for (let page = first; page < first + 16; page += 1) cache.putFetched(page, 1, 10, fetched(1), true);
      for (let page = first; page < first + 16; page += 1) expect(cache.get(page, 10)).not.toBe(null);
    }
    expect(cache.bytes).toBeLessThanOrEqual(64 * PAGE);
  });

  it('is right or misses, under any order of writes, fetches, evictions and read points', () => {
    const op = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant('write' as const), page: fc.integer({ min: 1, max: 12 }) }),
      },
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('read' as const),
          page: fc.integer({ min: 1, max: 12 }),
          back: fc.nat(12),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('ask' as const),
          page: fc.integer({ min: 1, max: 12 }),
          back: fc.nat(6),
        }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('answer' as const) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('vdl' as const), by: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('reader' as const), back: fc.nat(8) }) },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(op, { maxLength: 150 }), (limit, ops) => {
        const cache = new PageCache(limit * PAGE);
        const truth = new Map<number, number[]>();
        const versionAt = (page: number, at: number): number =>
          truth.get(page)?.findLast((lsn) => lsn <= at) ?? 0;
        const asked: { page: number; at: number; lsn: number }[] = [];
        let head = 0;
        let vdl = 0;
        let lowest = 0;
        for (const step of ops) {
          switch (step.kind) {
            case 'write':
              head += 1;
              truth.set(step.page, [...(truth.get(step.page) ?? []), head]);
              cache.putHandedOver(step.page, head, frame(cache, head));
              break;
            case 'read': {
              const at = Math.max(lowest, head - step.back);
              const found = stamp(cache.get(step.page, at));
              const right = versionAt(step.page, at);
              if (found !== null) expect(found).toBe(right);
              // Nothing above VDL may be missing.
              else expect(right).toBeLessThanOrEqual(vdl);
              break;
            }
            case 'ask': {
              const at = Math.max(lowest, vdl - step.back);
              if (at <= vdl && !cache.has(step.page, at))
                asked.push({ page: step.page, at, lsn: versionAt(step.page, at) });
              break;
            }
            case 'answer': {
              const answer = asked.shift();
              if (answer === undefined || cache.has(answer.page, answer.at)) break;
              cache.putFetched(
                answer.page,
                answer.lsn,
                answer.at,
                answer.lsn === 0 ? null : fetched(answer.lsn),
                true,
              );
              break;
            }
            case 'vdl':
              vdl = Math.min(head, vdl + step.by);
              cache.advance(vdl, lowest);
              break;
            case 'reader':
              lowest = Math.max(lowest, Math.min(vdl, head - step.back));
              cache.advance(vdl, lowest);
              break;
            default:
              step satisfies never;
          }
        }
        vdl = head;
        cache.advance(vdl, vdl);
        expect(cache.bytes).toBeLessThanOrEqual(limit * PAGE);
      }),
      { numRuns: 400 },
    );
  });
});
