/**
 * Contenders measured against each other in one run: they take turns, over several rounds, because a machine is not the same from one minute to the
 * next; each figure is the median of its rounds, and ratios are those of medians.
 */
import { type LoadResult, runLoad } from './load.ts';
import { figure } from './report.ts';
import type { Chart, LoadSettings, Table } from './suite.ts';

export interface Contender {
  readonly name: string;
  /** So many clients, ready to work. */
  crew(clients: number): Promise<Crew>;
}

export interface Crew {
  /** One for each client: does one operation. */
  readonly operations: readonly (() => Promise<void>)[];
  close(): Promise<void> | void;
}

export interface Standing {
  readonly contender: string;
  readonly clients: number;
  readonly rounds: readonly LoadResult[];
  readonly median: Figures;
}

export interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

const FIGURES = ['perSecond', 'p50Ms', 'p95Ms', 'p99Ms', 'p999Ms', 'maxMs'] as const;

export interface ContestOptions {
  readonly contenders: readonly Contender[];
  readonly clients: readonly number[];
  readonly load: LoadSettings;
  readonly say: (text: string) => void;
}

export async function contest({ contenders, clients, load, say }: ContestOptions): Promise<Standing[]> {
  const standings: Standing[] = [];
  for (const count of clients) {
    const rounds = new Map<string, LoadResult[]>(contenders.map(({ name }) => [name, []]));
    for (let round = 0; round < load.rounds; round++) {
      for (const contender of contenders) {
        say(`${contender.name}, ${clientsText(count)}, round ${round + 1} of ${load.rounds}…`);
        rounds.get(contender.name)!.push(await measure(contender, count, load));
      }
    }
    for (const [contender, results] of rounds) {
      standings.push({ contender, clients: count, rounds: results, median: mediansOf(results) });
    }
  }
  return standings;
}

/** One turn of one contender. */
export async function measure(
  contender: Contender,
  clients: number,
  { warmUpMs, durationMs }: Pick<LoadSettings, 'warmUpMs' | 'durationMs'>,
): Promise<LoadResult> {
  const crew = await contender.crew(clients);
  try {
    return await runLoad({ operations: crew.operations, warmUpMs, durationMs });
  } finally {
    await crew.close();
  }
}

export function mediansOf(results: readonly LoadResult[]): Figures {
  return Object.fromEntries(
    FIGURES.map((name) => [name, median(results.map((result) => result[name]))]),
  ) as unknown as Figures;
}

/** The lower one of two in the middle. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN;
}

export function findStanding(
  standings: readonly Standing[],
  contender: string,
  clients: number,
): Figures | undefined {
  return standings.find((found) => found.contender === contender && found.clients === clients)?.median;
}

export function standingsTable(title: string, operation: string, standings: readonly Standing[]): Table {
  return {
    title,
    head: ['', 'clients', `${operation}/s`, 'p50 ms', 'p95 ms', 'p99 ms', 'p99.9 ms', 'max ms'],
    rows: standings.map(({ contender, clients, median: found }) => [
      contender,
      String(clients),
      figure(found.perSecond),
      ...[found.p50Ms, found.p95Ms, found.p99Ms, found.p999Ms, found.maxMs].map((ms) => ms.toFixed(2)),
    ]),
  };
}

/** Throughput, p50 and p99 over clients. */
export function standingsCharts(operation: string, standings: readonly Standing[]): Chart[] {
  const chart = (title: string, yLabel: string, of: (found: Figures) => number): Chart => ({
    title,
    xLabel: 'clients',
    yLabel,
    xLog: true,
    yLog: true,
    series: [...new Set(standings.map(({ contender }) => contender))].map((name) => ({
      name,
      points: standings
        .filter(({ contender }) => contender === name)
        .map(({ clients, median: found }) => [clients, of(found)] as const),
    })),
  });
  return [
    chart(`${operation} per second`, '/s', ({ perSecond }) => perSecond),
    chart('half of them answered within', 'ms', ({ p50Ms }) => p50Ms),
    chart('99 of 100 answered within', 'ms', ({ p99Ms }) => p99Ms),
  ];
}

function clientsText(count: number): string {
  return `${count} client${count === 1 ? '' : 's'}`;
}
