/**
 * Streams over HTTP, kept between requests. A stream is either at rest, waiting for the next baton, or taken by one request; it has no
 * connection whose end would tell that its client is gone, so it ends when nobody asks for it.
 */
import { randomBytes } from 'node:crypto';
import type { EngineConnection } from '../engine/api.ts';
import { SessionError } from '../session/errors.ts';
import type { Timer } from '../session/scheduler.ts';
import type { Sessions } from '../session/sessions.ts';
import type { SessionStream } from '../session/session-stream.ts';
import { StoredSql } from '../session/stored-sql.ts';
import { Batons, invalidBaton } from './baton.ts';

/** How long an expired stream is remembered, so that its client is told why. */
const REMEMBER_EXPIRED_MS = 10 * 60_000;
const MAX_REMEMBERED = 10_000;

export interface HttpStream {
  readonly id: bigint;
  readonly volume: string;
  readonly stream: SessionStream;
  readonly sqls: StoredSql;
}

interface Entry extends HttpStream {
  turn: bigint;
  status: 'resting' | 'taken';
  timer: Timer | null;
}

export class HttpStreams {
  readonly #sessions: Sessions;
  readonly #batons = new Batons(randomBytes(32));
  readonly #entries = new Map<bigint, Entry>();
  readonly #expired = new Map<bigint, Timer>();

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  get count(): number {
    return this.#entries.size;
  }

  /** A new stream, taken. */
  open(volume: string, connect: () => Promise<EngineConnection>): HttpStream {
    const stream = this.#sessions.open(connect);
    const id = randomBytes(8).readBigUInt64BE();
    const entry: Entry = {
      id,
      volume,
      stream,
      sqls: new StoredSql(this.#sessions.limits),
      // A random start makes batons of two lives of an id differ.
      turn: randomBytes(8).readBigUInt64BE() >> 1n,
      status: 'taken',
      timer: null,
    };
    this.#entries.set(id, entry);
    return entry;
  }

  /** Takes the stream that `baton` names. Throws BATON_INVALID, BATON_REUSED, STREAM_EXPIRED. */
  take(volume: string, baton: string): HttpStream {
    const claim = this.#batons.read(baton);
    const entry = this.#entries.get(claim.stream);
    if (entry === undefined) {
      if (this.#expired.has(claim.stream)) throw this.#streamExpired();
      throw invalidBaton();
    }
    if (entry.volume !== volume) throw invalidBaton();
    if (entry.status === 'taken' || entry.turn !== claim.turn) {
      throw new SessionError(
        'BATON_REUSED',
        'the baton was used before',
        'each response brings the baton of the next request; wait for it',
      );
    }
    entry.status = 'taken';
    entry.turn += 1n;
    entry.timer?.cancel();
    entry.timer = null;
    return entry;
  }

  /** The baton of the next turn. The stream can be taken with it after `rest`. */
  baton(taken: HttpStream): string {
    return this.#batons.write({ stream: taken.id, turn: this.#entryOf(taken).turn });
  }

  /** Puts a taken stream to rest until its next turn. */
  rest(taken: HttpStream): void {
    const entry = this.#entryOf(taken);
    // Ended meanwhile: its client is gone.
    if (!this.#entries.has(entry.id)) return;
    entry.status = 'resting';
    this.#watch(entry);
  }

  #watch(entry: Entry): void {
    entry.timer = this.#sessions.scheduler.after(this.#sessions.limits.streamIdleMs, () =>
      this.#expire(entry),
    );
  }

  /** Ends a taken stream. */
  async end(taken: HttpStream): Promise<void> {
    this.#entries.delete(taken.id);
    this.#entryOf(taken).timer?.cancel();
    await taken.stream.close();
  }

  close(): void {
    for (const entry of this.#entries.values()) entry.timer?.cancel();
    for (const timer of this.#expired.values()) timer.cancel();
    this.#entries.clear();
    this.#expired.clear();
  }

  #expire(entry: Entry): void {
    // A cursor is still being read.
    if (entry.stream.isBusy) {
      this.#watch(entry);
      return;
    }
    this.#entries.delete(entry.id);
    if (this.#expired.size < MAX_REMEMBERED) {
      this.#expired.set(
        entry.id,
        this.#sessions.scheduler.after(REMEMBER_EXPIRED_MS, () => this.#expired.delete(entry.id)),
      );
    }
    entry.stream.close().catch(() => undefined);
  }

  #entryOf(taken: HttpStream): Entry {
    return taken as Entry;
  }

  #streamExpired(): SessionError {
    return new SessionError(
      'STREAM_EXPIRED',
      `the stream expired: nothing was asked of it for ${this.#sessions.limits.streamIdleMs} ms`,
      'open a new stream by sending no baton; a transaction that was open on it was rolled back',
    );
  }
}
