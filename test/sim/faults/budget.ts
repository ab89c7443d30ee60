/**
 * What the design promises to survive, as far as data on disks is concerned: any one or two nodes that lose acknowledged data, or have it
 * damaged, at one time. A third has to wait until one of them is whole again.
 */
import type { SimStorageNode } from '../cluster/storage-node.ts';

export const MAX_DAMAGED = 2;

export class DamageBudget {
  readonly #damaged = new Set<SimStorageNode>();
  readonly #forGood = new Set<SimStorageNode>();

  /** Whether data of this node may be taken away now; if so it counts from now on. */
  take(node: SimStorageNode): boolean {
    for (const damaged of this.#damaged)
      if (isWhole(damaged) && !this.#forGood.has(damaged)) this.#damaged.delete(damaged);
    if (!this.#damaged.has(node) && this.#damaged.size >= MAX_DAMAGED) return false;
    this.#damaged.add(node);
    return true;
  }

  /** Damage that nobody may have met yet: the node does not count as whole any more, however it looks. */
  takeForGood(node: SimStorageNode): boolean {
    if (!this.take(node)) return false;
    this.#forGood.add(node);
    return true;
  }
}

function isWhole({ core }: SimStorageNode): boolean {
  if (core === null || !core.isReady || !core.isIntact) return false;
  for (const segment of core.segments.all())
    if (segment.quarantine !== null || segment.scl < segment.tail) return false;
  return true;
}
