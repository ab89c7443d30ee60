/** Draws of the workloads: within their range, and as skewed as they say. */
import { describe, expect, it } from 'vitest';
import { scramble, zipf } from '../../../bench/workloads/skew.ts';
import { countRows } from '../../../bench/ways/ws.ts';

describe('the Zipf distribution', () => {
  it.each([1, 2, 3, 100, 10_000])('stays within %d', (count) => {
    const next = zipf(count);
    for (let i = 0; i < 2_000; i++) {
      const value = next();
      expect(Number.isInteger(value) && value >= 0 && value < count).toBe(true);
    }
  });

  it('asks for the first of a thousand more than a tenth of the time, and for most at least once', () => {
    const next = zipf(1_000);
    const counts = new Map<number, number>();
    const draws = 50_000;
    for (let i = 0; i < draws; i++) {
      const value = next();
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const share = (counts.get(0) ?? 0) / draws;
    // 1 / zeta(1000, 0.99) is 0.1287.
    expect(share).toBeGreaterThan(0.115);
    expect(share).toBeLessThan(0.143);
    expect(counts.size).toBeGreaterThan(900);
  });

  it('is spread over the range, always the same way', () => {
    const places = Array.from({ length: 1_000 }, (_, i) => scramble(i, 1_000));
    expect(places).toEqual(Array.from({ length: 1_000 }, (_, i) => scramble(i, 1_000)));
    expect(places.every((place) => place >= 0 && place < 1_000)).toBe(true);
    expect(new Set(places).size).toBeGreaterThan(550);
  });
});

describe('rows of an answer', () => {
  it.each([
    ['{"type":"close"}', 0],
    ['{"rows":[]}', 0],
    ['{"rows":[[{"type":"null"}]],"affected_row_count":0}', 1],
    ['{"rows":[[{"type":"null"},{"type":"null"}],[{"type":"null"},{"type":"null"}]]}', 2],
  ])('of %s', (text, rows) => {
    expect(countRows(text)).toBe(rows);
  });
});
