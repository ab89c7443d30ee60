/** Conditions of a program that runs in pieces: what earlier pieces came to is known, what the next one asks of itself is left to it. */
import { assertNever } from '../../../src/base/assert.ts';
import type { Condition } from '../../engine/api.ts';

export type StepOutcome = 'ok' | 'error' | 'skipped';

const TRUE: Condition = { kind: 'and', conds: [] };
const FALSE: Condition = { kind: 'or', conds: [] };

/** `condition` for a piece that begins with step `from`, whose earlier steps came to `outcomes`. */
export function rebase(condition: Condition, from: number, outcomes: readonly StepOutcome[]): Condition {
  switch (condition.kind) {
    case 'ok':
    case 'error':
      if (condition.step >= from) return { kind: condition.kind, step: condition.step - from };
      return outcomes[condition.step] === condition.kind ? TRUE : FALSE;
    case 'not':
      return { kind: 'not', cond: rebase(condition.cond, from, outcomes) };
    case 'and':
    case 'or':
      return { kind: condition.kind, conds: condition.conds.map((cond) => rebase(cond, from, outcomes)) };
    case 'is-autocommit':
      return condition;
    default:
      return assertNever(condition, 'condition');
  }
}

/** As the engine decides it: a step that has not run is neither ok nor an error. */
export function holds(
  condition: Condition,
  outcomes: readonly StepOutcome[],
  isAutocommit: boolean,
): boolean {
  switch (condition.kind) {
    case 'ok':
    case 'error':
      return outcomes[condition.step] === condition.kind;
    case 'not':
      return !holds(condition.cond, outcomes, isAutocommit);
    case 'and':
      return condition.conds.every((cond) => holds(cond, outcomes, isAutocommit));
    case 'or':
      return condition.conds.some((cond) => holds(cond, outcomes, isAutocommit));
    case 'is-autocommit':
      return isAutocommit;
    default:
      return assertNever(condition, 'condition');
  }
}
