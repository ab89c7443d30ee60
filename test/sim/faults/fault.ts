/**
 * A fault: something that goes wrong in the simulated world, drawn from the seed with chance of its own, so that leaving one out changes nothing of the
 * others. What lasts is taken back after a while, and at the latest when the calm begins.
 */
import type { SimCluster } from '../cluster/cluster.ts';
import type { SimComputeNode } from '../cluster/compute-node.ts';
import type { SimStorageNode } from '../cluster/storage-node.ts';
import type { Link } from '../world/links.ts';
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';
import type { DamageBudget } from './budget.ts';

export interface FaultKind {
  readonly name: string;
  /** How often it is drawn, beside the others. */
  readonly weight: number;
  readonly strike: (fault: Fault) => void;
}

export interface PlannedFault {
  /** Names its stream of chance. */
  readonly index: number;
  readonly kind: string;
  readonly atMs: number;
}

export class Fault {
  readonly cluster: SimCluster;
  readonly world: World;
  readonly chance: Chance;
  readonly budget: DamageBudget;
  readonly #plan: PlannedFault;
  readonly #onHit: (kind: string) => void;
  #undos: (() => void)[] = [];

  constructor(options: {
    readonly cluster: SimCluster;
    readonly chance: Chance;
    readonly budget: DamageBudget;
    readonly plan: PlannedFault;
    readonly onHit: (kind: string) => void;
  }) {
    this.cluster = options.cluster;
    this.world = options.cluster.world;
    this.chance = options.chance;
    this.budget = options.budget;
    this.#plan = options.plan;
    this.#onHit = options.onHit;
  }

  /** It really happened, to this. For the coverage table and the trace. */
  hit(what: string): void {
    this.#onHit(this.#plan.kind);
    this.world.note('fault', () => `#${this.#plan.index} ${this.#plan.kind}: ${what}`);
  }

  /** To be taken back after a while, or when the calm begins. */
  lasts(lowMs: number, highMs: number, undo: () => void): void {
    let isUndone = false;
    const once = (): void => {
      if (isUndone) return;
      isUndone = true;
      this.world.note('fault', () => `#${this.#plan.index} ${this.#plan.kind} is over`);
      undo();
    };
    this.#undos.push(once);
    this.world.after(this.chance.between(lowMs, highMs), null, 'fault-over', once);
  }

  /** Part of the same fault, a little later; not after the calm has begun. */
  later(ms: number, run: () => void): void {
    let isOff = false;
    this.#undos.push(() => {
      isOff = true;
    });
    this.world.after(ms, null, 'fault-goes-on', () => {
      if (!isOff) run();
    });
  }

  end(): void {
    const undos = this.#undos;
    this.#undos = [];
    for (const undo of undos) undo();
  }

  // What faults are made of

  get anyNode(): SimStorageNode {
    return this.chance.pick(this.cluster.nodes);
  }

  get anyCompute(): SimComputeNode {
    return this.chance.pick(this.cluster.computes);
  }

  /** The nodes of a random zone. */
  get anyZone(): SimStorageNode[] {
    const az = this.chance.pick([...new Set(this.cluster.nodes.map((node) => node.az))]);
    return this.cluster.nodes.filter((node) => node.az === az);
  }

  nodesDown(nodes: readonly SimStorageNode[], how: 'kill' | 'power', lowMs: number, highMs: number): void {
    for (const node of nodes) {
      if (how === 'kill') node.kill();
      else node.cutPower();
      this.lasts(lowMs, highMs, () => node.start());
    }
  }

  computeDown(compute: SimComputeNode, lowMs: number, highMs: number): void {
    compute.kill();
    this.lasts(lowMs, highMs, () => compute.start());
  }

  /** Links between every process of `some` and every other, both ways. */
  linksOf(some: readonly string[]): Link[] {
    const others = this.cluster.names.filter((name) => !some.includes(name));
    return some.flatMap((one) =>
      others.flatMap((other) => [
        this.cluster.links.between(one, other),
        this.cluster.links.between(other, one),
      ]),
    );
  }

  onLinks(
    links: readonly Link[],
    lowMs: number,
    highMs: number,
    put: (link: Link, sign: 1 | -1) => void,
  ): void {
    const { links: network } = this.cluster;
    network.change(links, (link) => put(link, 1));
    this.lasts(lowMs, highMs, () => network.change(links, (link) => put(link, -1)));
  }
}
