/**
 * A fixed sample of seeds, on every run of the tests, and seeds that once found something. `npm run sim` runs many more.
 */
import { describe, expect, it } from 'vitest';
import { inMacrotask } from './cli/macrotask.ts';
import { runSeed } from './run-seed.ts';

const SAMPLE = Array.from({ length: 12 }, (_, i) => 1_000 + i);

describe('the simulator', () => {
  it.each(SAMPLE)('finds nothing wrong in seed %i', async (seed) => {
    const { violation, acknowledged } = await inMacrotask(() => runSeed(seed));
    expect(violation).toBeNull();
    expect(acknowledged).toBeGreaterThan(0);
  });

  it('does the same again from the same seed', async () => {
    const first = await inMacrotask(() => runSeed(7));
    const second = await inMacrotask(() => runSeed(7));
    expect(second).toEqual(first);
  });
});
