/** A pause in the middle of something that waits: between attempts, or for what cannot be waited for otherwise. */
import type { Timers } from '../../src/env/env.ts';

export function pause(timers: Timers, delayMs: number): Promise<void> {
  return new Promise((resolve) => timers.after(delayMs, resolve));
}
