/** All checkers over one history. */
import { checkBank } from './bank.ts';
import { checkCycles } from './cycles.ts';
import type { History, Outcome } from './history.ts';
import { type HistoryIndex, indexHistory } from './history-index.ts';
import { checkLedger } from './ledger.ts';
import { checkRegisters } from './registers.ts';
import { checkReplay } from './replay.ts';
import { checkSessions } from './sessions.ts';
import type { Violation } from './violation.ts';

export interface Report {
  readonly violations: readonly Violation[];
  /** Transactions by outcome. */
  readonly counts: Readonly<Record<Outcome, number>>;
}

/** By the name that their violations are told under. */
const CHECKERS: Readonly<Record<string, (index: HistoryIndex) => readonly Violation[]>> = {
  ledger: checkLedger,
  cycles: checkCycles,
  registers: checkRegisters,
  bank: checkBank,
  sessions: checkSessions,
  replay: checkReplay,
};

export function judge(history: History): Report {
  const counts = { ok: 0, failed: 0, unknown: 0 };
  for (const { outcome } of history.transactions) counts[outcome] += 1;
  const index = indexHistory(history);
  const violations = Object.entries(CHECKERS).flatMap(([checker, check]) =>
    check(index).map((violation) => ({ ...violation, rule: `${checker}: ${violation.rule}` })),
  );
  return { violations, counts };
}
