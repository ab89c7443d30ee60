/** One of the processes of seed-pool.ts: a seed comes in, its result goes out. */
import type { FaultWeights } from '../faults/plan.ts';
import { biasOf } from './minimise.ts';
import { runSeed, type SeedResult } from '../run-seed.ts';

export interface SeedReport {
  readonly result: SeedResult;
  readonly cpuMs: number;
}

const weights = JSON.parse(process.argv[2] ?? 'null') as FaultWeights | null;

process.on('message', (seed) => {
  setImmediate(() => {
    const before = process.cpuUsage();
    const result = runSeed(seed as number, biasOf(weights));
    const { user, system } = process.cpuUsage(before);
    const report: SeedReport = { result, cpuMs: (user + system) / 1_000 };
    process.send?.(report);
  });
});
