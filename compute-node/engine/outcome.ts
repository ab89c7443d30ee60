/**
 * When a program ends without its outcome: may it have committed something? If so its client must hear OUTCOME_UNKNOWN, whatever the
 * cause: an MTR that was handed over may become durable even when this writer is deposed, for the next one recovers what it finds.
 */
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Condition, Step } from './api.ts';
import type { ProgramSource } from './worker-messages.ts';
import { leadingWords } from './worker/sql-text.ts';

/** Outside a transaction these leave nothing behind. */
const READING = new Set(['SELECT', 'VALUES', 'EXPLAIN', 'BEGIN', 'SAVEPOINT', 'ROLLBACK']);
/** Inside one nothing is committed without these. */
const COMMITTING = new Set(['COMMIT', 'END', 'RELEASE']);

/** By its words alone, and so generous. `inTransaction`: one is open for certain when the program begins. */
export function mayCommit(source: ProgramSource, inTransaction: boolean): boolean {
  switch (source.kind) {
    case 'steps':
      return stepsMayCommit(source.steps, inTransaction);
    case 'script':
      return !inTransaction || /\b(commit|end|release)\b/i.test(source.sql);
    case 'describe':
    // It changes an open transaction, and leaves it open.
    case 'changeset':
      return false;
  }
}

function stepsMayCommit(steps: readonly Step[], isOpen: boolean): boolean {
  let inTransaction = isOpen;
  let hasBegun = false;
  for (const { statement, condition } of steps) {
    const [word = ''] = leadingWords(statement.sql, 1);
    // After a BEGIN of the same program, a step that does not depend on its success may run without it.
    const isInside = inTransaction || (hasBegun && dependsOnSuccess(condition));
    if (isInside ? COMMITTING.has(word) : !READING.has(word)) return true;
    if (word === 'BEGIN' || word === 'SAVEPOINT') hasBegun = true;
    if (word === 'ROLLBACK') {
      inTransaction = false;
      hasBegun = false;
    }
  }
  return false;
}

function dependsOnSuccess(condition: Condition | null): boolean {
  return condition?.kind === 'ok' || (condition?.kind === 'and' && condition.conds.some(dependsOnSuccess));
}

/** For a program that may have committed: what is told instead of `cause`. */
export function outcomeUnknown(cause: unknown): unknown {
  const hides = [
    'DEPOSED',
    'UNAVAILABLE',
    'NO_QUORUM',
    'INTERRUPTED',
    'BACKTRACKED',
    'VOLUME_DROPPED',
  ] as const;
  if (!isTidemarkError(cause) || !hides.some((code) => cause.code === code)) return cause;
  return new TidemarkError(
    'OUTCOME_UNKNOWN',
    `what was written may have been committed or not: ${cause.message}`,
    {
      cause,
      nextStep: 'Read the data to see whether the change is there before repeating it.',
    },
  );
}
