/**
 * A storage node's core: one machine, events in, effects out (effects.ts). It dispatches requests to the files named after them, runs
 * programs (program.ts), and on every tick gives each segment its share of background work.
 *
 * Invariants
 * 1. Nothing leaves before it is true on disk: replies that promise ride on a persist; persists become durable in the order they
 *    were emitted, so one with no changes is a barrier behind all that is on its way.
 * 2. Foreground first: a request is dealt with in the step that brings it; background work begins on ticks, in bounded pieces.
 * 3. No clock, chance, disk or network is touched here.
 */
import { assertNever } from '../../src/base/assert.ts';
import { isTidemarkError } from '../../src/base/errors.ts';
import type { Crc32, Now } from '../../src/env/env.ts';
import type { NodeId, PageNumber } from '../../src/log/lsn.ts';
import { compareEpochs } from '../../src/log/epoch.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import { onAppend } from './append.ts';
import { onChangedPages } from './change-index.ts';
import { onFindCommit } from './commit-index.ts';
import { coalesceRound, freshenPages, isBacklogFull, isRoundDue } from './coalesce.ts';
import { collect, isCollectionDue } from './collect.ts';
import { type Hold, type NodeContext, type NodeOptions, type Reply, SegmentTable } from './context.ts';
import type {
  CoreEffect,
  CoreEvent,
  DiskRoom,
  DurableOp,
  NodeReply,
  NodeRequest,
  ReplyTo,
} from './effects.ts';
import { onTellRetention } from './drops.ts';
import { onDigestPages } from './digests.ts';
import { discoverFrom } from './discovery.ts';
import { Doubt } from './doubt.ts';
import { gossipIfDue, onPullRecords } from './gossip.ts';
import { onHeartbeat } from './heartbeats.ts';
import { copyPages, isCopyDue } from './hydration.ts';
import { Leases } from './leases.ts';
import { GUARD } from './keys.ts';
import { type CoreLimits, DEFAULT_CORE_LIMITS } from './limits.ts';
import { MemoryExchange } from './memory-exchange.ts';
import { isRemovalDue, keepBases, removeData } from './membership.ts';
import { onPullPages } from './page-copies.ts';
import { PageCache } from './page-memory.ts';
import { type Program, ProgramRunner } from './program.ts';
import { onReadPages } from './read-requests.ts';
import { isRepairDue, repairPages } from './repair.ts';
import { start } from './recovery.ts';
import { Recall } from './recall.ts';
import { refusal, refuse } from './refusals.ts';
import {
  CLUSTER_KEY,
  Registers,
  joinCluster,
  onRegisterAccept,
  onRegisterList,
  onRegisterPrepare,
  onRegisterScan,
  tellNodes,
} from './registers.ts';
import type { Segment } from './segment.ts';
import { statusOf } from './status.ts';
import { Scrub, onScrub } from './scrub.ts';
import { onFence, onInstall, onInventory } from './takeover.ts';
import { ValueCodec, decodeText } from './values.ts';

/** One peer is asked at such intervals which segments this node should have. */
const DISCOVERY_INTERVAL_MS = 5_000;
/** Requests that need the peers' answers are kept so long for them after the start: then they are refused, to be sent again. */
const ANSWERS_SOON_MS = 250;
/** These promise nothing and acknowledge nothing. */
const NEED_NO_ANSWERS: ReadonlySet<NodeRequest['method']> = new Set(['status', 'readPages', 'pullRecords']);
/** Pause after background work met damage. */
const RETRY_PAUSE_MS = 1_000;

interface HeldReply {
  readonly reply: Reply;
  readonly hold: Hold;
}

/** `loaded`: the store is read and replayed, and the peers' answers are waited for a moment before requests are served. */
type Phase = 'new' | 'starting' | 'loaded' | 'ready';

export class StorageNodeCore implements NodeContext {
  readonly options: NodeOptions;
  readonly limits: CoreLimits;
  readonly crc32: Crc32;
  readonly values: ValueCodec;
  readonly cache: PageCache;
  readonly segments = new SegmentTable();
  readonly copies = { out: 0, in: 0, begun: 0 };
  readonly scrub = new Scrub();
  diskRoom: DiskRoom = 'enough';
  leases: Leases;
  incarnation = '';
  clusterId = '';
  now: Now = { monotonicMs: 0, wallMicros: 0 };
  startedAtMs = 0;

  private phase: Phase = 'new';
  private readonly registers = new Registers();
  private readonly doubt = new Doubt(this.registers);
  private readonly recall = new Recall(this.registers, this.doubt);
  private readonly exchange = new MemoryExchange(this.recall, this.registers);
  private readonly programs: ProgramRunner;
  private effects: CoreEffect[] = [];
  private queued: { readonly to: ReplyTo; readonly request: NodeRequest }[] = [];
  private held: HeldReply[] = [];
  private loadedAtMs = 0;
  private discoverAtMs = 0;
  private discoverCursor = 0;
  private readonly freshening = new Set<Segment>();
  private readonly pausedUntilMs = new Map<Segment, number>();

  constructor(options: NodeOptions) {
    this.options = options;
    this.limits = { ...DEFAULT_CORE_LIMITS, roundRecords: staggeredRound(options), ...options.limits };
    this.crc32 = options.crc32;
    this.values = new ValueCodec(options.crc32);
    this.cache = new PageCache(this.limits.pageCacheBytes);
    this.leases = new Leases(options.leaseTermMs, 0, true);
    this.programs = new ProgramRunner((effect) => this.emit(effect));
  }

  /** All that the journal supplied has been taken in. */
  get isReady(): boolean {
    return this.phase === 'loaded' || this.phase === 'ready';
  }

  /** Its peers have answered what it may have forgotten, nothing that was lost is still being made good, and no page is in doubt. */
  get isIntact(): boolean {
    if (!this.isReady || !this.recall.isSettled || this.doubt.isOpen(this)) return false;
    return [...this.segments.all()].every(({ doubts }) => doubts.isEmpty);
  }

  step(event: CoreEvent, now: Now): CoreEffect[] {
    this.now = now;
    this.effects = [];
    this.dispatch(event);
    this.settle();
    const effects = this.effects;
    this.effects = [];
    return effects;
  }

  private dispatch(event: CoreEvent): void {
    switch (event.kind) {
      case 'start':
        this.onStart(event);
        return;
      case 'request':
        this.onRequest(event.replyTo, event.request);
        return;
      case 'query-result':
        this.programs.resume(event.token, { kind: 'results', results: event.results });
        return;
      case 'written':
        this.programs.resume(event.token, { kind: 'written' });
        return;
      case 'peer-reply':
        this.programs.resume(event.token, { kind: 'reply', reply: event.reply });
        return;
      case 'peer-failed':
        this.programs.resume(event.token, { kind: 'failed', message: event.message });
        return;
      case 'abandoned':
        this.held = this.held.filter(({ reply }) => reply.to !== event.replyTo);
        this.queued = this.queued.filter(({ to }) => to !== event.replyTo);
        return;
      case 'disk':
        this.diskRoom = event.room;
        return;
      case 'tick':
        this.onTick();
        return;
      default:
        assertNever(event, 'event');
        return;
    }
  }

  private onStart(event: Extract<CoreEvent, { kind: 'start' }>): void {
    this.phase = 'starting';
    this.startedAtMs = this.now.monotonicMs;
    const { guard } = event.recovery;
    this.clusterId = textOf(guard.get(GUARD.clusterId)) ?? '';
    this.recall.begin(this, Number(textOf(guard.get(GUARD.incarnation)) ?? '0'), event.incarnationSeed);
    this.exchange.memory.load(guard);
    // The peers answer while the store is read.
    this.exchange.begin(this);
    this.run(this.starting(event));
  }

  private *starting(event: Extract<CoreEvent, { kind: 'start' }>): Program<void> {
    yield* start(this, this.registers, this.doubt, event.recovery);
    tellNodes(this, this.registers);
    this.phase = 'loaded';
    this.serveQueued(({ method }) => NEED_NO_ANSWERS.has(method));
    this.loadedAtMs = this.now.monotonicMs;
    this.exchange.onLoaded(this);
    this.discoverAtMs = this.now.monotonicMs + DISCOVERY_INTERVAL_MS;
    this.scrub.schedule(this, this.limits.scrubIntervalMs * staggerOf(this.options));
    this.log('info', 'storage node ready', {
      nodeId: this.options.nodeId,
      segments: this.segments.size,
      registers: this.registers.size,
    });
  }

  private settle(): void {
    if (this.isReady && this.recall.settleIfAnswered(this)) {
      const { incarnation } = this;
      this.log('info', 'the other nodes have told what they remember of this one', { incarnation });
      this.exchange.onSettled(this);
    }
    if (this.phase !== 'loaded') return;
    if (!this.recall.isSettled && this.now.monotonicMs < this.loadedAtMs + ANSWERS_SOON_MS) return;
    this.phase = 'ready';
    this.serveQueued(() => true);
  }

  private serveQueued(isDue: (request: NodeRequest) => boolean): void {
    const due = this.queued.filter(({ request }) => isDue(request));
    this.queued = this.queued.filter(({ request }) => !isDue(request));
    for (const { to, request } of due) this.serve(to, request);
  }

  /** Whether a request that comes now is served at once. */
  private isServed({ method }: NodeRequest): boolean {
    switch (this.phase) {
      case 'new':
        return false;
      case 'starting':
        return method === 'exchangeMemory';
      case 'loaded':
        return method === 'exchangeMemory' || NEED_NO_ANSWERS.has(method);
      case 'ready':
        return true;
      default:
        return assertNever(this.phase, 'phase');
    }
  }

  private onRequest(to: ReplyTo, request: NodeRequest): void {
    if (this.isServed(request)) {
      this.serve(to, request);
      return;
    }
    if (this.queued.length < this.limits.maxQueuedAtStart) {
      this.queued.push({ to, request });
      return;
    }
    this.reply(to, refuse(request, refusal('UNAVAILABLE', 'the storage node is starting'), this));
  }

  private serve(to: ReplyTo, request: NodeRequest): void {
    const foreign = this.whyForeign(request);
    if (foreign !== null) {
      this.reply(to, refuse(request, foreign, this));
      return;
    }
    switch (request.method) {
      case 'append':
        onAppend(this, { to, body: request.body });
        return;
      case 'readPages':
        onReadPages(this, { to, body: request.body });
        return;
      case 'heartbeat':
        onHeartbeat(this, { to, body: request.body });
        return;
      case 'registerPrepare':
        onRegisterPrepare(this, this.registers, { to, body: request.body });
        return;
      case 'registerAccept':
        onRegisterAccept(this, this.registers, { to, body: request.body });
        return;
      case 'registerList':
        onRegisterList(this, this.registers, { to, body: request.body });
        return;
      case 'registerScan':
        onRegisterScan(this, this.registers, { to, body: request.body });
        return;
      case 'fence':
        onFence(this, { to, body: request.body });
        return;
      case 'inventory':
        onInventory(this, { to, body: request.body });
        return;
      case 'install':
        onInstall(this, { to, body: request.body });
        return;
      case 'findCommit':
        onFindCommit(this, { to, body: request.body });
        return;
      case 'changedPages':
        onChangedPages(this, { to, body: request.body });
        return;
      case 'pullRecords':
        onPullRecords(this, { to, body: request.body });
        return;
      case 'exchangeMemory':
        this.exchange.onExchange(this, { to, body: request.body });
        return;
      case 'pullPages':
        onPullPages(this, { to, body: request.body });
        return;
      case 'digestPages':
        onDigestPages(this, { to, body: request.body });
        return;
      case 'scrub':
        onScrub(this, { to, body: request.body });
        return;
      case 'tellRetention':
        onTellRetention(this, { to, body: request.body });
        return;
      case 'status':
        this.reply(to, { method: 'status', body: statusOf(this) });
        return;
      default:
        assertNever(request, 'request');
        return;
    }
  }

  /**
   * Whether the request speaks of another cluster. Who does not know the cluster yet may only look at, or found it. A node that belongs to
   * none joins the one that first asks something lasting of it: whoever names a cluster knows that it is committed, and this node stands in
   * its configuration.
   */
  private whyForeign(request: NodeRequest): Refusal | null {
    const { clusterId } = request.body;
    if (clusterId === '') {
      const isOpen =
        request.method === 'status' ||
        request.method === 'exchangeMemory' ||
        request.method === 'scrub' ||
        ((request.method === 'registerPrepare' || request.method === 'registerAccept') &&
          request.body.key === CLUSTER_KEY);
      return isOpen ? null : refusal('WRONG_CLUSTER', 'the request names no cluster');
    }
    if (this.clusterId === '') {
      const isLasting =
        request.method === 'fence' || request.method === 'install' || request.method === 'registerAccept';
      if (isLasting) this.persist(joinCluster(this, clusterId), []);
      return null;
    }
    if (clusterId === this.clusterId) return null;
    return refusal('WRONG_CLUSTER', `this node belongs to cluster ${this.clusterId}, not ${clusterId}`);
  }

  private onTick(): void {
    if (this.phase === 'new') return;
    this.exchange.onTick(this);
    if (!this.isReady) return;
    this.releaseHeld();
    this.doubt.onTick(this);
    const { isSettled } = this.recall;
    if (isSettled && this.now.monotonicMs >= this.discoverAtMs) this.discover();
    this.scrub.goOn(this);
    for (const segment of [...this.segments.all()]) {
      if (isSettled) gossipIfDue(this, segment);
      if ((this.pausedUntilMs.get(segment) ?? 0) <= this.now.monotonicMs) this.workOn(segment);
    }
  }

  private workOn(segment: Segment): void {
    const nowMs = this.now.monotonicMs;
    const { hydration } = segment;
    if (isRemovalDue(segment)) this.background(segment, 'deletion', removeData(this, segment), () => {});
    if (hydration !== null && isCopyDue(this, segment))
      this.background(segment, 'hydration', copyPages(this, segment, hydration), () => {});
    if (this.diskRoom === 'enough' && isRepairDue(segment, nowMs)) this.run(repairPages(this, segment));
    if (!segment.isInForce) return;
    if (this.diskRoom !== 'gone' && isRoundDue(segment, this.limits, nowMs)) {
      segment.isCoalescing = true;
      this.background(segment, 'coalescing', this.coalescing(segment), () => {
        segment.isCoalescing = false;
      });
    }
    if (segment.longChains.size > 0 && !this.freshening.has(segment)) {
      this.freshening.add(segment);
      this.background(segment, 'freshening', freshenPages(this, segment), () =>
        this.freshening.delete(segment),
      );
    }
    const env = {
      nodeId: this.options.nodeId,
      values: this.values,
      limits: this.limits,
      nowMs,
      startedAtMs: this.startedAtMs,
      doubtPages: this.doubtPages.bind(this),
    };
    if (isCollectionDue(env, segment)) {
      segment.isCollecting = true;
      segment.collectAfterMs = nowMs + this.limits.collectIntervalMs;
      this.background(segment, 'collection', collect(env, segment), () => {
        segment.isCollecting = false;
      });
    }
  }

  /** Runs a background program; damage that it meets is reported and the segment's background work pauses. */
  private background(segment: Segment, what: string, program: Program<unknown>, done: () => void): void {
    this.run(this.guarded(segment, what, program, done));
  }

  private *guarded(
    segment: Segment,
    what: string,
    program: Program<unknown>,
    done: () => void,
  ): Program<void> {
    try {
      yield* program;
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.log('error', `${what} failed`, { segment: segment.name, code: error.code, why: error.message });
      this.pausedUntilMs.set(segment, this.now.monotonicMs + RETRY_PAUSE_MS);
    } finally {
      done();
    }
  }

  /** Round after round while the backlog is worth one: each waits for the store, so that the foreground comes in between. */
  private *coalescing(segment: Segment): Program<void> {
    do {
      const nowMs = this.now.monotonicMs;
      if (!(yield* coalesceRound(this, segment, nowMs))) return;
    } while (isBacklogFull(segment, this.limits));
  }

  private discover(): void {
    keepBases(this);
    this.discoverAtMs = this.now.monotonicMs + DISCOVERY_INTERVAL_MS;
    const peers = this.options.peers.filter(({ nodeId }) => nodeId !== this.options.nodeId);
    const peer = peers[this.discoverCursor % Math.max(1, peers.length)];
    this.discoverCursor += 1;
    if (peer !== undefined) this.run(this.discovering(peer.nodeId));
  }

  private *discovering(peer: NodeId): Program<void> {
    yield* discoverFrom(this, peer);
  }

  // NodeContext

  get isInDoubt(): boolean {
    return this.doubt.coversSegments;
  }

  whyUnsure(segment: Segment | null): Refusal | null {
    return this.recall.whyUnsure(this, segment);
  }

  rememberedOf(segment: Segment): number {
    return this.exchange.memory.countOf(segment.name);
  }

  segmentOf(volume: Segment['volume'], pg: Segment['pg']): Segment | null {
    return this.segments.kept(volume, pg);
  }

  doubtPages(segment: Segment, first: PageNumber, last: PageNumber, why: string): void {
    const ops = segment.doubtPages(first, last);
    if (ops.length === 0) return;
    this.log('error', 'pages in doubt', { segment: segment.name, first, last, why });
    this.cache.dropSegment(segment.name);
    this.persist(ops, []);
    this.emit({ kind: 'suspect-store' });
  }

  emit(effect: CoreEffect): void {
    this.effects.push(effect);
  }

  persist(ops: readonly DurableOp[], replies: readonly Reply[]): void {
    if (ops.length === 0 && replies.length === 0) return;
    const whenDurable = replies.map(({ to, reply }): CoreEffect => ({ kind: 'reply', to, reply }));
    this.emit({ kind: 'persist', ops, whenDurable });
  }

  persistHeld(ops: readonly DurableOp[], reply: Reply, hold: Hold): void {
    if (this.leases.heldUntilMs(hold.segment.volume, hold.epoch) <= this.now.monotonicMs) {
      this.persist(ops, [reply]);
      return;
    }
    this.persist(ops, []);
    this.held.push({ reply, hold });
  }

  releaseHeld(): void {
    if (this.held.length === 0) return;
    const held = this.held;
    this.held = [];
    const due: Reply[] = [];
    for (const item of held) {
      const { segment, epoch, refused } = item.hold;
      if (compareEpochs(epoch, segment.promised) < 0 || !segment.isInForce)
        this.reply(item.reply.to, refused());
      else if (this.leases.heldUntilMs(segment.volume, epoch) <= this.now.monotonicMs) due.push(item.reply);
      else this.held.push(item);
    }
    this.persist([], due);
  }

  reply(to: ReplyTo, reply: NodeReply): void {
    this.emit({ kind: 'reply', to, reply });
  }

  run(program: Program<void>): void {
    this.programs.run(program);
  }

  log(level: 'info' | 'warn' | 'error', message: string, fields?: Record<string, unknown>): void {
    this.emit({ kind: 'log', level, message, ...(fields === undefined ? {} : { fields }) });
  }
}

function textOf(value: Uint8Array | undefined): string | null {
  return value === undefined ? null : decodeText(value);
}

/**
 * The six copies of a PG take in the same records: with rounds of one size they would all coalesce in the same moment, and none would be
 * left to answer appends meanwhile.
 */
function staggeredRound({ nodeId, peers }: NodeOptions): number {
  return Math.round(DEFAULT_CORE_LIMITS.roundRecords * (1 + 0.6 * staggerOf({ nodeId, peers })));
}

/** A share of 1 for each of six nodes, so that they do not all do the same at the same time. */
function staggerOf({ nodeId, peers }: Pick<NodeOptions, 'nodeId' | 'peers'>): number {
  const position = peers.findIndex((peer) => peer.nodeId === nodeId);
  return (Math.max(0, position) % 6) / 6;
}
