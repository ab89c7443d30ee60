/**
 * The bank: whoever looks at all accounts at once finds all the money, at every isolation. A strong look also finds, in each account, all that
 * was certainly done before it began, and nothing that cannot have been done before it ended. At the end, when the fate of every
 * transaction is known (each also appends to a list), this leaves one balance only.
 */
import type { Transaction } from './history.ts';
import type { HistoryIndex } from './history-index.ts';
import type { Violation } from './violation.ts';

export function checkBank(index: HistoryIndex): Violation[] {
  const { transactions, history } = index;
  const opening = history.openingBalances;
  const total = sum(Object.values(opening));
  const limits = new Map(Object.keys(opening).map((account) => [account, new BalanceLimits(index, account)]));
  const violations: Violation[] = [];
  for (const [reader, transaction] of transactions.entries()) {
    const own = new Map<string, number>();
    for (const operation of transaction.operations) {
      if (operation.kind === 'transfer') move(own, operation);
      if (operation.kind !== 'read-accounts') continue;
      const { balances } = operation;
      const report = (rule: string, message: string): void => {
        violations.push({ rule, message: `transaction ${reader} found ${message}`, transactions: [reader] });
      };
      if (
        Object.keys(balances).length !== limits.size ||
        Object.keys(balances).some((name) => !limits.has(name))
      )
        report('accounts', `the accounts ${Object.keys(balances)}, not ${[...limits.keys()]}`);
      const found = sum(Object.values(balances));
      if (found !== total) report('total', `${found} in all accounts, not ${total}`);
      if (transaction.isolation !== 'strong') continue;
      for (const [account, limit] of limits) {
        const balance = (balances[account] ?? 0) - (own.get(account) ?? 0);
        const { least, most } = limit.during(transaction, transaction.invokedAt >= history.settledAt);
        if (balance >= least && balance <= most) continue;
        report('balance', `${balance} in account ${account}, where ${least} to ${most} can be`);
      }
    }
  }
  return violations;
}

/** Changes of one account, summed up to a moment. */
class RunningSum {
  readonly #times: number[] = [];
  readonly #sums: number[] = [];

  constructor(changes: readonly { readonly at: number; readonly amount: number }[]) {
    let sumSoFar = 0;
    for (const { at, amount } of [...changes].sort((a, b) => a.at - b.at)) {
      sumSoFar += amount;
      this.#times.push(at);
      this.#sums.push(sumSoFar);
    }
  }

  before(moment: number): number {
    return this.#sumOf((at) => at < moment);
  }

  until(moment: number): number {
    return this.#sumOf((at) => at <= moment);
  }

  #sumOf(isIn: (at: number) => boolean): number {
    let [low, high] = [0, this.#times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isIn(this.#times[middle] as number)) low = middle + 1;
      else high = middle;
    }
    return this.#sums[low - 1] ?? 0;
  }
}

/** What a look at one account may find. */
class BalanceLimits {
  readonly #opening: number;
  readonly #certainGains: RunningSum;
  readonly #certainLosses: RunningSum;
  readonly #possibleGains: RunningSum;
  readonly #possibleLosses: RunningSum;

  constructor({ transactions, fates, history }: HistoryIndex, account: string) {
    const certain: { at: number; amount: number }[] = [];
    const possible: { at: number; amount: number }[] = [];
    for (const [index, { operations, invokedAt }] of transactions.entries()) {
      const { happened, before } = fates[index] as HistoryIndex['fates'][number];
      if (happened === 'no') continue;
      for (const operation of operations) {
        if (operation.kind !== 'transfer') continue;
        for (const [name, amount] of changesOf(operation)) {
          if (name !== account) continue;
          possible.push({ at: invokedAt, amount });
          certain.push({ at: before, amount });
        }
      }
    }
    const gains = ({ amount }: { amount: number }): boolean => amount > 0;
    const losses = ({ amount }: { amount: number }): boolean => amount < 0;
    this.#opening = history.openingBalances[account] ?? 0;
    this.#certainGains = new RunningSum(certain.filter(gains));
    this.#certainLosses = new RunningSum(certain.filter(losses));
    this.#possibleGains = new RunningSum(possible.filter(gains));
    this.#possibleLosses = new RunningSum(possible.filter(losses));
  }

  during(
    { invokedAt, completedAt }: Transaction,
    isLastLook: boolean,
  ): { readonly least: number; readonly most: number } {
    const done = isLastLook ? Number.POSITIVE_INFINITY : invokedAt;
    const gains = this.#certainGains.before(done);
    const losses = this.#certainLosses.before(done);
    return {
      least: this.#opening + gains + this.#possibleLosses.until(completedAt),
      most: this.#opening + losses + this.#possibleGains.until(completedAt),
    };
  }
}

function changesOf(transfer: { from: string; to: string; amount: number }): [string, number][] {
  return [
    [transfer.from, -transfer.amount],
    [transfer.to, transfer.amount],
  ];
}

function move(balances: Map<string, number>, transfer: { from: string; to: string; amount: number }): void {
  for (const [account, amount] of changesOf(transfer))
    balances.set(account, (balances.get(account) ?? 0) + amount);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
