import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ForgetfulLife } from '../../support/forgetful-life.ts';

test('nodes stand by what they told, whatever old images their disks are put back to', () => {
  let lapses = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
      const life = new ForgetfulLife(seed);
      for (let i = 0; i < 40 && life.faults.length === 0; i += 1) life.step();
      life.finish();
      lapses += life.lapses;
      expect(life.faults).toEqual([]);
    }),
    { numRuns: Number(process.env.RUNS ?? 8), seed: Number(process.env.SEED ?? 7), endOnFailure: true },
  );
  expect(lapses).toBeGreaterThan(8);
});
