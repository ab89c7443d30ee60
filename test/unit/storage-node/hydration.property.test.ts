/** Random lives of a PG whose members change: see test/support/member-life.ts. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MemberLife } from '../../support/member-life.ts';

describe('members that change', () => {
  test('hold what is durable, and show what was written', () => {
    let answered = 0;
    let changes = 0;
    let hydrated = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
        const life = new MemberLife(seed);
        for (let i = 0; i < 60; i += 1) life.step();
        life.finish();
        answered += life.answered;
        changes += life.changes;
        hydrated += life.cluster.logs.filter(({ message }) => message === 'a segment is hydrated').length;
      }),
      {
        numRuns: Number(process.env.RUNS ?? 8),
        seed: Number(process.env.SEED ?? 20261121),
        endOnFailure: true,
      },
    );
    // The test must not pass by being refused, nor without anybody coming.
    expect(answered).toBeGreaterThan(8 * 60);
    expect(changes).toBeGreaterThan(8);
    expect(hydrated).toBeGreaterThan(5);
  });
});
