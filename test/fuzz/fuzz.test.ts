/** A sample of `npm run fuzz`: every target, a few thousand inputs of a seed that is never the same on two days. */
import { expect, it } from 'vitest';
import { fuzz } from './run.ts';

const DAY_MS = 86_400_000;
const INPUTS = 20_000;

it('takes whatever comes: no crash, no stall, no memory that grows', { timeout: 120_000 }, async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Date.now() / DAY_MS));
  const { reports, findings } = await fuzz({ inputs: INPUTS, seed, only: null, at: null });
  expect(findings, `npm run fuzz -- --seed ${seed}`).toEqual([]);
  expect(reports.reduce((sum, { inputs }) => sum + inputs, 0)).toBeGreaterThanOrEqual(INPUTS);
});
