/**
 * One program under way, seen from the main thread: its output comes in pieces and is given out piece by piece, each once all of this holds:
 *
 * 1. VDL covers the highest CPL that the piece depends on;
 * 2. for a strong program: what no MTR of its own covers was confirmed, after it had been computed, to come from the volume's writer;
 * 3. the client has taken the pieces before.
 *
 * A program that may have committed and whose outcome cannot be given out ends with OUTCOME_UNKNOWN, not with the cause (outcome.ts).
 */
import type { TidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type { ProgramEvent } from './api.ts';
import { outcomeUnknown } from './outcome.ts';
import type { FromWorker, ProgramDone } from './worker-messages.ts';

export type OutputMessage = Extract<FromWorker, { readonly kind: 'output' }>;

export interface FinishedRun {
  readonly lsn: Lsn;
  readonly done: ProgramDone;
}

interface Piece {
  readonly message: OutputMessage;
  readonly confirmation: Promise<void> | null;
}

export interface ProgramRunOptions {
  readonly volume: OpenVolume;
  readonly isStrong: boolean;
  /** By what it consists of, asked when the worker cannot tell any more what it did. */
  readonly mayCommit: () => boolean;
  readonly onEvent: ((event: ProgramEvent) => void | Promise<void>) | null;
  /** `bytes` were given out. */
  readonly credit: (bytes: number) => void;
  /** Nobody wants the rest. */
  readonly cancel: () => void;
  /** The worker is done with it, whether or not the outcome can be given out. */
  readonly onDone: (done: ProgramDone) => void;
}

export class ProgramRun {
  readonly finished: Promise<FinishedRun>;
  readonly #options: ProgramRunOptions;
  readonly #pieces: Piece[] = [];
  #resolve!: (result: FinishedRun) => void;
  #reject!: (error: unknown) => void;
  #isGiving = false;
  #isOver = false;
  /** The worker has said its last word about it. */
  #isDone = false;
  #commitLsn: Lsn = NO_LSN;
  #failure: { readonly error: unknown } | null = null;

  constructor(options: ProgramRunOptions) {
    this.#options = options;
    this.finished = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** `confirm` is shared by all that came in one message: it starts after all of that was computed. */
  accept(message: OutputMessage, confirm: () => Promise<void>): void {
    const confirmation = this.#options.isStrong && message.needsConfirmation ? confirm() : null;
    // Handled when its turn comes, which may be after it has failed.
    confirmation?.catch(() => {});
    this.#pieces.push({ message, confirmation });
    this.#commitLsn = message.commitLsn;
    this.#isDone = message.done !== null;
    if (!this.#isGiving) void this.#give();
  }

  /** Ends as failed once the worker has stopped it; what was not given out is dropped. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#options.cancel();
  }

  /** Ends now: the worker will not say anything more about it. */
  abandon(error: TidemarkError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#rejectWith(this.#failure?.error ?? error);
  }

  #rejectWith(error: unknown): void {
    const mayHaveCommitted = this.#commitLsn !== NO_LSN || (!this.#isDone && this.#options.mayCommit());
    this.#reject(mayHaveCommitted ? outcomeUnknown(error) : error);
  }

  async #give(): Promise<void> {
    this.#isGiving = true;
    for (let piece = this.#pieces.shift(); piece !== undefined; piece = this.#pieces.shift()) {
      const { message } = piece;
      if (this.#failure === null) {
        try {
          await this.#release(piece);
        } catch (error) {
          this.fail(error);
        }
      }
      if (message.done === null) this.#options.credit(message.bytes);
      else this.#end(message.lsn, message.done);
    }
    this.#isGiving = false;
  }

  async #release({ message, confirmation }: Piece): Promise<void> {
    const { volume, onEvent } = this.#options;
    if (message.lsn > volume.vdl) await volume.whenDurable(message.lsn);
    if (confirmation !== null) await confirmation;
    if (onEvent === null) return;
    for (const event of message.events) {
      if (this.#isOver || this.#failure !== null) return;
      const taken = onEvent(event);
      if (taken !== undefined) await taken;
    }
  }

  #end(lsn: Lsn, done: ProgramDone): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.onDone(done);
    if (this.#failure !== null) this.#rejectWith(this.#failure.error);
    else this.#resolve({ lsn, done });
  }
}
