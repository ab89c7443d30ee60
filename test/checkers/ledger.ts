/**
 * The ledger: every acknowledged transaction is there exactly once, a rejected one never, an unknown one at most once, whole, and once seen
 * for good. Judged over lists, whose elements name their transactions: what a look misses, and what it should not have found.
 */
import type { HistoryIndex } from './history-index.ts';
import type { List, ListRead } from './list-index.ts';
import type { Violation } from './violation.ts';

export function checkLedger(index: HistoryIndex): Violation[] {
  const violations = [...index.lists.violations];
  for (const list of index.lists.lists.values()) {
    violations.push(...strangers(index, list), ...losses(index, list), ...lapses(index, list));
  }
  return violations;
}

/** Elements nobody appended, or whose transaction was rejected. */
function strangers({ lists, transactions }: HistoryIndex, { key, reads }: List): Violation[] {
  const found = new Map<number, Violation>();
  for (const { elements, transaction } of reads) {
    for (const element of elements) {
      const append = lists.appends.get(element);
      if (append === undefined || append.key !== key) {
        const message = `transaction ${transaction} read ${element} in ${key}, which nobody appended there`;
        found.set(element, { rule: 'invented', message, transactions: [transaction] });
      } else if (
        transactions[append.transaction]?.outcome === 'failed' &&
        append.transaction !== transaction
      ) {
        const message = `transaction ${transaction} read ${element} in ${key}, of transaction ${append.transaction}, which was rejected`;
        found.set(element, { rule: 'rejected', message, transactions: [append.transaction, transaction] });
      }
    }
  }
  return [...found.values()];
}

/** Elements of transactions that happened and that the last look does not find. */
function losses({ fates, transactions }: HistoryIndex, { key, appends, lastLook }: List): Violation[] {
  if (lastLook === null) {
    const acknowledged = appends.find(({ transaction }) => transactions[transaction]?.outcome === 'ok');
    if (acknowledged === undefined) return [];
    const message = `nobody looked at ${key} at the end`;
    return [{ rule: 'not-looked-at', message, transactions: [acknowledged.transaction] }];
  }
  const there = new Set(lastLook.elements);
  return appends
    .filter(({ element, transaction }) => fates[transaction]?.happened === 'yes' && !there.has(element))
    .map(({ element, transaction }) => {
      const isAcknowledged = transactions[transaction]?.outcome === 'ok';
      const message = isAcknowledged
        ? `${element} is not in ${key} at the end; transaction ${transaction} was acknowledged`
        : `${element} is not in ${key} at the end; others have seen transaction ${transaction}`;
      const rule = isAcknowledged ? 'lost' : 'torn';
      return { rule, message, transactions: [transaction, lastLook.transaction] };
    });
}

/**
 * Strong reads that miss what was acknowledged, or seen by others, before they began. Reads are prefixes of one order, so it is
 * enough to compare lengths: the least length that a read may have only grows.
 */
function lapses({ transactions }: HistoryIndex, list: List): Violation[] {
  const known: { readonly at: number; readonly length: number; readonly by: number; readonly how: string }[] =
    [];
  for (const { element, transaction } of list.appends) {
    const { outcome, completedAt } = transactions[transaction] as HistoryIndex['transactions'][number];
    const place = list.places.get(element);
    if (outcome === 'ok' && place !== undefined)
      known.push({ at: completedAt, length: place + 1, by: transaction, how: 'was acknowledged' });
  }
  for (const { elements, transaction } of list.reads) {
    const at = (transactions[transaction] as HistoryIndex['transactions'][number]).completedAt;
    known.push({ at, length: elements.length, by: transaction, how: 'was answered' });
  }
  known.sort((a, b) => a.at - b.at);
  const invokedAt = ({ transaction }: ListRead): number => transactions[transaction]?.invokedAt as number;
  const strong = list.reads.filter(({ transaction }) => transactions[transaction]?.isolation === 'strong');
  strong.sort((a, b) => invokedAt(a) - invokedAt(b));
  const violations: Violation[] = [];
  let least = { at: Number.NEGATIVE_INFINITY, length: 0, by: -1, how: '' };
  let next = 0;
  for (const read of strong) {
    for (; next < known.length && (known[next]?.at as number) < invokedAt(read); next += 1) {
      if ((known[next]?.length as number) > least.length) least = known[next] as typeof least;
    }
    if (read.elements.length >= least.length) continue;
    const message = `transaction ${read.transaction} read ${read.elements.length} elements of ${list.key}; ${least.length} were there before it began: transaction ${least.by} ${least.how}`;
    violations.push({ rule: 'stale', message, transactions: [least.by, read.transaction] });
  }
  return violations;
}
