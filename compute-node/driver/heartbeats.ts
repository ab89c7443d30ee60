/**
 * Heartbeats: one stream and one message per storage node for all volumes of this process (design section 4). They ask for the lease
 * promises, carry VDL when no append does, and bring back SCLs and the news of a newer epoch.
 *
 * Every message has a sequence number of its own, over all nodes, so that "sent after" is a comparison: an answer to a sequence greater
 * than `lastSequence` was at some moment is an answer to a message sent after that moment.
 */
import { HEARTBEAT_INTERVAL_MS, KIB } from '../../src/base/limits.ts';
import type { Timer, Timers } from '../../src/env/env.ts';
import type { ClientStream, StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import type { HeartbeatGrant, HeartbeatReply, HeartbeatVolume } from '../../src/messages/messages.ts';
import type { ClockReading } from '../volume/lease.ts';

/** Pause between rounds that reads without a lease ask for: those that come meanwhile share the next one. */
const MIN_ROUND_PAUSE_MS = 2;
/** PG entries of one message; more volumes go into further messages. About 30 bytes each. */
const MAX_PGS_PER_MESSAGE = 5_000;
/** Retention values of one message: with many pins one is large, and a message that is too large would cost every volume here its leases. */
const MAX_RETENTION_BYTES_PER_MESSAGE = 512 * KIB;
/** Unanswered messages whose send times are remembered per node; older ones are answered too late to matter. */
const MAX_UNANSWERED = 64;

export interface SentHeartbeat {
  readonly sequence: number;
  readonly sentAt: ClockReading;
}

/** An open volume, as the heartbeats see it. */
export interface HeartbeatMember {
  readonly volume: VolumeId;
  /** What to say to a node now; null when it holds no segment of the volume. */
  heartbeatFor(node: NodeId, sequence: number): HeartbeatVolume | null;
  onGrant(node: NodeId, sent: SentHeartbeat, incarnation: string, grant: HeartbeatGrant): void;
}

export interface HeartbeatsOptions {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  readonly computeId: string;
  readonly computeUrl: string;
  readonly readClocks: () => ClockReading;
  readonly timers: Timers;
  readonly intervalMs?: number;
}

interface Link {
  readonly stream: ClientStream<'heartbeat'>;
  isFull: boolean;
  readonly unanswered: Map<number, ClockReading>;
}

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #links = new Map<NodeId, Link>();
  readonly #members = new Set<HeartbeatMember>();
  readonly #timer: Timer;
  #soon: Timer | null = null;
  #sequence = 0;
  #lastRoundAtMs = Number.NEGATIVE_INFINITY;

  static open(options: HeartbeatsOptions): Heartbeats {
    return new Heartbeats(options);
  }

  private constructor(options: HeartbeatsOptions) {
    this.#options = options;
    for (const client of options.clients.values()) this.connect(client);
    this.#timer = options.timers.every(options.intervalMs ?? HEARTBEAT_INTERVAL_MS, () => this.#sendToAll());
  }

  /** Another node, or another way to one that is known. */
  connect(client: StorageNodeClient): void {
    const node = client.nodeId;
    this.#links.get(node)?.stream.close();
    const stream = client.openStream('heartbeat', {
      onUp: () => this.#sendTo(node),
      onReply: (reply) => this.#onReply(node, reply),
      onDown: () => this.#onDown(node),
      onDrain: () => this.#onDrain(node),
    });
    this.#links.set(node, { stream, isFull: false, unanswered: new Map() });
  }

  /** Sequence of the newest message sent. Whatever is sent from now on has a greater one. */
  get lastSequence(): number {
    return this.#sequence;
  }

  join(member: HeartbeatMember): () => void {
    this.#members.add(member);
    this.requestRound();
    return () => this.#members.delete(member);
  }

  /** A round out of turn, at once or shortly. */
  requestRound(): void {
    if (this.#soon !== null) return;
    const sinceMs = this.#options.readClocks().monotonicMs - this.#lastRoundAtMs;
    if (sinceMs >= MIN_ROUND_PAUSE_MS) {
      this.#sendToAll();
      return;
    }
    this.#soon = this.#options.timers.after(MIN_ROUND_PAUSE_MS - sinceMs, () => {
      this.#soon = null;
      this.#sendToAll();
    });
  }

  close(): void {
    this.#timer.cancel();
    this.#soon?.cancel();
    for (const { stream } of this.#links.values()) stream.close();
  }

  #sendToAll(): void {
    if (this.#members.size === 0) return;
    this.#lastRoundAtMs = this.#options.readClocks().monotonicMs;
    for (const node of this.#links.keys()) this.#sendTo(node);
  }

  #sendTo(node: NodeId): void {
    const link = this.#links.get(node);
    if (link === undefined) return;
    let volumes: HeartbeatVolume[] = [];
    let pgCount = 0;
    let retentionBytes = 0;
    const flush = (): void => {
      if (volumes.length > 0) this.#send(link, volumes);
      volumes = [];
      pgCount = 0;
      retentionBytes = 0;
    };
    for (const member of this.#members) {
      if (link.isFull || !link.stream.isUp) return;
      const volume = member.heartbeatFor(node, this.#sequence + 1);
      if (volume === null) continue;
      volumes.push(volume);
      pgCount += 1 + volume.pgs.length;
      retentionBytes += volume.retention.length;
      if (pgCount >= MAX_PGS_PER_MESSAGE || retentionBytes >= MAX_RETENTION_BYTES_PER_MESSAGE) flush();
    }
    flush();
  }

  #send(link: Link, volumes: readonly HeartbeatVolume[]): void {
    const { clusterId, computeId, computeUrl, readClocks } = this.#options;
    if (!link.stream.isUp) return;
    const sequence = ++this.#sequence;
    // Read before the message leaves: a promise counts from no later than its sending.
    link.unanswered.set(sequence, readClocks());
    if (link.unanswered.size > MAX_UNANSWERED) {
      for (const oldest of link.unanswered.keys()) {
        link.unanswered.delete(oldest);
        break;
      }
    }
    const request = { clusterId, sequence, computeId, computeUrl, volumes };
    if (!link.stream.send(request)) link.isFull = true;
  }

  #onReply(node: NodeId, reply: HeartbeatReply): void {
    const sentAt = this.#links.get(node)?.unanswered.get(reply.sequence);
    if (sentAt === undefined) return;
    this.#links.get(node)?.unanswered.delete(reply.sequence);
    const sent = { sequence: reply.sequence, sentAt };
    for (const grant of reply.grants) {
      for (const member of [...this.#members]) {
        if (member.volume === grant.volume) member.onGrant(node, sent, reply.incarnation, grant);
      }
    }
  }

  #onDown(node: NodeId): void {
    const link = this.#links.get(node);
    link?.unanswered.clear();
    if (link !== undefined) link.isFull = false;
  }

  #onDrain(node: NodeId): void {
    const link = this.#links.get(node);
    if (link !== undefined) link.isFull = false;
  }
}
