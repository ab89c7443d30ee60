/**
 * An interactive transaction. It begins with its first statement, in one request with it. `close()` may come at any moment: what was not committed is
 * rolled back.
 */
import type { Statement } from '../compute-node/engine/api.ts';
import type { Consistency } from '../compute-node/session/consistency.ts';
import type { SessionStream } from '../compute-node/session/session-stream.ts';
import type { Lsn } from '../src/log/lsn.ts';
import { toStatement } from './arguments.ts';
import { beginStep, plainStep, requireStep, resultsOf, statementSteps } from './batch.ts';
import { LibsqlError, toClientError } from './errors.ts';
import { type ProgramOutcome, runProgram } from './program.ts';
import { leavesNothing } from './streams.ts';
import type { InStatement, IntMode, ResultSet, Transaction, TransactionMode } from './types.ts';

export interface TransactionOptions {
  readonly stream: SessionStream;
  readonly mode: TransactionMode;
  readonly intMode: IntMode;
  readonly consistency: () => Consistency;
  readonly onSeen: (lsn: Lsn) => void;
  /** Called once. */
  readonly release: (stream: SessionStream, isClean: boolean) => void;
}

export class StreamTransaction implements Transaction {
  readonly #options: TransactionOptions;
  readonly #stream: SessionStream;
  #hasBegun = false;
  /** The transaction's end was asked for: nothing more is taken. */
  #isOver = false;
  #isClean = true;

  /** Throws RangeError for a mode there is not. */
  constructor(options: TransactionOptions) {
    beginStep(options.mode);
    this.#options = options;
    this.#stream = options.stream;
  }

  get closed(): boolean {
    return this.#isOver || !this.#stream.isOpen;
  }

  async execute(stmt: InStatement): Promise<ResultSet> {
    return (await this.batch([stmt]))[0]!;
  }

  async batch(stmts: InStatement[]): Promise<ResultSet[]> {
    this.#requireOpen('execute statements');
    try {
      const statements = stmts.map((stmt) => toStatement(stmt));
      this.#isClean &&= statements.every(({ sql }) => leavesNothing(sql));
      const before = await this.#run(statements);
      return resultsOf(before.outcome, before.first, statements.length, this.#options.intMode);
    } catch (error) {
      throw toClientError(error);
    }
  }

  async executeMultiple(sql: string): Promise<void> {
    this.#requireOpen('execute statements');
    try {
      this.#isClean = false;
      if (!this.#hasBegun) await this.#run([]);
      const { lsn } = await this.#stream.runScript(sql, this.#options.consistency());
      this.#options.onSeen(lsn);
    } catch (error) {
      throw toClientError(error);
    }
  }

  async commit(): Promise<void> {
    this.#requireOpen('commit');
    await this.#end('COMMIT');
  }

  async rollback(): Promise<void> {
    if (!this.closed) await this.#end('ROLLBACK');
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.release(this.#stream, !this.#hasBegun);
  }

  async #run(statements: readonly Statement[]): Promise<{ outcome: ProgramOutcome; first: number }> {
    const { mode, consistency, onSeen } = this.#options;
    const first = this.#hasBegun ? 0 : 1;
    const begin = this.#hasBegun ? [] : [beginStep(mode)];
    this.#hasBegun = true;
    const steps = [...begin, ...statementSteps(statements, first)];
    if (steps.length === 0)
      return { outcome: { steps: [], lsn: this.#stream.seenLsn, isAutocommit: false }, first };
    try {
      const outcome = await runProgram(this.#stream, steps, consistency());
      onSeen(outcome.lsn);
      if (first === 1) requireStep(outcome, 0);
      return { outcome, first };
    } catch (error) {
      // What has not begun can take nothing more.
      if (first === 1) this.close();
      throw error;
    }
  }

  async #end(sql: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    this.#isOver = true;
    const { consistency, onSeen, release } = this.#options;
    let isClean = !this.#hasBegun;
    try {
      if (!this.#hasBegun) return;
      const outcome = await runProgram(this.#stream, [plainStep(sql)], consistency());
      onSeen(outcome.lsn);
      isClean = this.#isClean && outcome.isAutocommit;
      requireStep(outcome, 0);
    } catch (error) {
      throw toClientError(error);
    } finally {
      release(this.#stream, isClean);
    }
  }

  #requireOpen(what: string): void {
    if (!this.closed) return;
    throw new LibsqlError(`cannot ${what}: the transaction is closed`, 'TRANSACTION_CLOSED');
  }
}
