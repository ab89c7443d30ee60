/**
 * What became of each transaction that wrote. For acknowledged and rejected ones the client was told; for an unknown one it is what others
 * saw: if anybody saw something of it, all of it happened, and not later than that look ended; if a last look misses something of it, it did
 * not happen. What cannot be told stays open.
 *
 * A register that an unknown transaction wrote may have been written over since: a last look that misses its value says nothing.
 */
import type { Transaction } from './history.ts';
import type { ListIndex } from './list-index.ts';
import type { RegisterIndex } from './register-index.ts';

export interface Fate {
  readonly happened: 'yes' | 'no' | 'open';
  /** Happened, if at all, not later: its answer, or the end of the first look that saw it; Infinity: not known. */
  readonly before: number;
}

const REJECTED: Fate = { happened: 'no', before: Number.POSITIVE_INFINITY };
const OPEN: Fate = { happened: 'open', before: Number.POSITIVE_INFINITY };

export function fatesOf(
  transactions: readonly Transaction[],
  { lists, appends }: ListIndex,
  { registers }: RegisterIndex,
): Fate[] {
  const seenAt = new Map<number, number>();
  const missed = new Set<number>();
  const see = (writer: number, reader: number): void => {
    const endedAt = (transactions[reader] as Transaction).completedAt;
    if (writer !== reader)
      seenAt.set(writer, Math.min(seenAt.get(writer) ?? Number.POSITIVE_INFINITY, endedAt));
  };
  for (const list of lists.values()) {
    for (const read of list.reads) {
      for (const element of read.elements) {
        const append = appends.get(element);
        if (append === undefined || transactions[append.transaction]?.outcome !== 'unknown') continue;
        see(append.transaction, read.transaction);
      }
    }
    if (list.lastLook === null) continue;
    const there = new Set(list.lastLook.elements);
    for (const { element, transaction } of list.appends) if (!there.has(element)) missed.add(transaction);
  }
  for (const { parts, writers } of registers.values()) {
    for (const { transaction, found } of parts) {
      if (found == null) continue;
      const writer = writers.get(found);
      if (writer !== undefined) see(writer.transaction, transaction);
    }
  }
  return transactions.map(({ outcome, completedAt }, index) => {
    if (outcome === 'ok') return { happened: 'yes', before: completedAt };
    if (outcome === 'failed') return REJECTED;
    const before = seenAt.get(index);
    if (before !== undefined) return { happened: 'yes', before };
    return missed.has(index) ? REJECTED : OPEN;
  });
}
