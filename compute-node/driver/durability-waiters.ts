/**
 * Replies that wait for VDL. Waiters are kept in LSN order, which is nearly the order in which they come, so that both a wait and its
 * release cost O(1) in the usual case.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';

interface Waiter {
  readonly lsn: Lsn;
  readonly deadlineMs: number;
  readonly resolve: () => void;
  readonly reject: (error: TidemarkError) => void;
}

const COMPACT_FROM = 1_024;

export class DurabilityWaiters {
  readonly #timeoutMs: number;
  #waiters: Waiter[] = [];
  /** Waiters before it are done. */
  #first = 0;
  /** No waiter's deadline is earlier. */
  #nextDeadlineMs = Number.POSITIVE_INFINITY;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#waiters.length - this.#first;
  }

  wait(lsn: Lsn, nowMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const deadlineMs = nowMs + this.#timeoutMs;
      this.#nextDeadlineMs = Math.min(this.#nextDeadlineMs, deadlineMs);
      this.#insert({ lsn, deadlineMs, resolve, reject });
    });
  }

  advance(vdl: Lsn): void {
    while (this.#first < this.#waiters.length) {
      const waiter = this.#waiters[this.#first]!;
      if (waiter.lsn > vdl) break;
      this.#first += 1;
      waiter.resolve();
    }
    if (this.#first === this.#waiters.length) {
      this.#waiters = [];
      this.#first = 0;
    } else if (this.#first >= COMPACT_FROM) {
      this.#waiters.splice(0, this.#first);
      this.#first = 0;
    }
  }

  expire(nowMs: number): void {
    if (nowMs < this.#nextDeadlineMs) return;
    const live = this.#waiters.slice(this.#first);
    this.#waiters = live.filter((waiter) => waiter.deadlineMs > nowMs);
    this.#first = 0;
    this.#nextDeadlineMs = this.#waiters.reduce(
      (least, waiter) => Math.min(least, waiter.deadlineMs),
      Number.POSITIVE_INFINITY,
    );
    for (const waiter of live) {
      if (waiter.deadlineMs > nowMs) continue;
      waiter.reject(
        new TidemarkError(
          'OUTCOME_UNKNOWN',
          `no write quorum confirmed LSN ${waiter.lsn} within ${this.#timeoutMs} ms; it may or may not become durable`,
          {
            nextStep:
              'Read the data to see whether the change is there before repeating it; check `tidemark status` for storage nodes that are down.',
          },
        ),
      );
    }
  }

  rejectAll(error: TidemarkError): void {
    const live = this.#waiters.slice(this.#first);
    this.#waiters = [];
    this.#first = 0;
    for (const waiter of live) waiter.reject(error);
  }

  #insert(waiter: Waiter): void {
    const last = this.#waiters[this.#waiters.length - 1];
    if (last === undefined || last.lsn <= waiter.lsn) {
      this.#waiters.push(waiter);
      return;
    }
    let low = this.#first;
    let high = this.#waiters.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#waiters[middle]!.lsn <= waiter.lsn) low = middle + 1;
      else high = middle;
    }
    this.#waiters.splice(low, 0, waiter);
  }
}
