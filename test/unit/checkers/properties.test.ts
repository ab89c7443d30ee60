/** The checkers against histories that are right by construction, and against the same with one thing made wrong. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { History, MicroOperation, Transaction } from '../../checkers/history.ts';
import { judge } from '../../checkers/judge.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { serialHistory } from './serial-executor.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });

/** Looked at for long enough, everything that was written was seen. */
function busyHistory(seed: number): History {
  return serialHistory({ random: new SeededRandom(seed), transactions: 300, processes: 6 });
}

type Place = { readonly transaction: number; readonly operation: number };

/** The operations of which `wanted` is true. */
function placesOf(
  { transactions }: History,
  wanted: (operation: MicroOperation, transaction: Transaction) => boolean,
): Place[] {
  return transactions.flatMap((transaction, at) =>
    transaction.operations.flatMap((operation, place) =>
      wanted(operation, transaction) ? [{ transaction: at, operation: place }] : [],
    ),
  );
}

function changed(history: History, at: number, change: (transaction: Transaction) => Transaction): History {
  const transactions = history.transactions.map((one, place) => (place === at ? change(one) : one));
  return { ...history, transactions };
}

function withOperation(history: History, { transaction, operation }: Place, now: MicroOperation): History {
  return changed(history, transaction, (one) => ({
    ...one,
    operations: one.operations.map((before, place) => (place === operation ? now : before)),
  }));
}

/** Without LSNs, so that the other checkers have to see it. */
function withoutLsns(history: History): History {
  return { ...history, transactions: history.transactions.map((one) => ({ ...one, lsn: null })) };
}

type Mutation = (history: History, random: SeededRandom) => History | null;

function pickPlace(random: SeededRandom, places: readonly Place[]): Place | null {
  return places.length === 0 ? null : random.pick(places);
}

function operationAt<K extends MicroOperation['kind']>(
  history: History,
  place: Place,
  _kind: K,
): Extract<MicroOperation, { kind: K }> {
  return history.transactions[place.transaction]?.operations[place.operation] as Extract<
    MicroOperation,
    { kind: K }
  >;
}

const isLastLook = (transaction: Transaction): boolean => transaction.process === 'last';

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'the last look misses the newest element of a list': (history, random) => {
    const acknowledged = new Set(
      history.transactions.flatMap(({ outcome, operations }) =>
        outcome === 'ok' ? operations.flatMap((one) => (one.kind === 'append' ? [one.element] : [])) : [],
      ),
    );
    const place = pickPlace(
      random,
      placesOf(
        history,
        (one, by) =>
          isLastLook(by) && one.kind === 'read-list' && acknowledged.has(one.elements.at(-1) as number),
      ),
    );
    if (place === null) return null;
    const read = operationAt(history, place, 'read-list');
    return withOperation(history, place, { ...read, elements: read.elements.slice(0, -1) });
  },
  'a strong read comes from before an acknowledged append': (history, random) => {
    const endedAt = new Map(
      history.transactions.flatMap(({ outcome, operations, completedAt }) =>
        operations.flatMap((one) =>
          outcome === 'ok' && one.kind === 'append' ? [[one.element, completedAt] as const] : [],
        ),
      ),
    );
    const place = pickPlace(
      random,
      placesOf(history, (one, by) => {
        if (
          one.kind !== 'read-list' ||
          by.isolation !== 'strong' ||
          by.operations.some(({ kind }) => kind === 'append')
        )
          return false;
        return (endedAt.get(one.elements.at(-1) as number) ?? Number.POSITIVE_INFINITY) < by.invokedAt;
      }),
    );
    if (place === null) return null;
    const read = operationAt(history, place, 'read-list');
    return withOperation(history, place, { ...read, elements: read.elements.slice(0, -1) });
  },
  'two elements change places for one reader': (history, random) => {
    const place = pickPlace(
      random,
      placesOf(history, (one) => one.kind === 'read-list' && one.elements.length > 2),
    );
    if (place === null) return null;
    const read = operationAt(history, place, 'read-list');
    const [first, second, ...rest] = read.elements as [number, number];
    return withOperation(history, place, { ...read, elements: [second, first, ...rest] });
  },
  'an acknowledged transaction that others saw was rejected': (history, random) => {
    const seen = new Set(
      history.transactions
        .filter(isLastLook)
        .flatMap(({ operations }) =>
          operations.flatMap((one) => (one.kind === 'read-list' ? one.elements : [])),
        ),
    );
    const place = pickPlace(
      random,
      placesOf(history, (one) => one.kind === 'append' && seen.has(one.element)),
    );
    return place && changed(history, place.transaction, (one) => ({ ...one, outcome: 'failed' }));
  },
  'a rejected transaction happened': (history, random) => {
    const place = pickPlace(
      random,
      placesOf(history, (one, { outcome }) => one.kind === 'append' && outcome === 'failed'),
    );
    if (place === null) return null;
    const { key, element } = operationAt(history, place, 'append');
    const look = placesOf(
      history,
      (one, by) => isLastLook(by) && one.kind === 'read-list' && one.key === key,
    )[0];
    if (look === undefined) return null;
    const read = operationAt(history, look, 'read-list');
    return withOperation(history, look, { ...read, elements: [...read.elements, element] });
  },
  'a list holds an element twice': (history, random) => {
    const place = pickPlace(
      random,
      placesOf(history, (one, by) => isLastLook(by) && one.kind === 'read-list' && one.elements.length > 0),
    );
    if (place === null) return null;
    const read = operationAt(history, place, 'read-list');
    return withOperation(history, place, {
      ...read,
      elements: [...read.elements, read.elements[0] as number],
    });
  },
  'money vanishes': (history, random) => {
    const place = pickPlace(
      random,
      placesOf(history, ({ kind }) => kind === 'read-accounts'),
    );
    if (place === null) return null;
    const { balances } = operationAt(history, place, 'read-accounts');
    return withOperation(history, place, {
      kind: 'read-accounts',
      balances: { ...balances, p: (balances.p ?? 0) - 1 },
    });
  },
  'money moves by itself': (history) => {
    const place = placesOf(history, ({ kind }, by) => isLastLook(by) && kind === 'read-accounts')[0] as Place;
    const { balances } = operationAt(history, place, 'read-accounts');
    const moved = { ...balances, p: (balances.p ?? 0) - 1, q: (balances.q ?? 0) + 1 };
    return withOperation(history, place, { kind: 'read-accounts', balances: moved });
  },
  'a register forgets what was written last': (history, random) => {
    const place = pickPlace(
      random,
      placesOf(history, (one, by) => {
        if (!isLastLook(by) || one.kind !== 'read-register' || one.value === null) return false;
        const writer = history.transactions.find(({ operations }) =>
          operations.some(
            (each) => each.kind === 'write' && each.value === one.value && each.key === one.key,
          ),
        );
        return writer?.outcome === 'ok';
      }),
    );
    if (place === null) return null;
    const read = operationAt(history, place, 'read-register');
    return withOperation(history, place, { ...read, value: null });
  },
};

describe('histories of a serial executor', () => {
  it('pass', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const random = new SeededRandom(seed);
        const transactions = 1 + random.below(200);
        const history = serialHistory({
          random,
          transactions,
          processes: 1 + random.below(8),
          keysLive: 5 + random.below(100),
        });
        expect(judge(history).violations).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });

  it.each(Object.entries(MUTATIONS))('fail when %s', (_, mutate) => {
    let mutated = 0;
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = mutate(withoutLsns(busyHistory(seed)), new SeededRandom(seed));
        if (history === null) return;
        mutated += 1;
        expect(judge(history).violations.length).toBeGreaterThan(0);
      }),
      { numRuns: 20 },
    );
    expect(mutated).toBeGreaterThan(10);
  });

  it('fail when an LSN is another', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = busyHistory(seed);
        const random = new SeededRandom(seed);
        // A later writer gets the LSN of one that ended before it began.
        const writers = history.transactions.flatMap(({ lsn, outcome, operations }, at) =>
          lsn !== null && outcome === 'ok' && operations.some(({ kind }) => kind === 'append') ? [at] : [],
        );
        const [early, late] = [
          writers[random.below(20)] as number,
          writers.at(-1 - random.below(20)) as number,
        ];
        const lower = (history.transactions[early]?.lsn as number) - 1;
        const moved = changed(history, late, (one) => ({ ...one, lsn: lower }));
        expect(judge(moved).violations.length).toBeGreaterThan(0);
      }),
      { numRuns: 20 },
    );
  });

  it('are judged in less than a second when they hold 10,000 transactions', () => {
    const history = serialHistory({ random: new SeededRandom(1), transactions: 10_000, processes: 12 });
    const before = process.cpuUsage();
    expect(judge(history).violations).toEqual([]);
    // Processor time, because the machine may be busy; it takes a quarter of that.
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(1_000);
  });
});
