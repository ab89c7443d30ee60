/**
 * Which transaction must come before which, and why: Adya's dependencies, read off the lists and registers as Elle does, with the order
 * within sessions and in real time where the isolation promises it. Every level of Tidemark shows a state that one serial order of all
 * transactions went through; the levels differ in how new it must be:
 *
 * - `strong`, and everything that writes, comes after what had ended before it began.
 * - `session` comes after what its own session had ended.
 * - `snapshot` comes anywhere.
 *
 * What a rejected transaction read counts: its reads were answered. What it wrote does not exist.
 */
import {
  DependencyGraph,
  ONWARD,
  READ_WRITE,
  REAL_TIME,
  SESSION,
  WRITE_READ,
  WRITE_WRITE,
} from './dependency-graph.ts';
import type { Fate } from './fates.ts';
import { isWrite, type Transaction } from './history.ts';
import type { HistoryIndex } from './history-index.ts';
import type { List } from './list-index.ts';
import type { Register } from './register-index.ts';

/** Nodes below `index.transactions.length` are transactions. */
export function dependenciesOf(index: HistoryIndex): DependencyGraph {
  const graph = new DependencyGraph(index.transactions.length);
  for (const list of index.lists.lists.values()) addList(graph, index, list);
  for (const register of index.registers.registers.values()) addRegister(graph, index, register);
  addRealTime(graph, index);
  addSessions(graph, index);
  return graph;
}

function addList(graph: DependencyGraph, { lists, fates }: HistoryIndex, list: List): void {
  const writers = list.order.map((element) => lists.appends.get(element)?.transaction ?? null);
  for (let place = 1; place < writers.length; place += 1) {
    const [before, after] = [writers[place - 1], writers[place]];
    if (before != null && after != null) graph.addEdge(before, after, WRITE_WRITE);
  }
  // What happened and nobody read stands behind all that was read.
  const unread = list.appends.filter(
    ({ element, transaction }) => !list.places.has(element) && fates[transaction]?.happened === 'yes',
  );
  const behind = unread.length === 0 ? null : graph.addNode();
  for (const { transaction } of unread) graph.addEdge(behind as number, transaction, ONWARD);
  const last = writers.at(-1);
  if (behind !== null && last != null) graph.addEdge(last, behind, WRITE_WRITE);
  for (const { transaction, elements } of list.reads) {
    const writer = writers[elements.length - 1];
    if (writer != null) graph.addEdge(writer, transaction, WRITE_READ);
    const next = writers[elements.length];
    if (next != null) graph.addEdge(transaction, next, READ_WRITE);
    else if (behind !== null && elements.length === writers.length)
      graph.addEdge(transaction, behind, READ_WRITE);
  }
}

/** The order of a register's values is known only where a transaction found one and left the next. */
function addRegister(graph: DependencyGraph, { fates }: HistoryIndex, { parts, writers }: Register): void {
  const next = new Map<number | null, number[]>();
  for (const { transaction, found, left } of parts) {
    if (found === undefined || left === undefined || fates[transaction]?.happened !== 'yes') continue;
    next.set(found, [...(next.get(found) ?? []), transaction]);
  }
  for (const { transaction, found } of parts) {
    if (found === undefined) continue;
    const writer = found === null ? undefined : writers.get(found);
    if (writer !== undefined) graph.addEdge(writer.transaction, transaction, WRITE_READ);
    for (const after of next.get(found) ?? []) {
      graph.addEdge(transaction, after, READ_WRITE);
      if (writer !== undefined) graph.addEdge(writer.transaction, after, WRITE_WRITE);
    }
  }
}

function mustBeNew({ isolation, operations }: Transaction): boolean {
  return isolation === 'strong' || operations.some(isWrite);
}

/** It changed nothing and saw nothing: there is no moment at which it happened, and nothing comes before or after it. */
function isNothing(transaction: Transaction, fate: Fate | undefined): boolean {
  return fate?.happened === 'no' && transaction.operations.every(isWrite);
}

/** A node for every moment at which something begins that must come after what ended since the moment before. */
function addRealTime(graph: DependencyGraph, { transactions, fates }: HistoryIndex): void {
  const ended = transactions
    .map(({ outcome, completedAt }, node) => ({ node, outcome, completedAt }))
    // An unknown one may still happen after its client gave up.
    .filter(({ node, outcome }) => outcome !== 'unknown' || fates[node]?.happened === 'no')
    .filter(({ node }) => !isNothing(transactions[node] as Transaction, fates[node]))
    .sort((a, b) => a.completedAt - b.completedAt);
  const begun = transactions
    .map((transaction, node) => ({ node, transaction }))
    .filter(({ transaction }) => mustBeNew(transaction))
    .sort((a, b) => a.transaction.invokedAt - b.transaction.invokedAt);
  let moment: number | null = null;
  let next = 0;
  for (const { node, transaction } of begun) {
    const first = next;
    while (next < ended.length && (ended[next]?.completedAt as number) < transaction.invokedAt) next += 1;
    if (next > first) {
      const before: number | null = moment;
      moment = graph.addNode();
      if (before !== null) graph.addEdge(before, moment, REAL_TIME);
      for (const { node: done } of ended.slice(first, next)) graph.addEdge(done, moment, REAL_TIME);
    }
    if (moment !== null) graph.addEdge(moment, node, REAL_TIME);
  }
}

function addSessions(graph: DependencyGraph, { transactions, fates }: HistoryIndex): void {
  const moments = new Map<string, number>();
  const inOrder = transactions
    .map((transaction, node) => ({ transaction, node }))
    .filter(({ transaction, node }) => !isNothing(transaction, fates[node]))
    .sort((a, b) => a.transaction.invokedAt - b.transaction.invokedAt);
  for (const { transaction, node } of inOrder) {
    const { session, isolation, outcome } = transaction;
    const before = moments.get(session);
    const isAfter = isolation === 'session' || mustBeNew(transaction);
    if (before !== undefined && isAfter) graph.addEdge(before, node, SESSION);
    if (outcome === 'unknown') continue;
    const moment = graph.addNode();
    graph.addEdge(node, moment, SESSION);
    if (before !== undefined) graph.addEdge(before, moment, SESSION);
    moments.set(session, moment);
  }
}
