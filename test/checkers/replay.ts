/**
 * The replay oracle: a read at LSN L is what a plain replay shows of all MTRs up to L, in the order of their LSNs. A transaction that wrote
 * read the state just before its own MTR. And LSNs follow real time: what begins after an answer has, or sees, no lower one.
 *
 * Transactions whose LSN nobody learned (an unknown outcome that others saw) have no place in the replay: their elements and values are
 * passed over, and with unplaced transfers balances are left to the bank's own checker.
 */
import { isWrite, type Transaction } from './history.ts';
import type { HistoryIndex } from './history-index.ts';
import type { Violation } from './violation.ts';

interface Placed {
  readonly index: number;
  readonly transaction: Transaction;
  readonly lsn: number;
  /** It has an MTR of its own at `lsn`, or tried to. */
  readonly isWriter: boolean;
}

export function checkReplay(index: HistoryIndex): Violation[] {
  const placed: Placed[] = [];
  for (const [place, transaction] of index.transactions.entries()) {
    const { lsn, outcome, operations } = transaction;
    if (lsn === null) continue;
    placed.push({
      index: place,
      transaction,
      lsn,
      isWriter: outcome !== 'failed' && operations.some(isWrite),
    });
  }
  // At one LSN the writer comes first.
  const inOrder = [...placed].sort((a, b) => a.lsn - b.lsn || Number(b.isWriter) - Number(a.isWriter));
  return [...sharedLsns(inOrder), ...againstTime(placed), ...new Replay(index).run(inOrder)];
}

function sharedLsns(inOrder: readonly Placed[]): Violation[] {
  const violations: Violation[] = [];
  for (const [place, { lsn, index, isWriter }] of inOrder.entries()) {
    const before = inOrder[place - 1];
    if (before === undefined || before.lsn !== lsn || !before.isWriter || !isWriter) continue;
    const message = `transactions ${before.index} and ${index} both wrote at LSN ${lsn}`;
    violations.push({ rule: 'shared-lsn', message, transactions: [before.index, index] });
  }
  return violations;
}

function againstTime(placed: readonly Placed[]): Violation[] {
  const ended = placed
    .filter(({ transaction }) => transaction.outcome === 'ok')
    .sort((a, b) => a.transaction.completedAt - b.transaction.completedAt);
  const begun = placed
    .filter(({ transaction, isWriter }) => isWriter || transaction.isolation === 'strong')
    .sort((a, b) => a.transaction.invokedAt - b.transaction.invokedAt);
  const violations: Violation[] = [];
  let highest: Placed | null = null;
  let next = 0;
  for (const one of begun) {
    for (; next < ended.length; next += 1) {
      const done = ended[next] as Placed;
      if (done.transaction.completedAt >= one.transaction.invokedAt) break;
      if (highest === null || done.lsn > highest.lsn) highest = done;
    }
    if (highest === null || one.lsn > highest.lsn || (!one.isWriter && one.lsn === highest.lsn)) continue;
    const message = `transaction ${one.index} has LSN ${one.lsn}, transaction ${highest.index}, which had ended before, ${highest.lsn}`;
    violations.push({ rule: 'lsn-against-time', message, transactions: [highest.index, one.index] });
  }
  return violations;
}

class Replay {
  readonly #index: HistoryIndex;
  readonly #lists = new Map<string, number[]>();
  readonly #registers = new Map<string, number>();
  readonly #balances: Map<string, number>;
  readonly #unplacedElements = new Set<number>();
  /** `key value`. */
  readonly #unplacedValues = new Set<string>();
  readonly #knowsBalances: boolean;
  readonly #violations: Violation[] = [];

  constructor(index: HistoryIndex) {
    this.#index = index;
    this.#balances = new Map(Object.entries(index.history.openingBalances));
    let knowsBalances = true;
    for (const [place, { operations, lsn }] of index.transactions.entries()) {
      const happened = index.fates[place]?.happened;
      const isPlaced = lsn !== null && happened === 'yes';
      for (const operation of operations) {
        if (isPlaced || happened === 'no') continue;
        if (operation.kind === 'append') this.#unplacedElements.add(operation.element);
        else if (operation.kind === 'write') this.#unplacedValues.add(`${operation.key} ${operation.value}`);
        else if (operation.kind === 'transfer') knowsBalances = false;
      }
    }
    this.#knowsBalances = knowsBalances;
  }

  run(inOrder: readonly Placed[]): readonly Violation[] {
    for (const placed of inOrder) {
      this.#compare(placed);
      if (placed.isWriter && this.#index.fates[placed.index]?.happened === 'yes')
        this.#apply(placed.transaction);
    }
    return this.#violations;
  }

  #apply({ operations }: Transaction): void {
    for (const operation of operations) {
      if (operation.kind === 'append') {
        const list = this.#lists.get(operation.key);
        if (list === undefined) this.#lists.set(operation.key, [operation.element]);
        else list.push(operation.element);
      } else if (operation.kind === 'write') this.#registers.set(operation.key, operation.value);
      else if (operation.kind === 'transfer') {
        const { from, to, amount } = operation;
        this.#balances.set(from, (this.#balances.get(from) ?? 0) - amount);
        this.#balances.set(to, (this.#balances.get(to) ?? 0) + amount);
      }
    }
  }

  #compare({ index, transaction, lsn }: Placed): void {
    const ownElements = new Map<string, number[]>();
    const ownValues = new Map<string, number>();
    const ownMoves = new Map<string, number>();
    const expect = (what: string, expected: unknown, found: unknown): void => {
      if (expected === found) return;
      const message = `transaction ${index} read ${what} at LSN ${lsn}: found ${found}, a replay shows ${expected}`;
      this.#violations.push({ rule: 'not-as-replayed', message, transactions: [index] });
    };
    for (const operation of transaction.operations) {
      switch (operation.kind) {
        case 'append':
          ownElements.set(operation.key, [...(ownElements.get(operation.key) ?? []), operation.element]);
          break;
        case 'write':
          ownValues.set(operation.key, operation.value);
          break;
        case 'transfer':
          ownMoves.set(operation.from, (ownMoves.get(operation.from) ?? 0) - operation.amount);
          ownMoves.set(operation.to, (ownMoves.get(operation.to) ?? 0) + operation.amount);
          break;
        case 'read-list': {
          const { key } = operation;
          const own = ownElements.get(key) ?? [];
          const replayed = this.#lists.get(key) ?? [];
          // A transaction knows its own elements, placed or not.
          const theirs = operation.elements.slice(0, operation.elements.length - own.length);
          const found =
            this.#unplacedElements.size === 0
              ? theirs
              : theirs.filter((element) => !this.#unplacedElements.has(element));
          const differs = found.findIndex((element, place) => element !== replayed[place]);
          if (differs >= 0) expect(`${key}[${differs}]`, replayed[differs], found[differs]);
          else expect(`the length of ${key}`, replayed.length, found.length);
          break;
        }
        case 'read-register': {
          const { key, value } = operation;
          if (value !== null && this.#unplacedValues.has(`${key} ${value}`) && !ownValues.has(key)) break;
          expect(key, ownValues.get(key) ?? this.#registers.get(key) ?? null, value);
          break;
        }
        case 'read-accounts':
          if (!this.#knowsBalances) break;
          for (const [account, balance] of this.#balances) {
            expect(`account ${account}`, balance + (ownMoves.get(account) ?? 0), operation.balances[account]);
          }
          break;
      }
    }
  }
}
