/**
 * Whether a small history is strictly serializable, by trying: all choices of which unknown transactions happened, and all orders that time
 * allows. Lists and registers only, strong transactions only.
 */
import { type History, isWrite, type Transaction } from '../../checkers/history.ts';

interface Store {
  readonly lists: ReadonlyMap<string, readonly number[]>;
  readonly registers: ReadonlyMap<string, number>;
}

interface Step {
  readonly transaction: Transaction;
  readonly happens: boolean;
  readonly end: number;
}

export function hasSerialOrder({ transactions, settledAt }: History): boolean {
  // What was read was read before the client gave up.
  const unknown = transactions.filter(
    ({ outcome, operations }) => outcome === 'unknown' && operations.some(isWrite),
  );
  for (let choice = 0; choice < 2 ** unknown.length; choice += 1) {
    const steps = transactions.map((transaction): Step => {
      const { outcome, completedAt } = transaction;
      const happens =
        outcome === 'ok' ||
        (unknown.includes(transaction) && ((choice >> unknown.indexOf(transaction)) & 1) === 1);
      return { transaction, happens, end: outcome === 'unknown' && happens ? settledAt - 0.5 : completedAt };
    });
    if (canGoOn({ lists: new Map(), registers: new Map() }, steps)) return true;
  }
  return false;
}

function canGoOn(store: Store, rest: readonly Step[]): boolean {
  if (rest.length === 0) return true;
  const earliestEnd = Math.min(...rest.map(({ end }) => end));
  for (const [place, step] of rest.entries()) {
    if (earliestEnd < step.transaction.invokedAt) continue;
    const after = perform(store, step.transaction);
    if (after !== null && canGoOn(step.happens ? after : store, rest.toSpliced(place, 1))) return true;
  }
  return false;
}

/** Null: it read something else. */
function perform(store: Store, { operations }: Transaction): Store | null {
  const lists = new Map(store.lists);
  const registers = new Map(store.registers);
  for (const operation of operations) {
    if (operation.kind === 'append')
      lists.set(operation.key, [...(lists.get(operation.key) ?? []), operation.element]);
    else if (operation.kind === 'write') registers.set(operation.key, operation.value);
    else if (operation.kind === 'read-list') {
      if (operation.elements.join() !== (lists.get(operation.key) ?? []).join()) return null;
    } else if (operation.kind === 'read-register') {
      if (operation.value !== (registers.get(operation.key) ?? null)) return null;
    }
  }
  return { lists, registers };
}
