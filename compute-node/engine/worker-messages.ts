/**
 * What the main thread and the SQL worker say to each other. Each side collects messages and posts them as one array per turn. Within the
 * process only: both sides are always of the same build.
 *
 * Order matters in one place: an MTR is posted before every output that depends on it.
 */
import type { ErrorCode } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type {
  ChangesetOutcome,
  ConflictPolicy,
  EngineLimits,
  ProgramEvent,
  SqlError,
  StatementDescription,
  Step,
} from './api.ts';
import type { SharedBuffers } from './shared-state.ts';
import type { MessagePort } from 'node:worker_threads';

/** Given to the worker at its start: it loads SQLite and waits for its setup. */
export interface EngineStart {
  readonly kind: 'engine';
  /** Nobody waits for it yet. */
  readonly isSpare: boolean;
}

/** The first message to it. */
export interface WorkerSetup {
  readonly shared: SharedBuffers;
  /** Page answers arrive here, so that the worker can take them in the middle of a statement. */
  readonly pagePort: MessagePort;
  readonly headLsn: Lsn;
  readonly limits: EngineLimits;
  /** Shown by PRAGMA database_list. */
  readonly databaseName: string;
  /** What a write is refused with; null: SQLite's own words. */
  readonly readonlyReason: string | null;
}

/** Given to a worker that only looks at a database file before it is imported. */
export interface CheckSetup {
  readonly kind: 'check';
  readonly filePath: string;
  /** True: bring it to 4096-byte pages without reserved bytes, in memory. */
  readonly convert: boolean;
}

/** Its one answer. */
export type CheckResult =
  | { readonly kind: 'sound' }
  | { readonly kind: 'converted'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'unsound'; readonly reason: string };

export type ProgramSource =
  | { readonly kind: 'steps'; readonly steps: readonly Step[] }
  | { readonly kind: 'script'; readonly sql: string }
  | { readonly kind: 'describe'; readonly sql: string }
  | { readonly kind: 'changeset'; readonly changeset: Uint8Array; readonly policy: ConflictPolicy };

export type ToWorker =
  /** The connection's SQLite handle is opened at its first program. */
  | {
      readonly kind: 'connect';
      readonly connection: number;
      readonly slot: number;
      readonly readonly: boolean;
    }
  | {
      readonly kind: 'run';
      readonly connection: number;
      readonly run: number;
      readonly source: ProgramSource;
    }
  /** The program is to stop: not started, it is dropped; running, it is interrupted. It still answers with `done`. */
  | { readonly kind: 'cancel'; readonly connection: number; readonly run: number }
  /** `bytes` of the program's output were given out. */
  | { readonly kind: 'credit'; readonly connection: number; readonly run: number; readonly bytes: number }
  /** Rolls back and gives the handle back, after a program that is running was stopped. */
  | { readonly kind: 'disconnect'; readonly connection: number }
  /** Something the worker waits for (VDL, room for MTRs, writability) has changed. */
  | { readonly kind: 'news' }
  /** Takes the writer lock for an import and checks that the database is empty. */
  | { readonly kind: 'import-begin' }
  /** The import is over, done or not; everything up to `headLsn` is durable. */
  | { readonly kind: 'import-end'; readonly headLsn: Lsn };

export interface ProgramDone {
  readonly isAutocommit: boolean;
  readonly holdsWriterLock: boolean;
  /** A script's, a description's or a changeset's error. */
  readonly error: SqlError | null;
  readonly description: StatementDescription | null;
  /** What became of a changeset. */
  readonly changeset: ChangesetOutcome | null;
}

export type FromWorker =
  | { readonly kind: 'ready' }
  /** One MTR, packed (mtr-packing.ts). `cpl` is what the worker counts on. */
  | { readonly kind: 'mtr'; readonly cpl: Lsn; readonly changes: Uint8Array<ArrayBuffer> }
  | {
      readonly kind: 'output';
      readonly connection: number;
      readonly run: number;
      readonly events: readonly ProgramEvent[];
      /** Highest CPL that the output depends on. */
      readonly lsn: Lsn;
      /** CPL of the newest MTR that the program has made, NO_LSN: none so far. */
      readonly commitLsn: Lsn;
      /** True when something in it is not covered by an MTR that the same program made afterwards. */
      readonly needsConfirmation: boolean;
      /** Size of the events for flow control. */
      readonly bytes: number;
      /** On the program's last output. */
      readonly done: ProgramDone | null;
    }
  | { readonly kind: 'disconnected'; readonly connection: number }
  /** A transaction ended without the client: its time was up. */
  | { readonly kind: 'transaction-lost'; readonly connection: number }
  | { readonly kind: 'fetch'; readonly request: number; readonly at: Lsn; readonly pages: readonly number[] }
  | {
      readonly kind: 'import-ready';
      readonly error: { readonly code: ErrorCode; readonly message: string } | null;
      /** Of the present page 1, 0 without one: the imported ones must differ. */
      readonly changeCounter: number;
      readonly schemaCookie: number;
    }
  | { readonly kind: 'import-ended' }
  /** A bug or an unusable state: nothing the worker says afterwards counts. */
  | { readonly kind: 'failed'; readonly message: string; readonly stack: string | null };

/** On the page port. */
export type PageAnswer =
  | {
      readonly request: number;
      readonly error: null;
      readonly at: Lsn;
      readonly pages: readonly number[];
      /** Version of each page, 0: never written. */
      readonly lsns: readonly number[];
      /** The pages' bytes one after another; none for those never written. */
      readonly data: Uint8Array<ArrayBuffer>;
    }
  | {
      readonly request: number;
      readonly error: { readonly code: ErrorCode; readonly message: string };
    };
