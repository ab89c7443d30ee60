/** Leaves out faults, one after another, as long as the run still fails in the same way. */
import type { FaultWeights } from '../faults/plan.ts';
import { runSeed, type SeedOptions } from '../run-seed.ts';
import { inMacrotask } from './macrotask.ts';

export interface Minimised {
  /** Faults that do not matter. */
  readonly without: ReadonlySet<number>;
}

export async function minimise(seed: number, weights: FaultWeights | null): Promise<Minimised> {
  const first = await inMacrotask(() => runSeed(seed, biasOf(weights)));
  let without = new Set<number>();
  for (const { index } of first.plan) {
    const fewer = new Set(without).add(index);
    const result = await inMacrotask(() => runSeed(seed, { ...biasOf(weights), without: fewer }));
    if (result.violation?.rule === first.violation?.rule) without = fewer;
  }
  return { without };
}

export function biasOf(weights: FaultWeights | null): SeedOptions {
  return weights === null ? {} : { weights };
}
