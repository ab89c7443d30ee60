/** A clock that moves only when a test moves it. */
import type { Clock, Now } from '../../src/env/env.ts';

export class ManualClock implements Clock {
  private monotonicMs = 0;
  private wallMicros: number;

  constructor(wallMicros = 1_750_000_000_000_000) {
    this.wallMicros = wallMicros;
  }

  now(): Now {
    return { monotonicMs: this.monotonicMs, wallMicros: this.wallMicros };
  }

  uptimeMs(): number {
    return this.monotonicMs;
  }

  advance(ms: number): void {
    this.monotonicMs += ms;
    this.wallMicros += Math.round(ms * 1000);
  }
}
