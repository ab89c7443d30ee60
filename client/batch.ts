/** Programs of several statements, each run only if the one before it succeeded and the transaction is still open; and what came of them. */
import type { Condition, Statement, Step } from '../compute-node/engine/api.ts';
import { batchError, LibsqlBatchError, libsqlError } from './errors.ts';
import { type ProgramOutcome, resultSetOf } from './program.ts';
import type { IntMode, ResultSet, TransactionMode } from './types.ts';

const IN_TRANSACTION: Condition = { kind: 'not', cond: { kind: 'is-autocommit' } };

/** Throws RangeError for a mode there is not. */
export function beginStep(mode: TransactionMode): Step {
  return plainStep(beginSql(mode));
}

function beginSql(mode: TransactionMode): string {
  switch (mode) {
    case 'write':
      return 'BEGIN IMMEDIATE';
    case 'read':
      return 'BEGIN TRANSACTION READONLY';
    case 'deferred':
      return 'BEGIN DEFERRED';
    default:
      throw new RangeError('Unknown transaction mode, supported values are "write", "read" and "deferred"');
  }
}

/** In an open transaction; `after`: the steps before these, the last of which must have succeeded. */
export function statementSteps(statements: readonly Statement[], after: number): Step[] {
  return statements.map((statement, i) => ({
    statement,
    condition: after + i === 0 ? IN_TRANSACTION : { kind: 'and', conds: [ok(after + i - 1), IN_TRANSACTION] },
  }));
}

/** A whole transaction: `first` begins it, what fails rolls it back. */
export function transactionSteps(first: readonly Step[], statements: readonly Statement[]): Step[] {
  const steps = [...first, ...statementSteps(statements, first.length)];
  const commit = steps.length;
  return [
    ...steps,
    plainStep('COMMIT', { kind: 'and', conds: [ok(commit - 1), IN_TRANSACTION] }),
    plainStep('ROLLBACK', { kind: 'and', conds: [{ kind: 'not', cond: ok(commit) }, IN_TRANSACTION] }),
  ];
}

export function plainStep(sql: string, condition: Condition | null = null): Step {
  return { statement: { sql, args: [], namedArgs: [], wantRows: false }, condition };
}

/** Of `count` statements from step `from` on. Throws LibsqlBatchError for the first without a result. */
export function resultsOf(
  { steps }: ProgramOutcome,
  from: number,
  count: number,
  intMode: IntMode,
): ResultSet[] {
  const results: ResultSet[] = [];
  for (let i = 0; i < count; i++) {
    const outcome = steps[from + i];
    if (outcome === undefined) {
      throw new LibsqlBatchError(
        'the statement was not run, probably because the transaction has been rolled back',
        i,
        'TRANSACTION_CLOSED',
      );
    }
    if (outcome.kind === 'failed') throw batchError(outcome.error, i);
    results.push(resultSetOf(outcome, intMode));
  }
  return results;
}

/** Throws what step `index` failed with. */
export function requireStep({ steps }: ProgramOutcome, index: number): void {
  const outcome = steps[index];
  if (outcome?.kind === 'failed') throw libsqlError(outcome.error);
}

function ok(step: number): Condition {
  return { kind: 'ok', step };
}
