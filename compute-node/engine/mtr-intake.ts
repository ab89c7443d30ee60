/**
 * Takes the worker's MTRs to the volume, in order, and tells the worker when to stop writing.
 *
 * 1. The volume gives each MTR the CPL that the worker counted on; anything else is a bug.
 * 2. An MTR that the volume is too full for waits here, and all after it; the worker starts no write meanwhile.
 * 3. Any other refusal is final: the worker's state is ahead of the truth, and the engine is over.
 */
import { assert } from '../../src/base/assert.ts';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import { unpackChanges } from './mtr-packing.ts';
import type { SharedState } from './shared-state.ts';

/** How long one wait for a writable volume lasts before it is renewed. */
const RENEW_MS = 60_000;

interface WaitingMtr {
  readonly cpl: Lsn;
  readonly changes: Uint8Array;
}

export class MtrIntake {
  readonly #volume: OpenVolume;
  readonly #shared: SharedState;
  readonly #onNews: () => void;
  readonly #onRefused: (error: TidemarkError) => void;
  readonly #waiting: WaitingMtr[] = [];
  #isWatching = false;
  #isClosed = false;

  constructor(
    volume: OpenVolume,
    shared: SharedState,
    handlers: { readonly onNews: () => void; readonly onRefused: (error: TidemarkError) => void },
  ) {
    this.#volume = volume;
    this.#shared = shared;
    this.#onNews = handlers.onNews;
    this.#onRefused = handlers.onRefused;
  }

  /** Nothing waits here. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  take(cpl: Lsn, changes: Uint8Array): void {
    this.#waiting.push({ cpl, changes });
    if (this.#waiting.length === 1) this.#submitWaiting();
  }

  /** After anything that may have changed it. */
  updateWritable(): void {
    if (this.#isClosed) return;
    const isWritable = this.#volume.writable && this.isEmpty;
    if (isWritable !== (this.#shared.flag('writable') === 1)) {
      this.#shared.setFlag('writable', isWritable ? 1 : 0);
      if (isWritable) this.#onNews();
    }
    if (!isWritable) void this.#watch();
  }

  /** Until nothing waits here any more. Rejects NO_QUORUM after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    while (!this.#isClosed && !this.isEmpty) {
      await this.#volume.whenWritable(timeoutMs);
      this.#submitWaiting();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting.length = 0;
  }

  #submitWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      try {
        const { cpl } = this.#volume.submit({ changes: unpackChanges(next.changes) });
        assert(cpl === next.cpl, `the volume gave CPL ${cpl}, the SQL engine counted on ${next.cpl}`);
      } catch (error) {
        if (isTidemarkError(error, 'OVERLOADED')) return;
        if (!isTidemarkError(error)) throw error;
        this.close();
        this.#onRefused(error);
        return;
      }
      this.#waiting.shift();
      this.#shared.add('mtrBytesTaken', next.changes.length);
    }
  }

  async #watch(): Promise<void> {
    if (this.#isWatching) return;
    this.#isWatching = true;
    while (!this.#isClosed && !(this.#volume.writable && this.isEmpty)) {
      try {
        await this.#volume.whenWritable(RENEW_MS);
      } catch (error) {
        if (isTidemarkError(error, 'NO_QUORUM')) continue;
        // Deposed or closed: whoever listens for that ends this engine.
        break;
      }
      this.#submitWaiting();
    }
    this.#isWatching = false;
    if (!this.#isClosed && this.#volume.writable) this.updateWritable();
  }
}

export function closedError(cause?: unknown): TidemarkError {
  return new TidemarkError('UNAVAILABLE', 'the SQL engine was closed', {
    cause,
    nextStep: 'Connect again; the volume is opened when it is used.',
  });
}
