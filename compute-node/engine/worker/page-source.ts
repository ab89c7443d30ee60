/**
 * Pages for SQLite: from the cache, else from storage through the main thread. A miss puts this thread to sleep until the answer is there.
 *
 * 1. A page is asked for at min(read point, VDL): storage serves nothing above VDL. That is enough, because whatever this engine
 *    changed above VDL is in the cache (page-cache.ts, invariant 1).
 * 2. What was collected for posting goes out before this thread sleeps, so that no reply and no MTR waits for a page.
 * 3. A fetch that failed gives an error, never an older page.
 */
import { type ErrorCode, TidemarkError } from '../../../src/base/errors.ts';
import { type Lsn, toLsn } from '../../../src/log/lsn.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import type { PageAnswer } from '../worker-messages.ts';
import { isInteriorPage } from './btree-page.ts';
import type { Host } from './host.ts';
import type { PageCache } from './page-cache.ts';
import type { Plan, ReadAhead } from './read-ahead.ts';

/** Storage hedges and gives up by itself, with a better reason; this only bounds a bug or a stalled main thread. */
const ANSWER_TIMEOUT_MS = 60_000;
/** How often a sleeping statement looks whether it was interrupted. */
const INTERRUPT_CHECK_MS = 50;
/** Pages asked ahead and not answered yet: 1 MiB. */
const MAX_AHEAD_PAGES = 256;
/** A page can be answered and evicted again before it is read; more than a few times in a row is a bug. */
const MAX_ATTEMPTS = 8;

interface Request {
  readonly pages: readonly number[];
  /** True when nobody waits for the answer. */
  isAhead: boolean;
  readonly onFirstRead: (() => void) | null;
}

export interface Reader {
  readonly readAhead: ReadAhead;
  /** Size of the database as this reader last saw it: where read-ahead ends. */
  readonly knownSizePages: number;
  isInterrupted(): boolean;
}

export class PageSource {
  readonly #host: Host;
  readonly #cache: PageCache;
  readonly #requests = new Map<number, Request>();
  /** Page → the request it is part of. */
  readonly #pending = new Map<number, number>();
  /** Of requests that failed and that someone waits for. */
  readonly #failures = new Map<number, TidemarkError>();
  #lastRequest = 0;

  constructor(host: Host, cache: PageCache) {
    this.#host = host;
    this.#cache = cache;
  }

  /** The page at `at`. Throws a TidemarkError; INTERRUPTED when the reader was. Copy the result before anything else is read. */
  read(page: number, at: Lsn, reader: Reader): Uint8Array {
    const cached = this.#cache.get(page, at);
    const data = cached ?? this.#fetch(page, at, reader);
    reader.readAhead.noteRead(page, isInteriorPage(page, data));
    return data;
  }

  /** Takes what has been answered meanwhile. Cheap when nothing has. */
  takeAnswers(): void {
    if (this.#requests.size === 0) return;
    for (;;) {
      const answer = this.#host.nextPageAnswer(0);
      if (answer === null) return;
      this.#take(answer);
    }
  }

  #fetch(page: number, at: Lsn, reader: Reader): Uint8Array {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      this.takeAnswers();
      const arrived = this.#cache.peek(page, at);
      if (arrived !== null) return arrived;
      const pending = this.#pending.get(page);
      if (pending !== undefined) {
        // On its way already; if that fails, the next round asks for it alone and gives the reason.
        this.#await(pending, reader);
        this.#failures.delete(pending);
        this.#cache.get(page, at);
      } else {
        this.#fetchPlanned(page, at, reader);
      }
      const data = this.#cache.peek(page, at);
      if (data !== null) return data;
    }
    throw new TidemarkError(
      'INTERNAL',
      `page ${page} at LSN ${at} was fetched ${MAX_ATTEMPTS} times in vain`,
    );
  }

  #fetchPlanned(page: number, at: Lsn, reader: Reader): void {
    const plan = this.#plan(page, at, reader);
    const last = reader.knownSizePages;
    const wanted = plan.now.filter((p) => p === page || (p >= 2 && p <= last && this.#isWanted(p, at)));
    const request = this.#ask(wanted, at, false, null);
    if (plan.stream !== null) this.#askAhead(plan, at, reader);
    this.#await(request, reader);
    const failure = this.#failures.get(request);
    if (failure === undefined) return;
    this.#failures.delete(request);
    throw failure;
  }

  #plan(page: number, at: Lsn, reader: Reader): Plan {
    // Page 1 tells the size, so it cannot be planned with it.
    if (page === 1) return { now: [page], stream: null };
    return reader.readAhead.planMiss(page, reader.knownSizePages, (p) => this.#cache.peek(p, at));
  }

  /** Asks for the window after those under way; reading its first page asks for the one after it. */
  #askAhead(plan: Plan, at: Lsn, reader: Reader): void {
    const { stream } = plan;
    if (stream === null || this.#pending.size > MAX_AHEAD_PAGES) return;
    const last = reader.knownSizePages;
    for (;;) {
      const window = reader.readAhead.nextWindow(stream);
      if (window.length === 0) return;
      const pages = window.filter((page) => page >= 2 && page <= last && this.#isWanted(page, at));
      if (pages.length === 0) continue;
      // Whoever reads on has a read point of its own; what it then wants is judged at that one.
      this.#ask(pages, at, true, () => this.#askAhead(plan, at, reader));
      return;
    }
  }

  #isWanted(page: number, at: Lsn): boolean {
    return !this.#pending.has(page) && !this.#cache.has(page, at);
  }

  #ask(pages: readonly number[], at: Lsn, isAhead: boolean, onFirstRead: (() => void) | null): number {
    this.#lastRequest += 1;
    const request = this.#lastRequest;
    this.#requests.set(request, { pages, isAhead, onFirstRead });
    for (const page of pages) this.#pending.set(page, request);
    this.#host.post({ kind: 'fetch', request, at: toLsn(Math.min(at, this.#host.vdl())), pages });
    if (isAhead) this.#host.flush();
    return request;
  }

  #await(request: number, reader: Reader): void {
    this.#host.flush();
    const deadlineMs = this.#host.nowMs() + ANSWER_TIMEOUT_MS;
    while (this.#requests.has(request)) {
      const answer = this.#host.nextPageAnswer(INTERRUPT_CHECK_MS);
      if (answer !== null) {
        this.#take(answer);
        continue;
      }
      const isLate = this.#host.nowMs() > deadlineMs;
      if (!isLate && !reader.isInterrupted()) continue;
      const left = this.#requests.get(request);
      if (left !== undefined) left.isAhead = true;
      if (isLate) throw new TidemarkError('TIMEOUT', `no page was read within ${ANSWER_TIMEOUT_MS} ms`);
      throw new TidemarkError('INTERRUPTED', 'interrupted while reading a page');
    }
  }

  #take(answer: PageAnswer): void {
    const request = this.#requests.get(answer.request);
    if (request === undefined) return;
    this.#requests.delete(answer.request);
    for (const page of request.pages) {
      if (this.#pending.get(page) === answer.request) this.#pending.delete(page);
    }
    this.#cache.noteVdl(this.#host.vdl());
    if (answer.error !== null) {
      if (!request.isAhead) this.#failures.set(answer.request, failureOf(answer.error));
      return;
    }
    try {
      this.#store(request, answer);
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error;
      if (!request.isAhead) this.#failures.set(answer.request, error);
    }
  }

  #store(request: Request, answer: Extract<PageAnswer, { readonly error: null }>): void {
    // From the last to the first: the first is the one that was missed, and must not be evicted by its own companions.
    let end = answer.data.length;
    for (let i = answer.pages.length - 1; i >= 0; i -= 1) {
      const page = answer.pages[i] as number;
      const lsn = answer.lsns[i] as number;
      let data: Uint8Array | null = null;
      if (lsn !== 0) {
        data = answer.data.subarray(end - PAGE_SIZE_BYTES, end);
        end -= PAGE_SIZE_BYTES;
      }
      const onFirstRead = i === 0 ? request.onFirstRead : null;
      this.#cache.putFetched(page, lsn, answer.at, data, request.isAhead || i > 0, onFirstRead);
    }
  }
}

function failureOf(error: { readonly code: ErrorCode; readonly message: string }): TidemarkError {
  return new TidemarkError(error.code, error.message);
}
