/** One of the processes of seed-pool.ts: a seed comes in, its result goes out. */
import type { FaultWeights } from '../faults/plan.ts';
import { biasOf } from './minimise.ts';
import { runSeed } from '../run-seed.ts';

const weights = JSON.parse(process.argv[2] ?? 'null') as FaultWeights | null;

process.on('message', (seed) => {
  setImmediate(() => process.send?.(runSeed(seed as number, biasOf(weights))));
});
