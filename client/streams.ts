/**
 * The streams of one client. Each statement runs on a connection of its own, as it would over a protocol; opening one costs more than a statement, so
 * connections are used again, but only where the next user cannot tell: when nothing ran on them but plain reads and writes outside of a
 * transaction. (`changes()` and `last_insert_rowid()` of the one before can be seen.)
 */
import type { EngineConnection } from '../compute-node/engine/api.ts';
import type { SessionStream } from '../compute-node/session/session-stream.ts';
import type { Sessions } from '../compute-node/session/sessions.ts';
import { firstWords } from '../compute-node/session/transaction-word.ts';
import { LibsqlError } from './errors.ts';

/** Idle connections kept; each holds some tens of KB in the engine. */
const MAX_IDLE = 256;
const LEAVES_NOTHING = new Set([
  'SELECT',
  'INSERT',
  'UPDATE',
  'DELETE',
  'REPLACE',
  'WITH',
  'VALUES',
  'EXPLAIN',
]);

export interface StreamsOptions {
  readonly sessions: Sessions;
  readonly connect: () => Promise<EngineConnection>;
  /** Calls at once; more wait for their turn. */
  readonly concurrency: number;
}

export class Streams {
  readonly #options: StreamsOptions;
  readonly #idle: SessionStream[] = [];
  readonly #taken = new Set<SessionStream>();
  readonly #waiting: { readonly go: () => void; readonly refuse: (error: Error) => void }[] = [];
  #running = 0;
  #isClosed = false;

  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  /** Runs `call` on a stream of its own. `isClean`, asked afterwards: nothing of it is left on the connection. */
  async use<T>(call: (stream: SessionStream) => Promise<T>, isClean: () => boolean): Promise<T> {
    if (this.#running >= this.#options.concurrency) {
      await new Promise<void>((go, refuse) => {
        this.#waiting.push({ go, refuse });
      });
    }
    this.#running += 1;
    try {
      const stream = this.take();
      let clean = false;
      try {
        const result = await call(stream);
        clean = isClean();
        return result;
      } finally {
        this.giveBack(stream, clean);
      }
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.go();
    }
  }

  /** To be given back. Throws CLIENT_CLOSED, OVERLOADED. */
  take(): SessionStream {
    if (this.#isClosed) throw clientClosed();
    let stream = this.#idle.pop();
    // Nobody waits for what it says about its engine.
    for (; stream?.hasEnded === true; stream = this.#idle.pop()) closeQuietly(stream);
    stream ??= this.#options.sessions.open(this.#options.connect);
    this.#taken.add(stream);
    return stream;
  }

  /** `isClean` false: what is open on it is rolled back, and the connection closed. */
  giveBack(stream: SessionStream, isClean: boolean): void {
    if (!this.#taken.delete(stream)) return;
    if (isClean && !this.#isClosed && stream.isOpen && this.#idle.length < MAX_IDLE) this.#idle.push(stream);
    else closeQuietly(stream);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse(clientClosed());
    const streams = [...this.#idle.splice(0), ...this.#taken];
    this.#taken.clear();
    await Promise.allSettled(streams.map((stream) => stream.close()));
  }
}

/** Nothing is left on a connection that ran this outside of a transaction. */
export function leavesNothing(sql: string): boolean {
  return LEAVES_NOTHING.has(firstWords(sql, 1)[0] ?? '');
}

export function clientClosed(): LibsqlError {
  return new LibsqlError('the client is closed', 'CLIENT_CLOSED');
}

/** A connection that cannot be closed in order has an engine that has ended. */
function closeQuietly(stream: SessionStream): void {
  stream.close().catch(() => undefined);
}
