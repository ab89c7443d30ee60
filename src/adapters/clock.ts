/** The clock port: hrtime for durations, the wall clock for commit stamps. */
import type { Clock } from '../env/env.ts';

export const nodeClock: Clock = {
  now() {
    return { monotonicMs: performance.now(), wallMicros: Date.now() * 1000 };
  },
};
