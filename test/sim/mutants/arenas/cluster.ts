/** Whole clusters in the simulator: test/sim/run-seed.ts. */
import { runSeed } from '../../run-seed.ts';
import type { Arena } from './arena.ts';

export function cluster(hint: Readonly<Record<string, unknown>>): Arena {
  return {
    runSeed: (seed) =>
      new Promise((resolve, reject) => {
        // The simulator drains microtasks by itself, so it must not run within one.
        setImmediate(() => {
          try {
            const { violation } = runSeed(seed, hint);
            resolve(violation === null ? [] : [`${violation.rule}: ${violation.message}`]);
          } catch (error) {
            reject(error);
          }
        });
      }),
  };
}
