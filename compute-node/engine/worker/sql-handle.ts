/**
 * One SQLite connection on the volume: the handle, its volume file, its prepared statements, and the translation of SQLite's failures.
 * Lent to one client connection at a time; `reset` hands it back clean, or says that it must be closed.
 *
 * Which read point a statement sees is decided here, when SQLite takes its SHARED lock:
 *   'durable'  VDL, unless this client has seen or written something newer; then the head
 *   'head'     the newest handed-over MTR: what writes and transactions need
 */
import { assert } from '../../../src/base/assert.ts';
import type { TidemarkError } from '../../../src/base/errors.ts';
import { KIB, MIB, PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { type Lsn, NO_LSN } from '../../../src/log/lsn.ts';
import type { ChangesetOutcome, ConflictPolicy, EngineLimits, SqlFailure } from '../api.ts';
import type { ChangesetApplier } from './apply-changeset.ts';
import { answerPragma, authorize, isJudged, type PragmaSettings } from './policy.ts';
import { failure } from './sql-errors.ts';
import { isBlank, kindOf } from './sql-text.ts';
import type { Pointer, SqliteLibrary } from './sqlite-library.ts';
import { PreparedStatement } from './statement.ts';
import { type PragmaAnswer, type Vfs, VFS_NAME, type VfsClient } from './vfs.ts';
import { LOCK, VolumeFile, type VolumeFileOwner, type VolumeView } from './volume-file.ts';

/** SQLite's own cache per connection; the real one is PageCache. Also the point from which a transaction spills into the overlay. */
const SQLITE_CACHE_KIB = 512;
const MAX_CACHED_STATEMENTS = 48;
const MAX_CACHED_SQL_LENGTH = 16 * KIB;
/** SQLite's small allocations: 8 KiB per handle rather than 48. */
const LOOKASIDE_BYTES = 128;
const LOOKASIDE_SLOTS = 64;
/** VM instructions between two looks at the clock and the interrupt flag: some tens of microseconds. */
const PROGRESS_OPS = 2_000;

const OPEN_READWRITE_CREATE = 0x2 | 0x4;
const OPEN_READONLY = 0x1;
const DBCONFIG_LOOKASIDE = 1001;
const DBCONFIG_DEFENSIVE = 1010;
const DBCONFIG_DQS_DML = 1013;
const DBCONFIG_DQS_DDL = 1014;
const PREPARE_PERSISTENT = 1;
const LIMIT = { length: 0, sqlLength: 1, attached: 7 } as const;
const ROW = 100;
const DONE = 101;
const CODE_READONLY = 8;
const CODE_INTERRUPT = 9;
const CODE_AUTH = 23;
const HEAP_BYTES = 256 * MIB;
const MAX_HEAP_BYTES = 1_792 * MIB;
const MAX_LENGTH_BYTES = 1_000_000_000;

export interface HandleEnvironment {
  readonly lib: SqliteLibrary;
  readonly vfs: Vfs;
  readonly view: VolumeView;
  readonly limits: EngineLimits;
  readonly databaseName: string;
  readonly readonlyReason: string | null;
  readonly authorizerCallback: Pointer;
  readonly progressCallback: Pointer;
  readonly changesets: ChangesetApplier;
  readonly maxReadAheadPages: number;
}

/** What stays with a client when its handle is lent to another for a while. */
export interface HandleMemory {
  readonly seenLsn: Lsn;
  readonly lastInsertRowid: bigint;
  readonly busyTimeoutMs: number;
}

/** The client connection that a handle is lent to. */
export interface HandleUser {
  holdsWriterLock(): boolean;
  /** Asked now and then while SQLite runs: why the statement is to stop, null to go on. */
  stopReason(): SqlFailure | null;
}

/**
 * Of all handles together; WebAssembly ends at 2 GiB. A transaction's old pages are kept here for its rollback, a VACUUM's new ones until they are
 * copied; the rest is for sorting, prepared statements and SQLite's own caches. Past it a statement fails with SQLITE_NOMEM.
 */
export function heapLimitBytes({ maxTransactionBytes }: EngineLimits): number {
  return Math.min(MAX_HEAP_BYTES, HEAP_BYTES + 2 * maxTransactionBytes);
}

export class SqlHandle implements VfsClient, VolumeFileOwner {
  readonly id: number;
  readonly readonly: boolean;
  readonly file: VolumeFile;
  readonly settings: PragmaSettings;
  readonly #env: HandleEnvironment;
  readonly #statements = new Map<string, PreparedStatement>();
  readonly #busyStatements = new Set<PreparedStatement>();
  #db: Pointer = 0;
  #user: HandleUser | null = null;
  #readMode: 'durable' | 'head' = 'durable';
  #seenLsn: Lsn = NO_LSN;
  #lastCommit: Lsn = NO_LSN;
  #failure: TidemarkError | null = null;
  #denial: string | null = null;
  #stop: SqlFailure | null = null;
  #leavesTrace = false;
  #isSettingUp = true;
  #isVacuuming = false;
  #isRollingBack = false;

  private constructor(env: HandleEnvironment, id: number, readonly: boolean) {
    this.#env = env;
    this.id = id;
    this.readonly = readonly;
    this.settings = { busyTimeoutMs: env.limits.busyTimeoutMs, maxBusyTimeoutMs: env.limits.busyTimeoutMs };
    this.file = new VolumeFile(env.view, this, {
      maxOverlayPages: Math.max(1, Math.floor(env.limits.maxTransactionBytes / PAGE_SIZE_BYTES)),
      maxReadAheadPages: env.maxReadAheadPages,
    });
  }

  /** `id` names the handle to the authorizer and progress callbacks, so it must be registered before. */
  static open(
    env: HandleEnvironment,
    id: number,
    readonly: boolean,
    register: (handle: SqlHandle) => void,
  ): SqlHandle {
    const handle = new SqlHandle(env, id, readonly);
    register(handle);
    try {
      handle.#open();
      return handle;
    } catch (error) {
      handle.close();
      throw error;
    }
  }

  /** `memory`: of the user's last handle; null for a new user. */
  lendTo(user: HandleUser, memory: HandleMemory | null): void {
    this.#user = user;
    this.#seenLsn = memory?.seenLsn ?? NO_LSN;
    this.#readMode = 'durable';
    this.settings.busyTimeoutMs = memory?.busyTimeoutMs ?? this.settings.maxBusyTimeoutMs;
    this.#env.lib.c.sqlite3_set_last_insert_rowid(this.#db, memory?.lastInsertRowid ?? 0n);
  }

  /** Nothing but its memory ties it to its user. */
  get isClean(): boolean {
    return this.isAutocommit && !this.#leavesTrace && this.file.lock === LOCK.none;
  }

  get memory(): HandleMemory {
    return {
      seenLsn: this.#seenLsn,
      lastInsertRowid: this.lastInsertRowid,
      busyTimeoutMs: this.settings.busyTimeoutMs,
    };
  }

  get isAutocommit(): boolean {
    return this.#env.lib.c.sqlite3_get_autocommit(this.#db) !== 0;
  }

  get isWriting(): boolean {
    return this.file.lock >= LOCK.reserved;
  }

  /** Highest CPL that this client has written or seen. */
  get seenLsn(): Lsn {
    return this.#seenLsn;
  }

  /** CPL of the newest MTR made here. */
  get lastCommit(): Lsn {
    return this.#lastCommit;
  }

  get lastInsertRowid(): bigint {
    return this.#env.lib.c.sqlite3_last_insert_rowid(this.#db);
  }

  get totalChanges(): bigint {
    return this.#env.lib.c.sqlite3_total_changes64(this.#db);
  }

  get changes(): number {
    return Number(this.#env.lib.c.sqlite3_changes64(this.#db));
  }

  setReadMode(mode: 'durable' | 'head'): void {
    this.#readMode = mode;
  }

  setVacuuming(on: boolean): void {
    this.#isVacuuming = on;
  }

  /** The one statement in `sql`, from the cache when it was run before. Give it back with `finish`. */
  prepare(sql: string): PreparedStatement {
    const cached = this.#statements.get(sql);
    if (cached !== undefined && !this.#busyStatements.has(cached)) {
      this.#statements.delete(sql);
      this.#statements.set(sql, cached);
      this.#busyStatements.add(cached);
      return cached;
    }
    const { lib } = this.#env;
    const { statement, restBytes } = lib.withString(sql, (at, length) => {
      const prepared = this.#prepareAt(at, length, sql);
      const end = at + length;
      return {
        statement: prepared.statement,
        restBytes: prepared.tail < end ? lib.text(prepared.tail, end - prepared.tail) : '',
      };
    });
    if (statement === null) throw failure('SQL_NO_STATEMENT', 'the SQL text holds no statement');
    if (restBytes !== '' && !isBlank(restBytes)) {
      statement.finalize();
      throw failure('SQL_MANY_STATEMENTS', 'the SQL text holds more than one statement');
    }
    this.#busyStatements.add(statement);
    // PRAGMAs act, and are answered, while they are prepared.
    if (statement.kind !== 'pragma' && sql.length <= MAX_CACHED_SQL_LENGTH) this.#remember(sql, statement);
    return statement;
  }

  finish(statement: PreparedStatement): void {
    assert(this.#busyStatements.delete(statement), 'a statement was finished twice');
    statement.reset();
    if (!statement.isKept) statement.finalize();
  }

  /**
   * Runs `each` over the statements of a script, in order. The text stays in SQLite's memory meanwhile; the statements are not cached.
   * A generator, because `each` may have to wait.
   */
  *script<Wait, Wake>(
    sql: string,
    each: (statement: PreparedStatement) => Generator<Wait, void, Wake>,
  ): Generator<Wait, void, Wake> {
    const { lib } = this.#env;
    const start = lib.ownedString(sql);
    const end = start + Buffer.byteLength(sql);
    try {
      let at = start;
      while (at < end) {
        const { statement, tail } = this.#prepareAt(at, end - at, null);
        at = tail;
        if (statement === null) continue;
        this.#busyStatements.add(statement);
        try {
          yield* each(statement);
        } finally {
          this.finish(statement);
        }
      }
    } finally {
      lib.c.sqlite3_free(start);
    }
  }

  /** True: a row is there. False: done. */
  step(statement: PreparedStatement): boolean {
    this.#clearReasons();
    const rc = this.#env.lib.c.sqlite3_step(statement.pointer);
    if (rc === ROW) return true;
    if (rc === DONE) return false;
    throw this.#error();
  }

  /** In the open transaction. */
  applyChangeset(changeset: Uint8Array, policy: ConflictPolicy): ChangesetOutcome {
    this.#clearReasons();
    const applied = this.#env.changesets.apply(this.#db, changeset, policy);
    if (applied.code !== 0) throw this.#error();
    return { conflicts: applied.conflicts, conflictCount: applied.conflictCount };
  }

  /** Statements of our own, without results. */
  execute(sql: string): void {
    this.#clearReasons();
    const rc = this.#env.lib.withString(sql, (at) => this.#env.lib.c.sqlite3_exec(this.#db, at, 0, 0, 0));
    if (rc !== 0) throw this.#error();
  }

  /** One number of our own asking. */
  queryNumber(sql: string): number {
    const statement = this.prepare(sql);
    try {
      return this.step(statement) ? Number(statement.row()[0] ?? 0) : 0;
    } finally {
      this.finish(statement);
    }
  }

  /** Ends whatever is open. Cannot fail: SQLite's rollback never does for good. */
  rollback(): void {
    this.#isRollingBack = true;
    try {
      for (const statement of this.#busyStatements) statement.reset();
      if (!this.isAutocommit) this.execute('ROLLBACK');
    } finally {
      this.#isRollingBack = false;
    }
  }

  /** Back from its user. False: it carries traces and has to be closed. */
  reset(): boolean {
    this.rollback();
    this.#user = null;
    return this.isClean;
  }

  close(): void {
    for (const statement of new Set([...this.#statements.values(), ...this.#busyStatements])) {
      statement.finalize();
    }
    this.#statements.clear();
    this.#busyStatements.clear();
    if (this.#db !== 0) this.#env.lib.c.sqlite3_close_v2(this.#db);
    this.#db = 0;
    this.file.unlockTo(LOCK.none);
  }

  // What SQLite asks while it works.

  /** Progress handler: non-zero stops the statement. */
  onProgress(): number {
    const reason = this.#isRollingBack ? null : (this.#user?.stopReason() ?? null);
    if (reason === null) return 0;
    this.#stop = reason;
    return 1;
  }

  /** Authorizer: non-zero refuses to prepare. */
  onAuthorize(action: number, first: Pointer, second: Pointer, database: Pointer): number {
    if (this.#isSettingUp || !isJudged(action)) return 0;
    const { lib } = this.#env;
    const verdict = authorize(
      action,
      lib.string(first),
      lib.string(second),
      lib.string(database),
      this.#isVacuuming,
    );
    if (verdict.kind === 'leaves-trace') this.#leavesTrace = true;
    if (verdict.kind !== 'denied') return 0;
    this.#denial = verdict.reason;
    return 1;
  }

  nextReadPoint(): Lsn {
    const { view } = this.#env;
    const vdl = view.vdl();
    const point = this.#readMode === 'head' || this.#seenLsn > vdl ? view.head() : vdl;
    if (point > this.#seenLsn) this.#seenLsn = point;
    return point;
  }

  holdsWriterLock(): boolean {
    return this.#user?.holdsWriterLock() ?? false;
  }

  isInterrupted(): boolean {
    return !this.#isRollingBack && (this.#user?.stopReason() ?? null) !== null;
  }

  committed(cpl: Lsn): void {
    this.#lastCommit = cpl;
    this.#seenLsn = cpl;
  }

  noteFailure(error: TidemarkError): void {
    this.#failure = error;
  }

  pragma(name: string, argument: string | null): PragmaAnswer | null {
    return this.#isSettingUp ? null : answerPragma(name, argument, this.settings);
  }

  #open(): void {
    const { lib, vfs, limits, databaseName } = this.#env;
    const { c } = lib;
    const { capi } = lib.sqlite3;
    vfs.expect(this);
    const rc = lib.withString(databaseName, (name) => {
      const vfsName = lib.ownedString(VFS_NAME);
      const code = c.sqlite3_open_v2(
        name,
        lib.out,
        this.readonly ? OPEN_READONLY : OPEN_READWRITE_CREATE,
        vfsName,
      );
      c.sqlite3_free(vfsName);
      return code;
    });
    this.#db = lib.pointer(lib.out);
    if (rc !== 0) throw this.#error();
    c.sqlite3_extended_result_codes(this.#db, 1);
    capi.sqlite3_db_config(this.#db, DBCONFIG_LOOKASIDE as never, 0, LOOKASIDE_BYTES, LOOKASIDE_SLOTS);
    capi.sqlite3_db_config(this.#db, DBCONFIG_DQS_DML as never, 1, 0);
    capi.sqlite3_db_config(this.#db, DBCONFIG_DQS_DDL as never, 1, 0);
    c.sqlite3_set_authorizer(this.#db, this.#env.authorizerCallback, this.id);
    c.sqlite3_progress_handler(this.#db, PROGRESS_OPS, this.#env.progressCallback, this.id);
    c.sqlite3_limit(this.#db, LIMIT.length, Math.min(limits.maxRowBytes, MAX_LENGTH_BYTES));
    c.sqlite3_limit(this.#db, LIMIT.sqlLength, Math.min(limits.maxSqlBytes, MAX_LENGTH_BYTES));
    // VACUUM needs one.
    c.sqlite3_limit(this.#db, LIMIT.attached, 1);
    this.execute(
      `PRAGMA hard_heap_limit=${heapLimitBytes(limits)}; PRAGMA page_size=${PAGE_SIZE_BYTES}; PRAGMA journal_mode=MEMORY; PRAGMA cache_size=-${SQLITE_CACHE_KIB}`,
    );
    // Last: it would ignore journal_mode.
    capi.sqlite3_db_config(this.#db, DBCONFIG_DEFENSIVE as never, 1, 0);
    this.#isSettingUp = false;
  }

  #prepareAt(
    at: Pointer,
    length: number,
    sql: string | null,
  ): { readonly statement: PreparedStatement | null; readonly tail: Pointer } {
    this.#clearReasons();
    const { lib } = this.#env;
    const rc = lib.c.sqlite3_prepare_v3(this.#db, at, length, PREPARE_PERSISTENT, lib.out, lib.out + 4);
    if (rc !== 0) throw this.#error();
    const pointer = lib.pointer(lib.out);
    const tail = lib.pointer(lib.out + 4);
    if (pointer === 0) return { statement: null, tail: Math.max(tail, at + 1) };
    const text = sql ?? lib.text(at, tail - at);
    return { statement: new PreparedStatement(lib, pointer, kindOf(text)), tail };
  }

  #remember(sql: string, statement: PreparedStatement): void {
    this.#forget(sql);
    statement.isKept = true;
    this.#statements.set(sql, statement);
    if (this.#statements.size <= MAX_CACHED_STATEMENTS) return;
    const oldest = this.#statements.keys().next();
    if (oldest.done !== true) this.#forget(oldest.value);
  }

  #forget(sql: string): void {
    const statement = this.#statements.get(sql);
    if (statement === undefined) return;
    this.#statements.delete(sql);
    statement.isKept = false;
    if (!this.#busyStatements.has(statement)) statement.finalize();
  }

  #clearReasons(): void {
    this.#failure = null;
    this.#denial = null;
    this.#stop = null;
  }

  /** SQLite's last error, with our reason for it where there is one. */
  #error(): SqlFailure {
    const { lib } = this.#env;
    const { c } = lib;
    const extended = c.sqlite3_extended_errcode(this.#db);
    const base = extended & 0xff;
    const code = lib.codeName(base);
    const extendedCode = extended === base ? {} : { extendedCode: lib.codeName(extended) };
    if (base === CODE_INTERRUPT) {
      return this.#stop ?? this.#user?.stopReason() ?? failure(code, 'interrupted');
    }
    if (this.#failure !== null) {
      const ours = this.#failure.code === 'TOO_LARGE' ? code : this.#failure.code;
      return failure(ours, this.#failure.message, { extendedCode: lib.codeName(extended) });
    }
    if (base === CODE_AUTH && this.#denial !== null) return failure(code, this.#denial);
    const { readonlyReason } = this.#env;
    if (base === CODE_READONLY && readonlyReason !== null) return failure(code, readonlyReason, extendedCode);
    const offset = c.sqlite3_error_offset(this.#db);
    const message = lib.string(c.sqlite3_errmsg(this.#db)) ?? code;
    return failure(code, message, offset >= 0 ? { ...extendedCode, offset } : extendedCode);
  }
}
