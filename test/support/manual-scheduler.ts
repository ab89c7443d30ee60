/** A scheduler whose time is moved by the test. */
import type { Scheduler } from '../../compute-node/session/scheduler.ts';

interface Alarm {
  readonly atMs: number;
  readonly run: () => void;
}

export class ManualScheduler implements Scheduler {
  #nowMs = 0;
  readonly #alarms = new Set<Alarm>();

  get pending(): number {
    return this.#alarms.size;
  }

  after(delayMs: number, run: () => void): { cancel: () => void } {
    const alarm = { atMs: this.#nowMs + delayMs, run };
    this.#alarms.add(alarm);
    return { cancel: () => this.#alarms.delete(alarm) };
  }

  /** Moves time on, then lets what it woke run. */
  async pass(ms: number): Promise<void> {
    this.#nowMs += ms;
    for (;;) {
      const due = [...this.#alarms]
        .filter((alarm) => alarm.atMs <= this.#nowMs)
        .sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#alarms.delete(due);
      due.run();
    }
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}
