/** One run: a scenario and its faults drawn from a seed, played, judged. */
import { judge } from '../checkers/judge.ts';
import { SimCluster, type Scenario } from './cluster/cluster.ts';
import { drawPlan, Faults, type FaultWeights } from './faults/plan.ts';
import type { PlannedFault } from './faults/fault.ts';
import { checkConvergence } from './checks/convergence.ts';
import { type TraceLine, type Violation, World } from './world/world.ts';

export interface SeedOptions {
  readonly trace?: (line: TraceLine) => void;
  /** Draws some kinds of fault more often. */
  readonly weights?: FaultWeights;
  /** Leaves these faults of the plan out (by index): to find which of them matter. */
  readonly without?: ReadonlySet<number>;
  /** So many faults, rather than a number drawn from the seed. */
  readonly faultCount?: number;
  /** Takes the place of what is drawn from the seed. */
  readonly scenario?: Partial<Scenario>;
}

export interface SeedResult {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly hash: number;
  readonly events: number;
  readonly virtualMs: number;
  readonly acknowledged: number;
  readonly readsChecked: number;
  readonly plan: readonly PlannedFault[];
  /** Kind of fault → how often it struck. */
  readonly struck: Readonly<Record<string, number>>;
}

const START_LIMIT_MS = 20_000;
const CHAOS_MS = 7_000;
/** Of it faults begin in this share; the rest lets what lasts have its effect. */
const STRIKING = 0.85;
const CALM_LIMIT_MS = 60_000;

export function runSeed(seed: number, options: SeedOptions = {}): SeedResult {
  const world = new World(seed, options.trace ?? null);
  const scenario = { ...drawScenario(world), ...options.scenario };
  const cluster = new SimCluster(world, scenario);
  const onRejection = (error: unknown): void => world.fail('a promise nobody listened to', error);
  process.on('unhandledRejection', onRejection);
  const { plan, faults } = play(world, cluster, options);
  process.off('unhandledRejection', onRejection);
  if (world.violation === null) {
    for (const workload of cluster.workloads) {
      const [first] = judge(workload.history(cluster.oracle)).violations;
      if (first !== undefined) world.violate(first.rule, `volume ${workload.name}: ${first.message}`);
    }
  }
  return {
    seed,
    violation: world.violation,
    hash: world.hash,
    events: world.eventCount,
    virtualMs: world.nowMs,
    acknowledged: cluster.workloads.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
    readsChecked: cluster.oracle.readsChecked,
    plan,
    struck: Object.fromEntries(faults?.struck ?? []),
  };
}

interface Played {
  readonly plan: readonly PlannedFault[];
  readonly faults: Faults | null;
}

function play(world: World, cluster: SimCluster, { weights, without, faultCount }: SeedOptions): Played {
  cluster.start();
  if (!makeVolumes(world, cluster)) return { plan: [], faults: null };
  for (const workload of cluster.workloads) workload.start();
  cluster.onlookers.start();
  const fromMs = world.nowMs;
  const plan = drawPlan(world.seed, fromMs, fromMs + CHAOS_MS * STRIKING, { weights, faultCount });
  const faults = new Faults(
    cluster,
    plan.filter(({ index }) => without?.has(index) !== true),
  );
  world.run(fromMs + CHAOS_MS);
  if (world.violation === null) {
    world.note('world', () => 'the calm begins');
    world.after(0, null, 'calm', () => faults.end());
    for (const workload of cluster.workloads) workload.stop();
    settle(world, cluster);
  }
  return { plan, faults };
}

function makeVolumes(world: World, cluster: SimCluster): boolean {
  const [first] = cluster.computes;
  let areMade = false;
  world.after(50, null, 'volumes', () => {
    Promise.all(cluster.workloads.map(({ name }) => first?.ensureVolume(name))).then(
      () => {
        areMade = true;
      },
      (error: unknown) => world.fail('making the volumes', error),
    );
  });
  if (!world.run(START_LIMIT_MS, () => areMade)) world.violate('liveness', 'the volumes were not made');
  return areMade;
}

/** After the faults: all goes on by itself, within a bounded time. */
function settle(world: World, cluster: SimCluster): void {
  const limitMs = world.nowMs + CALM_LIMIT_MS;
  const done = (what: string, all: () => Promise<unknown>): void => {
    let isDone = false;
    world.after(0, null, what, () => {
      all().then(
        () => {
          isDone = true;
        },
        (error: unknown) => world.fail(what, error),
      );
    });
    if (!world.run(limitMs, () => isDone))
      world.violate('liveness', `${what}: not within ${CALM_LIMIT_MS} ms of calm`);
  };
  const each = (act: (workload: SimCluster['workloads'][number]) => Promise<void>) => () =>
    Promise.all(cluster.workloads.map(act));
  done(
    'a write of every volume',
    each((workload) => workload.until('write')),
  );
  const isIdle = (): boolean =>
    cluster.workloads.every((workload) => workload.isIdle) &&
    cluster.computes.every(({ engines }) =>
      [...engines.values()].every((engine) => engine.status().connections === 0),
    );
  if (!world.run(limitMs, isIdle)) world.violate('liveness', 'clients are still waiting');
  for (const { recorder } of cluster.workloads) recorder.settle(world.nowMs);
  done(
    'a last look at every volume',
    each((workload) => workload.until('look')),
  );
  checkConvergence(world, cluster, limitMs);
}

/** From one machine room to zones far apart: the slower, the more is under way when something happens. */
const NETWORKS = [
  { typicalMs: 0.15, longestMs: 5 },
  { typicalMs: 0.6, longestMs: 40 },
  { typicalMs: 3, longestMs: 200 },
] as const;

/** Most seeds are no busier than it takes to have something on its way when a fault strikes; one in eight is dense. */
const PAUSES_MS = [20, 60, 120, 120, 200, 200, 300, 300] as const;

function drawScenario(world: World): Scenario {
  const chance = world.chance('scenario');
  return {
    storageNodes: chance.pick([6, 6, 7, 8, 9]),
    spareNodes: chance.pick([0, 1, 2, 3]),
    computeNodes: chance.integer(2, 3),
    volumes: chance.integer(1, 2),
    lal: chance.pick([200, 1_000, 5_000]),
    pgPages: chance.pick([2, 3, 5]),
    windowMs: chance.pick([400, 2_000, 60_000]),
    cachePages: chance.pick([4, 8, 64]),
    network: chance.pick(NETWORKS),
    slowestDisk: chance.pick([1, 1, 4, 12]),
    workload: {
      clients: chance.integer(3, 6),
      pauseMs: chance.pick(PAUSES_MS),
      writes: chance.pick([0.3, 0.5, 0.8]),
    },
  };
}
