/**
 * Linearizability of each register, over what strong transactions found and all transactions left. A transaction's part in one register
 * is an atomic read, write, or both (strict serializability of the whole implies this of every register).
 *
 * Because no value is written twice, no search is needed (Gibbons and Korach, Testing Shared Memories, 1997). A value and its readers
 * occupy an unbroken stretch of any order; a transaction that found one value and left the next joins both into one longer stretch, a
 * *chain*. Let `ends` be the earliest end among a chain's members and `starts` the latest start. Two chains contradict each other
 * exactly when each has a member that ended before one of the other's started: ends(A) < starts(B) and ends(B) < starts(A). What has no
 * such pair, and no contradiction inside a chain, is linearizable. A dumb twin that tries all orders agrees (test/unit/checkers).
 */
import type { HistoryIndex } from './history-index.ts';
import type { Register, RegisterPart } from './register-index.ts';
import type { Violation } from './violation.ts';

interface Interval {
  readonly transaction: number;
  readonly start: number;
  readonly end: number;
}

interface Chain {
  /** In the only order they can have; those of one step in any. */
  readonly steps: readonly (readonly Interval[])[];
  readonly firstValue: number | null;
  readonly starts: Interval;
  readonly ends: Interval;
}

export function checkRegisters(index: HistoryIndex): Violation[] {
  const violations = [...index.registers.violations];
  for (const register of index.registers.registers.values())
    violations.push(...checkRegister(index, register));
  return violations;
}

function checkRegister(index: HistoryIndex, register: Register): Violation[] {
  const { steps, violations } = stepsOf(index, register);
  const chains: Chain[] = [];
  const walked = new Set<number | null>();
  for (const [value, { before }] of steps) {
    if (before !== undefined) continue;
    const chain = chainFrom(value, steps, walked);
    if (chain === null) continue;
    chains.push(chain);
    violations.push(...disorder(register.key, chain));
  }
  for (const [value, { writer }] of steps) {
    // Its writer found something that leads to no beginning, or a lost update, told above, has torn it off.
    if (walked.has(value) || violations.length > 0) continue;
    const message = `what stood in ${register.key} before ${value} came of ${value} itself`;
    violations.push({ rule: 'circular', message, transactions: writer === null ? [] : [writer.transaction] });
  }
  return [...violations, ...contradictions(register.key, chains)];
}

interface Step {
  /** Null: unwritten from the beginning. */
  readonly writer: Interval | null;
  readonly readers: Interval[];
  /** The value that its writer found. */
  readonly before: number | null | undefined;
  /** Left by one that found this value. */
  after: number | undefined;
}

/** By value. Values that were never seen and need not have been written are left out. */
function stepsOf(
  { transactions, fates }: HistoryIndex,
  { key, parts, seen }: Register,
): { steps: Map<number | null, Step>; violations: Violation[] } {
  const violations: Violation[] = [];
  const steps = new Map<number | null, Step>([
    [null, { writer: null, readers: [], before: undefined, after: undefined }],
  ]);
  const isReal = ({ transaction, left }: RegisterPart): boolean =>
    left !== undefined && (fates[transaction]?.happened === 'yes' || seen.has(left));
  const counts = ({ transaction, found }: RegisterPart): boolean =>
    found !== undefined && transactions[transaction]?.isolation === 'strong';
  for (const part of parts) {
    if (!isReal(part)) continue;
    const { invokedAt } = transactions[part.transaction] as HistoryIndex['transactions'][number];
    const end = fates[part.transaction]?.before ?? Number.POSITIVE_INFINITY;
    const writer = { transaction: part.transaction, start: invokedAt, end };
    const before = counts(part) ? part.found : undefined;
    steps.set(part.left as number, { writer, readers: [], before, after: undefined });
  }
  for (const part of parts) {
    if (part.found === undefined) continue;
    const { transaction, found } = part;
    const step = steps.get(found);
    if (step === undefined) {
      const message = `transaction ${transaction} found ${found} in ${key}, which nobody left there`;
      violations.push({ rule: 'invented', message, transactions: [transaction] });
      continue;
    }
    if (!counts(part)) continue;
    if (!isReal(part)) {
      const { invokedAt, completedAt } = transactions[transaction] as HistoryIndex['transactions'][number];
      step.readers.push({ transaction, start: invokedAt, end: completedAt });
      continue;
    }
    if (step.after !== undefined) {
      const other = steps.get(step.after)?.writer?.transaction ?? -1;
      const message = `transactions ${other} and ${transaction} both found ${found} in ${key} and changed it`;
      violations.push({ rule: 'lost-update', message, transactions: [other, transaction] });
    }
    step.after = part.left;
  }
  return { steps, violations };
}

/** Null: nobody took part in it. */
function chainFrom(
  firstValue: number | null,
  values: ReadonlyMap<number | null, Step>,
  walked: Set<number | null>,
): Chain | null {
  const steps: Interval[][] = [];
  let value: number | null | undefined = firstValue;
  while (value !== undefined && !walked.has(value)) {
    walked.add(value);
    const { writer, readers, after }: Step = values.get(value) as Step;
    steps.push([writer ?? BEGINNING]);
    if (readers.length > 0) steps.push(readers);
    value = after;
  }
  const members = steps.flat();
  if (members.length === 1 && members[0] === BEGINNING) return null;
  const starts = members.reduce((latest, member) => (member.start > latest.start ? member : latest));
  const ends = members.reduce((earliest, member) => (member.end < earliest.end ? member : earliest));
  return { steps, firstValue, starts, ends };
}

/** Who left the register unwritten. */
const BEGINNING: Interval = {
  transaction: -1,
  start: Number.NEGATIVE_INFINITY,
  end: Number.NEGATIVE_INFINITY,
};

/** Inside a chain: a member that ended before one of an earlier step began. */
function disorder(key: string, { steps }: Chain): Violation[] {
  const violations: Violation[] = [];
  let latest = BEGINNING;
  for (const step of steps) {
    for (const member of step) {
      if (member.end >= latest.start) continue;
      const message = `transaction ${member.transaction} saw ${key} as transaction ${latest.transaction} made or saw it, which began later`;
      violations.push({ rule: 'future', message, transactions: named(member, latest) });
    }
    for (const member of step) if (member.start > latest.start) latest = member;
  }
  return violations;
}

/**
 * Between chains. Those with ends < starts fill that span and no two of them may overlap; the others fit anywhere in their span [starts,
 * ends], which therefore must not lie within a filled one.
 */
function contradictions(key: string, chains: readonly Chain[]): Violation[] {
  const filled = chains
    .filter(({ starts, ends }) => ends.end < starts.start)
    .sort((a, b) => a.ends.end - b.ends.end);
  const violations: Violation[] = [];
  const report = (a: Chain, b: Chain): void => {
    const message = `${key} cannot have gone from ${a.firstValue} to ${b.firstValue} nor back: transaction ${a.ends.transaction} ended before ${b.starts.transaction} began, and ${b.ends.transaction} before ${a.starts.transaction}`;
    violations.push({
      rule: 'not-linearizable',
      message,
      transactions: named(a.ends, b.starts, b.ends, a.starts),
    });
  };
  let widest: Chain | null = null;
  /** For each of `filled`: the one, of it and those before it, that reaches furthest. */
  const reach: Chain[] = [];
  for (const chain of filled) {
    if (widest !== null && chain.ends.end < widest.starts.start) report(widest, chain);
    if (widest === null || chain.starts.start > widest.starts.start) widest = chain;
    reach.push(widest);
  }
  for (const chain of chains) {
    if (chain.ends.end < chain.starts.start) continue;
    // The last filled span that begins before this one's latest start.
    let [low, high] = [0, filled.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((filled[middle] as Chain).ends.end < chain.starts.start) low = middle + 1;
      else high = middle;
    }
    const before = reach[low - 1];
    if (before !== undefined && chain.ends.end < before.starts.start) report(before, chain);
  }
  return violations;
}

function named(...intervals: readonly Interval[]): number[] {
  return [...new Set(intervals.map(({ transaction }) => transaction))].filter((place) => place >= 0);
}
