/**
 * One writer in front of the store: batches go in the order they were given, one at a time, and what waits goes out together.
 *
 * What nobody waits for is written a moment later: it is durable by the journal, and each batch is a thread's wake-up of its own, which would
 * compete with the journal's for the processor just before an acknowledgement. A crash in that moment leaves no more to replay than one just
 * before it would have.
 *
 * Invariants
 * 1. The store sees all operations in the order of `put`, whether they came with a persist or from background work.
 * 2. `whenWritten` callbacks run after everything given before them is in the store: a query behind them reads all the core has written.
 * 3. Nothing stays here longer than PAUSE_MS and a write.
 * 4. After a failure nothing more is written or called.
 */
import type { KvOp, KvStore, Timer, Timers } from '../../src/env/env.ts';
import { KIB, MIB } from '../../src/base/limits.ts';

/** One batch to the store: larger ones would hold up those behind them. */
const MAX_BATCH_BYTES = 1 * MIB;
/** Less than the journal's quiet time (journal.ts): by then the store knows of the last entry. */
const PAUSE_MS = 10;
/** So much is written without a pause. */
const URGENT_BYTES = 256 * KIB;

interface Waiting {
  readonly ops: readonly KvOp[];
  readonly sizeBytes: number;
  readonly whenWritten: (() => void) | null;
}

export class StoreWriter {
  readonly #store: Pick<KvStore, 'batch'>;
  readonly #timers: Timers;
  readonly #onFatal: (error: Error) => void;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #isWriting = false;
  /** Somebody waits for the queue, or it is long: it is written to its end at once. */
  #isUrgent = false;
  #timer: Timer | null = null;
  #hasFailed = false;

  constructor(store: Pick<KvStore, 'batch'>, timers: Timers, onFatal: (error: Error) => void) {
    this.#store = store;
    this.#timers = timers;
    this.#onFatal = onFatal;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  put(ops: readonly KvOp[], whenWritten: (() => void) | null = null): void {
    if (this.#hasFailed || (ops.length === 0 && whenWritten === null)) return;
    const sizeBytes = sizeOf(ops);
    this.#queue.push({ ops, sizeBytes, whenWritten });
    this.#queuedBytes += sizeBytes;
    if (whenWritten !== null || this.#queuedBytes >= URGENT_BYTES) this.#isUrgent = true;
    this.#schedule();
  }

  /** Calls back, at once if nothing is on its way, when all given so far is in the store. */
  whenWritten(callback: () => void): void {
    if (this.#hasFailed) return;
    if (this.#queue.length === 0 && !this.#isWriting) callback();
    else this.put([], callback);
  }

  /** Never resolves after a failure. */
  written(): Promise<void> {
    return new Promise((resolve) => this.whenWritten(resolve));
  }

  #schedule(): void {
    if (this.#isWriting || this.#queue.length === 0 || this.#hasFailed) return;
    if (!this.#isUrgent) {
      this.#timer ??= this.#timers.after(PAUSE_MS, () => void this.#writeQueued());
      return;
    }
    void this.#writeQueued();
  }

  async #writeQueued(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#isWriting) return;
    this.#isWriting = true;
    try {
      do {
        await this.#writeBatch(this.#takeBatch());
      } while (this.#isUrgent && this.#queue.length > 0 && !this.#hasFailed);
    } catch (error) {
      this.#hasFailed = true;
      this.#queue = [];
      this.#onFatal(error as Error);
    }
    this.#isWriting = false;
    if (this.#queue.length === 0) this.#isUrgent = false;
    this.#schedule();
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const ops = batch.flatMap(({ ops: own }) => own);
    if (ops.length > 0) await this.#store.batch(ops, { sync: false });
    for (const { sizeBytes, whenWritten } of batch) {
      this.#queuedBytes -= sizeBytes;
      whenWritten?.();
    }
  }

  #takeBatch(): readonly Waiting[] {
    let count = 0;
    let sizeBytes = 0;
    for (const { sizeBytes: next } of this.#queue) {
      if (count > 0 && sizeBytes + next > MAX_BATCH_BYTES) break;
      sizeBytes += next;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }
}

export function sizeOf(ops: readonly KvOp[]): number {
  let sizeBytes = 0;
  for (const op of ops) sizeBytes += op.key.length + (op.type === 'put' ? op.value.length : 0);
  return sizeBytes;
}
