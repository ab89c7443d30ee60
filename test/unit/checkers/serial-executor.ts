/**
 * Histories that are right by construction: every transaction takes effect at one moment between its begin and its end (an unknown one
 * later, too, or never), on a plain store that remembers all its versions, so that older isolation levels can be shown older ones.
 */
import type { History, Isolation, MicroOperation, Outcome, Transaction } from '../../checkers/history.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';

export interface SerialOptions {
  readonly random: SeededRandom;
  readonly transactions: number;
  readonly processes: number;
  /** Kinds of objects that are used. */
  readonly objects?: readonly ('lists' | 'registers' | 'bank')[];
  /** A fresh set of keys every so many transactions keeps lists short. */
  readonly keysLive?: number;
  readonly registers?: number;
  readonly levels?: readonly Isolation[];
}

const ACCOUNTS = ['p', 'q', 'r', 's'];
const OPENING_BALANCE = 100;

interface Version<T> {
  readonly lsn: number;
  readonly value: T;
}

/** A store of versions; its LSNs are its time. */
class VersionedStore {
  readonly #lists = new Map<string, Version<number>[]>();
  readonly #registers = new Map<string, Version<number>[]>();
  readonly #transfers: Version<MicroOperation & { kind: 'transfer' }>[] = [];
  lsn = 10;

  apply(operations: readonly MicroOperation[], lsn: number): void {
    this.lsn = lsn;
    for (const operation of operations) {
      if (operation.kind === 'append')
        logOf(this.#lists, operation.key).push({ lsn, value: operation.element });
      if (operation.kind === 'write')
        logOf(this.#registers, operation.key).push({ lsn, value: operation.value });
      if (operation.kind === 'transfer') this.#transfers.push({ lsn, value: operation });
    }
  }

  list(key: string, lsn: number): number[] {
    return upTo(logOf(this.#lists, key), lsn);
  }

  register(key: string, lsn: number): number | null {
    return upTo(logOf(this.#registers, key), lsn).at(-1) ?? null;
  }

  balances(lsn: number): Record<string, number> {
    const balances = Object.fromEntries(ACCOUNTS.map((account) => [account, OPENING_BALANCE]));
    for (const { from, to, amount } of upTo(this.#transfers, lsn)) {
      balances[from] = (balances[from] as number) - amount;
      balances[to] = (balances[to] as number) + amount;
    }
    return balances;
  }
}

function logOf<T>(logs: Map<string, Version<T>[]>, key: string): Version<T>[] {
  const log = logs.get(key) ?? [];
  logs.set(key, log);
  return log;
}

function upTo<T>(log: readonly Version<T>[], lsn: number): T[] {
  return log.filter((version) => version.lsn <= lsn).map(({ value }) => value);
}

interface Plan {
  readonly process: string;
  readonly isolation: Isolation;
  readonly outcome: Outcome;
  readonly invokedAt: number;
  readonly completedAt: number;
  /** When it takes effect, or reads; an unknown one may do so after its client gave up. */
  readonly at: number;
  /** Its reads, unanswered as yet, and its writes. */
  readonly wish: readonly Wish[];
  readonly happens: boolean;
  /** It takes effect after its client gave up, who read nothing then. */
  readonly isLate: boolean;
}

type Wish =
  | Extract<MicroOperation, { kind: 'append' | 'write' | 'transfer' }>
  | { readonly kind: 'read-list'; readonly key: string }
  | { readonly kind: 'read-register'; readonly key: string }
  | { readonly kind: 'read-accounts' };

export function serialHistory(options: SerialOptions): History {
  const plans = plan(options);
  const store = new VersionedStore();
  const sessions = new Map<string, number>();
  const done = new Map<Plan, Transaction>();
  for (const one of [...plans].sort((a, b) => a.at - b.at)) {
    const { process, isolation, outcome, invokedAt, completedAt, wish, happens, isLate } = one;
    const { random } = options;
    const writes = wish.filter((each) => !each.kind.startsWith('read')) as MicroOperation[];
    const least = { strong: store.lsn, session: sessions.get(process) ?? 0, snapshot: 0 }[isolation];
    const readLsn = writes.length > 0 ? store.lsn : least + random.below(store.lsn - least + 1);
    const operations = perform(wish, store, readLsn);
    const isWriter = writes.length > 0 && outcome !== 'failed';
    const lsn = isWriter && happens ? store.lsn + 1 + random.below(3) : readLsn;
    if (isWriter && happens) store.apply(writes, lsn);
    // What was answered tells its LSN, even if the rest of the transaction came to nothing.
    if (one.at <= completedAt)
      sessions.set(process, Math.max(sessions.get(process) ?? 0, outcome === 'ok' ? lsn : readLsn));
    const knownLsn = isWriter && outcome === 'unknown' ? (random.chance(0.5) && happens ? lsn : null) : lsn;
    const answered = isLate ? operations.filter(({ kind }) => !kind.startsWith('read')) : operations;
    done.set(one, {
      process,
      session: process,
      isolation,
      outcome,
      invokedAt,
      completedAt,
      operations: answered,
      lsn: knownLsn,
    });
  }
  const settledAt =
    Math.max(0, ...plans.flatMap(({ at, completedAt }) => [at, completedAt]).filter(Number.isFinite)) + 1;
  const written = plans.flatMap(({ wish }) => wish);
  const lists = new Set(written.flatMap((each) => (each.kind === 'append' ? [each.key] : [])));
  const registers = new Set(written.flatMap((each) => (each.kind === 'write' ? [each.key] : [])));
  const look: Wish[] = [
    ...[...lists].map((key) => ({ kind: 'read-list', key }) as const),
    ...[...registers].map((key) => ({ kind: 'read-register', key }) as const),
    { kind: 'read-accounts' },
  ];
  const last = {
    process: 'last',
    session: 'last',
    isolation: 'strong',
    outcome: 'ok',
    lsn: store.lsn,
  } as const;
  const operations = perform(look, store, store.lsn);
  return {
    transactions: [
      ...plans.map((one) => done.get(one) as Transaction),
      { ...last, invokedAt: settledAt, completedAt: settledAt + 1, operations },
    ],
    openingBalances: Object.fromEntries(ACCOUNTS.map((account) => [account, OPENING_BALANCE])),
    settledAt,
  };
}

function perform(wish: readonly Wish[], store: VersionedStore, lsn: number): MicroOperation[] {
  const operations: MicroOperation[] = [];
  for (const each of wish) {
    if (each.kind === 'read-list') {
      const own = operations.flatMap((before) =>
        before.kind === 'append' && before.key === each.key ? [before.element] : [],
      );
      operations.push({ ...each, kind: 'read-list', elements: [...store.list(each.key, lsn), ...own] });
    } else if (each.kind === 'read-register') {
      const own = operations.findLast((before) => before.kind === 'write' && before.key === each.key);
      const value = own?.kind === 'write' ? own.value : store.register(each.key, lsn);
      operations.push({ ...each, kind: 'read-register', value });
    } else if (each.kind === 'read-accounts') {
      const balances = store.balances(lsn);
      for (const before of operations) {
        if (before.kind !== 'transfer') continue;
        balances[before.from] = (balances[before.from] as number) - before.amount;
        balances[before.to] = (balances[before.to] as number) + before.amount;
      }
      operations.push({ kind: 'read-accounts', balances });
    } else operations.push(each);
  }
  return operations;
}

function plan({ random, transactions, processes, ...options }: SerialOptions): Plan[] {
  const objects = options.objects ?? ['lists', 'registers', 'bank'];
  const levels = options.levels ?? ['strong', 'strong', 'session', 'snapshot'];
  const plans: Plan[] = [];
  const freeAt = Array.from({ length: processes }, () => random.below(10));
  for (let index = 0; index < transactions; index += 1) {
    const process = freeAt.indexOf(Math.min(...freeAt));
    const invokedAt = (freeAt[process] as number) + random.below(5);
    const completedAt = invokedAt + 1 + random.below(random.chance(0.1) ? 60 : 12);
    freeAt[process] = completedAt + 1;
    const era = Math.floor(index / (options.keysLive ?? 60));
    const wish: Wish[] = [];
    const mayWrite = random.chance(0.6);
    for (let part = 0; part < 1 + random.below(4); part += 1) {
      const unique = index * 10 + part;
      const object = random.pick(objects);
      const isWrite = mayWrite && random.chance(0.6);
      if (object === 'lists') {
        const key = `list-${era}-${random.below(3)}`;
        wish.push(isWrite ? { kind: 'append', key, element: unique } : { kind: 'read-list', key });
      } else if (object === 'registers') {
        const key = `register-${random.below(options.registers ?? 3)}`;
        wish.push(isWrite ? { kind: 'write', key, value: unique } : { kind: 'read-register', key });
      } else if (isWrite) {
        const [from, to] = [random.pick(ACCOUNTS), random.pick(ACCOUNTS)];
        wish.push({ kind: 'transfer', from, to, amount: 1 + random.below(9) });
        wish.push({ kind: 'append', key: `list-${era}-0`, element: unique });
      } else wish.push({ kind: 'read-accounts' });
    }
    const outcome = random.chance(0.85) ? 'ok' : random.pick(['failed', 'unknown'] as const);
    const isLate = outcome === 'unknown' && random.chance(0.3);
    plans.push({
      process: `p${process}`,
      isolation: random.pick(levels),
      outcome,
      invokedAt,
      completedAt: outcome === 'unknown' && random.chance(0.1) ? Number.POSITIVE_INFINITY : completedAt,
      // Between two whole numbers, so that no two moments are the same.
      at:
        (isLate ? completedAt + random.below(40) : invokedAt + random.below(completedAt - invokedAt)) +
        0.1 +
        random.next() * 0.8,
      wish,
      isLate,
      happens: outcome === 'ok' || (outcome === 'unknown' && random.chance(0.5)),
    });
  }
  return plans.map((one) =>
    Number.isFinite(one.completedAt) ? one : { ...one, completedAt: one.at + 10_000 },
  );
}
