/**
 * The SQL engine as the session layer sees it: connections that run programs of statements. SQLite runs in a worker thread behind
 * this; the protocol (Hrana or another) is in front of the session layer. Nothing here knows either.
 */
import type { TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';

/** bigint: INTEGER, number: REAL, string: TEXT, Uint8Array: BLOB. */
export type SqlValue = null | bigint | number | string | Uint8Array;

export interface Statement {
  readonly sql: string;
  /** Positional arguments, 1-based parameters in order. */
  readonly args: readonly SqlValue[];
  /** Named arguments; a name may carry its prefix (:, @, $) or not. */
  readonly namedArgs: readonly { readonly name: string; readonly value: SqlValue }[];
  readonly wantRows: boolean;
}

/** Conditions over the outcomes of earlier steps of the same program (Hrana's batch conditions). */
export type Condition =
  | { readonly kind: 'ok'; readonly step: number }
  | { readonly kind: 'error'; readonly step: number }
  | { readonly kind: 'not'; readonly cond: Condition }
  | { readonly kind: 'and'; readonly conds: readonly Condition[] }
  | { readonly kind: 'or'; readonly conds: readonly Condition[] }
  | { readonly kind: 'is-autocommit' };

export interface Step {
  readonly statement: Statement;
  readonly condition: Condition | null;
}

export interface Column {
  readonly name: string;
  /** Declared type of the column it comes from, null for expressions. */
  readonly declaredType: string | null;
}

export interface SqlError {
  /** SQLite's base name, e.g. SQLITE_CONSTRAINT, or one of ours (ErrorCode) where SQLite has none. */
  readonly code: string;
  /** Extended name where it says more, e.g. SQLITE_CONSTRAINT_UNIQUE. */
  readonly extendedCode: string | null;
  readonly message: string;
  /** Byte offset of the offending token in the SQL (sqlite3_error_offset), null when unknown. */
  readonly offset: number | null;
  /** What the reader can do about it, where the error is one of ours. */
  readonly nextStep?: string | undefined;
}

/** The program's output, in order. `rows` chunks are bounded in bytes, so that a large result streams. */
export type ProgramEvent =
  | { readonly kind: 'step-begin'; readonly step: number; readonly columns: readonly Column[] }
  | { readonly kind: 'rows'; readonly rows: readonly (readonly SqlValue[])[] }
  | {
      readonly kind: 'step-end';
      readonly step: number;
      readonly affectedRows: number;
      readonly lastInsertRowid: bigint;
      readonly rowsRead: number;
      readonly rowsWritten: number;
      readonly durationMs: number;
    }
  | { readonly kind: 'step-error'; readonly step: number; readonly error: SqlError }
  | { readonly kind: 'step-skipped'; readonly step: number };

/** What the released output depends on. Output is released only when all of it holds (the engine facade sees to it). */
export interface ProgramResult {
  /** Highest CPL written or seen: VDL covers it by the time the result is given out. */
  readonly lsn: Lsn;
  readonly isAutocommit: boolean;
}

export interface RunOptions {
  /** Gives out each chunk once it may be shown. May return a promise: the engine waits for it (backpressure from the client). */
  readonly onEvent: (event: ProgramEvent) => void | Promise<void>;
  readonly signal?: AbortSignal;
  /** `strong`: linearizable. `session`: at least `minLsn`. `snapshot`: whatever is durable here. */
  readonly consistency: 'strong' | 'session' | 'snapshot';
  readonly minLsn?: Lsn;
}

export interface StatementDescription {
  readonly parameters: readonly { readonly name: string | null }[];
  readonly columns: readonly Column[];
  readonly isExplain: boolean;
  readonly isReadonly: boolean;
}

/** One client's connection: own transaction state, temp tables, last_insert_rowid. Calls on one connection run one after another. */
export interface EngineConnection {
  /** Resolves after the last event was given out. Rejects only for what is not a step's error (DEPOSED, OUTCOME_UNKNOWN, INTERRUPTED, closed). */
  run(steps: readonly Step[], options: RunOptions): Promise<ProgramResult>;
  /** Runs a script of several statements, stopping at the first error (which it rejects with, as a SqlFailure). Rows are discarded. */
  runScript(sql: string, options: Omit<RunOptions, 'onEvent'>): Promise<ProgramResult>;
  describe(sql: string): Promise<StatementDescription>;
  /** Last known: true outside a transaction. Of one whose engine has ended: whether a transaction ended with it. */
  readonly isAutocommit: boolean;
  /** Its engine has ended: nothing can be run on it any more. */
  readonly hasEnded: boolean;
  /** True while an open transaction holds the volume's writer lock. */
  readonly holdsWriterLock: boolean;
  /** Stops the running statement; it ends with SQLITE_INTERRUPT. */
  interrupt(): void;
  /** Rolls back an open transaction and gives the connection back. Idempotent. */
  close(): Promise<void>;
}

/**
 * What becomes of changes that meet rows changed otherwise meanwhile. `theirs`: the changeset's word counts where that can be; `ours`: the database's. With `abort`
 * nothing is replaced either: whoever asked sees the conflicts and rolls back.
 */
export type ConflictPolicy = 'abort' | 'ours' | 'theirs';

export interface ChangesetConflict {
  /**
   * changed: the row has other values than the change starts from; gone: there is no such row; exists: there is one already; constraint: another
   * rule of the schema stands against it; foreign-key: references would be left without their row.
   */
  readonly kind: 'changed' | 'gone' | 'exists' | 'constraint' | 'foreign-key';
  readonly table: string | null;
  readonly operation: 'insert' | 'update' | 'delete' | null;
  readonly key: readonly SqlValue[];
  /** The row as it is; null where it is not there, or not known. */
  readonly ours: readonly SqlValue[] | null;
  /** As the change would have it; null: deleted. */
  readonly theirs: readonly SqlValue[] | null;
}

export interface ChangesetOutcome {
  /** The first thousand. */
  readonly conflicts: readonly ChangesetConflict[];
  readonly conflictCount: number;
}

/** A connection that takes changesets, too. */
export interface MergeConnection extends EngineConnection {
  /**
   * Applies a changeset of SQLite's session extension in the open write transaction, which stays open. Conflicts are told, not thrown. Rejects with a
   * SqlFailure when it cannot be applied at all: nothing of it is then.
   */
  applyChangeset(changeset: Uint8Array, policy: ConflictPolicy): Promise<ChangesetOutcome>;
}

/** A step's failure where there is no event stream to put it in (runScript, describe). */
export class SqlFailure extends Error {
  override readonly name = 'SqlFailure';
  readonly error: SqlError;
  constructor(error: SqlError) {
    super(error.message);
    this.error = error;
  }
}

export interface TransferProgress {
  readonly doneBytes: number;
  readonly totalBytes: number | null;
}

/** One open volume's engine. */
export interface Engine {
  /** readonly: every write is refused with SQLITE_READONLY. */
  connect(options: { readonly readonly: boolean }): Promise<EngineConnection>;
  connectToMerge(): Promise<MergeConnection>;
  /** The whole database at the current read point, as a SQLite file's bytes in order. */
  exportDatabase(onProgress?: (progress: TransferProgress) => void): AsyncIterable<Uint8Array>;
  /**
   * Fills an empty volume from a SQLite database file. Appears at once, at the end, or not at all.
   * Throws NOT_A_DATABASE, CORRUPT, NOT_EMPTY, TOO_LARGE.
   */
  importDatabase(
    filePath: string,
    onProgress?: (progress: TransferProgress) => void,
  ): Promise<{ readonly pages: number; readonly lsn: Lsn }>;
  status(): EngineStatus;
  /** With a reason, everybody who still uses it is told that: what was handed over hardens first (bounded), nothing new begins. */
  close(reason?: TidemarkError): Promise<void>;
}

export interface EngineStatus {
  readonly connections: number;
  readonly openTransactions: number;
  readonly pageCache: {
    readonly pages: number;
    readonly bytes: number;
    readonly limitBytes: number;
    readonly hits: number;
    readonly misses: number;
  };
  readonly databasePages: number;
  readonly statements: number;
  readonly commits: number;
}

export interface EngineLimits {
  readonly pageCacheBytes: number;
  /** Dirty pages one transaction may hold before it is refused (TOO_LARGE → SQLITE_FULL with a clear message). */
  readonly maxTransactionBytes: number;
  /** Longest a statement may run, 0: no limit. */
  readonly statementTimeoutMs: number;
  /** How long a writer waits for the volume's writer lock before SQLITE_BUSY. */
  readonly busyTimeoutMs: number;
  /** How long a writer waits for a volume that takes no writes before NO_QUORUM. */
  readonly writableTimeoutMs: number;
  /** Longest a transaction may stay open in all. */
  readonly transactionTimeoutMs: number;
  readonly maxRowBytes: number;
  readonly maxSqlBytes: number;
  readonly maxConnections: number;
}
