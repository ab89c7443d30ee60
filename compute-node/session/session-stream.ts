/**
 * One client's conversation with one volume: an engine connection, opened when first needed, with the order of its requests and the
 * end of what the client leaves lying about. Knows no protocol.
 *
 * Invariants:
 * 1. Requests run one after another, in the order of their calls.
 * 2. A write transaction in which nothing happens for `writeTransactionIdleMs` is rolled back; afterwards no statement of it is run outside
 *    of it (lost-transaction.ts).
 * 3. After `close()` nothing runs any more: what was running is interrupted and rolled back, what was waiting is refused.
 * 4. A connection whose engine has ended is dropped; the next request gets one of the volume's next engine.
 */
import { type ErrorCode, isTidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type {
  EngineConnection,
  ProgramEvent,
  ProgramResult,
  RunOptions,
  StatementDescription,
  Step,
} from '../engine/api.ts';
import { type Consistency, STRONG } from './consistency.ts';
import { SessionError } from './errors.ts';
import type { SessionLimits } from './limits.ts';
import { LostTransaction } from './lost-transaction.ts';
import type { Scheduler, Timer } from './scheduler.ts';
import { type TransactionWord, transactionWord } from './transaction-word.ts';

export interface SessionStreamOptions {
  readonly connect: () => Promise<EngineConnection>;
  readonly limits: SessionLimits;
  readonly scheduler: Scheduler;
  /** Called once. */
  readonly onClosed: () => void;
}

export interface ProgramRequest {
  readonly steps: readonly Step[];
  readonly onEvent: RunOptions['onEvent'];
  readonly consistency: Consistency;
  /** Stops the whole program, not only the running statement. */
  readonly signal?: AbortSignal;
  /** Asked when the program's turn has come: null, or what it must wait for (a client that does not take its results). */
  readonly beforeStart?: (() => Promise<void> | null) | undefined;
}

interface WaitingTask {
  readonly start: () => void;
  readonly refuse: (error: Error) => void;
}

export class SessionStream {
  readonly #options: SessionStreamOptions;
  #connection: EngineConnection | null = null;
  #isOpen = true;
  #isBusy = false;
  #waiting: WaitingTask[] = [];
  #lost: LostTransaction | null = null;
  #idleTimer: Timer | null = null;
  #seenLsn: Lsn = NO_LSN;
  #closed: Promise<void> | null = null;

  constructor(options: SessionStreamOptions) {
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** A request is running or waiting. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** Its engine has ended: its next request is told so, the one after gets a connection of the next engine. */
  get hasEnded(): boolean {
    return this.#connection?.hasEnded ?? false;
  }

  /** Highest LSN that a result of this stream depended on. */
  get seenLsn(): Lsn {
    return this.#seenLsn;
  }

  /** How long the running program may wait for its client to take what it has already made. */
  get stallLimitMs(): number {
    const { writeTransactionIdleMs, streamIdleMs } = this.#options.limits;
    return this.#connection?.holdsWriterLock === true ? writeTransactionIdleMs : streamIdleMs;
  }

  /** Connects now, so that an unknown volume is told at once. */
  open(): Promise<void> {
    return this.#inOrder(async () => {
      await this.#connected();
    });
  }

  run(request: ProgramRequest): Promise<ProgramResult> {
    return this.#inOrder(() => this.#run(request));
  }

  /** Runs a script of several statements and discards its rows. Rejects with the first error (SqlFailure). */
  runScript(sql: string, consistency: Consistency, signal?: AbortSignal): Promise<ProgramResult> {
    return this.#inOrder(async () => {
      if (this.#lost !== null && this.#judge(transactionWord(sql), isOneStatement(sql)) === 'pretend') {
        return this.#pretended();
      }
      const connection = await this.#connected();
      const result = await this.#watched(connection, sql, () =>
        connection.runScript(sql, runOptions(consistency, signal)),
      );
      this.#noteResult(result);
      return result;
    });
  }

  describe(sql: string): Promise<StatementDescription> {
    return this.#inOrder(async () => {
      const connection = await this.#connected();
      return this.#watched(connection, sql, () => connection.describe(sql));
    });
  }

  isAutocommit(): Promise<boolean> {
    return this.#inOrder(async () => this.#connection?.isAutocommit ?? true);
  }

  /** Occupies the stream until `work` settles: requests made meanwhile wait. `work` runs its program with `runNow`. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#inOrder(work);
  }

  /** Inside `exclusively` only. */
  runNow(request: ProgramRequest): Promise<ProgramResult> {
    return this.#run(request);
  }

  /** Stops the running statement; it ends with SQLITE_INTERRUPT. */
  interrupt(): void {
    this.#connection?.interrupt();
  }

  /** The client is known to have read every earlier answer. */
  acknowledge(): void {
    this.#lost?.acknowledge();
  }

  /** Closes after what was asked before. */
  closeInOrder(): Promise<void> {
    return this.#inOrder(() => {
      this.#closed ??= this.#close(false);
      return this.#closed;
    });
  }

  /** Closes now (invariant 3). Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close(this.#isBusy);
    return this.#closed;
  }

  async #close(interrupt: boolean): Promise<void> {
    this.#isOpen = false;
    this.#idleTimer?.cancel();
    this.#idleTimer = null;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const task of waiting) task.refuse(streamClosed());
    const connection = this.#connection;
    this.#connection = null;
    try {
      if (connection !== null) {
        if (interrupt) connection.interrupt();
        await connection.close();
      }
    } finally {
      this.#options.onClosed();
    }
  }

  // The order of requests.

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#isOpen) return Promise.reject(streamClosed());
    if (!this.#isBusy) return this.#start(work);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        start: () => {
          this.#start(work).then(resolve, reject);
        },
        refuse: reject,
      });
    });
  }

  async #start<T>(work: () => Promise<T>): Promise<T> {
    this.#isBusy = true;
    if (this.#idleTimer !== null) {
      this.#idleTimer.cancel();
      this.#idleTimer = null;
    }
    try {
      return await work();
    } finally {
      this.#isBusy = false;
      const next = this.#waiting.shift();
      if (next !== undefined) next.start();
      else this.#watchIdleTransaction();
    }
  }

  // Connections.

  async #connected(): Promise<EngineConnection> {
    if (this.#connection !== null) return this.#connection;
    const connection = await this.#options.connect();
    if (!this.#isOpen) {
      await connection.close();
      throw streamClosed();
    }
    this.#connection = connection;
    return connection;
  }

  async #run(request: ProgramRequest): Promise<ProgramResult> {
    const { steps, onEvent, consistency, signal } = request;
    const wait = request.beforeStart?.() ?? null;
    if (wait !== null) {
      await wait;
      if (!this.#isOpen) throw streamClosed();
    }
    if (this.#lost !== null) {
      const first = steps[0]?.statement.sql ?? '';
      if (this.#judge(transactionWord(first), steps.length === 1) === 'pretend') {
        await pretendStep(onEvent);
        return this.#pretended();
      }
    }
    const connection = this.#connection ?? (await this.#connected());
    const result = await this.#watched(connection, steps, () =>
      connection.run(steps, { onEvent, ...runOptions(consistency, signal) }),
    );
    this.#noteResult(result);
    return result;
  }

  #noteResult(result: ProgramResult): void {
    if (result.lsn > this.#seenLsn) this.#seenLsn = result.lsn;
  }

  /** Drops the connection when `call` shows that its engine has ended (invariant 4). */
  async #watched<T>(
    connection: EngineConnection,
    what: string | readonly Step[],
    call: () => Promise<T>,
  ): Promise<T> {
    const wasAutocommit = connection.isAutocommit;
    try {
      return await call();
    } catch (error) {
      if (!this.#isOpen && !isTidemarkError(error, 'OUTCOME_UNKNOWN')) throw streamClosed();
      if (hasEngineEnded(error)) {
        this.#connection = null;
        // One that came to its COMMIT is over for its client, whatever became of it.
        const isOver = isTidemarkError(error, 'OUTCOME_UNKNOWN') && !endsInTransaction(what);
        if (!isOver && (!wasAutocommit || mayBegin(what))) {
          this.#lost = new LostTransaction(
            'TRANSACTION_LOST',
            'the transaction ended when this compute node gave up the volume',
            true,
          );
        }
        await connection.close();
      }
      throw error;
    }
  }

  // Transactions that ended behind the client's back.

  #judge(word: TransactionWord, isAlone: boolean): 'run' | 'pretend' {
    const lost = this.#lost;
    if (lost === null) return 'run';
    const verdict = lost.judge(word, isAlone);
    if (lost.isOver) this.#lost = null;
    if (verdict === 'refuse') throw lost.error();
    return verdict;
  }

  #pretended(): ProgramResult {
    return { lsn: this.#seenLsn, isAutocommit: true };
  }

  #watchIdleTransaction(): void {
    if (!this.#isOpen || this.#connection === null || !this.#connection.holdsWriterLock) return;
    this.#idleTimer = this.#options.scheduler.after(this.#options.limits.writeTransactionIdleMs, () => {
      this.#idleTimer = null;
      if (!this.#isOpen || this.#isBusy) return;
      void this.#start(() => this.#rollBackIdle());
    });
  }

  async #rollBackIdle(): Promise<void> {
    const connection = this.#connection;
    if (connection === null || !connection.holdsWriterLock) return;
    const limitMs = this.#options.limits.writeTransactionIdleMs;
    this.#lost = new LostTransaction(
      'TRANSACTION_TIMEOUT',
      `the write transaction was rolled back: nothing happened in it for ${limitMs} ms, while other writers waited`,
      false,
    );
    let failed = false;
    try {
      await connection.run([ROLLBACK], {
        consistency: 'snapshot',
        onEvent: (event) => {
          if (event.kind === 'step-error') failed = true;
        },
      });
    } catch {
      failed = true;
    }
    // A connection that cannot roll back gives the lock back by closing; the next request opens another.
    if ((failed || !connection.isAutocommit) && this.#connection === connection) {
      this.#connection = null;
      await connection.close().catch(() => undefined);
    }
  }
}

const ROLLBACK: Step = {
  statement: { sql: 'ROLLBACK', args: [], namedArgs: [], wantRows: false },
  condition: null,
};

function streamClosed(): SessionError {
  return new SessionError('STREAM_CLOSED', 'the stream is closed', 'open another one');
}

function runOptions(consistency: Consistency, signal: AbortSignal | undefined): Omit<RunOptions, 'onEvent'> {
  if (consistency === STRONG && signal === undefined) return STRONG_OPTIONS;
  return {
    consistency: consistency.level,
    ...(consistency.level === 'session' ? { minLsn: consistency.minLsn } : null),
    ...(signal === undefined ? null : { signal }),
  };
}

const STRONG_OPTIONS: Omit<RunOptions, 'onEvent'> = { consistency: 'strong' };

const ENGINE_ENDED: ReadonlySet<ErrorCode> = new Set([
  'DEPOSED',
  'UNAVAILABLE',
  'BACKTRACKED',
  'VOLUME_DROPPED',
]);

/** Also where it hides behind a commit whose outcome is therefore unknown. */
function hasEngineEnded(error: unknown): boolean {
  const cause = isTidemarkError(error, 'OUTCOME_UNKNOWN') ? error.cause : error;
  return isTidemarkError(cause) && ENGINE_ENDED.has(cause.code);
}

/** The last that a request says about transactions is that one begins. */
function endsInTransaction(what: string | readonly Step[]): boolean {
  if (typeof what === 'string') {
    const last = [...what.matchAll(/\b(begin|savepoint|commit|end|release|rollback)\b/gi)].at(-1)?.[1];
    return last !== undefined && /begin|savepoint/i.test(last);
  }
  const words = what.map((step) => transactionWord(step.statement.sql)).filter((word) => word !== 'other');
  return words.at(-1) === 'begin';
}

/** Could the failed request have begun a transaction? Asked only when its engine has ended. */
function mayBegin(what: string | readonly Step[]): boolean {
  if (typeof what === 'string') return /\b(begin|savepoint)\b/i.test(what);
  return what.some((step) => transactionWord(step.statement.sql) === 'begin');
}

function isOneStatement(sql: string): boolean {
  return !/;\s*\S/.test(sql);
}

async function pretendStep(onEvent: (event: ProgramEvent) => void | Promise<void>): Promise<void> {
  await onEvent({ kind: 'step-begin', step: 0, columns: [] });
  await onEvent({
    kind: 'step-end',
    step: 0,
    affectedRows: 0,
    lastInsertRowid: 0n,
    rowsRead: 0,
    rowsWritten: 0,
    durationMs: 0,
  });
}
