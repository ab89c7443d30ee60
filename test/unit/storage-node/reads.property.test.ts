/**
 * Random lives of a small cluster: writes (some nodes miss some), coalescing, thinning, collection, pins, take-overs, backtracks, crashes of
 * single nodes that lose what a crash may lose. After every step random reads must equal plain replay, byte for byte, or be refused with
 * a reason that holds.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PageLife } from '../../support/page-life.ts';

describe('page reads', () => {
  test('equal plain replay through coalescing, thinning, collection, branches and crashes', () => {
    let answered = 0;
    let gone = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
        const life = new PageLife(seed);
        for (let i = 0; i < 60; i += 1) life.step();
        life.settle();
        const refused = [...life.refusals.values()].reduce((sum, count) => sum + count, 0);
        answered += life.reads - refused;
        gone += life.refusals.get('GONE') ?? 0;
      }),
      {
        numRuns: Number(process.env.RUNS ?? 25),
        seed: Number(process.env.SEED ?? 20261121),
        endOnFailure: true,
      },
    );
    // The test must not pass by being refused.
    expect(answered).toBeGreaterThan(25 * 60 * 2);
    expect(gone).toBeGreaterThan(10);
  });
});
