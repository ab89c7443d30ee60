/**
 * A small deterministic cluster for take-over tests: six real storage-node cores over stores in memory, a network with delays and losses, virtual
 * time, everything drawn from one seed. Disk model: persists become durable one after another, a little later; a crash forgets those that
 * were not, and may leave a node without the newest chunks that it had acknowledged (damage its watermark tells of).
 */
import { StorageNodeCore } from '../../storage-node/core/node.ts';
import type {
  CoreEffect,
  CoreEvent,
  DurableOp,
  NodeReply,
  NodeRequest,
  PeerReply,
  StoreResult,
} from '../../storage-node/core/effects.ts';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import type { KvOp, Now } from '../../src/env/env.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, type NodeId, type PgIndex, type VolumeId } from '../../src/log/lsn.ts';
import { GUARD, SegmentKeys } from '../../storage-node/core/keys.ts';
import { MemoryKv } from './memory-kv.ts';
import { NODES } from './takeover-fixtures.ts';

export const LEASE_TERM_MS = 40;
const TICK_MS = 10;
const LIMITS = {
  roundAgeMs: 40,
  roundRecords: 8,
  gossipIntervalMs: 15,
  gossipGapIntervalMs: 5,
  gossipQuietIntervalMs: 40,
  gapAgeMs: 10,
  maxInventoryEntries: 7,
};
const CHUNK_KIND = 0x4c;
const PEER_TIMEOUT_MS = 60;

export class SeededRandom {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** mulberry32 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  int(below: number): number {
    return Math.floor(this.next() * below);
  }
  chance(probability: number): boolean {
    return this.next() < probability;
  }
  id(length: number): string {
    return Array.from({ length }, () => '0123456789abcdefghijklmnopqrstuv'[this.int(32)]).join('');
  }
}

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

interface Life {
  readonly core: StorageNodeCore;
  readonly pendingReplies: Map<number, (reply: NodeReply) => void>;
  /** Persists and background writes on their way to the disk, oldest first. */
  readonly disk: { readonly ops: readonly DurableOp[]; readonly then: () => void }[];
  isWriting: boolean;
  view: MemoryKv;
}

interface SimNode {
  readonly nodeId: NodeId;
  durable: MemoryKv;
  guard: Map<string, Uint8Array>;
  life: Life | null;
  lives: number;
}

export interface Faults {
  /** Share of messages lost (each way). */
  readonly loss: number;
  readonly maxDelayMs: number;
  /** Alive, but nothing from compute nodes reaches them. */
  readonly isolated?: ReadonlySet<NodeId>;
  /** Nothing passes between storage nodes but what they remember of each other. */
  readonly isGossipCut?: boolean;
}

/** What a test does to one exchange: let it pass (null), lose it, or put something else in the reply's place. */
export type Intercept = (
  node: NodeId,
  request: NodeRequest,
) => null | 'lose' | { readonly alter: (reply: NodeReply) => NodeReply };

export class SimCluster {
  readonly random: SeededRandom;
  faults: Faults = { loss: 0, maxDelayMs: 4 };
  /** On exchanges of compute nodes. */
  intercept: Intercept = () => null;
  readonly logs: string[] = [];
  readonly #nodes = new Map<NodeId, SimNode>();
  readonly #timers = new TimerHeap();
  #order = 0;
  #nextReplyTo = 1;
  #nowMs = 1_000;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    for (const { nodeId } of NODES) {
      this.#nodes.set(nodeId, { nodeId, durable: new MemoryKv(), guard: new Map(), life: null, lives: 0 });
      this.start(nodeId);
    }
  }

  get now(): Now {
    return { monotonicMs: this.#nowMs, wallMicros: Math.round(this.#nowMs * 1_000) };
  }
  get nowMs(): number {
    return this.#nowMs;
  }

  coreOf(nodeId: NodeId): StorageNodeCore | null {
    return this.#node(nodeId).life?.core ?? null;
  }

  later(delayMs: number, run: () => void): void {
    this.#order += 1;
    this.#timers.push({ atMs: this.#nowMs + delayMs, order: this.#order, run });
  }

  /** Runs what is due until `done`, or for `maxMs` of virtual time. */
  runUntil(done: () => boolean, maxMs: number): boolean {
    const endMs = this.#nowMs + maxMs;
    while (!done()) {
      const next = this.#timers.peek();
      if (next === null || next.atMs > endMs) {
        this.#nowMs = endMs;
        return done();
      }
      this.#timers.pop();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    return true;
  }

  /** A compute node's request over the network; `onReply` null: no answer in time (it may have been acted upon). */
  call(
    node: NodeId,
    request: NodeRequest,
    timeoutMs: number,
    onReply: (reply: NodeReply | null) => void,
  ): void {
    const isLost = this.faults.isolated?.has(node) === true;
    const verdict = isLost ? 'lose' : this.intercept(node, request);
    if (verdict === 'lose') this.later(timeoutMs, () => onReply(null));
    else
      this.#exchange(node, request, timeoutMs, (reply) =>
        onReply(reply === null || verdict === null ? reply : verdict.alter(reply)),
      );
  }

  #exchange(
    node: NodeId,
    request: NodeRequest,
    timeoutMs: number,
    onReply: (reply: NodeReply | null) => void,
  ): void {
    let isOver = false;
    const end = (reply: NodeReply | null) => {
      if (isOver) return;
      isOver = true;
      onReply(reply);
    };
    this.later(timeoutMs, () => end(null));
    this.#travel(() => {
      const { life } = this.#node(node);
      if (life === null) {
        this.#travel(() => end(null));
        return;
      }
      const replyTo = this.#nextReplyTo++;
      life.pendingReplies.set(replyTo, (reply) => this.#travel(() => end(reply)));
      this.#step(this.#node(node), life, { kind: 'request', replyTo, request });
    });
  }

  /** LSNs of the PG's records on the node's disk (nothing is ever collected here). */
  onDisk(nodeId: NodeId, volume: VolumeId, pg: PgIndex): ReadonlySet<Lsn> {
    const chunks = this.#node(nodeId).durable.rangeNow(new SegmentKeys(volume, pg).chunksAfter(NO_LSN));
    return new Set(
      chunks.flatMap(({ value }) => decodeBoxcar(value, nodeCrc32).records.map(({ lsn }) => lsn)),
    );
  }

  /** The node's acceptor loses a register, as if put back to an old disk image. Takes effect at its next start. */
  forgetRegister(nodeId: NodeId, key: string): void {
    this.#node(nodeId).guard.delete(`${GUARD.registerPrefix}${key}`);
  }

  crash(nodeId: NodeId, options: { readonly loseChunks?: number } = {}): void {
    const node = this.#node(nodeId);
    node.life = null;
    if (options.loseChunks === undefined) return;
    const chunks = node.durable.rangeNow({
      gte: Uint8Array.of(CHUNK_KIND),
      lt: Uint8Array.of(CHUNK_KIND + 1),
      reverse: true,
    });
    const lost = chunks.slice(0, options.loseChunks);
    node.durable.batchNow(lost.map(({ key }) => ({ type: 'del', key })));
  }

  start(nodeId: NodeId): void {
    const node = this.#node(nodeId);
    if (node.life !== null) return;
    node.lives += 1;
    const { az } = NODES.find((candidate) => candidate.nodeId === nodeId) ?? { az: '' };
    const core = new StorageNodeCore({
      nodeId,
      az,
      peers: NODES,
      leaseTermMs: LEASE_TERM_MS,
      crc32: nodeCrc32,
      buildVersion: 'test',
      limits: LIMITS,
    });
    const life: Life = {
      core,
      pendingReplies: new Map(),
      disk: [],
      isWriting: false,
      view: node.durable.copy(),
    };
    node.life = life;
    const recovery = {
      guard: new Map(node.guard),
      entries: [],
      damaged: false,
      findings: [],
      storeDoubts: [],
    };
    this.#step(node, life, { kind: 'start', recovery, incarnationSeed: this.random.id(8) });
    const tick = () => {
      if (node.life !== life) return;
      this.#step(node, life, { kind: 'tick' });
      this.later(TICK_MS, tick);
    };
    this.later(TICK_MS * this.random.next(), tick);
  }

  #step(node: SimNode, life: Life, event: CoreEvent): void {
    if (node.life !== life) return;
    for (const effect of life.core.step(event, this.now)) this.#execute(node, life, effect);
  }

  #execute(node: SimNode, life: Life, effect: CoreEffect): void {
    switch (effect.kind) {
      case 'persist':
        applyHome(life.view, effect.ops);
        this.#toDisk(node, life, effect.ops, () => {
          for (const next of effect.whenDurable) this.#execute(node, life, next);
        });
        return;
      case 'write': {
        const ops: DurableOp[] = effect.ops.map((op) => ({
          kind: 'home',
          key: op.key,
          value: op.type === 'put' ? op.value : null,
        }));
        applyHome(life.view, ops);
        this.#toDisk(node, life, ops, () => this.#step(node, life, { kind: 'written', token: effect.token }));
        return;
      }
      case 'query': {
        const results = effect.queries.map(
          (query): StoreResult =>
            query.kind === 'range'
              ? { kind: 'range', entries: life.view.rangeNow(query) }
              : { kind: 'getMany', values: query.keys.map((key) => life.view.getNow(key)) },
        );
        this.later(0.2, () => this.#step(node, life, { kind: 'query-result', token: effect.token, results }));
        return;
      }
      case 'reply': {
        const onReply = life.pendingReplies.get(effect.to);
        life.pendingReplies.delete(effect.to);
        onReply?.(effect.reply);
        return;
      }
      case 'call': {
        const { token, peer, request } = effect;
        const onReply = (reply: NodeReply | null) =>
          this.#step(
            node,
            life,
            reply === null
              ? { kind: 'peer-failed', token, message: 'no answer' }
              : { kind: 'peer-reply', token, reply: reply as PeerReply },
          );
        if (this.faults.isGossipCut === true && request.method !== 'exchangeMemory')
          this.later(PEER_TIMEOUT_MS, () => onReply(null));
        else this.#exchange(peer, request, PEER_TIMEOUT_MS, onReply);
        return;
      }
      case 'log':
        this.logs.push(
          `${this.#nowMs.toFixed(1)} ${node.nodeId} ${effect.level} ${effect.message} ${JSON.stringify(effect.fields)}`,
        );
        return;
      case 'reclaim':
      case 'nodes':
        return;
      case 'fatal':
        throw new Error(`${node.nodeId}: ${effect.message}`);
    }
  }

  #toDisk(node: SimNode, life: Life, ops: readonly DurableOp[], then: () => void): void {
    life.disk.push({ ops, then });
    this.#writeNext(node, life);
  }

  #writeNext(node: SimNode, life: Life): void {
    const next = life.disk[0];
    if (next === undefined || life.isWriting) return;
    life.isWriting = true;
    this.later(this.random.next(), () => {
      if (node.life !== life) return;
      life.isWriting = false;
      life.disk.shift();
      applyHome(node.durable, next.ops);
      for (const op of next.ops) {
        if (op.kind !== 'guard') continue;
        if (op.value === null) node.guard.delete(op.key);
        else node.guard.set(op.key, op.value.slice());
      }
      next.then();
      this.#writeNext(node, life);
    });
  }

  #travel(arrive: () => void): void {
    if (this.random.chance(this.faults.loss)) return;
    this.later(0.1 + this.random.next() * this.faults.maxDelayMs, arrive);
  }

  #node(nodeId: NodeId): SimNode {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) throw new Error(`no node ${nodeId}`);
    return node;
  }
}

function applyHome(store: MemoryKv, ops: readonly DurableOp[]): void {
  store.batchNow(
    ops.flatMap((op): KvOp[] => {
      if (op.kind !== 'home') return [];
      return op.value === null
        ? [{ type: 'del', key: op.key }]
        : [{ type: 'put', key: op.key, value: op.value }];
    }),
  );
}

/** Binary heap by (time, order of setting). */
class TimerHeap {
  readonly #heap: Timer[] = [];

  peek(): Timer | null {
    return this.#heap[0] ?? null;
  }

  push(timer: Timer): void {
    const heap = this.#heap;
    heap.push(timer);
    for (let at = heap.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && this.#isBefore(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const left = this.#heap[a] as Timer;
    const right = this.#heap[b] as Timer;
    return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
  }

  #swap(a: number, b: number): void {
    const heap = this.#heap;
    [heap[a], heap[b]] = [heap[b] as Timer, heap[a] as Timer];
  }
}
