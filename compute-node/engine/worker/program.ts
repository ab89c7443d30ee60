/**
 * Runs one program (a batch of steps, a script, or a description) on a connection. Everything that must not happen inside of SQLite happens
 * around its steps here: waiting for the writer lock and for a writable volume, yielding to other connections, waiting for a slow client.
 *
 * 1. A statement that may write holds the writer lock before SQLite takes SHARED, and so sees the newest MTR; it never waits in xLock.
 * 2. A transaction whose snapshot is older than the newest MTR is refused to write (SQLITE_BUSY_SNAPSHOT), as in SQLite's WAL mode.
 * 3. What an autocommit statement that writes returns is posted after its commit, not while it runs.
 */
import { assertNever } from '../../../src/base/assert.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { NO_LSN } from '../../../src/log/lsn.ts';
import type {
  ChangesetOutcome,
  Condition,
  ConflictPolicy,
  EngineLimits,
  SqlFailure,
  Statement,
  StatementDescription,
  Step,
} from '../api.ts';
import type { ProgramSource } from '../worker-messages.ts';
import type { Connection } from './connection.ts';
import { Output } from './output.ts';
import { TURN, type Wait, type Wake, type Work } from './scheduler.ts';
import { asSqlFailure, failure } from './sql-errors.ts';
import type { SqlHandle } from './sql-handle.ts';
import { kindOf } from './sql-text.ts';
import type { PreparedStatement } from './statement.ts';
import { LOCK } from './volume-file.ts';
import type { WriterLock } from './writer-lock.ts';

/** How long a program keeps the thread while others wait. */
const SLICE_MS = 4;
/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 32;
const NO_ARGUMENTS: Pick<Statement, 'args' | 'namedArgs'> = { args: [], namedArgs: [] };

export interface ProgramEnvironment {
  readonly limits: EngineLimits;
  readonly writerLock: WriterLock<Connection>;
  /** How long a write waits for a volume that takes none. */
  nowMs(): number;
  headLsn(): number;
  /** False: registers the caller's task to be woken when it may have changed. */
  isWritable(): boolean;
  readonly post: ConstructorParameters<typeof Output>[0];
  countStatement(): void;
}

type Outcome = 'ok' | 'error' | 'skipped';
/** A wait that has to be answered. */
type Waiting = Generator<Wait, Wake, Wake>;

export class Program {
  readonly run: number;
  readonly output: Output;
  isCancelled = false;
  readonly #env: ProgramEnvironment;
  readonly #connection: Connection;
  readonly #source: ProgramSource;
  #sliceStartMs = 0;
  /** An MTR was made by the statement that is being run. */
  #commits = false;

  constructor(env: ProgramEnvironment, connection: Connection, run: number, source: ProgramSource) {
    this.#env = env;
    this.#connection = connection;
    this.run = run;
    this.#source = source;
    this.output = new Output(env.post, connection.id, run);
  }

  *work(): Work {
    this.#sliceStartMs = this.#env.nowMs();
    let error: SqlFailure | null = null;
    let description: StatementDescription | null = null;
    let changeset: ChangesetOutcome | null = null;
    const source = this.#source;
    try {
      switch (source.kind) {
        case 'steps':
          yield* this.#steps(source.steps);
          break;
        case 'script':
          yield* this.#script(source.sql);
          break;
        case 'describe':
          description = this.#describe(source.sql);
          break;
        case 'changeset':
          changeset = this.#applyChangeset(source.changeset, source.policy);
          break;
        default:
          assertNever(source, 'program');
      }
    } catch (thrown) {
      error = asSqlFailure(thrown);
      this.output.touch();
    }
    this.output.post(this.#connection.seenLsn, {
      isAutocommit: this.#connection.isAutocommit,
      holdsWriterLock: this.#connection.holdsWriterLock(),
      error: error?.error ?? null,
      description,
      changeset,
    });
  }

  *#steps(steps: readonly Step[]): Work {
    const outcomes: Outcome[] = [];
    for (let i = 0; i < steps.length; i += 1) {
      const step = steps[i] as Step;
      if (step.condition !== null && !this.#holds(step.condition, outcomes)) {
        this.output.event({ kind: 'step-skipped', step: i });
        outcomes.push('skipped');
        continue;
      }
      try {
        yield* this.#step(i, step.statement);
        outcomes.push('ok');
      } catch (thrown) {
        this.output.event({ kind: 'step-error', step: i, error: asSqlFailure(thrown).error });
        outcomes.push('error');
      } finally {
        this.#afterStatement();
      }
      if (this.#isSliceOver()) yield* this.#yieldTurn();
    }
  }

  *#step(index: number, { sql, args, namedArgs, wantRows }: Statement): Work {
    const startMs = this.#env.nowMs();
    this.#env.countStatement();
    this.#refuseStopped(sql);
    if (this.#isAnsweredAsLost(sql)) {
      this.output.event({ kind: 'step-begin', step: index, columns: [] });
      this.output.event({ ...NOTHING_DONE, step: index, durationMs: 0 });
      return;
    }
    const handle = this.#handle();
    const statement = handle.prepare(sql);
    try {
      const before = handle.totalChanges;
      statement.bind({ args, namedArgs });
      const rows = yield* this.#execute(handle, statement, wantRows, () =>
        this.output.event({ kind: 'step-begin', step: index, columns: statement.columns() }),
      );
      const isDml = statement.kind === 'dml' && !statement.isReadonly && !statement.isExplain;
      this.output.event({
        kind: 'step-end',
        step: index,
        affectedRows: isDml ? handle.changes : 0,
        lastInsertRowid: handle.lastInsertRowid,
        rowsRead: Math.max(rows, statement.takeScannedRows()),
        rowsWritten: Number(handle.totalChanges - before),
        durationMs: this.#env.nowMs() - startMs,
      });
    } finally {
      handle.finish(statement);
    }
  }

  *#script(sql: string): Work {
    const handle = this.#handle();
    const self = this;
    if (this.#isAnsweredAsLost(sql)) return;
    yield* handle.script(sql, function* (statement: PreparedStatement): Work {
      self.#env.countStatement();
      try {
        self.#refuseStopped('');
        statement.bind(NO_ARGUMENTS);
        yield* self.#execute(handle, statement, false, () => {});
      } finally {
        self.output.touch();
        // Before the locks are looked at: a statement that is not reset holds its own.
        statement.reset();
        self.#afterStatement();
      }
      if (self.#isSliceOver()) yield* self.#yieldTurn();
    });
  }

  #describe(sql: string): StatementDescription {
    const handle = this.#handle();
    const statement = handle.prepare(sql);
    try {
      return {
        parameters: statement.parameters.map((name) => ({ name })),
        columns: statement.columns(),
        isExplain: statement.isExplain,
        isReadonly: statement.isReadonly,
      };
    } finally {
      this.output.touch();
      handle.finish(statement);
      this.#afterStatement();
    }
  }

  /** The transaction has waited for the writer lock, and for a volume that takes writes, when it began. */
  #applyChangeset(changeset: Uint8Array, policy: ConflictPolicy): ChangesetOutcome {
    const handle = this.#handle();
    if (handle.isAutocommit || !this.#connection.holdsWriterLock()) {
      throw failure('SQLITE_MISUSE', 'a changeset is applied in a write transaction');
    }
    this.#startClock();
    try {
      this.#refuseStopped('');
      return handle.applyChangeset(changeset, policy);
    } finally {
      this.output.touch();
      this.#connection.statementDeadlineMs = null;
      this.#afterStatement();
    }
  }

  /** Once interrupted, a program only cleans up: short statements would run through without looking up. */
  #refuseStopped(sql: string): void {
    const reason = this.#connection.stopReason();
    if (reason !== null && (sql === '' || kindOf(sql) !== 'rollback')) throw reason;
  }

  /** The handle, set to read what a plain read would see. */
  #handle(): SqlHandle {
    const handle = this.#connection.handle();
    this.#setReadMode(handle, false);
    return handle;
  }

  #setReadMode(handle: SqlHandle, writes: boolean): void {
    const inTransaction = !handle.isAutocommit && !this.#connection.isReadonlyTransaction;
    handle.setReadMode(writes || inTransaction ? 'head' : 'durable');
  }

  /** Steps to the end. Returns the number of rows. */
  *#execute(
    handle: SqlHandle,
    statement: PreparedStatement,
    wantRows: boolean,
    begin: () => void,
  ): Generator<Wait, number, Wake> {
    const mayWrite = !statement.isReadonly && !statement.isExplain;
    const isAutocommit = handle.isAutocommit;
    if (mayWrite) yield* this.#prepareToWrite(handle, statement);
    this.#setReadMode(handle, mayWrite);
    this.#startClock();
    const commitBefore = handle.lastCommit;
    let rows = 0;
    if (statement.kind === 'vacuum') handle.setVacuuming(true);
    try {
      let hasRow = handle.step(statement);
      begin();
      while (hasRow) {
        rows += 1;
        if (wantRows) this.output.row(statement.row());
        if (!(mayWrite && isAutocommit) && this.output.isPieceFull) yield* this.#postPiece(handle);
        if (rows % ROWS_PER_LOOK === 0 && this.#isSliceOver()) yield* this.#yieldTurn();
        hasRow = handle.step(statement);
      }
    } finally {
      if (statement.kind === 'vacuum') handle.setVacuuming(false);
      this.#connection.statementDeadlineMs = null;
    }
    if (statement.kind === 'begin-readonly') this.#connection.isReadonlyTransaction = true;
    if (handle.lastCommit !== commitBefore) this.#commits = true;
    return rows;
  }

  *#prepareToWrite(handle: SqlHandle, statement: PreparedStatement): Work {
    const connection = this.#connection;
    if (connection.isReadonlyTransaction) {
      throw failure('SQLITE_READONLY', 'attempt to write in a read-only transaction');
    }
    // SQLite refuses by itself, without any lock.
    if (connection.readonly) return;
    this.#refuseLargeVacuum(handle, statement);
    if (connection.holdsWriterLock()) return;
    this.#refuseStale(handle);
    yield* this.#awaitWritable();
    yield* this.#awaitWriterLock(handle);
    // The volume may have stopped to take writes while this one stood in line; the line stands still then.
    yield* this.#awaitWritable();
    this.#refuseStale(handle);
  }

  /** SQLite would refuse too, at xLock; this spares the wait and the lock. */
  #refuseStale({ file }: SqlHandle): void {
    if (file.lock < LOCK.shared || file.readPoint === this.#env.headLsn()) return;
    throw failure(
      'SQLITE_BUSY',
      'database is locked: another connection has written since this transaction began to read',
      {
        extendedCode: 'SQLITE_BUSY_SNAPSHOT',
      },
    );
  }

  /** VACUUM rewrites everything in one transaction, and only finds out at the end that it is too large. */
  #refuseLargeVacuum(handle: SqlHandle, statement: PreparedStatement): void {
    if (statement.kind !== 'vacuum') return;
    const bytes = handle.file.knownSizePages * PAGE_SIZE_BYTES;
    const limit = this.#env.limits.maxTransactionBytes;
    if (bytes <= limit) return;
    throw failure(
      'SQLITE_FULL',
      `VACUUM rewrites the whole database in one transaction: ${bytes} bytes, more than the ${limit} that one may have`,
    );
  }

  *#awaitWritable(): Work {
    const deadlineMs = this.#env.nowMs() + this.#env.limits.writableTimeoutMs;
    while (!this.#env.isWritable()) {
      const wake = yield* this.#wait(deadlineMs);
      if (wake === 'late' && !this.#env.isWritable()) {
        throw failure(
          'NO_QUORUM',
          `the volume has taken no writes for ${this.#env.limits.writableTimeoutMs} ms: too few storage nodes answer; reads go on`,
        );
      }
    }
  }

  *#awaitWriterLock(handle: SqlHandle): Work {
    const { writerLock } = this.#env;
    const connection = this.#connection;
    const startMs = this.#env.nowMs();
    const { busyTimeoutMs } = handle.settings;
    while (!writerLock.acquire(connection, this.#env.nowMs())) {
      const holder = writerLock.owner;
      const wake = busyTimeoutMs === 0 ? 'late' : yield* this.#wait(startMs + busyTimeoutMs);
      if (wake !== 'late' || writerLock.owner === connection) continue;
      const nowMs = this.#env.nowMs();
      writerLock.release(connection, nowMs);
      const heldMs = Math.round(nowMs - writerLock.sinceMs);
      const who = holder?.isAutocommit === false ? 'an open transaction' : 'a statement';
      throw failure(
        'SQLITE_BUSY',
        `database is locked: ${who} of connection ${holder?.id ?? '?'} has held the writer lock for ${heldMs} ms; waited ${Math.round(nowMs - startMs)} ms for it`,
      );
    }
  }

  *#postPiece(handle: SqlHandle): Work {
    this.output.post(handle.seenLsn, null);
    while (this.output.mustWait) yield* this.#wait(null);
  }

  /** Waiting is not charged to the statement. Throws when the program is cancelled meanwhile. */
  *#wait(deadlineMs: number | null): Waiting {
    const connection = this.#connection;
    const startMs = this.#env.nowMs();
    const wake = yield { kind: 'event', deadlineMs: this.#earlier(deadlineMs) };
    const nowMs = this.#env.nowMs();
    this.#sliceStartMs = nowMs;
    if (connection.statementDeadlineMs !== null) connection.statementDeadlineMs += nowMs - startMs;
    const reason = connection.stopReason();
    if (reason !== null) throw reason;
    return wake;
  }

  #earlier(deadlineMs: number | null): number | null {
    const limit = this.#connection.transactionDeadlineMs;
    if (limit === null || deadlineMs === null) return limit ?? deadlineMs;
    return Math.min(limit, deadlineMs);
  }

  *#yieldTurn(): Work {
    yield TURN;
    this.#sliceStartMs = this.#env.nowMs();
  }

  #isSliceOver(): boolean {
    return this.#env.nowMs() - this.#sliceStartMs > SLICE_MS;
  }

  #startClock(): void {
    const { statementTimeoutMs } = this.#env.limits;
    this.#connection.statementDeadlineMs =
      statementTimeoutMs === 0 ? null : this.#env.nowMs() + statementTimeoutMs;
  }

  #afterStatement(): void {
    const connection = this.#connection;
    if (this.#commits) this.output.cover(connection.openHandle?.lastCommit ?? NO_LSN);
    this.#commits = false;
    connection.settle(this.#env.limits.transactionTimeoutMs);
    const deadlineMs = connection.transactionDeadlineMs;
    if (deadlineMs !== null && this.#env.nowMs() >= deadlineMs) loseTransaction(connection, this.#env.limits);
  }

  /**
   * After its transaction was rolled back behind its back, a client's statements are refused until it has ended or begun one: they were
   * meant for the transaction. True: a ROLLBACK, which has nothing left to do.
   */
  #isAnsweredAsLost(sql: string): boolean {
    const { lost } = this.#connection;
    if (lost === null) return false;
    const kind = kindOf(sql);
    if (kind === 'rollback' || kind === 'begin' || kind === 'begin-readonly') {
      this.#connection.lost = null;
      return kind === 'rollback';
    }
    if (kind === 'commit') this.#connection.lost = null;
    throw lost;
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
        return this.#connection.isAutocommit;
      default:
        return assertNever(condition, 'condition');
    }
  }
}

const NOTHING_DONE = {
  kind: 'step-end',
  affectedRows: 0,
  lastInsertRowid: 0n,
  rowsRead: 0,
  rowsWritten: 0,
} as const;

/** The transaction's time is up: rolls it back, and has the client told. */
export function loseTransaction(connection: Connection, limits: EngineLimits): void {
  connection.openHandle?.rollback();
  connection.lost = failure(
    'TRANSACTION_TIMEOUT',
    `the transaction was open for more than ${limits.transactionTimeoutMs} ms and was rolled back; nothing of it was kept: send ROLLBACK, then begin it again`,
  );
  connection.settle(limits.transactionTimeoutMs);
}
