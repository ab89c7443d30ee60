/** Which faults a run gets, when. */
import type { SimCluster } from '../cluster/cluster.ts';
import { derive } from '../world/random.ts';
import { DamageBudget } from './budget.ts';
import { DISK_FAULTS } from './disks.ts';
import { Fault, type FaultKind, type PlannedFault } from './fault.ts';
import { NETWORK_FAULTS } from './network.ts';
import { OPERATIONS } from './operations.ts';
import { PROCESS_FAULTS } from './processes.ts';

export const FAULT_KINDS: readonly FaultKind[] = [
  ...NETWORK_FAULTS,
  ...PROCESS_FAULTS,
  ...DISK_FAULTS,
  ...OPERATIONS,
];

/** How many times as often as usual a kind is drawn; kinds that are not named stay as they are. */
export type FaultWeights = Readonly<Record<string, number>>;

/** Share of runs in which nothing goes wrong. */
const NO_FAULTS = 0.03;
const FAULT_COUNTS = [2, 3, 5, 7, 9, 12] as const;

export function drawPlan(
  seed: number,
  fromMs: number,
  untilMs: number,
  bias: { readonly weights?: FaultWeights | undefined; readonly faultCount?: number | undefined } = {},
): PlannedFault[] {
  const { weights = {}, faultCount } = bias;
  const chance = derive(seed, 'faults');
  const kinds = FAULT_KINDS.map((kind) => ({
    name: kind.name,
    weight: kind.weight * (weights[kind.name] ?? 1),
  }));
  const total = kinds.reduce((sum, { weight }) => sum + weight, 0);
  const drawn = chance.chance(NO_FAULTS) ? 0 : chance.pick(FAULT_COUNTS);
  const count = faultCount ?? drawn;
  // Some runs know few kinds, so that each gets to strike more than once and together with itself.
  const favourites = chance.chance(0.3) && bias.weights === undefined ? chance.some(kinds, 3) : null;
  // Some strike while the ones before are still being coped with.
  const bursts = chance.chance(0.4) ? Array.from({ length: 2 }, () => chance.between(fromMs, untilMs)) : null;
  return Array.from({ length: count }, (_, index) => {
    const atMs =
      bursts === null
        ? chance.between(fromMs, untilMs)
        : Math.min(untilMs, chance.pick(bursts) + chance.heavyTailed(30, BURST_MS));
    const byWeight = pickByWeight(kinds, chance.next() * total);
    const kind = favourites !== null && chance.chance(0.8) ? chance.pick(favourites).name : byWeight;
    return { index, kind, atMs };
  }).sort((a, b) => a.atMs - b.atMs);
}

function pickByWeight(
  kinds: readonly { readonly name: string; readonly weight: number }[],
  drawn: number,
): string {
  let rest = drawn;
  for (const { name, weight } of kinds) {
    rest -= weight;
    if (rest < 0) return name;
  }
  return kinds[0]?.name ?? '';
}

const BURST_MS = 1_500;

/** Lets the planned faults strike; `end` takes back what lasts. */
export class Faults {
  readonly struck = new Map<string, number>();
  readonly #faults: Fault[] = [];

  constructor(cluster: SimCluster, plan: readonly PlannedFault[]) {
    const { world } = cluster;
    const budget = new DamageBudget();
    const onHit = (kind: string): void => {
      this.struck.set(kind, (this.struck.get(kind) ?? 0) + 1);
    };
    for (const planned of plan) {
      const kind = FAULT_KINDS.find(({ name }) => name === planned.kind);
      if (kind === undefined) throw new Error(`there is no fault '${planned.kind}'`);
      const chance = derive(world.seed, `fault ${planned.index}`);
      const fault = new Fault({ cluster, chance, budget, plan: planned, onHit });
      this.#faults.push(fault);
      world.after(planned.atMs - world.nowMs, null, 'fault', () => kind.strike(fault));
    }
  }

  end(): void {
    for (const fault of this.#faults) fault.end();
  }
}
