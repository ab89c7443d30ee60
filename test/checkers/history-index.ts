/**
 * A history, looked up: who wrote what, which reads saw it, in which order elements came to stand in their lists, and what became of the
 * transactions whose clients were told nothing. Built once; every checker reads it.
 *
 * The order of a list is what its longest read shows: elements are never moved, so every other read must be a prefix of it. What was
 * certainly appended and is not in it comes after it.
 */
import { type Fate, fatesOf } from './fates.ts';
import type { History, Transaction } from './history.ts';
import { indexLists, type ListIndex } from './list-index.ts';
import { indexRegisters, type RegisterIndex } from './register-index.ts';

export interface HistoryIndex {
  readonly history: History;
  readonly transactions: readonly Transaction[];
  readonly lists: ListIndex;
  readonly registers: RegisterIndex;
  /** By place in `transactions`. */
  readonly fates: readonly Fate[];
}

export function indexHistory(history: History): HistoryIndex {
  const { transactions, settledAt } = history;
  const lists = indexLists(transactions, settledAt);
  const registers = indexRegisters(transactions);
  return { history, transactions, lists, registers, fates: fatesOf(transactions, lists, registers) };
}
