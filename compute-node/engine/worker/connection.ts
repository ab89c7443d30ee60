/**
 * A client's connection in the worker: its SQLite handle while it has one, its transaction's state, and its programs, which run one after
 * another.
 */
import { type Lsn, NO_LSN } from '../../../src/log/lsn.ts';
import type { SqlFailure } from '../api.ts';
import type { ProgramSource } from '../worker-messages.ts';
import type { Program } from './program.ts';
import type { Task } from './scheduler.ts';
import { failure } from './sql-errors.ts';
import type { HandleMemory, HandleUser, SqlHandle } from './sql-handle.ts';
import type { WriterLock } from './writer-lock.ts';

export interface QueuedProgram {
  readonly run: number;
  readonly source: ProgramSource;
}

export interface ConnectionEnvironment {
  readonly writerLock: WriterLock<Connection>;
  readonly openTransactions: Set<Connection>;
  nowMs(): number;
  isInterrupted(slot: number, run: number): boolean;
  leaseHandle(connection: Connection): SqlHandle;
  /** Called with every look SQLite gives us while a statement runs long. */
  duringStatement(): void;
}

export class Connection implements HandleUser {
  readonly id: number;
  readonly slot: number;
  readonly readonly: boolean;
  readonly queue: QueuedProgram[] = [];
  readonly #env: ConnectionEnvironment;
  #handle: SqlHandle | null = null;
  #memory: HandleMemory | null = null;
  task: Task | null = null;
  program: Program | null = null;
  isClosing = false;
  /** Set while a transaction is open. */
  transactionSinceMs: number | null = null;
  /** When it is rolled back, whatever it is doing. */
  transactionDeadlineMs: number | null = null;
  isReadonlyTransaction = false;
  /** Why the client's transaction is gone although the client did not end it. */
  lost: SqlFailure | null = null;
  /** Of the running statement. */
  statementDeadlineMs: number | null = null;

  constructor(env: ConnectionEnvironment, id: number, slot: number, readonly: boolean) {
    this.#env = env;
    this.id = id;
    this.slot = slot;
    this.readonly = readonly;
  }

  /** Opened at the first use. May throw SqlFailure. */
  handle(): SqlHandle {
    if (this.#handle === null) {
      this.#handle = this.#env.leaseHandle(this);
      this.#handle.lendTo(this, this.#memory);
    }
    return this.#handle;
  }

  get openHandle(): SqlHandle | null {
    return this.#handle;
  }

  takeHandle(): SqlHandle | null {
    const handle = this.#handle;
    this.#memory = handle?.memory ?? this.#memory;
    this.#handle = null;
    return handle;
  }

  /** Highest CPL that the client has written or seen here. */
  get seenLsn(): Lsn {
    return this.#handle?.seenLsn ?? this.#memory?.seenLsn ?? NO_LSN;
  }

  get isAutocommit(): boolean {
    return this.#handle?.isAutocommit ?? true;
  }

  holdsWriterLock(): boolean {
    return this.#env.writerLock.owner === this;
  }

  stopReason(): SqlFailure | null {
    const { program } = this;
    this.#env.duringStatement();
    if (
      this.isClosing ||
      (program !== null && (program.isCancelled || this.#env.isInterrupted(this.slot, program.run)))
    ) {
      return failure('SQLITE_INTERRUPT', 'interrupted');
    }
    const nowMs = this.#env.nowMs();
    if (this.transactionDeadlineMs !== null && nowMs >= this.transactionDeadlineMs) {
      return failure('TRANSACTION_TIMEOUT', 'the transaction was open for too long');
    }
    if (this.statementDeadlineMs !== null && nowMs >= this.statementDeadlineMs) {
      return failure('SQLITE_INTERRUPT', 'interrupted: the statement ran longer than its time limit');
    }
    return null;
  }

  /**
   * After every statement and rollback: the writer lock is held exactly as long as SQLite holds its RESERVED lock, and the transaction's clock
   * runs exactly while one is open.
   */
  settle(transactionTimeoutMs: number): void {
    const handle = this.#handle;
    const nowMs = this.#env.nowMs();
    if (handle === null || handle.isAutocommit) {
      this.transactionSinceMs = null;
      this.transactionDeadlineMs = null;
      this.isReadonlyTransaction = false;
      this.#env.openTransactions.delete(this);
    } else if (this.transactionSinceMs === null) {
      this.transactionSinceMs = nowMs;
      this.transactionDeadlineMs = nowMs + transactionTimeoutMs;
      this.#env.openTransactions.add(this);
    }
    if (handle === null || !handle.isWriting) this.#env.writerLock.release(this, nowMs);
  }
}
