/** The checkers say of small histories, right and wrong ones, what trying all orders says. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { History, MicroOperation } from '../../checkers/history.ts';
import { judge } from '../../checkers/judge.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { hasSerialOrder } from './dumb-twin.ts';
import { serialHistory } from './serial-executor.ts';

/** What some readers read, and when, is made up. */
function disturbed(history: History, random: SeededRandom): History {
  const { transactions } = history;
  const written = transactions.flatMap(({ operations }) =>
    operations.flatMap((one) => (one.kind === 'write' ? [one.value] : [])),
  );
  const disturb = (operation: MicroOperation): MicroOperation => {
    if (random.chance(0.6)) return operation;
    if (operation.kind === 'read-list') {
      const elements = operation.elements.slice(0, random.below(operation.elements.length + 1));
      const swap = random.chance(0.1) && elements.length > 1;
      return { ...operation, elements: swap ? elements.toReversed() : elements };
    }
    if (operation.kind === 'read-register') return { ...operation, value: random.pick([null, ...written]) };
    return operation;
  };
  return {
    ...history,
    transactions: transactions.map((transaction) => ({
      ...transaction,
      lsn: null,
      operations: transaction.operations.map(disturb),
    })),
  };
}

it.each([
  ['lists', 3],
  ['registers', 1],
] as const)('%s', (objects, registers) => {
  const seen = { right: 0, wrong: 0 };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (seed) => {
      const random = new SeededRandom(seed);
      const right = serialHistory({
        random,
        transactions: 3 + random.below(5),
        processes: 2 + random.below(4),
        objects: [objects],
        registers,
        levels: ['strong'],
      });
      const history = random.chance(0.2) ? right : disturbed(right, random);
      const expected = hasSerialOrder(history);
      seen[expected ? 'right' : 'wrong'] += 1;
      const { violations } = judge({
        ...history,
        transactions: history.transactions.map((one) => ({ ...one, lsn: null })),
      });
      expect(violations.length === 0, JSON.stringify([history, violations], null, 1)).toBe(expected);
    }),
    { numRuns: 1_000 },
  );
  expect(Math.min(seen.right, seen.wrong)).toBeGreaterThan(100);
});
