/**
 * What a benchmark is to the harness: a name, one line about it, and a function that measures and says what it found: tables, charts and targets.
 * A suite is one file under suites/; it starts nothing by itself but asks its context, so that what it started ends with it.
 */
import type { ClusterNode } from '../src/register/values.ts';
import type { WsTarget } from './drivers/ws.ts';
import type { Target } from './target.ts';

export interface Suite {
  readonly name: string;
  /** One line, for lists and headings. */
  readonly about: string;
  run(context: SuiteContext): Promise<SuiteOutcome>;
}

export interface SuiteOutcome {
  readonly tables: readonly Table[];
  readonly charts?: readonly Chart[];
  readonly targets: readonly Target[];
  /** Everything measured, for programs: goes into the JSON report as it is. */
  readonly results: unknown;
}

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What a reader must know to read it right. */
  readonly note?: string;
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** Logarithmic axes. */
  readonly xLog?: boolean;
  readonly yLog?: boolean;
  readonly series: readonly ChartSeries[];
}

export interface ChartSeries {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface SuiteContext {
  /** Short phases and small tables: the whole run in ten minutes. */
  readonly isQuick: boolean;
  readonly load: LoadSettings;
  /** A directory of the suite's own, removed afterwards. */
  readonly scratch: string;
  /** What goes on, for whoever waits. */
  say(text: string): void;
  /** Started when first asked for, in this shape; stopped when the suite ends. */
  cluster(options?: ClusterOptions): Promise<BenchCluster>;
  /** Closed when the suite ends, last first, before the cluster. */
  closeLater(close: () => Promise<void> | void): void;
  /** What to do about PostgreSQL and etcd: leave them out, measure those that are there, or install what is missing first. */
  readonly peers: 'none' | 'present' | 'install';
}

export interface LoadSettings {
  /** Clients at once; null: as the suite thinks fit. */
  readonly clients: readonly number[] | null;
  readonly durationMs: number;
  readonly warmUpMs: number;
  /** How often each contender has its turn. */
  readonly rounds: number;
}

export interface ClusterOptions {
  /** Storage nodes only: the suite brings its own compute node. */
  readonly withoutCompute?: boolean;
  /** More flags of the compute node. */
  readonly computeArgs?: readonly string[];
}

/** Six storage nodes and a compute node, each a process; or somebody's cluster at --url, of which no more is known than its address. */
export interface BenchCluster {
  /** Of the compute node, volume `main`; null without one. */
  readonly target: WsTarget | null;
  /** Null: not ours. */
  readonly own: OwnCluster | null;
}

export interface OwnCluster {
  readonly nodes: readonly ClusterNode[];
  readonly directory: string;
  /** By name: the storage nodes' ids, `compute`. */
  pid(name: string): number;
  /** A fresh process on the same storage nodes: what it had in memory is gone. */
  restartCompute(): Promise<void>;
}
