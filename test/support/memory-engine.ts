/**
 * The engine's contract over one in-memory SQLite database in this thread: no log, no quorum, nothing durable. For tests of what stands in
 * front of the engine. Writers queue for one lock; rows come in chunks, so that backpressure and interrupts have somewhere to happen.
 */
import sqlite3InitModule, { type Database, type PreparedStatement } from '@sqlite.org/sqlite-wasm';
import type {
  Column,
  Condition,
  Engine,
  EngineConnection,
  EngineStatus,
  ProgramResult,
  RunOptions,
  SqlError,
  SqlValue,
  Statement,
  StatementDescription,
  Step,
} from '../../compute-node/engine/api.ts';
import { SqlFailure } from '../../compute-node/engine/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN, toLsn } from '../../src/log/lsn.ts';

const sqlite3 = await sqlite3InitModule();
const { capi, oo1, wasm } = sqlite3;
let databases = 0;

const ROWS_PER_CHUNK = 64;

type Outcome = 'ok' | 'error' | 'skipped';

export class MemoryEngine implements Engine {
  readonly #file: string;
  /** Keeps the shared database alive. */
  readonly #anchor: Database;
  readonly #connections = new Set<MemoryConnection>();
  readonly #writers: { grant: () => void; connection: MemoryConnection }[] = [];
  #writer: MemoryConnection | null = null;
  #lsn: Lsn = NO_LSN;
  #deposed = false;
  /** Options of every run, as they came. */
  readonly runs: { readonly consistency: string; readonly minLsn: number | undefined }[] = [];
  connects = 0;
  rowsStepped = 0;

  constructor() {
    databases += 1;
    this.#file = `file:/memory-engine-${databases}?vfs=memdb`;
    this.#anchor = new oo1.DB(this.#file, 'c');
  }

  get openConnections(): number {
    return this.#connections.size;
  }

  get waitingWriters(): number {
    return this.#writers.length;
  }

  get lsn(): Lsn {
    return this.#lsn;
  }

  async connect(options: { readonly readonly: boolean }): Promise<EngineConnection> {
    if (this.#deposed) throw new TidemarkError('DEPOSED', 'a newer writer has taken over');
    this.connects += 1;
    const database = new oo1.DB(this.#file, options.readonly ? 'r' : 'c');
    const connection = new MemoryConnection(this, database);
    this.#connections.add(connection);
    return connection;
  }

  async connectToMerge(): Promise<never> {
    throw new TidemarkError('UNSUPPORTED', 'not in memory');
  }

  /** As when a newer epoch is proven. */
  depose(): void {
    this.#deposed = true;
  }

  get isDeposed(): boolean {
    return this.#deposed;
  }

  lockWriter(connection: MemoryConnection): Promise<void> {
    if (this.#writer === connection) return Promise.resolve();
    if (this.#writer === null) {
      this.#writer = connection;
      return Promise.resolve();
    }
    return new Promise((grant) => this.#writers.push({ grant, connection }));
  }

  leaveQueue(connection: MemoryConnection): void {
    const at = this.#writers.findIndex((writer) => writer.connection === connection);
    if (at >= 0) this.#writers.splice(at, 1)[0]!.grant();
  }

  unlockWriter(connection: MemoryConnection): void {
    if (this.#writer !== connection) return;
    this.#lsn = toLsn(this.#lsn + 1);
    const next = this.#writers.shift();
    this.#writer = next?.connection ?? null;
    next?.grant();
  }

  holdsLock(connection: MemoryConnection): boolean {
    return this.#writer === connection;
  }

  forget(connection: MemoryConnection): void {
    this.#connections.delete(connection);
  }

  async *exportDatabase(): AsyncIterable<Uint8Array> {
    yield capi.sqlite3_js_db_export(this.#anchor);
  }

  async importDatabase(): Promise<never> {
    throw new TidemarkError('UNSUPPORTED', 'not in memory');
  }

  status(): EngineStatus {
    return {
      connections: this.#connections.size,
      openTransactions: 0,
      pageCache: { pages: 0, bytes: 0, limitBytes: 0, hits: 0, misses: 0 },
      databasePages: 0,
      statements: 0,
      commits: this.#lsn,
    };
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) await connection.close();
    this.#anchor.close();
  }
}

class MemoryConnection implements EngineConnection {
  readonly #engine: MemoryEngine;
  readonly #database: Database;
  #closing = false;
  #closed = false;
  #interrupted = false;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(engine: MemoryEngine, database: Database) {
    this.#engine = engine;
    this.#database = database;
  }

  get isAutocommit(): boolean {
    return this.#closed || capi.sqlite3_get_autocommit(this.#database) !== 0;
  }

  get hasEnded(): boolean {
    return this.#engine.isDeposed;
  }

  get holdsWriterLock(): boolean {
    return !this.#closed && !this.isAutocommit && this.#engine.holdsLock(this);
  }

  run(steps: readonly Step[], options: RunOptions): Promise<ProgramResult> {
    this.#engine.runs.push({ consistency: options.consistency, minLsn: options.minLsn });
    return this.#inOrder(() => this.#run(steps, options));
  }

  runScript(sql: string, options: Omit<RunOptions, 'onEvent'>): Promise<ProgramResult> {
    this.#engine.runs.push({ consistency: options.consistency, minLsn: options.minLsn });
    return this.#inOrder(async () => {
      this.#check(options.signal);
      await this.#lock();
      try {
        this.#database.exec(sql);
      } catch {
        throw new SqlFailure(this.#error());
      } finally {
        this.#unlockIfDone();
      }
      return this.#result();
    });
  }

  describe(sql: string): Promise<StatementDescription> {
    return this.#inOrder(async () => {
      this.#check();
      const statement = await this.#prepare(sql);
      try {
        const parameters = [];
        for (let i = 1; i <= capi.sqlite3_bind_parameter_count(statement); i++) {
          parameters.push({ name: capi.sqlite3_bind_parameter_name(statement, i) });
        }
        return {
          parameters,
          columns: columnsOf(statement),
          isExplain: capi.sqlite3_stmt_isexplain(statement) !== 0,
          isReadonly: capi.sqlite3_stmt_readonly(statement) !== 0,
        };
      } finally {
        statement.finalize();
        this.#unlockIfDone();
      }
    });
  }

  interrupt(): void {
    this.#interrupted = true;
    this.#engine.leaveQueue(this);
  }

  async close(): Promise<void> {
    // The least that the contract asks for: the running statement ends by itself, or because it is interrupted; no other follows it.
    this.#closing = true;
    await this.#queue.catch(() => undefined);
    if (this.#closed) return;
    this.#closed = true;
    this.#database.close();
    this.#engine.unlockWriter(this);
    this.#engine.forget(this);
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      this.#interrupted = false;
      return work();
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #check(signal?: AbortSignal): void {
    if (this.#closing) throw new TidemarkError('UNAVAILABLE', 'the connection is closed');
    if (this.#engine.isDeposed) throw new TidemarkError('DEPOSED', 'a newer writer has taken over');
    if (signal?.aborted) throw new TidemarkError('INTERRUPTED', 'the program was stopped');
  }

  async #run(steps: readonly Step[], options: RunOptions): Promise<ProgramResult> {
    const outcomes: Outcome[] = [];
    for (const [step, { statement, condition }] of steps.entries()) {
      this.#check(options.signal);
      if (condition !== null && !this.#holds(condition, outcomes)) {
        outcomes.push('skipped');
        await options.onEvent({ kind: 'step-skipped', step });
        continue;
      }
      try {
        await this.#runStatement(step, statement, options);
        outcomes.push('ok');
      } catch (error) {
        if (!(error instanceof SqlFailure)) throw error;
        outcomes.push('error');
        await options.onEvent({ kind: 'step-error', step, error: error.error });
      } finally {
        this.#unlockIfDone();
      }
    }
    return this.#result();
  }

  #holds(condition: Condition, outcomes: readonly Outcome[]): boolean {
    switch (condition.kind) {
      case 'ok':
        return outcomes[condition.step] === 'ok';
      case 'error':
        return outcomes[condition.step] === 'error';
      case 'not':
        return !this.#holds(condition.cond, outcomes);
      case 'and':
        return condition.conds.every((cond) => this.#holds(cond, outcomes));
      case 'or':
        return condition.conds.some((cond) => this.#holds(cond, outcomes));
      case 'is-autocommit':
        return this.isAutocommit;
    }
  }

  async #runStatement(step: number, statement: Statement, options: RunOptions): Promise<void> {
    const readonly = /^begin\s+transaction\s+readonly/i.test(statement.sql);
    if (readonly) this.#database.exec('pragma query_only = 1');
    const prepared = await this.#prepare(readonly ? 'BEGIN' : statement.sql);
    try {
      this.#bind(prepared, statement);
      if (
        capi.sqlite3_stmt_readonly(prepared) === 0 ||
        /^\s*begin\s+(immediate|exclusive)/i.test(statement.sql)
      ) {
        await this.#lock();
      }
      const columns = columnsOf(prepared);
      await options.onEvent({ kind: 'step-begin', step, columns });
      const before = capi.sqlite3_total_changes(this.#database);
      let rows: SqlValue[][] = [];
      let rowsRead = 0;
      for (;;) {
        const code = capi.sqlite3_step(prepared);
        if (code === capi.SQLITE_DONE) break;
        if (code !== capi.SQLITE_ROW) throw new SqlFailure(this.#error());
        rowsRead += 1;
        this.#engine.rowsStepped += 1;
        if (statement.wantRows) rows.push(rowOf(prepared, columns.length));
        if (rows.length === ROWS_PER_CHUNK) {
          await options.onEvent({ kind: 'rows', rows });
          rows = [];
          await new Promise((resolve) => setImmediate(resolve));
          this.#check(options.signal);
          if (this.#interrupted) throw interrupted();
        }
      }
      if (rows.length > 0) await options.onEvent({ kind: 'rows', rows });
      const changed = capi.sqlite3_total_changes(this.#database) - before;
      await options.onEvent({
        kind: 'step-end',
        step,
        affectedRows: changed > 0 ? capi.sqlite3_changes(this.#database) : 0,
        lastInsertRowid: BigInt(capi.sqlite3_last_insert_rowid(this.#database)),
        rowsRead,
        rowsWritten: changed,
        durationMs: 0.25,
      });
    } finally {
      prepared.finalize();
    }
  }

  async #lock(): Promise<void> {
    await this.#engine.lockWriter(this);
    if (!this.#engine.holdsLock(this)) throw interrupted();
  }

  #unlockIfDone(): void {
    if (!this.isAutocommit || this.#closed) return;
    this.#database.exec('pragma query_only = 0');
    this.#engine.unlockWriter(this);
  }

  #result(): ProgramResult {
    return { lsn: this.#engine.lsn, isAutocommit: this.isAutocommit };
  }

  /** The in-memory database is not even read while another connection writes: then this waits for the writer lock. */
  async #prepare(sql: string): Promise<PreparedStatement> {
    try {
      return this.#prepareNow(sql);
    } catch (error) {
      if (!(error instanceof SqlFailure) || error.error.code !== 'SQLITE_BUSY') throw error;
    }
    await this.#lock();
    return this.#prepareNow(sql);
  }

  #prepareNow(sql: string): PreparedStatement {
    try {
      return this.#database.prepare(sql);
    } catch {
      if (capi.sqlite3_errcode(this.#database) === capi.SQLITE_OK) {
        throw new SqlFailure({
          code: 'SQLITE_MISUSE',
          extendedCode: null,
          message: 'the SQL text holds no statement',
          offset: null,
        });
      }
      throw new SqlFailure(this.#error());
    }
  }

  #bind(prepared: PreparedStatement, statement: Statement): void {
    for (const [i, value] of statement.args.entries()) bindAt(prepared, i + 1, value);
    for (const { name, value } of statement.namedArgs) {
      const index = [name, `:${name}`, `@${name}`, `$${name}`]
        .map((candidate) => capi.sqlite3_bind_parameter_index(prepared, candidate))
        .find((at) => at > 0);
      if (index === undefined) {
        throw new SqlFailure({
          code: 'SQLITE_RANGE',
          extendedCode: null,
          message: `no parameter ${name}`,
          offset: null,
        });
      }
      bindAt(prepared, index, value);
    }
  }

  #error(): SqlError {
    const extended = capi.sqlite3_extended_errcode(this.#database);
    const base = capi.sqlite3_js_rc_str(extended & 0xff) ?? 'SQLITE_ERROR';
    const offset = capi.sqlite3_error_offset(this.#database);
    return {
      code: base,
      extendedCode: extended === (extended & 0xff) ? null : (capi.sqlite3_js_rc_str(extended) ?? null),
      message: capi.sqlite3_errmsg(this.#database),
      offset: offset < 0 ? null : offset,
    };
  }
}

function interrupted(): SqlFailure {
  return new SqlFailure({
    code: 'SQLITE_INTERRUPT',
    extendedCode: null,
    message: 'interrupted',
    offset: null,
  });
}

function columnsOf(statement: PreparedStatement): Column[] {
  const columns: Column[] = [];
  for (let i = 0; i < capi.sqlite3_column_count(statement); i++) {
    columns.push({
      name: capi.sqlite3_column_name(statement, i),
      declaredType: capi.sqlite3_column_decltype(statement, i) ?? null,
    });
  }
  return columns;
}

function rowOf(statement: PreparedStatement, count: number): SqlValue[] {
  const row: SqlValue[] = [];
  for (let i = 0; i < count; i++) {
    switch (capi.sqlite3_column_type(statement, i)) {
      case capi.SQLITE_INTEGER:
        row.push(BigInt(capi.sqlite3_column_int64(statement, i)));
        break;
      case capi.SQLITE_FLOAT:
        row.push(capi.sqlite3_column_double(statement, i));
        break;
      case capi.SQLITE_TEXT:
        row.push(capi.sqlite3_column_text(statement, i));
        break;
      case capi.SQLITE_BLOB:
        row.push(blobAt(statement, i));
        break;
      default:
        row.push(null);
    }
  }
  return row;
}

function blobAt(statement: PreparedStatement, column: number): Uint8Array {
  const bytes = capi.sqlite3_column_bytes(statement, column);
  const pointer = Number(capi.sqlite3_column_blob(statement, column));
  return wasm.heap8u().slice(pointer, pointer + bytes);
}

function bindAt(statement: PreparedStatement, index: number, value: SqlValue): void {
  if (value === null) capi.sqlite3_bind_null(statement, index);
  else if (typeof value === 'bigint') capi.sqlite3_bind_int64(statement, index, value);
  else if (typeof value === 'number') capi.sqlite3_bind_double(statement, index, value);
  else if (typeof value === 'string') statement.bind(index, value);
  else statement.bindAsBlob(index, value);
}
