/** Appends and reads of lists, by key, and each list's order. */
import type { Transaction } from './history.ts';
import type { Violation } from './violation.ts';

export interface Append {
  readonly transaction: number;
  readonly key: string;
  readonly element: number;
  /** Its transaction's last append to this list: what others may see as a list's end. */
  isLast: boolean;
}

export interface ListRead {
  readonly transaction: number;
  readonly key: string;
  /** Without what the reader itself had appended before. */
  readonly elements: readonly number[];
}

export interface List {
  readonly key: string;
  readonly appends: Append[];
  readonly reads: ListRead[];
  /** As the longest read shows it. */
  order: readonly number[];
  /** Element → place in `order`. */
  readonly places: Map<number, number>;
  /** The shortest, of several; what is not in it is not there. Null: nobody looked. */
  lastLook: ListRead | null;
}

export interface ListIndex {
  readonly lists: ReadonlyMap<string, List>;
  /** Element → its append. */
  readonly appends: ReadonlyMap<number, Append>;
  /** Elements that some transaction, other than its own, has read. */
  readonly seen: ReadonlySet<number>;
  /** Of transactions that contradict themselves, and of reads that contradict each other. */
  readonly violations: readonly Violation[];
}

export function indexLists(transactions: readonly Transaction[], settledAt: number): ListIndex {
  const lists = new Map<string, List>();
  const appends = new Map<number, Append>();
  const violations: Violation[] = [];
  for (const [index, transaction] of transactions.entries()) {
    const own = new Map<string, Append[]>();
    for (const operation of transaction.operations) {
      if (operation.kind === 'append') {
        const { key, element } = operation;
        const append = { transaction: index, key, element, isLast: true };
        if (appends.has(element)) throw new Error(`element ${element} is appended twice in the history`);
        appends.set(element, append);
        listOf(lists, key).appends.push(append);
        const before = own.get(key);
        if (before === undefined) own.set(key, [append]);
        else {
          (before.at(-1) as Append).isLast = false;
          before.push(append);
        }
      } else if (operation.kind === 'read-list') {
        const { key, elements } = operation;
        const mine = own.get(key) ?? [];
        const theirs = elements.length - mine.length;
        if (mine.some(({ element }, place) => elements[theirs + place] !== element)) {
          const message = `transaction ${index} read ${key} without its own append ${mine.map(({ element }) => element)}`;
          violations.push({ rule: 'internal', message, transactions: [index] });
          continue;
        }
        const { isolation, outcome, invokedAt } = transaction;
        const external = mine.length === 0 ? elements : elements.slice(0, theirs);
        const list = listOf(lists, key);
        const read = { transaction: index, key, elements: external };
        list.reads.push(read);
        if (external.length > list.order.length) list.order = external;
        // What an acknowledged transaction saw of itself is as good as what others see.
        if (outcome === 'ok' && elements.length > list.order.length) list.order = elements;
        const isLastLook = isolation === 'strong' && outcome === 'ok' && invokedAt >= settledAt;
        if (isLastLook && (list.lastLook === null || external.length < list.lastLook.elements.length))
          list.lastLook = read;
      }
    }
  }
  const seen = new Set<number>();
  for (const list of lists.values()) {
    for (const [place, element] of list.order.entries()) {
      if (list.places.has(element)) {
        const message = `${list.key} holds ${element} twice`;
        violations.push({ rule: 'twice', message, transactions: transactionsOf([element], appends) });
      } else list.places.set(element, place);
    }
    for (const [at, { element, transaction }] of list.appends.entries()) {
      const before = list.appends[at - 1];
      if (before === undefined || before.transaction !== transaction) continue;
      if ((list.places.get(before.element) ?? -1) < (list.places.get(element) ?? list.order.length)) continue;
      const message = `${list.key} holds ${element} before ${before.element}, which transaction ${transaction} appended first`;
      violations.push({ rule: 'incompatible-order', message, transactions: [transaction] });
    }
    for (const read of list.reads) {
      for (const [place, element] of read.elements.entries()) {
        seen.add(element);
        if (list.order[place] === element) continue;
        const message = `transaction ${read.transaction} read ${element} at place ${place} of ${list.key}, where others read ${list.order[place]}`;
        const evidence = transactionsOf([element, list.order[place] as number], appends);
        violations.push({
          rule: 'incompatible-order',
          message,
          transactions: [read.transaction, ...evidence],
        });
        break;
      }
    }
  }
  return { lists, appends, seen, violations };
}

function listOf(lists: Map<string, List>, key: string): List {
  let list = lists.get(key);
  if (list === undefined) {
    list = { key, appends: [], reads: [], order: [], places: new Map(), lastLook: null };
    lists.set(key, list);
  }
  return list;
}

function transactionsOf(elements: readonly number[], appends: ReadonlyMap<number, Append>): number[] {
  return elements.flatMap((element) => appends.get(element)?.transaction ?? []);
}
