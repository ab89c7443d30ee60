/**
 * What the parts of one node share while a step runs: its identity, its segments, and the only way out (effects). Handlers of requests
 * and background programs get it; they keep no state of their own.
 */
import type { Crc32, Now } from '../../src/env/env.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { NodeId, PageNumber, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import type { CoreEffect, DiskRoom, DurableOp, NodeReply, NodeRequest, ReplyTo } from './effects.ts';
import type { Leases } from './leases.ts';
import type { CoreLimits } from './limits.ts';
import type { PageCache } from './page-memory.ts';
import type { Program } from './program.ts';
import type { Scrub } from './scrub.ts';
import type { Segment } from './segment.ts';
import type { ValueCodec } from './values.ts';

export interface NodeOptions {
  readonly nodeId: NodeId;
  readonly az: string;
  /** The bootstrap nodes of the configuration; this one may be among them. */
  readonly peers: readonly ClusterNode[];
  readonly leaseTermMs: number;
  readonly crc32: Crc32;
  /** Of the program, for status. */
  readonly buildVersion: string;
  readonly limits?: Partial<CoreLimits>;
}

/** A request with where its reply goes. */
export type Request<Method extends NodeRequest['method']> = {
  readonly to: ReplyTo;
  readonly body: Extract<NodeRequest, { method: Method }>['body'];
};

export interface NodeContext {
  readonly options: NodeOptions;
  readonly limits: CoreLimits;
  readonly crc32: Crc32;
  readonly values: ValueCodec;
  readonly cache: PageCache;
  readonly segments: SegmentTable;
  readonly scrub: Scrub;
  leases: Leases;
  incarnation: string;
  readonly copies: CopySlots;
  /** Empty until the node is part of a cluster. */
  clusterId: string;
  readonly diskRoom: DiskRoom;
  /** Readings of the step that runs. */
  now: Now;
  readonly startedAtMs: number;
  /** This node has forgotten something, and the others have not told yet which segments it had. */
  readonly isInDoubt: boolean;

  /** Why nothing may be promised or acknowledged (for this segment) yet; null: it may. Peers are being asked what was forgotten. */
  whyUnsure(segment: Segment | null): Refusal | null;
  /** How many of the segment's peers' states are remembered here. */
  rememberedOf(segment: Segment): number;
  /** What is stored of these pages may lack something: they are copied from peers before they are read again. */
  doubtPages(segment: Segment, first: PageNumber, last: PageNumber, why: string): void;

  emit(effect: CoreEffect): void;
  /** Durable first, then `replies`, in order with all earlier ones; with no ops a barrier behind what is on its way. */
  persist(ops: readonly DurableOp[], replies: readonly Reply[]): void;
  /** As persist, but the reply to `epoch` also waits for the lease promises to others to run out. */
  persistHeld(ops: readonly DurableOp[], reply: Reply, hold: Hold): void;
  /** Sends what is not to be held any longer, and refuses what is held for an epoch that is over. */
  releaseHeld(): void;
  reply(to: ReplyTo, reply: NodeReply): void;
  run(program: Program<void>): void;
  log(level: 'info' | 'warn' | 'error', message: string, fields?: Record<string, unknown>): void;
}

/** Copies of pages under way: answers to others, hydrations of segments here. */
export interface CopySlots {
  out: number;
  in: number;
  /** Hydrations begun since the start, for their names. */
  begun: number;
}

export interface Reply {
  readonly to: ReplyTo;
  readonly reply: NodeReply;
}

export interface Hold {
  readonly segment: Segment;
  readonly epoch: Epoch;
  /** What is said instead once a newer epoch is promised. */
  readonly refused: () => NodeReply;
}

/** Segments by volume and PG. Requests of the protocol see those in force only; `known` tells of tombstones and bases too. */
export class SegmentTable {
  private readonly byName = new Map<string, Segment>();
  private readonly byVolume = new Map<VolumeId, Segment[]>();

  /** In force. */
  get(volume: VolumeId, pg: PgIndex): Segment | null {
    const segment = this.known(volume, pg);
    return segment?.isInForce === true ? segment : null;
  }

  /** In force, or kept for what clones see of it. */
  kept(volume: VolumeId, pg: PgIndex): Segment | null {
    const segment = this.known(volume, pg);
    return segment !== null && (segment.left === null || segment.left.isBase) ? segment : null;
  }

  known(volume: VolumeId, pg: PgIndex): Segment | null {
    const segments = this.byVolume.get(volume);
    if (segments === undefined) return null;
    for (const segment of segments) if (segment.pg === pg) return segment;
    return null;
  }

  /** Takes the place of the one of the same name. */
  put(segment: Segment): void {
    this.byName.set(segment.name, segment);
    const others = (this.byVolume.get(segment.volume) ?? []).filter(({ pg }) => pg !== segment.pg);
    this.byVolume.set(segment.volume, [...others, segment]);
  }

  /** Of all its PGs; tombstones and bases among them. */
  knownOf(volume: VolumeId): readonly Segment[] {
    return this.byVolume.get(volume) ?? [];
  }

  /** In force. */
  ofVolume(volume: VolumeId): readonly Segment[] {
    return (this.byVolume.get(volume) ?? []).filter((segment) => segment.isInForce);
  }

  /** Tombstones and bases among them. */
  all(): IterableIterator<Segment> {
    return this.byName.values();
  }

  /** In force or kept. */
  *allKept(): Generator<Segment> {
    for (const segment of this.byName.values()) if (segment.left?.isBase !== false) yield segment;
  }

  get size(): number {
    return this.byName.size;
  }
}
