/**
 * The SQL engine's core: SQLite with all connections of one volume, in one thread. It is fed messages and given turns; what it has to say
 * goes to its host. Free of threads and timers, so that tests drive it directly.
 *
 * Invariants
 * 1. floor ≤ every live read point; head is the CPL of the last `mtr` posted, and the main thread gives exactly that LSN to it.
 * 2. An MTR is posted before any output that depends on it.
 * 3. A bug anywhere in here ends the engine (`failed`); nothing is posted after it.
 */
import { TidemarkError } from '../../../src/base/errors.ts';
import { MIB, PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { type Lsn, toLsn } from '../../../src/log/lsn.ts';
import type { PageChange } from '../../../src/log/record.ts';
import type { EngineLimits } from '../api.ts';
import { packChanges } from '../mtr-packing.ts';
import type { FromWorker, ToWorker } from '../worker-messages.ts';
import { ChangesetApplier } from './apply-changeset.ts';
import { Connection, type ConnectionEnvironment } from './connection.ts';
import type { Host } from './host.ts';
import { beginImport } from './import-lock.ts';
import { PageCache } from './page-cache.ts';
import { PageSource } from './page-source.ts';
import { loseTransaction, Program, type ProgramEnvironment } from './program.ts';
import { Scheduler } from './scheduler.ts';
import { asSqlFailure } from './sql-errors.ts';
import { type HandleEnvironment, SqlHandle } from './sql-handle.ts';
import type { SqliteLibrary } from './sqlite-library.ts';
import { installVfs } from './vfs.ts';
import type { VolumeFile, VolumeView } from './volume-file.ts';
import { WriterLock } from './writer-lock.ts';

/**
 * SQLite handles open at a time, a few hundred KiB each: more connections than that share them, transactions keep theirs. A client that was
 * idle meanwhile only loses what changes() and total_changes() say.
 */
const MAX_HANDLES = 256;
/** Handles kept open for the next connection, of each kind. */
const MAX_IDLE_HANDLES = 16;
/** Bytes of MTRs that the main thread has not taken yet; past it no write starts. */
const MAX_MTR_BYTES_UNDER_WAY = 16 * MIB;
/** Longest that collected messages wait for the turn's end while a statement runs. */
const FLUSH_DELAY_MS = 1;
const IMPORT_CONNECTION = 0;

export interface CoreOptions {
  readonly limits: EngineLimits;
  readonly headLsn: Lsn;
  readonly databaseName: string;
  /** What a write is refused with; null: SQLite's own words. */
  readonly readonlyReason: string | null;
}

export interface CoreStatistics {
  readonly cachePages: number;
  readonly cacheBytes: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly databasePages: number;
  readonly statements: number;
  readonly commits: number;
  readonly openTransactions: number;
  readonly lowestReadPoint: number;
}

export class EngineCore {
  readonly #host: Host;
  readonly #options: CoreOptions;
  readonly #cache: PageCache;
  readonly #source: PageSource;
  readonly #scheduler = new Scheduler();
  readonly #writerLock: WriterLock<Connection>;
  readonly #connections = new Map<number, Connection>();
  readonly #openTransactions = new Set<Connection>();
  /** With a handle that another could have, longest idle first. */
  readonly #idleConnections = new Set<Connection>();
  readonly #readers = new Set<VolumeFile>();
  readonly #handles = new Map<number, SqlHandle>();
  readonly #idleHandles: { readonly true: SqlHandle[]; readonly false: SqlHandle[] } = {
    true: [],
    false: [],
  };
  readonly #handleEnvironment: HandleEnvironment;
  readonly #programEnvironment: ProgramEnvironment;
  readonly #connectionEnvironment: ConnectionEnvironment;
  #head: Lsn;
  #mtrBytes = 0;
  #lastHandle = 0;
  #advancedVdl = -1;
  #advancedLowest = -1;
  #databasePages = 0;
  #statements = 0;
  #commits = 0;
  #lastFlushMs = 0;
  #hasFailed = false;

  constructor(lib: SqliteLibrary, host: Host, options: CoreOptions) {
    const { limits } = options;
    this.#host = host;
    this.#options = options;
    this.#head = options.headLsn;
    this.#cache = new PageCache(limits.pageCacheBytes);
    this.#source = new PageSource(host, this.#cache);
    this.#writerLock = new WriterLock((connection) => {
      if (connection.task !== null) this.#scheduler.wake(connection.task);
    });
    const vfs = installVfs(lib, (error) => this.#fail(error));
    this.#handleEnvironment = {
      lib,
      vfs,
      view: this.#view(),
      limits,
      databaseName: options.databaseName,
      readonlyReason: options.readonlyReason,
      authorizerCallback: lib.callback(
        'i(pipppp)',
        (id: number, action: number, first: number, second: number, database: number) =>
          this.#guard(1, () => this.#handles.get(id)?.onAuthorize(action, first, second, database) ?? 0),
      ),
      progressCallback: lib.callback('i(p)', (id: number) =>
        this.#guard(1, () => this.#handles.get(id)?.onProgress() ?? 0),
      ),
      changesets: new ChangesetApplier(lib),
      maxReadAheadPages: Math.floor(limits.pageCacheBytes / PAGE_SIZE_BYTES / 8),
    };
    this.#programEnvironment = {
      limits,
      writerLock: this.#writerLock,
      nowMs: () => host.nowMs(),
      headLsn: () => this.#head,
      isWritable: () => this.#isWritable(),
      post: (message) => this.#post(message),
      countStatement: () => {
        this.#statements += 1;
      },
    };
    this.#connectionEnvironment = {
      writerLock: this.#writerLock,
      openTransactions: this.#openTransactions,
      nowMs: () => host.nowMs(),
      isInterrupted: (slot, run) => host.isInterrupted(slot, run),
      leaseHandle: (connection) => this.#leaseHandle(connection),
      duringStatement: () => this.#duringStatement(),
    };
  }

  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get hasReady(): boolean {
    return this.#scheduler.hasReady && !this.#hasFailed;
  }

  /** When `turn` has to be called although nothing came in. */
  get nextDeadlineMs(): number | null {
    let next = this.#scheduler.nextDeadlineMs;
    for (const { transactionDeadlineMs: at } of this.#openTransactions) {
      if (at !== null && (next === null || at < next)) next = at;
    }
    return next;
  }

  /** SQLite handles, in use or idle. */
  get handles(): number {
    return this.#handles.size;
  }

  get statistics(): CoreStatistics {
    return {
      cachePages: this.#cache.pages,
      cacheBytes: this.#cache.bytes,
      cacheHits: this.#cache.hits,
      cacheMisses: this.#cache.misses,
      databasePages: this.#databasePages,
      statements: this.#statements,
      commits: this.#commits,
      openTransactions: this.#openTransactions.size,
      lowestReadPoint: this.#lowestReadPoint(),
    };
  }

  accept(message: ToWorker): void {
    switch (message.kind) {
      case 'connect': {
        const { connection: id, slot, readonly } = message;
        this.#connections.set(id, new Connection(this.#connectionEnvironment, id, slot, readonly));
        return;
      }
      case 'run': {
        const connection = this.#connection(message.connection);
        connection.queue.push({ run: message.run, source: message.source });
        this.#startNext(connection);
        return;
      }
      // These may cross the word that the connection is gone.
      case 'cancel': {
        const connection = this.#connections.get(message.connection);
        if (connection !== undefined) this.#cancel(connection, message.run);
        return;
      }
      case 'credit': {
        const connection = this.#connections.get(message.connection);
        if (connection?.program?.run !== message.run) return;
        connection.program.output.given(message.bytes);
        if (connection.task !== null) this.#scheduler.wake(connection.task);
        return;
      }
      case 'disconnect': {
        const connection = this.#connections.get(message.connection);
        if (connection !== undefined) this.#disconnect(connection);
        return;
      }
      case 'news':
        this.#scheduler.wakeAll();
        return;
      case 'import-begin':
        this.#beginImport();
        return;
      case 'import-end':
        this.#endImport(message.headLsn);
        return;
      default:
        message satisfies never;
    }
  }

  /** Runs what is ready, about `maxMs` long. */
  turn(maxMs: number): void {
    if (this.#hasFailed) return;
    try {
      const startMs = this.#host.nowMs();
      this.#expire(startMs);
      this.#source.takeAnswers();
      while (this.#scheduler.runOne()) {
        if (this.#hasFailed || this.#host.nowMs() - startMs >= maxMs) break;
      }
      this.#advanceCache();
    } catch (error) {
      this.#fail(error);
    }
  }

  #connection(id: number): Connection {
    const connection = this.#connections.get(id);
    if (connection === undefined)
      throw new TidemarkError('INTERNAL', `no connection ${id} in the SQL worker`);
    return connection;
  }

  #startNext(connection: Connection): void {
    if (connection.program !== null || connection.isClosing) return;
    const next = connection.queue.shift();
    if (next === undefined) return;
    const program = new Program(this.#programEnvironment, connection, next.run, next.source);
    connection.program = program;
    this.#idleConnections.delete(connection);
    connection.task = this.#scheduler.start(program.work(), () => {
      connection.program = null;
      connection.task = null;
      if (connection.isClosing) this.#finishDisconnect(connection);
      else this.#startNext(connection);
      if (connection.program === null && connection.openHandle?.isClean)
        this.#idleConnections.add(connection);
    });
  }

  #cancel(connection: Connection, run: number): void {
    const { program, task, queue } = connection;
    if (program !== null && program.run === run) {
      program.isCancelled = true;
      if (task !== null) this.#scheduler.wake(task);
      return;
    }
    const at = queue.findIndex((queued) => queued.run === run);
    if (at < 0) return;
    queue.splice(at, 1);
    this.#post({
      kind: 'output',
      connection: connection.id,
      run,
      events: [],
      lsn: connection.seenLsn,
      commitLsn: toLsn(0),
      needsConfirmation: false,
      bytes: 0,
      done: {
        isAutocommit: connection.isAutocommit,
        holdsWriterLock: connection.holdsWriterLock(),
        error: null,
        description: null,
        changeset: null,
      },
    });
  }

  #disconnect(connection: Connection): void {
    if (connection.isClosing) return;
    connection.isClosing = true;
    connection.queue.length = 0;
    if (connection.task !== null) this.#scheduler.wake(connection.task);
    else this.#finishDisconnect(connection);
  }

  #finishDisconnect(connection: Connection): void {
    this.#giveHandleBack(connection);
    this.#connections.delete(connection.id);
    this.#post({ kind: 'disconnected', connection: connection.id });
  }

  #leaseHandle({ readonly }: Connection): SqlHandle {
    const idle = this.#idleHandles[`${readonly}`].pop();
    if (idle !== undefined) return idle;
    const isFull = this.#handles.size >= MAX_HANDLES;
    return (isFull ? this.#takeIdleHandle(readonly) : null) ?? this.#openHandle(readonly);
  }

  /** Of the connection that has been idle for longest, which gets another one when it needs one. null: all are in use. */
  #takeIdleHandle(readonly: boolean): SqlHandle | null {
    for (const connection of this.#idleConnections) {
      if (connection.readonly !== readonly) continue;
      this.#idleConnections.delete(connection);
      const handle = connection.takeHandle();
      if (handle === null) continue;
      if (handle.reset()) return handle;
      this.#closeHandle(handle);
    }
    return null;
  }

  #openHandle(readonly: boolean): SqlHandle {
    this.#lastHandle += 1;
    const id = this.#lastHandle;
    try {
      return SqlHandle.open(this.#handleEnvironment, id, readonly, (handle) => this.#handles.set(id, handle));
    } catch (error) {
      this.#handles.delete(id);
      throw asSqlFailure(error);
    }
  }

  #closeHandle(handle: SqlHandle): void {
    handle.close();
    this.#handles.delete(handle.id);
  }

  /** Rolls back what is open, and lets the writer lock go. */
  #giveHandleBack(connection: Connection): void {
    this.#idleConnections.delete(connection);
    const handle = connection.takeHandle();
    if (handle !== null) {
      const idle = this.#idleHandles[`${handle.readonly}`];
      if (handle.reset() && idle.length < MAX_IDLE_HANDLES) {
        idle.push(handle);
      } else {
        this.#closeHandle(handle);
      }
    }
    connection.settle(this.#options.limits.transactionTimeoutMs);
  }

  /** Idle transactions whose time is up, and waits that are over. */
  #expire(nowMs: number): void {
    for (const connection of [...this.#openTransactions]) {
      const deadlineMs = connection.transactionDeadlineMs;
      if (connection.program !== null || deadlineMs === null || deadlineMs > nowMs) continue;
      loseTransaction(connection, this.#options.limits);
      this.#post({ kind: 'transaction-lost', connection: connection.id });
    }
    this.#scheduler.wakeLate(nowMs);
  }

  #isWritable(): boolean {
    const host = this.#host;
    const check = (): boolean =>
      host.isWritable() && this.#mtrBytes - host.mtrBytesTaken() <= MAX_MTR_BYTES_UNDER_WAY;
    if (check()) return true;
    host.wantNews();
    // It may have changed just before the wish was heard.
    return check();
  }

  #view(): VolumeView {
    return {
      cache: this.#cache,
      source: this.#source,
      head: () => this.#head,
      vdl: () => toLsn(this.#host.vdl()),
      handOver: (changes, frames) => this.#handOver(changes, frames),
      readPointTaken: (file) => {
        this.#readers.add(file);
      },
      readPointLeft: (file) => {
        this.#readers.delete(file);
        if (file.knownSizePages > 0) this.#databasePages = file.knownSizePages;
      },
    };
  }

  #handOver(changes: readonly PageChange[], frames: readonly Uint8Array[]): Lsn {
    for (let i = 0; i < changes.length; i += 1) {
      const { page } = changes[i] as PageChange;
      this.#cache.putHandedOver(page, this.#head + 1 + i, frames[i] as Uint8Array);
    }
    this.#head = toLsn(this.#head + changes.length);
    const packed = packChanges(changes);
    this.#mtrBytes += packed.length;
    this.#commits += 1;
    this.#post({ kind: 'mtr', cpl: this.#head, changes: packed });
    return this.#head;
  }

  #lowestReadPoint(): number {
    let lowest: number = this.#host.vdl();
    for (const { readPoint } of this.#readers) lowest = Math.min(lowest, readPoint);
    return lowest;
  }

  #advanceCache(): void {
    const vdl = this.#host.vdl();
    const lowest = this.#lowestReadPoint();
    if (vdl !== this.#advancedVdl || lowest !== this.#advancedLowest || this.#cache.isOverLimit) {
      this.#advancedVdl = vdl;
      this.#advancedLowest = lowest;
      this.#cache.advance(vdl, lowest);
    }
    // Pages above VDL hold the cache over its limit: come back when VDL has moved.
    if (this.#cache.isOverLimit) this.#host.wantNews();
  }

  /** SQLite is busy with one statement; what the others were answered should not wait for it. */
  #duringStatement(): void {
    const nowMs = this.#host.nowMs();
    if (nowMs - this.#lastFlushMs < FLUSH_DELAY_MS) return;
    this.#lastFlushMs = nowMs;
    this.#host.flush();
  }

  #beginImport(): void {
    const connection = new Connection(this.#connectionEnvironment, IMPORT_CONNECTION, 0, false);
    this.#connections.set(IMPORT_CONNECTION, connection);
    const work = beginImport(
      connection,
      this.#writerLock,
      () => this.#host.nowMs(),
      (message) => {
        this.#post(message);
        if (message.error !== null) this.#giveHandleBack(connection);
      },
    );
    connection.task = this.#scheduler.start(work, () => {
      connection.task = null;
    });
  }

  #endImport(headLsn: Lsn): void {
    const connection = this.#connection(IMPORT_CONNECTION);
    this.#head = headLsn;
    this.#cache.clear(headLsn);
    this.#connections.delete(IMPORT_CONNECTION);
    this.#giveHandleBack(connection);
    this.#writerLock.release(connection, this.#host.nowMs());
    this.#post({ kind: 'import-ended' });
  }

  #post(message: FromWorker): void {
    if (!this.#hasFailed) this.#host.post(message);
  }

  #guard<T>(otherwise: T, run: () => T): T {
    try {
      return run();
    } catch (error) {
      this.#fail(error);
      return otherwise;
    }
  }

  #fail(error: unknown): void {
    if (this.#hasFailed) return;
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    this.#post({ kind: 'failed', message, stack: error instanceof Error ? (error.stack ?? null) : null });
    this.#hasFailed = true;
    this.#host.flush();
  }
}
