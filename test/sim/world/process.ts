/**
 * A simulated process: its lives, its clocks, its timers. A life ends by a kill; what was planned for it never happens then. A stopped process
 * (SIGSTOP) finds all that came meanwhile when it goes on.
 *
 * Clocks: the monotonic one starts near zero in every life and runs at the machine's rate; the wall clock is off by a skew and may jump; the uptime
 * goes on while the machine is suspended, when the monotonic one stands still.
 */
import type { Clock, Now, Timer, Timers } from '../../../src/env/env.ts';
import type { Life } from './event-queue.ts';
import type { World } from './world.ts';

const EPOCH_MICROS = 1_750_000_000_000_000;
/** As Linux tells it to `os.uptime`. */
const UPTIME_STEP_MS = 10;

export class SimProcess implements Clock, Timers {
  readonly name: string;
  readonly world: World;
  /** Of the current life; null while it is down. */
  life: Life | null = null;
  lives = 0;
  wallSkewMs = 0;
  /** It has run, without being stopped, since this world time. */
  steadySinceMs = 0;
  #rate = 1;
  /** Where the machine's own time was, at world time `#rateSinceMs`. */
  #machineMs = 1_000;
  #rateSinceMs = 0;
  /** Machine time at which this life's monotonic clock started, plus all time it was suspended for. */
  #monotonicFromMs = 0;
  #stoppedAtMs = 0;
  #isSuspended = false;
  /** Told to the network. */
  onStopped: () => void = () => {};
  onEnded: () => void = () => {};

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  get isUp(): boolean {
    return this.life !== null;
  }

  get isStopped(): boolean {
    return this.life !== null && this.life.waiting !== null;
  }

  begin(): Life {
    this.lives += 1;
    this.steadySinceMs = this.world.nowMs;
    this.#monotonicFromMs = this.#machineNowMs();
    this.life = { name: `${this.name}#${this.lives}`, isOver: false, waiting: null };
    return this.life;
  }

  /** SIGKILL: nothing of this life happens any more. */
  end(): void {
    if (this.life === null) return;
    this.life.isOver = true;
    this.life = null;
    this.onEnded();
  }

  /** SIGSTOP; `isSuspended`: the whole machine, whose monotonic clock then stands still. */
  stop(isSuspended: boolean): void {
    if (this.life === null || this.life.waiting !== null) return;
    this.life.waiting = [];
    this.#stoppedAtMs = this.#machineNowMs();
    this.#isSuspended = isSuspended;
    this.onStopped();
  }

  goOn(): void {
    const { life } = this;
    if (life === null || life.waiting === null) return;
    const { waiting } = life;
    life.waiting = null;
    this.steadySinceMs = this.world.nowMs;
    if (this.#isSuspended) this.#monotonicFromMs += this.#machineNowMs() - this.#stoppedAtMs;
    this.world.release(waiting);
  }

  setRate(rate: number): void {
    this.#machineMs = this.#machineNowMs();
    this.#rateSinceMs = this.world.nowMs;
    this.#rate = rate;
  }

  // Clock

  now(): Now {
    const machineMs = this.#machineNowMs();
    return {
      monotonicMs: machineMs - this.#monotonicFromMs,
      wallMicros: EPOCH_MICROS + Math.round((machineMs + this.wallSkewMs) * 1_000),
    };
  }

  uptimeMs(): number {
    return Math.floor(this.#machineNowMs() / UPTIME_STEP_MS) * UPTIME_STEP_MS;
  }

  // Timers

  after(delayMs: number, run: () => void): Timer {
    return this.#plan(Math.max(1, delayMs), 'timer', run);
  }

  every(intervalMs: number, run: () => void): Timer {
    let next: Timer;
    const plan = (): void => {
      next = this.#plan(intervalMs, 'interval', () => {
        plan();
        run();
      });
    };
    plan();
    return { cancel: () => next.cancel() };
  }

  soon(run: () => void): Timer {
    return this.#plan(0, 'soon', run);
  }

  /** For whatever comes from outside to this process. */
  later(delayMs: number, what: string, run: () => void): void {
    if (this.life !== null) this.world.after(delayMs, this.life, what, run);
  }

  #plan(delayMs: number, what: string, run: () => void): Timer {
    const event = this.world.after(delayMs / this.#rate, this.life, what, run);
    return {
      cancel: () => {
        event.isCancelled = true;
      },
    };
  }

  #machineNowMs(): number {
    return this.#machineMs + (this.world.nowMs - this.#rateSinceMs) * this.#rate;
  }
}
