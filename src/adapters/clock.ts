/** The clock port: hrtime for durations, the wall clock for commit stamps, the machine's uptime to notice that it was suspended. */
import { uptime } from 'node:os';
import type { Clock } from '../env/env.ts';

export const nodeClock: Clock = {
  now() {
    return { monotonicMs: performance.now(), wallMicros: Date.now() * 1000 };
  },
  uptimeMs() {
    return uptime() * 1_000;
  },
};
