/** Percentiles against a sorted list. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bucketOf, Histogram, upperMicros } from '../../../bench/histogram.ts';

describe('histogram', () => {
  it('is off by less than 4 %, and never to the better', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 300 }),
        fc.double({ min: 0.001, max: 1, noNaN: true }),
        (values, share) => {
          const histogram = new Histogram();
          for (const value of values) histogram.recordMs(value);
          const sorted = values.map((ms) => Math.round(ms * 1_000)).sort((a, b) => a - b);
          const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1]! / 1_000;
          const found = histogram.percentileMs(share);
          expect(found).toBeGreaterThanOrEqual(exact);
          expect(found).toBeLessThanOrEqual(exact * 1.04 + 0.000_001);
        },
      ),
    );
  });

  it('has buckets without gaps', () => {
    let last = -1;
    for (let micros = 0; micros < 100_000; micros++) {
      const bucket = bucketOf(micros);
      expect(bucket === last || bucket === last + 1).toBe(true);
      expect(upperMicros(bucket)).toBeGreaterThanOrEqual(micros);
      last = bucket;
    }
  });

  it('adds up', () => {
    const [a, b] = [new Histogram(), new Histogram()];
    a.recordMs(1);
    b.recordMs(3);
    a.merge(b);
    expect([a.count, a.meanMs, a.maxMs, a.percentileMs(1)]).toEqual([2, 2, 3, 3]);
    expect(new Histogram().percentileMs(0.5)).toBe(0);
  });
});
