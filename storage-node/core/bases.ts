/**
 * Bases: what clones on this node see of their parents (design section 7). A clone's page lies on top of its parent's page at the branch point, on the same
 * node; so where a clone's segment is, the parent's must be, up to the branch point, also when this node is no member of the parent's PG:
 * a read-only segment that votes for nothing, follows nothing, and is deleted with the last clone that needs it.
 */
import { type Lsn, NO_LSN, type NodeId, type PgIndex, type VolumeId } from '../../src/log/lsn.ts';
import type { NodeContext } from './context.ts';
import { peersOf } from './manifests.ts';
import type { Segment } from './segment.ts';

export interface NeededBase {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  /** The newest branch point of the clones here. */
  readonly throughLsn: Lsn;
  /** Who has the same clones, and so the same base. */
  readonly peers: readonly NodeId[];
}

/** What the segments kept here descend from in other volumes. */
export function neededBases(ctx: NodeContext): ReadonlyMap<string, NeededBase> {
  const needed = new Map<string, NeededBase>();
  for (const segment of ctx.segments.allKept()) {
    if (segment.manifest === null) continue;
    const peers = peersOf(segment.manifest.value, segment.pg, ctx.options.nodeId);
    for (const { parent } of segment.runs) {
      if (parent === null || parent.volume === segment.volume) continue;
      const name = `${parent.volume}/${segment.pg}`;
      const known = needed.get(name);
      needed.set(name, {
        volume: parent.volume,
        pg: segment.pg,
        throughLsn: Math.max(known?.throughLsn ?? NO_LSN, parent.lsn) as Lsn,
        peers: [...new Set([...(known?.peers ?? []), ...peers])],
      });
    }
  }
  return needed;
}

/** Whether everything that the segment stands on is on this node. */
export function areBasesWhole(ctx: NodeContext, segment: Segment): boolean {
  const parents = segment.runs.map(({ parent }) => parent);
  return parents.every((parent) => {
    if (parent === null || parent.volume === segment.volume) return true;
    const base = ctx.segments.kept(parent.volume, segment.pg);
    return base?.isHydrated === true && base.holdsThrough(parent.lsn) && areBasesWhole(ctx, base);
  });
}

export function isNeededAsBase(ctx: NodeContext, segment: Segment): boolean {
  return neededBases(ctx).has(segment.name);
}

export function neededOf(ctx: NodeContext, base: Segment): NeededBase | null {
  return neededBases(ctx).get(base.name) ?? null;
}
