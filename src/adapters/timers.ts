/** The port of timers on the event loop's. They keep the process alive until they are cancelled. */
import type { Timers } from '../env/env.ts';

export const nodeTimers: Timers = {
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  every(intervalMs, run) {
    const handle = setInterval(run, intervalMs);
    return { cancel: () => clearInterval(handle) };
  },
  soon(run) {
    const handle = setImmediate(run);
    return { cancel: () => clearImmediate(handle) };
  },
};
