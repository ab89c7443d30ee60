/**
 * Whether a strong read may be given out: at once while the read lease holds, else after a read quorum has confirmed the epoch in answers to
 * heartbeats sent after the read asked. The arithmetic is volume/lease.ts; here are the waiting and the clocks.
 *
 * Reads of one turn share one look at the clocks, which comes after all of them have asked.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { HeartbeatGrant } from '../../src/messages/messages.ts';
import type { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ClockReading } from '../volume/lease.ts';
import { ReadLease } from '../volume/lease.ts';
import type { Heartbeats, SentHeartbeat } from './heartbeats.ts';

interface Waiter {
  /** Answers to heartbeats after this one prove the read. */
  readonly afterSequence: number;
  readonly deadlineMs: number;
  readonly resolve: () => void;
  readonly reject: (error: TidemarkError) => void;
}

export class ReadConfirmation {
  readonly #lease: ReadLease;
  readonly #heartbeats: Heartbeats;
  readonly #readClocks: () => ClockReading;
  readonly #timeoutMs: number;
  #turn: Promise<void> | null = null;
  #waiters: Waiter[] = [];
  #ended: TidemarkError | null = null;

  constructor(options: {
    readonly epoch: Epoch;
    /** Who decides for PG 0 now. */
    readonly quorum: () => QuorumSet;
    readonly leaseTermMs: number;
    readonly heartbeats: Heartbeats;
    readonly readClocks: () => ClockReading;
    readonly timeoutMs: number;
  }) {
    this.#lease = new ReadLease(options.epoch, options.quorum, options.leaseTermMs);
    this.#heartbeats = options.heartbeats;
    this.#readClocks = options.readClocks;
    this.#timeoutMs = options.timeoutMs;
  }

  get hasLease(): boolean {
    return this.#lease.isHeld(this.#readClocks());
  }

  confirm(): Promise<void> {
    this.#turn ??= Promise.resolve().then(() => {
      this.#turn = null;
      return this.#check();
    });
    return this.#turn;
  }

  onGrant(node: NodeId, sent: SentHeartbeat, grant: HeartbeatGrant): void {
    this.#lease.onGrant(node, sent, grant);
    if (this.#waiters.length === 0) return;
    const { confirmedSequence } = this.#lease;
    const stillWaiting: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (waiter.afterSequence < confirmedSequence) waiter.resolve();
      else stillWaiting.push(waiter);
    }
    this.#waiters = stillWaiting;
  }

  expire(nowMs: number): void {
    if (this.#waiters.every((waiter) => waiter.deadlineMs > nowMs)) return;
    const late = this.#waiters.filter((waiter) => waiter.deadlineMs <= nowMs);
    this.#waiters = this.#waiters.filter((waiter) => waiter.deadlineMs > nowMs);
    for (const waiter of late) {
      waiter.reject(
        new TidemarkError(
          'NO_QUORUM',
          `fewer than three storage nodes confirmed within ${this.#timeoutMs} ms that this is still the writer`,
          { nextStep: 'Check with `tidemark status` which storage nodes are reachable, then read again.' },
        ),
      );
    }
  }

  /** Nothing is served as strong from here on. */
  end(reason: TidemarkError): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    this.#lease.end();
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(reason);
  }

  #check(): void | Promise<void> {
    if (this.#ended !== null) throw this.#ended;
    const now = this.#readClocks();
    if (this.#lease.isHeld(now)) return;
    const afterSequence = this.#heartbeats.lastSequence;
    this.#heartbeats.requestRound();
    return new Promise((resolve, reject) => {
      const deadlineMs = now.monotonicMs + this.#timeoutMs;
      this.#waiters.push({ afterSequence, deadlineMs, resolve, reject });
    });
  }
}
