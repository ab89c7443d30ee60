/**
 * A client's way to one compute node, through the outside client library: with a limit to every wait (a paused process never answers), and,
 * over HTTP, with consistency levels and the LSNs of results, of which the library knows nothing.
 */
import { type Client, createClient, LibsqlError } from '@libsql/client';
import type { Isolation } from '../../checkers/history.ts';

const REQUEST_TIMEOUT_MS = 12_000;

/** Nothing was answered within the limit. */
export class NoAnswerError extends Error {
  override readonly name = 'TimeoutError';
}

export interface ConnectionOptions {
  /** `http:` or `ws:`. */
  readonly url: string;
  readonly timeoutMs?: number;
}

export class Connection {
  readonly #options: ConnectionOptions;
  #client: Client;
  /** Of the requests from now on; over HTTP only. */
  isolation: Isolation = 'strong';
  /** `session`: at least this. */
  minLsn = 0;
  /** Highest LSN that came with an answer since it was last set to null. Always null over WebSockets. */
  lsn: number | null = null;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#client = this.#open();
  }

  get db(): Client {
    return this.#client;
  }

  get knowsLevels(): boolean {
    return this.#options.url.startsWith('http');
  }

  /** Waits for an answer as long as the limit says. What hangs on the connection afterwards goes with it. */
  async within<T>(call: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const timeoutMs = this.#options.timeoutMs ?? REQUEST_TIMEOUT_MS;
      timer = setTimeout(() => reject(new NoAnswerError(`no answer in ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([call, late]);
    } catch (error) {
      // The loser of the race is nobody's any more.
      call.catch(() => undefined);
      if (error instanceof NoAnswerError) this.#reopen();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#client.close();
  }

  #reopen(): void {
    this.#client.close();
    this.#client = this.#open();
  }

  #open(): Client {
    const { url, timeoutMs = REQUEST_TIMEOUT_MS } = this.#options;
    return createClient({
      url,
      fetch: async (request: Request): Promise<Response> => {
        if (this.isolation !== 'strong') {
          request.headers.set('tidemark-consistency', this.isolation);
          if (this.isolation === 'session') request.headers.set('tidemark-min-lsn', String(this.minLsn));
        }
        const response = await fetch(request, { signal: AbortSignal.timeout(timeoutMs) });
        const lsn = response.headers.get('tidemark-lsn');
        if (lsn !== null) this.lsn = Math.max(this.lsn ?? 0, Number(lsn));
        return response;
      },
    });
  }
}

/** The plain client, for those who keep no history. */
export function connect(url: string, timeoutMs?: number): Client {
  return new Connection({ url, ...(timeoutMs === undefined ? {} : { timeoutMs }) }).db;
}

export function codeOf(error: unknown): string {
  if (error instanceof LibsqlError) return error.code;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ECONNREFUSED') return 'CONNECTION_REFUSED';
    if (cause.name === 'TimeoutError') return 'NO_ANSWER_IN_TIME';
  }
  return 'NETWORK';
}

/** What a client may conclude from an error that met its commit: with these codes nothing can have happened. */
const REFUSALS = new Set([
  'CONNECTION_REFUSED',
  'NO_QUORUM',
  'VOLUME_HELD',
  'OVERLOADED',
  'UNAVAILABLE',
  'DEPOSED',
  'STREAM_EXPIRED',
  'STREAM_CLOSED',
  'BATON_INVALID',
  'TRANSACTION_TIMEOUT',
  'TRANSACTION_LOST',
]);

export function isRefusal(code: string): boolean {
  return REFUSALS.has(code) || code.startsWith('SQLITE_');
}
