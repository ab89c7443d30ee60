/**
 * What this node remembers of the others, for the day one of them comes back from an old disk image or from none: the highest incarnation it told, and
 * per segment and register what it had promised and acknowledged (memory-items.ts). Kept in the guard, one key per item, so that a change costs
 * only itself; written together, a moment later.
 *
 * Invariants
 * 1. What is remembered of a node never shrinks by what an earlier life, or a life that forgot, tells of itself.
 * 2. Nothing else is derived from it: it is a witness for its subject, not a source of values.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { incarnationCounter } from '../../src/log/incarnation.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { Recollection } from '../../src/messages/messages.ts';
import type { DurableOp } from './effects.ts';
import { GUARD, parseSegmentName } from './keys.ts';
import {
  type MemoryItem,
  contradicts,
  decodeItem,
  encodeItem,
  itemName,
  merged,
  sameItem,
} from './memory-items.ts';
import { isRegisterKey } from './registers.ts';
import { decodeText, encodeText } from './values.ts';

/** Bounds what a peer can make this node keep: far above what a cluster has. */
const MAX_PEERS = 1_000;
const MAX_ITEMS_PER_PEER = 100_000;
/** Of one message: about 70 bytes each. */
export const MAX_ITEMS_PER_MESSAGE = 4_000;

interface Peer {
  incarnation: string;
  readonly items: Map<string, MemoryItem>;
}

/** The items of a message, under one roof. What is the name of no register is left out. */
export function itemsOf(message: Pick<Recollection, 'segments' | 'registers'>): readonly MemoryItem[] {
  return [
    ...message.segments.map((segment): MemoryItem => ({ kind: 'segment', ...segment })),
    ...message.registers
      .filter(({ key }) => isRegisterKey(key))
      .map((register): MemoryItem => ({ kind: 'register', ...register })),
  ];
}

export function splitItems(items: readonly MemoryItem[]): Pick<Recollection, 'segments' | 'registers'> {
  return {
    segments: items.filter((item) => item.kind === 'segment'),
    registers: items.filter((item) => item.kind === 'register'),
  };
}

export class PeerMemory {
  private readonly peers = new Map<NodeId, Peer>();
  /** Guard keys changed since the last write, with their values. */
  private readonly changed = new Map<string, Uint8Array>();

  /** A value that cannot be read is left out: the other peers remember, too. */
  load(guard: ReadonlyMap<string, Uint8Array>): void {
    for (const [key, value] of guard) {
      if (!key.startsWith(GUARD.peerPrefix)) continue;
      const [nodeId = '', ...name] = key.slice(GUARD.peerPrefix.length).split('/');
      const peer = this.peerOf(nodeId as NodeId);
      if (peer === null) continue;
      if (name.length === 0) peer.incarnation = decodeText(value);
      else loadItem(peer, name.join('/'), value);
    }
  }

  /** `node` tells of itself. What it told less of than is remembered comes back; null: nothing. */
  take(node: NodeId, incarnation: string, items: readonly MemoryItem[]): Recollection | null {
    const peer = this.peerOf(node);
    if (peer === null) return null;
    const order = incarnationCounter(incarnation) - incarnationCounter(peer.incarnation);
    if (order > 0) {
      peer.incarnation = incarnation;
      this.changed.set(`${GUARD.peerPrefix}${node}`, encodeText(incarnation));
    }
    const more: MemoryItem[] = [];
    for (const item of items) {
      const name = itemName(item);
      const known = peer.items.get(name);
      if (known === undefined && peer.items.size >= MAX_ITEMS_PER_PEER) continue;
      if (known !== undefined && contradicts(known, item)) more.push(known);
      const next = merged(known, item);
      if (known !== undefined && sameItem(known, next)) continue;
      peer.items.set(name, next);
      this.changed.set(`${GUARD.peerPrefix}${node}/${name}`, encodeItem(next));
    }
    if (more.length === 0 && order >= 0) return null;
    return { ...splitItems(more), incarnation: peer.incarnation, after: '', through: '', done: false };
  }

  /** A page of what is remembered of `node`. */
  recall(node: NodeId, after: string): Recollection {
    const peer = this.peers.get(node);
    const names = [...(peer?.items.keys() ?? [])].filter((name) => name > after).sort();
    const page = names.slice(0, MAX_ITEMS_PER_MESSAGE);
    const items = page.map((name) => peer?.items.get(name) as MemoryItem);
    return {
      ...splitItems(items),
      incarnation: peer?.incarnation ?? '',
      after,
      through: page.at(-1) ?? after,
      done: page.length === names.length,
    };
  }

  /** How many peers' state for this segment is remembered here: a newcomer takes that over before it counts. */
  countOf(segmentName: string): number {
    let count = 0;
    for (const { items } of this.peers.values()) if (items.has(`segment/${segmentName}`)) count += 1;
    return count;
  }

  get hasChanges(): boolean {
    return this.changed.size > 0;
  }

  takeChanges(): DurableOp[] {
    const ops = [...this.changed].map(([key, value]): DurableOp => ({ kind: 'guard', key, value }));
    this.changed.clear();
    return ops;
  }

  private peerOf(node: NodeId): Peer | null {
    const known = this.peers.get(node);
    if (known !== undefined) return known;
    if (this.peers.size >= MAX_PEERS) return null;
    const peer: Peer = { incarnation: '', items: new Map() };
    this.peers.set(node, peer);
    return peer;
  }
}

function loadItem(peer: Peer, name: string, value: Uint8Array): void {
  const slash = name.indexOf('/');
  const rest = name.slice(slash + 1);
  try {
    if (name.startsWith('segment/')) {
      const segment = parseSegmentName(rest);
      if (segment !== null) peer.items.set(name, decodeItem({ kind: 'segment', ...segment }, value));
    } else if (name.startsWith('register/')) {
      peer.items.set(name, decodeItem({ kind: 'register', key: rest }, value));
    }
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
  }
}
