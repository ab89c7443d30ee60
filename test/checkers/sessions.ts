/**
 * Monotone sessions: at `session` and `strong`, a session's reads never go back, and contain what the session itself was acknowledged.
 * Judged by the places in lists, and by LSNs where they are known.
 */
import { isWrite } from './history.ts';
import type { HistoryIndex } from './history-index.ts';
import type { Violation } from './violation.ts';

interface Seen {
  readonly length: number;
  readonly by: number;
}

export function checkSessions({ transactions, lists }: HistoryIndex): Violation[] {
  const violations: Violation[] = [];
  const bySession = new Map<string, number[]>();
  for (const [index, { session }] of transactions.entries()) {
    const members = bySession.get(session);
    if (members === undefined) bySession.set(session, [index]);
    else members.push(index);
  }
  const readsOf = new Map<number, { key: string; length: number }[]>();
  for (const { key, reads } of lists.lists.values()) {
    for (const { transaction, elements } of reads) {
      const entry = { key, length: elements.length };
      const known = readsOf.get(transaction);
      if (known === undefined) readsOf.set(transaction, [entry]);
      else known.push(entry);
    }
  }
  const invokedAt = (index: number): number => transactions[index]?.invokedAt as number;
  for (const [session, members] of bySession) {
    members.sort((a, b) => invokedAt(a) - invokedAt(b));
    const least = new Map<string, Seen>();
    let highest = { lsn: Number.NEGATIVE_INFINITY, by: -1 };
    for (const index of members) {
      const { isolation, operations, outcome, lsn } = transactions[
        index
      ] as HistoryIndex['transactions'][number];
      const hasWritten = operations.some(isWrite);
      const reads = readsOf.get(index) ?? [];
      if (isolation !== 'snapshot') {
        for (const { key, length } of reads) {
          const before = least.get(key);
          if (before === undefined || length >= before.length) continue;
          const message = `session ${session} went back in ${key}: transaction ${index} read ${length} elements, ${before.length} were there for transaction ${before.by}`;
          violations.push({ rule: 'went-back', message, transactions: [before.by, index] });
        }
        if (lsn !== null && lsn < highest.lsn && (outcome === 'ok' || !hasWritten)) {
          const message = `session ${session} went back from LSN ${highest.lsn} to ${lsn}`;
          violations.push({ rule: 'went-back', message, transactions: [highest.by, index] });
        }
      }
      for (const { key, length } of reads) remember(least, key, { length, by: index });
      if (outcome === 'ok' && lsn !== null && lsn > highest.lsn) highest = { lsn, by: index };
      if (outcome !== 'ok') continue;
      for (const operation of operations) {
        const place =
          operation.kind === 'append'
            ? lists.lists.get(operation.key)?.places.get(operation.element)
            : undefined;
        if (operation.kind === 'append' && place !== undefined)
          remember(least, operation.key, { length: place + 1, by: index });
      }
    }
  }
  return violations;
}

function remember(least: Map<string, Seen>, key: string, seen: Seen): void {
  if (seen.length > (least.get(key)?.length ?? 0)) least.set(key, seen);
}
