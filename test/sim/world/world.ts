/**
 * The simulated world: virtual time, one event after another, all chance from one seed.
 *
 * Invariants
 * 1. Nothing happens but in an event, and events happen in the order of (time, planning). After each one, everything that promises make of it
 *    (microtasks) happens before the next.
 * 2. Nothing is asked of the real world: same seed, same events, same hash, on every machine.
 * 3. What throws, or rejects with nobody listening, ends the run as a violation: a process would have died of it.
 */
import { type Chance, derive, hashText } from './random.ts';
import { EventQueue, type Life, type PlannedEvent } from './event-queue.ts';

/**
 * Runs all microtasks that are waiting, now. Node runs this after each of its own callbacks; without it every event would need a turn of the real
 * event loop, which costs more than the event. It must not be called from within a microtask.
 */
const drainMicrotasks = (process as unknown as { _tickCallback(): void })._tickCallback;

export interface Violation {
  readonly rule: string;
  readonly message: string;
}

export interface TraceLine {
  readonly atMs: number;
  readonly who: string;
  readonly text: string;
}

const LAST_LINES_PER_PROCESS = 40;

export class World {
  readonly seed: number;
  nowMs = 0;
  eventCount = 0;
  hash = 0;
  violation: Violation | null = null;
  /** Called after every event. */
  afterEvent: () => void = () => {};
  readonly #queue = new EventQueue();
  readonly #trace: ((line: TraceLine) => void) | null;
  readonly #codes = new Map<string, number>();
  #order = 0;

  constructor(seed: number, trace: ((line: TraceLine) => void) | null = null) {
    this.seed = seed;
    this.#trace = trace;
  }

  chance(name: string): Chance {
    return derive(this.seed, name);
  }

  after(delayMs: number, life: Life | null, what: string, run: () => void): PlannedEvent {
    const event = {
      atMs: this.nowMs + Math.max(0, delayMs),
      order: this.#order++,
      life,
      what,
      run,
      isCancelled: false,
    };
    this.#queue.push(event);
    return event;
  }

  /** A stopped process goes on: what came meanwhile happens now, in order. */
  release(events: readonly PlannedEvent[]): void {
    for (const event of events) {
      if (event.isCancelled) continue;
      event.atMs = this.nowMs;
      event.order = this.#order++;
      this.#queue.push(event);
    }
  }

  /** Until `isDone`, or `untilMs`; returns whether `isDone`. Ends at once with a violation. */
  run(untilMs: number, isDone: () => boolean = () => false): boolean {
    while (this.violation === null) {
      if (isDone()) return true;
      const next = this.#queue.peek();
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return isDone();
      }
      this.#queue.pop();
      this.#happen(next);
    }
    return false;
  }

  violate(rule: string, message: string): void {
    this.violation ??= { rule, message };
  }

  /** For readers of a failed run; costs a closure unless traced. */
  note(who: string, text: () => string): void {
    if (this.#trace !== null) this.#trace({ atMs: this.nowMs, who, text: text() });
  }

  /** Mixes something of the outcome into the run's hash, beyond which events happened when. */
  mix(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193) | 0;
  }

  #happen(event: PlannedEvent): void {
    if (event.isCancelled) return;
    const { life } = event;
    if (life !== null) {
      if (life.isOver) return;
      if (life.waiting !== null) {
        life.waiting.push(event);
        return;
      }
    }
    this.nowMs = Math.max(this.nowMs, event.atMs);
    this.eventCount += 1;
    this.mix(this.#codeOf(event.what));
    this.mix(Math.floor(event.atMs * 1_000));
    try {
      event.run();
      drainMicrotasks();
      this.afterEvent();
    } catch (error) {
      this.fail(`in '${event.what}' of ${life?.name ?? 'the world'}`, error);
    }
  }

  fail(where: string, error: unknown): void {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
    this.violate(
      name === 'AssertionError' ? 'assertion' : 'exception',
      `${where}: ${message}\n${stack ?? ''}`,
    );
  }

  #codeOf(what: string): number {
    let code = this.#codes.get(what);
    if (code === undefined) {
      code = hashText(what);
      this.#codes.set(what, code);
    }
    return code;
  }
}

/** Collects the newest lines of each process. */
export class LastLines {
  readonly #lines = new Map<string, TraceLine[]>();

  take(line: TraceLine): void {
    const lines = this.#lines.get(line.who);
    if (lines === undefined) this.#lines.set(line.who, [line]);
    else {
      lines.push(line);
      if (lines.length > LAST_LINES_PER_PROCESS) lines.shift();
    }
  }

  /** By process, oldest first. */
  all(): ReadonlyMap<string, readonly TraceLine[]> {
    return this.#lines;
  }
}
