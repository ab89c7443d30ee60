/**
 * One trial: a real cluster of six storage nodes and one or two compute nodes, a load, what a scenario does to them, and at the end a look at
 * everything. Whatever happens, processes, mounts and directories go away; only the directory of a trial that broke a rule stays.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RealCluster, type RealClusterOptions, STORAGE_NODES } from '../support/real-cluster.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { type Judgement, Load } from './load.ts';
import type { PowerSupply } from './places/power.ts';
import { COMPUTE_NODES, Stage } from './stage.ts';

/** From the last repair until writes must be acknowledged again. */
const RECOVERY_LIMIT_MS = 40_000;
const MAX_VIOLATIONS = 100;
/** In the directory that stays, when the clients' history breaks a rule. */
const HISTORY_FILE = 'history.json';

export interface Trial {
  readonly stage: Stage;
  readonly load: Load;
  readonly random: SeededRandom;
  readonly urls: readonly string[];
  report(violation: string): void;
  /** Milliseconds until one client, or each, had a transaction acknowledged that began after the call; null when that takes too long. */
  served(who: 'one' | 'all'): Promise<number | null>;
  /** Everything was repaired just now: waits for the first transaction that begins and is acknowledged after it, and notes how long that took. */
  recovered(): Promise<number>;
}

export interface TrialOptions {
  readonly seed: number;
  readonly signal: AbortSignal;
  readonly cluster?: RealClusterOptions;
  readonly power?: PowerSupply;
  readonly writers?: number;
  readonly readers?: number;
  readonly scenario: (trial: Trial) => Promise<void>;
}

export interface TrialResult extends Judgement {
  readonly seed: number;
  readonly kills: number;
  readonly pauses: number;
  readonly stops: number;
  readonly powerCuts: number;
  /** From each complete repair until a transaction that began after it was acknowledged. */
  readonly recoveriesMs: readonly number[];
  /** Of processes, until they were ready. */
  readonly startsMs: readonly number[];
  /** From the last repair until every client was served. */
  readonly allServedMs: number;
  readonly takeOvers: number;
  readonly durationMs: number;
  readonly violations: readonly string[];
  readonly story: readonly string[];
  /** What processes logged as errors, counted. */
  readonly complaints: Readonly<Record<string, number>>;
  /** Where the data and logs are, when something was broken; removed otherwise. */
  readonly directory: string;
}

export async function runTrial(options: TrialOptions): Promise<TrialResult> {
  const { seed, signal } = options;
  const startedMs = performance.now();
  const random = new SeededRandom(seed);
  const cluster = await RealCluster.start(variety(random, options));
  const violations: string[] = [];
  const report = (violation: string): void => {
    if (violations.length < MAX_VIOLATIONS && !violations.includes(violation)) violations.push(violation);
  };
  const stage = new Stage({ cluster, power: options.power ?? null, report, signal });
  const recoveriesMs: number[] = [];
  let load: Load | null = null;
  let isComplete = false;
  try {
    signal.throwIfAborted();
    await cluster.startCompute('compute-2');
    const urls = COMPUTE_NODES.map((name) => cluster.url(name));
    const { writers, readers } = options;
    load = await Load.start({
      urls,
      seed,
      tell: (event) => stage.tell(event),
      report,
      keepHistory: (history) => writeFileSync(join(cluster.directory, HISTORY_FILE), JSON.stringify(history)),
      ...(writers === undefined ? {} : { writers }),
      ...(readers === undefined ? {} : { readers }),
    });
    const served = serviceOf(load, signal);
    await options.scenario({
      stage,
      load,
      random,
      urls,
      report,
      served,
      recovered: async () => {
        const tookMs = await served('one');
        if (tookMs === null)
          report(`no client could write ${RECOVERY_LIMIT_MS} ms after everything was repaired`);
        recoveriesMs.push(tookMs ?? RECOVERY_LIMIT_MS);
        return tookMs ?? RECOVERY_LIMIT_MS;
      },
    });
    await stage.heal();
    stage.tell('all runs again');
    const allServedMs = await served('all');
    if (allServedMs === null)
      report(`not every client could write ${RECOVERY_LIMIT_MS} ms after everything was repaired`);
    stage.tell('all are served again');
    const judgement = await load.judge();
    for (const crash of cluster.crashes) report(`a process ended by itself: ${crash}`);
    const result = {
      ...judgement,
      seed,
      kills: stage.kills,
      pauses: stage.pauses,
      stops: stage.stops,
      powerCuts: stage.powerCuts,
      recoveriesMs,
      startsMs: stage.startsMs,
      allServedMs: allServedMs ?? RECOVERY_LIMIT_MS,
      takeOvers: await takeOversIn(cluster),
      durationMs: Math.round(performance.now() - startedMs),
      violations,
      story: stage.story,
      complaints: await complaintsIn(cluster),
      directory: cluster.directory,
    };
    isComplete = violations.length === 0;
    return result;
  } finally {
    if (isComplete || signal.aborted) await cluster.destroy();
    else await cluster.stop();
    await load?.abandon();
  }
}

/** Every seed has its own sizes: small caches have pages read from storage all the time, a short window has history collected, a small ring wraps. */
function variety(random: SeededRandom, { cluster, power }: TrialOptions): RealClusterOptions {
  return {
    pgPages: random.pick([16, 64, 2_621_440]),
    commitTimeoutMs: 3_000,
    ...cluster,
    environment: {
      TIDEMARK_PAGE_CACHE_BYTES: random.pick(['128KiB', '1MiB', '256MiB']),
      TIDEMARK_WINDOW_MS: random.pick(['500', '86400000']),
      TIDEMARK_JOURNAL_BYTES: random.pick(['8MiB', '64MiB']),
      ...cluster?.environment,
    },
    placeOf: (name) => {
      const node = STORAGE_NODES.find((known) => known === name);
      const disk =
        power === undefined || node === undefined ? {} : { dataDirectory: power.directoryOf(node) };
      return { ...disk, ...cluster?.placeOf?.(name) };
    },
  };
}

function serviceOf(load: Load, signal: AbortSignal): (who: 'one' | 'all') => Promise<number | null> {
  return async (who) => {
    const startMs = performance.now();
    const before = load.acknowledged();
    // Of a client's next two, the second began after now.
    const isServed = (count: number, client: number): boolean => count >= (before[client] ?? 0) + 2;
    for (;;) {
      const now = load.acknowledged();
      const tookMs = Math.round(performance.now() - startMs);
      if (who === 'one' ? now.some(isServed) : now.every(isServed)) return tookMs;
      if (tookMs > RECOVERY_LIMIT_MS) return null;
      await sleep(5, undefined, { signal });
    }
  };
}

async function complaintsIn(cluster: RealCluster): Promise<Record<string, number>> {
  const complaints: Record<string, number> = {};
  for (const name of [...STORAGE_NODES, ...COMPUTE_NODES]) {
    for (const line of (await cluster.log(name)).split('\n')) {
      if (line === '' || /"level":"(debug|info|warn)"/.test(line)) continue;
      const message = `${name}: ${line.slice(0, 400).replace(/"time":"[^"]*",/, '')}`;
      complaints[message] = (complaints[message] ?? 0) + 1;
    }
  }
  return complaints;
}

async function takeOversIn(cluster: RealCluster): Promise<number> {
  const logs = await Promise.all(COMPUTE_NODES.map((name) => cluster.log(name)));
  return logs.join('\n').split('"message":"volume taken over"').length - 1;
}
