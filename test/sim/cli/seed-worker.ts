/** One of the processes of seed-pool.ts: a seed comes in, its result goes out. */
import { runSeed } from '../run-seed.ts';

process.on('message', (seed) => {
  setImmediate(() => process.send?.(runSeed(seed as number)));
});
