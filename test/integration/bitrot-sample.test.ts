/** A little of `npm run chaos -- bitrot`: bits flipped in every file of a small stopped node. */
import { expect, it } from 'vitest';
import { flipBits } from '../chaos/bitrot/run.ts';

it('is harmless, or found and repaired, whichever bit of a stopped node is flipped', async ({ signal }) => {
  const { flips, files, violations } = await flipBits({ seed: 20_261_121, flips: 400, signal });
  expect(violations).toEqual([]);
  expect(flips).toBeGreaterThanOrEqual(400);
  for (const kind of ['ring', 'guard-a', '.ldb', '.log', 'MANIFEST', 'CURRENT', 'tidemark.json']) {
    expect(files.some(({ path, flips: tried }) => path.includes(kind) && tried > 0)).toBe(true);
  }
  // The test must not pass because nothing is damaged.
  expect(files.reduce((sum, { repaired }) => sum + repaired, 0)).toBeGreaterThan(30);
}, 120_000);
