/**
 * Cycles of dependencies: transactions each of which must come before itself, so that no serial order exists. Named after Adya's phenomena
 * (Generalized Isolation Level Definitions, ICDE 2000), by the weakest dependencies that suffice:
 *
 * - `G0`: writes alone; `G1c`: writes, and reads of what was written; `G-single`: one anti-dependency (read skew, a lost update);
 * - `long-fork`: two and more, never next to each other: snapshot isolation would not have it either; `G2`: the rest, write skew.
 *
 * `-session` and `-real-time` are added when the order within a session, or in time, closes the cycle. With them come reads that no
 * cycle shows: `G1a` of a rejected transaction, `G1b` of what its writer had not finished.
 */
import { dependenciesOf } from './dependencies.ts';
import {
  type DependencyGraph,
  type Edge,
  ONWARD,
  READ_WRITE,
  REAL_TIME,
  SESSION,
  WRITE_READ,
  WRITE_WRITE,
} from './dependency-graph.ts';
import type { HistoryIndex } from './history-index.ts';
import type { Violation } from './violation.ts';

/** Where everything is wrong, more cycles tell nothing more. */
const CYCLES_TOLD = 10;

export function checkCycles(index: HistoryIndex): Violation[] {
  const graph = dependenciesOf(index);
  const knots = graph.knots().slice(0, CYCLES_TOLD);
  return [...dirtyReads(index), ...knots.map((knot) => violationOf(index, graph, knot))];
}

function dirtyReads({ lists, registers, transactions }: HistoryIndex): Violation[] {
  const violations: Violation[] = [];
  const check = (reader: number, writer: number, isFinished: boolean, what: string): void => {
    if (writer === reader) return;
    if (transactions[writer]?.outcome === 'failed') {
      const message = `transaction ${reader} read ${what} of transaction ${writer}, which was rejected`;
      violations.push({ rule: 'G1a', message, transactions: [writer, reader] });
    } else if (!isFinished) {
      const message = `transaction ${reader} read ${what}, which transaction ${writer} went on to change`;
      violations.push({ rule: 'G1b', message, transactions: [writer, reader] });
    }
  };
  for (const { key, reads } of lists.lists.values()) {
    for (const { transaction, elements } of reads) {
      const append = lists.appends.get(elements.at(-1) as number);
      if (append === undefined) continue;
      check(transaction, append.transaction, append.isLast, `${append.element} at the end of ${key}`);
    }
  }
  for (const { key, parts, writers } of registers.registers.values()) {
    for (const { transaction, found } of parts) {
      const writer = found == null ? undefined : writers.get(found);
      if (writer !== undefined)
        check(transaction, writer.transaction, writer.left === found, `${found} in ${key}`);
    }
  }
  return violations;
}

interface Phenomenon {
  readonly rule: string;
  readonly first: number;
  readonly along: number;
  readonly isSpaced?: boolean;
}

/** The weakest first. */
const PHENOMENA: readonly Phenomenon[] = [
  { rule: 'G0', first: WRITE_WRITE, along: WRITE_WRITE },
  { rule: 'G1c', first: WRITE_READ, along: WRITE_WRITE | WRITE_READ },
  { rule: 'G-single', first: READ_WRITE, along: WRITE_WRITE | WRITE_READ },
  { rule: 'long-fork', first: READ_WRITE, along: WRITE_WRITE | WRITE_READ | READ_WRITE, isSpaced: true },
  { rule: 'G2', first: READ_WRITE, along: WRITE_WRITE | WRITE_READ | READ_WRITE },
];

function violationOf(index: HistoryIndex, graph: DependencyGraph, knot: readonly number[]): Violation {
  for (const [suffix, order] of [
    ['', 0],
    ['-session', SESSION],
    ['-real-time', SESSION | REAL_TIME],
  ] as const) {
    for (const { rule, first, along, isSpaced = false } of PHENOMENA) {
      const cycle = graph.findCycle({ nodes: knot, first, along: along | order, isSpaced });
      if (cycle !== null) return told(index, `${rule}${suffix}`, cycle);
    }
  }
  // Only a search that ran out of its budget comes here.
  const members = knot.filter((node) => node < index.transactions.length);
  const message = `${members.length} transactions depend on each other`;
  return { rule: 'cycle', message, transactions: members.slice(0, CYCLES_TOLD) };
}

const WORDS = new Map([
  [WRITE_WRITE, 'wrote before'],
  [WRITE_READ, 'was read by'],
  [READ_WRITE, 'did not see'],
  [SESSION, 'came in its session before'],
  [REAL_TIME, 'ended before the start of'],
]);

/** Helping nodes are left out: the reason that led into one leads on to the transaction behind it. */
function told({ transactions }: HistoryIndex, rule: string, cycle: readonly Edge[]): Violation {
  const isTransaction = (node: number): boolean => node < transactions.length;
  const start = cycle.findIndex(({ from }) => isTransaction(from));
  const members: number[] = [];
  let message = '';
  let reason = 0;
  for (const edge of [...cycle.slice(start), ...cycle.slice(0, start)]) {
    if (isTransaction(edge.from)) {
      members.push(edge.from);
      message += `transaction ${edge.from} `;
    }
    if (edge.reason !== ONWARD) reason = edge.reason;
    if (isTransaction(edge.to)) message += `${WORDS.get(reason)} `;
  }
  message += `transaction ${members[0]}`;
  return { rule, message, transactions: members };
}
