/**
 * Runs the programs of all connections on this one thread. A program is a generator: it yields to let others run, or with what it waits
 * for. Ready ones run first come first served; one that yields its turn goes to the end of the line.
 *
 * Nothing here sleeps: the owner of the event loop calls `turn`, and again at `nextDeadlineMs`.
 */

export type Wait =
  /** Others may run first. */
  | { readonly kind: 'turn' }
  /** `wake` has to be called, or the deadline passes (null: none). */
  | { readonly kind: 'event'; readonly deadlineMs: number | null };

export type Wake = 'woken' | 'late';

export type Work = Generator<Wait, void, Wake>;

export class Task {
  readonly work: Work;
  readonly onEnd: () => void;
  status: 'ready' | 'waiting' | 'ended' = 'ready';
  wake: Wake = 'woken';
  deadlineMs: number | null = null;

  constructor(work: Work, onEnd: () => void) {
    this.work = work;
    this.onEnd = onEnd;
  }
}

export const TURN: Wait = { kind: 'turn' };

export class Scheduler {
  #ready: Task[] = [];
  #readyAt = 0;
  readonly #waiting = new Set<Task>();

  get hasReady(): boolean {
    return this.#readyAt < this.#ready.length;
  }

  start(work: Work, onEnd: () => void): Task {
    const task = new Task(work, onEnd);
    this.#ready.push(task);
    return task;
  }

  /** What the task waits for has come, or may have. */
  wake(task: Task, wake: Wake = 'woken'): void {
    if (task.status !== 'waiting') return;
    this.#waiting.delete(task);
    task.status = 'ready';
    task.wake = wake;
    this.#ready.push(task);
  }

  wakeAll(): void {
    for (const task of [...this.#waiting]) this.wake(task);
  }

  wakeLate(nowMs: number): void {
    for (const task of [...this.#waiting]) {
      if (task.deadlineMs !== null && task.deadlineMs <= nowMs) this.wake(task, 'late');
    }
  }

  get nextDeadlineMs(): number | null {
    let next: number | null = null;
    for (const { deadlineMs } of this.#waiting) {
      if (deadlineMs !== null && (next === null || deadlineMs < next)) next = deadlineMs;
    }
    return next;
  }

  /** Gives one ready task its slice. False: none is ready. */
  runOne(): boolean {
    const task = this.#ready[this.#readyAt];
    if (task === undefined) return false;
    this.#readyAt += 1;
    if (this.#readyAt > 256 && this.#readyAt * 2 > this.#ready.length) {
      this.#ready = this.#ready.slice(this.#readyAt);
      this.#readyAt = 0;
    }
    const { value, done } = task.work.next(task.wake);
    task.wake = 'woken';
    if (done === true) {
      task.status = 'ended';
      task.onEnd();
    } else if (value.kind === 'turn') {
      this.#ready.push(task);
    } else {
      task.status = 'waiting';
      task.deadlineMs = value.deadlineMs;
      this.#waiting.add(task);
    }
    return true;
  }
}
