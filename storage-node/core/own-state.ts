/**
 * What this node has to tell the others of itself: every segment and register as it is, with the number of its last change, so that each
 * peer is told only what came after what it knows. Nothing is noted when something changes: it is looked for when there is somebody to tell.
 *
 * A segment is told to its PG's other members, a register to the bootstrap nodes; both may be more than remember it, never fewer.
 */
import type { Lsn, NodeId } from '../../src/log/lsn.ts';
import type { NodeContext } from './context.ts';
import { type MemoryItem, itemName, sameItem } from './memory-items.ts';
import type { Registers } from './registers.ts';
import type { Segment } from './segment.ts';

interface Entry {
  item: MemoryItem;
  change: number;
  /** null: the bootstrap nodes. */
  segment: Segment | null;
  /** Another configuration has other peers: those that came with it have not been told. */
  configVersion: number;
}

export interface News {
  readonly items: readonly MemoryItem[];
  /** The peer knows all up to here once it has these. */
  readonly through: number;
}

export function segmentItem(segment: Segment): Extract<MemoryItem, { kind: 'segment' }> {
  const { volume, pg, promised } = segment;
  // Held but not acknowledged yet (the store kept what the journal lost): it is reported from now on, so it counts.
  const watermark = Math.max(segment.scl, segment.watermark) as Lsn;
  return { kind: 'segment', volume, pg, watermark, promised, installed: segment.installedEpoch };
}

export class OwnState {
  private readonly entries = new Map<string, Entry>();
  private changes = 0;

  /** Number of the newest change. */
  get newest(): number {
    return this.changes;
  }

  refresh(ctx: NodeContext, registers: Registers): void {
    for (const segment of ctx.segments.all()) {
      // A base has promised and acknowledged nothing.
      if (segment.left?.isBase !== true) this.note(segmentItem(segment), segment);
    }
    for (const item of registers.items()) this.note(item, null);
  }

  /** At most `maxItems`, the oldest changes first. */
  since(change: number, isFor: (segment: Segment | null) => boolean, maxItems: number): News {
    const later = [...this.entries.values()].filter((entry) => entry.change > change && isFor(entry.segment));
    later.sort((a, b) => a.change - b.change);
    const told = later.slice(0, maxItems);
    const through = told.length < later.length ? (told.at(-1)?.change ?? change) : this.changes;
    return { items: told.map(({ item }) => item), through };
  }

  private note(item: MemoryItem, segment: Segment | null): void {
    const name = itemName(item);
    const known = this.entries.get(name);
    const configVersion = segment?.configVersion ?? 0;
    if (known !== undefined && known.configVersion === configVersion && sameItem(known.item, item)) return;
    this.changes += 1;
    this.entries.set(name, { item, change: this.changes, segment, configVersion });
  }
}

/** Who is to remember this segment: the others that may take part in its quorums. */
export function rememberersOf(ctx: NodeContext, segment: Segment): readonly NodeId[] {
  const config = segment.manifest?.value.pgs.find(({ pg }) => pg === segment.pg);
  const nodes =
    config === undefined
      ? ctx.options.peers.map(({ nodeId }) => nodeId)
      : [...config.members, ...(config.proposed ?? [])];
  return nodes.filter((nodeId) => nodeId !== ctx.options.nodeId);
}
