/**
 * A cursor over WebSocket: its program runs ahead of the client's fetches by a bounded number of bytes, then waits. One that is not
 * fetched from for too long is ended, soon when it holds the writer lock.
 */
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type { ProgramEvent, Step } from '../engine/api.ts';
import type { Consistency } from '../session/consistency.ts';
import { reportError, SessionError } from '../session/errors.ts';
import type { Scheduler } from '../session/scheduler.ts';
import type { SessionStream } from '../session/session-stream.ts';
import { encodeCursorEntries, encodeError } from './encode-result.ts';

export interface WsCursorOptions {
  readonly stream: SessionStream;
  readonly scheduler: Scheduler;
  readonly bufferBytes: number;
  readonly onBug: (error: unknown) => void;
}

export interface Fetched {
  /** JSON texts of entries, joined by commas. */
  readonly entries: string;
  readonly done: boolean;
  readonly lsn: Lsn;
}

export class WsCursor {
  readonly #options: WsCursorOptions;
  readonly #stopper = new AbortController();
  #entries: string[] = [];
  /** Entries before this one were fetched. */
  #head = 0;
  #bufferedBytes = 0;
  #status: 'running' | 'ended' | 'closed' = 'running';
  #lsn: Lsn = NO_LSN;
  #stall: SessionError | null = null;
  #fetches: Promise<unknown> = Promise.resolve();
  /** Wakes the fetch that waits for entries, and the program that waits for fetches. */
  #wakeFetch: (() => void) | null = null;
  #wakeProgram: (() => void) | null = null;
  #wakeClose: (() => void) | null = null;

  constructor(options: WsCursorOptions) {
    this.#options = options;
  }

  /** Resolves when the program has its turn on the stream. The stream is occupied until `close`. */
  open(steps: readonly Step[], consistency: Consistency): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#options.stream
        .exclusively(async () => {
          resolve();
          await this.#run(steps, consistency);
          await this.#untilClosed();
        })
        .catch(reject);
    });
  }

  /** Fetches are served in their order. */
  fetch(maxCount: number): Promise<Fetched> {
    const result = this.#fetches.then(() => this.#fetch(maxCount));
    this.#fetches = result.catch(() => undefined);
    return result;
  }

  close(): void {
    if (this.#status === 'closed') return;
    this.#status = 'closed';
    this.#stopper.abort();
    this.#entries = [];
    this.#wakeProgram?.();
    this.#wakeFetch?.();
    this.#wakeClose?.();
  }

  async #run(steps: readonly Step[], consistency: Consistency): Promise<void> {
    if (this.#status === 'closed') return;
    try {
      const { lsn } = await this.#options.stream.runNow({
        steps,
        consistency,
        onEvent: (event) => this.#take(event),
        signal: this.#stopper.signal,
      });
      this.#lsn = lsn;
    } catch (error) {
      this.#options.onBug(error);
      this.#push(`{"type":"error","error":${encodeError(reportError(this.#stall ?? error))}}`);
    }
    if (this.#status === 'running') this.#status = 'ended';
    this.#wakeFetch?.();
  }

  #untilClosed(): Promise<void> {
    if (this.#status === 'closed') return Promise.resolve();
    return new Promise((resolve) => {
      this.#wakeClose = resolve;
    });
  }

  #take(event: ProgramEvent): void | Promise<void> {
    if (this.#status === 'closed') return;
    encodeCursorEntries(event, (entry) => this.#push(entry));
    this.#wakeFetch?.();
    if (this.#bufferedBytes > this.#options.bufferBytes) return this.#untilFetched();
  }

  #push(entry: string): void {
    this.#entries.push(entry);
    this.#bufferedBytes += entry.length;
  }

  #untilFetched(): Promise<void> {
    const limitMs = this.#options.stream.stallLimitMs;
    return new Promise((resolve) => {
      const timer = this.#options.scheduler.after(limitMs, () => {
        this.#stall = new SessionError(
          'TIMEOUT',
          `the cursor was ended: nothing was fetched from it for ${limitMs} ms`,
          'fetch sooner, or read in parts with LIMIT',
        );
        this.#stopper.abort();
        this.#wakeProgram?.();
      });
      this.#wakeProgram = () => {
        timer.cancel();
        this.#wakeProgram = null;
        resolve();
      };
    });
  }

  async #fetch(maxCount: number): Promise<Fetched> {
    while (this.#status === 'running' && this.#head === this.#entries.length && maxCount > 0) {
      await new Promise<void>((resolve) => {
        this.#wakeFetch = resolve;
      });
      this.#wakeFetch = null;
    }
    if (this.#status === 'closed') {
      throw new SessionError('STREAM_CLOSED', 'the cursor was closed while it was being fetched from');
    }
    let entries = '';
    for (let count = 0; count < maxCount && this.#head < this.#entries.length; count++) {
      const entry = this.#entries[this.#head]!;
      this.#head += 1;
      this.#bufferedBytes -= entry.length;
      entries += entries === '' ? entry : `,${entry}`;
      // The program fills up to a bound; one answer may take all of it, but not more.
      if (entries.length > this.#options.bufferBytes) break;
    }
    if (this.#head === this.#entries.length) {
      this.#entries = [];
      this.#head = 0;
    }
    if (this.#bufferedBytes <= this.#options.bufferBytes / 2) this.#wakeProgram?.();
    const done = this.#status === 'ended' && this.#entries.length === 0;
    return { entries, done, lsn: done ? this.#lsn : NO_LSN };
  }
}
