/** All checkers over one history. */
import type { History, Outcome } from './history.ts';
import type { Violation } from './violation.ts';

export interface Report {
  readonly violations: readonly Violation[];
  /** Transactions by outcome. */
  readonly counts: Readonly<Record<Outcome, number>>;
}

type Checker = (history: History) => readonly Violation[];

const CHECKERS: readonly Checker[] = [];

export function judge(history: History): Report {
  const counts = { ok: 0, failed: 0, unknown: 0 };
  for (const { outcome } of history.transactions) counts[outcome] += 1;
  return { violations: CHECKERS.flatMap((check) => check(history)), counts };
}
