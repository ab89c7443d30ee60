/** All clocks of the process at one moment, for the read lease (volume/lease.ts): one of them goes on when the machine is suspended. */
import type { Clock } from '../../src/env/env.ts';
import type { ClockReading } from '../volume/lease.ts';

export function readClocks(clock: Clock): ClockReading {
  const { monotonicMs, wallMicros } = clock.now();
  return { monotonicMs, wallMs: wallMicros / 1_000, uptimeMs: clock.uptimeMs() };
}
