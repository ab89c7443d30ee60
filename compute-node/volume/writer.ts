/**
 * The volume's one writer: gives LSNs to the engine's MTRs, sends their records to six segments per PG, and knows how durable the volume is
 * (design sections 1, 3 and 9; Aurora paper, section 4). Pure: events in, effects out (writer-types.ts); the driver does the I/O.
 *
 * All events change state and end in the same few decisions: seal what the window lets go, pump what the lanes take, let go of what nobody needs.
 *
 * Invariants
 * 1. VDL ≤ VCL ≤ head ≤ VDL + LAL. LSNs are dense from the head run's first, and an MTR's last record is its CPL (asserted by the tracker).
 * 2. Only SCLs count that a segment itself reported under this epoch. What a segment said before a restart is forgotten; PGCL, VCL and VDL never
 *    go back (the trackers').
 * 3. Records of a PG go out only once the manifest that names it is committed, and to a segment only once it has installed this term's
 *    manifest. While an MTR waits for its PG, every later MTR waits behind it: recovery must never find the later one alone.
 * 4. A refusal that names a higher promised epoch, or says that the volume was dropped, ends the term for good: nothing is sent, counted or
 *    acknowledged afterwards.
 * 5. A segment leaves the live set only when four others of its PG are ahead of it.
 * 6. While a PG's members change, whatever counts is counted in both member sets, from before the proposal leaves until its end is committed.
 */
import { assert, assertNever } from '../../src/base/assert.ts';
import { MAX_BOXCAR_BYTES, MAX_UNACKED_BYTES_PER_NODE, MIB } from '../../src/base/limits.ts';
import type { Now } from '../../src/env/env.ts';
import { sealRecord } from '../../src/log/codec.ts';
import { compareEpochs, type Epoch, sameEpoch } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type NodeId, pgOfPage, type PgIndex, type VolumeId } from '../../src/log/lsn.ts';
import type { Mtr, RedoRecord } from '../../src/log/record.ts';
import type { AppendReply, HeartbeatGrant, HeartbeatVolume, Refusal } from '../../src/messages/messages.ts';
import type { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { VolumeTracker } from '../../src/quorum/volume-tracker.ts';
import { encodeRetention } from '../../src/register/codec.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import type { SubmittedMtr } from './open-volume.ts';
import { deposedError, overloaded, tooManyRecords, volumeDropped, writerClosed } from './writer-errors.ts';
import { checkPgFits, wantedPgs } from './writer-growth.ts';
import { HeartbeatNews } from './writer-heartbeat.ts';
import { HeldMtrs, type PlacedRecord } from './writer-held.ts';
import { Installs } from './writer-installs.ts';
import type { Lane, NodeLink } from './writer-lane.ts';
import { type MemberChange, VolumeManifests } from './writer-manifests.ts';
import { ChangeWatch } from './writer-members.ts';
import { NodeLinks } from './writer-nodes.ts';
import { PgStream, type Term } from './writer-pg.ts';
import type { WriterEffect, WriterEvent, WriterLimits, WriterOptions } from './writer-types.ts';

const DEFAULT_LIMITS: WriterLimits = {
  maxBoxcarsInFlight: 2,
  maxBoxcarBytes: MAX_BOXCAR_BYTES,
  maxHardeningBytes: 32 * MIB,
  maxUnackedBytesPerNode: MAX_UNACKED_BYTES_PER_NODE,
  maxInFlightBytesPerNode: 8 * MIB,
  stallMs: 2_000,
  resendMs: 2_000,
};
/** An engine that hands over MTRs although it was told to wait is refused past this many times the bound. */
const HARD_BOUND_FACTOR = 16;
/** A segment's own word, under this epoch. */
type SclReport = Pick<AppendReply, 'incarnation' | 'scl' | 'hydrated' | 'configVersion'>;
/** Which question an install's answer belongs to. */
type InstallAnswer = { readonly node: NodeId; readonly pg: PgIndex; readonly version: number };

type WriterState =
  | { readonly kind: 'open' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'deposed'; readonly by: Epoch }
  | { readonly kind: 'dropped' };

/** Refusals of a segment that lacks something else than the manifest. */
const HAS_THE_MANIFEST: ReadonlySet<string> = new Set([
  'DISK_FULL',
  'OVERLOADED',
  'QUARANTINED',
  'UNAVAILABLE',
]);

export class VolumeWriter {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  private readonly term: Term;
  private readonly limits: WriterLimits;
  private readonly lal: number;
  private readonly tracker: VolumeTracker;
  private readonly manifests: VolumeManifests;
  private readonly changeWatch = new ChangeWatch();
  private readonly streams: PgStream[] = [];
  private readonly nodes: NodeLinks;
  private readonly installs: Installs;
  private state: WriterState = { kind: 'open' };
  private head: Lsn;
  private lastCommitTimeMicros: number;
  private readonly held = new HeldMtrs();
  private readonly news = new HeartbeatNews();
  /** Bytes of all PGs without a quorum; kept up with `note`. */
  private hardeningBytes = 0;
  private readonly hardeningOf: number[] = [];
  /** PGs with records to seal. */
  private readonly unsealed = new Set<PgStream>();
  /** Since when VDL has stood below the head without moving; null while nothing hardens. */
  private waitingSinceMs: number | null = null;
  private isStalled = false;
  private effects: WriterEffect[] = [];

  constructor(options: WriterOptions) {
    const { takenOver, cluster, crc32 } = options;
    const { manifest } = takenOver;
    const run = headRun(manifest.runs);
    assert(sameEpoch(run.epoch, takenOver.epoch), 'the head run is of another epoch');
    assert(takenOver.vdl === run.firstLsn - 1, 'VDL after a take-over is the head run’s first − 1');
    this.volume = manifest.volume;
    this.epoch = takenOver.epoch;
    const { clusterId, constants } = cluster();
    this.term = { clusterId, volume: this.volume, epoch: this.epoch, crc32 };
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.lal = constants.lal;
    this.nodes = new NodeLinks(this.limits.maxUnackedBytesPerNode);
    this.tracker = new VolumeTracker(run.firstLsn);
    this.manifests = new VolumeManifests(takenOver, cluster);
    this.installs = new Installs(this.term, this.manifests, encodeRetention(takenOver.retention));
    this.head = takenOver.vdl;
    this.lastCommitTimeMicros = takenOver.lastCommitTimeMicros;
    for (const config of manifest.pgs) this.addStream(config, takenOver.tails[config.pg] ?? NO_LSN, true);
    for (const { pg, nodeId, scl, incarnation, hydrated } of takenOver.installed) {
      const lane = this.streams[pg]?.laneOf(nodeId);
      if (lane === undefined) continue;
      lane.install = 'done';
      lane.onScl({ incarnation, scl, hydrated }, 0);
      this.tracker.onScl(pg, nodeId, incarnation, scl, hydrated);
    }
  }

  get headLsn(): Lsn {
    return this.head;
  }

  get vcl(): Lsn {
    return this.tracker.vcl;
  }

  get vdl(): Lsn {
    return this.tracker.vdl;
  }

  /** The newest stamp given out; at first that of the head run's opening. */
  get lastCommitMicros(): number {
    return this.lastCommitTimeMicros;
  }

  get manifest(): ManifestValue {
    return this.manifests.manifest;
  }

  /** Who decides for a committed PG. */
  quorumOf(pg: PgIndex): QuorumSet {
    return this.manifests.quorumOf(pg);
  }

  /** Changes of members under way. */
  get memberChanges(): readonly MemberChange[] {
    return this.manifests.changes();
  }

  /** The six of `pg` are to become `proposed`: begins with the next step. Throws what makes it impossible. */
  proposeMembers(pg: PgIndex, proposed: readonly NodeId[]): void {
    this.checkIsOpen();
    this.manifests.proposeMembers(pg, proposed);
  }

  /** Where the manifest register is. */
  get registerPlace(): RegisterPlace {
    return this.manifests.place;
  }

  /** The manifest register goes there: begins with the next step. */
  moveRegister(to: RegisterPlace): void {
    this.checkIsOpen();
    this.manifests.moveRegister(to);
  }

  /** Takes a change of members back that has not ended yet. Throws when there is none, or when it is too late. */
  revertMembers(pg: PgIndex): void {
    this.checkIsOpen();
    this.manifests.endChange(pg, 'revert');
  }

  get deposedBy(): Epoch | null {
    return this.state.kind === 'deposed' ? this.state.by : null;
  }

  /** See OpenVolume.writable. Room for any legal MTR is kept free under the LAL. */
  get isWritable(): boolean {
    return (
      this.state.kind === 'open' &&
      !this.isStalled &&
      this.head - this.vdl <= this.lal / 2 &&
      this.hardeningBytes + this.held.sizeBytes <= this.limits.maxHardeningBytes &&
      !this.nodes.isBacklogged
    );
  }

  /** The nodes that hold segments of this volume. */
  get links(): Iterable<NodeLink> {
    return this.nodes.all;
  }

  /** The copies of a committed PG; none for one that does not exist yet. */
  segmentsOf(pg: PgIndex): readonly Lane[] {
    return this.streams[pg]?.lanes ?? [];
  }

  pgCount(): number {
    return this.manifests.committedCount;
  }

  hasPg(pg: PgIndex): boolean {
    return pg < this.manifests.committedCount;
  }

  /** Sealed since the term began. */
  get redoBytes(): number {
    return this.streams.reduce((sum, { buffer }) => sum + buffer.pushedBytes, 0);
  }

  /** With this SCL a segment surely holds all that a read at `at` ≤ VDL needs. */
  requiredScl(pg: PgIndex, at: Lsn): Lsn {
    return this.tracker.requiredScl(pg, at);
  }

  /**
   * Gives LSNs to an MTR's records and queues them; `step({kind: 'flush'})` sends. All checks come before the first LSN is given, so that a
   * refused MTR leaves no trace.
   */
  submit(mtr: Mtr, now: Now): SubmittedMtr {
    const count = mtr.changes.length;
    assert(count > 0, 'an empty MTR');
    this.checkMayTake(count);
    const { pgPages } = this.manifests.manifest;
    let highestPage = 0;
    for (const change of mtr.changes) if (change.page > highestPage) highestPage = change.page;
    const highestPg = Math.floor((highestPage - 1) / pgPages) as PgIndex;
    checkPgFits(highestPg);
    this.plan(wantedPgs(highestPage, pgPages));

    const commitTimeMicros = Math.max(this.lastCommitTimeMicros + 1, now.wallMicros);
    const firstLsn = (this.head + 1) as Lsn;
    const mustWait = !this.held.isEmpty || highestPg >= this.manifests.committedCount;
    const waiting: PlacedRecord[] = [];
    for (let i = 0; i < count; i++) {
      const { page, kind, body } = mtr.changes[i]!;
      const pg = pgOfPage(page, pgPages);
      const stream = this.streams[pg];
      assert(stream !== undefined, `PG ${pg} was not planned`);
      const isCpl = i === count - 1;
      const lsn = (firstLsn + i) as Lsn;
      const prevLsn = this.tracker.lastSentLsnOf(pg);
      const record = sealRecord(
        { lsn, prevLsn, page, kind, body, isCpl, commitTimeMicros: isCpl ? commitTimeMicros : 0 },
        stream.context,
        this.term.crc32,
      );
      this.tracker.onSent(pg, lsn, prevLsn, isCpl);
      if (mustWait) waiting.push({ pg, record });
      else this.queue(stream, record);
    }
    if (mustWait) this.held.add(waiting, highestPg);
    this.head = (firstLsn + count - 1) as Lsn;
    this.lastCommitTimeMicros = commitTimeMicros;
    this.waitingSinceMs ??= now.monotonicMs;
    assert(this.head <= this.vdl + this.lal, `head ${this.head} past VDL ${this.vdl} + LAL`);
    return { firstLsn, cpl: this.head, commitTimeMicros };
  }

  step(event: WriterEvent, now: Now): readonly WriterEffect[] {
    if (this.state.kind === 'open') this.apply(event, now.monotonicMs);
    const { effects } = this;
    this.effects = [];
    return effects;
  }

  /** What to say to a node about this volume in the next heartbeat; null when it holds no segment of it. */
  heartbeatFor(
    nodeId: NodeId,
    isRelease: boolean,
    retention: Uint8Array,
    keep = isRelease,
  ): HeartbeatVolume | null {
    const node = this.nodes.get(nodeId);
    if (node === undefined || this.state.kind === 'deposed' || this.state.kind === 'dropped') return null;
    const pgs = this.news.pgsFor(node, this.tracker, this.manifests.committedCount);
    return { volume: this.volume, epoch: this.epoch, release: isRelease, pgs, retention, keep };
  }

  /** A newer retention value was committed. */
  setRetention(committed: Uint8Array): void {
    this.installs.setRetention(committed);
  }

  private checkIsOpen(): void {
    if (this.state.kind === 'deposed') throw deposedError(this.epoch, this.state.by);
    if (this.state.kind === 'dropped') throw volumeDropped(this.volume);
    if (this.state.kind === 'closed') throw writerClosed();
  }

  private checkMayTake(count: number): void {
    this.checkIsOpen();
    if (count > this.lal / 2) throw tooManyRecords(count, Math.floor(this.lal / 2));
    const isPastLal = this.head + count > this.vdl + this.lal;
    const bytes = this.hardeningBytes + this.held.sizeBytes;
    const isPastBound = !this.isWritable && bytes > HARD_BOUND_FACTOR * this.limits.maxHardeningBytes;
    if (isPastLal || isPastBound) throw overloaded(this.head - this.vdl);
  }

  private apply(event: WriterEvent, nowMs: number): void {
    switch (event.kind) {
      case 'flush':
        this.proposeManifest(nowMs);
        this.sealAll(nowMs);
        break;
      case 'node-up':
        this.onNodeUp(event.node, nowMs);
        break;
      case 'node-down':
        this.onNodeDown(event.node);
        break;
      case 'node-full':
        this.withNode(event.node, (node) => {
          node.isFull = true;
        });
        break;
      case 'node-drained':
        this.withNode(event.node, (node) => {
          node.isFull = false;
          this.pumpNode(node, nowMs);
        });
        break;
      case 'append-reply':
        this.onAppendReply(event.node, event.reply, nowMs);
        break;
      case 'heartbeat-reply':
        this.onHeartbeatReply(event.node, event.incarnation, event.grant, nowMs);
        break;
      case 'install-reply':
        this.onInstallReply(event, nowMs);
        break;
      case 'install-failed':
        this.onInstallFailed(event, nowMs);
        break;
      case 'manifest-committed':
        this.onManifestCommitted(event.version, nowMs);
        break;
      case 'manifest-failed':
        this.manifests.onFailed(event.version, nowMs);
        break;
      case 'manifest-refused':
        this.depose(event.promised, 'the manifest register promised a newer epoch');
        break;
      case 'tick':
        this.onTick(nowMs);
        break;
      case 'close':
        this.state = { kind: 'closed' };
        break;
      default:
        assertNever(event, 'writer event');
    }
  }

  // The way of a record out

  private plan(count: number): void {
    if (count <= this.manifests.plannedCount) return;
    for (const config of this.manifests.plan(count)) this.addStream(config, NO_LSN, false);
  }

  private addStream(config: PgConfig, tail: Lsn, isCommitted: boolean): void {
    this.tracker.addPg(config.pg, this.quorumOf(config.pg), tail);
    this.streams.push(new PgStream(this.term, config, this.nodes.of(config), isCommitted));
    this.hardeningOf.push(0);
  }

  private queue(stream: PgStream, record: RedoRecord): void {
    stream.add(record);
    this.unsealed.add(stream);
  }

  private proposeManifest(nowMs: number): void {
    const proposal = this.manifests.nextProposal(nowMs);
    if (proposal === null) return;
    this.applyRules(nowMs);
    this.effects.push({ kind: 'commit-manifest', ...proposal });
  }

  /** Invariant 6: from the next report on. */
  private applyRules(nowMs: number): void {
    const before = this.tracker.vdl;
    for (const stream of this.streams) {
      const quorum = this.quorumOf(stream.pg);
      const known = this.tracker.pgTracker(stream.pg);
      if (known.quorum === quorum) continue;
      this.tracker.setQuorum(stream.pg, quorum);
      stream.onPgcl(known.pgcl);
      stream.release();
      this.note(stream);
    }
    this.afterCounting(before, nowMs);
  }

  private sealAll(nowMs: number): void {
    for (const stream of this.unsealed) this.seal(stream, nowMs);
  }

  private seal(stream: PgStream, nowMs: number): void {
    const point = { vdl: this.vdl, tail: this.tracker.tailOf(stream.pg) };
    if (stream.seal(this.limits, point, nowMs)) {
      this.boundBacklog(stream);
      for (const lane of stream.lanes) this.pump(lane, nowMs);
    }
    this.note(stream);
    if (!stream.hasPending) this.unsealed.delete(stream);
  }

  private note(stream: PgStream): void {
    const bytes = stream.hardeningBytes;
    this.hardeningBytes += bytes - this.hardeningOf[stream.pg]!;
    this.hardeningOf[stream.pg] = bytes;
  }

  private pump(lane: Lane, nowMs: number): void {
    for (;;) {
      const boxcar = lane.peek(nowMs, this.limits.maxInFlightBytesPerNode);
      if (boxcar === null) return;
      lane.onSent(nowMs);
      if (boxcar.request.vdl > lane.toldVdl) lane.toldVdl = boxcar.request.vdl;
      const { configVersion } = this.streamOf(lane);
      const isCurrent = boxcar.request.configVersion === configVersion;
      const request = isCurrent ? boxcar.request : { ...boxcar.request, configVersion };
      this.effects.push({ kind: 'append', node: lane.nodeId, request });
    }
  }

  private pumpNode(node: NodeLink, nowMs: number): void {
    for (const lane of node.lanes) this.pump(lane, nowMs);
  }

  // Slow and dead nodes

  private boundBacklog(stream: PgStream): void {
    for (const { node } of stream.lanes) {
      if (this.nodes.isPastBound(node)) this.dropIfSpared(node);
    }
  }

  /** Invariant 5, lane by lane. */
  private dropIfSpared(node: NodeLink): void {
    const spared = node.lanes.filter(
      (lane) => !lane.isDropped && lane.unackedRecords > 0 && this.streamOf(lane).canSpare(lane),
    );
    if (spared.length === 0) return;
    for (const lane of spared) {
      lane.drop();
      this.streamOf(lane).release();
    }
    this.log('warn', 'a storage node fell too far behind and is left to catch up by itself', {
      node: node.nodeId,
      pgs: spared.length,
    });
  }

  private onNodeUp(nodeId: NodeId, nowMs: number): void {
    for (const lane of this.nodes.onUp(nodeId)?.lanes ?? []) {
      lane.onStreamUp();
      this.requestInstall(lane);
      this.pump(lane, nowMs);
    }
  }

  private onNodeDown(nodeId: NodeId): void {
    for (const lane of this.nodes.onDown(nodeId)?.lanes ?? []) lane.rewind();
  }

  private requestInstall(lane: Lane): void {
    const effect = this.installs.request(lane);
    if (effect !== null) this.effects.push(effect);
  }

  private onInstallReply(event: Extract<WriterEvent, { kind: 'install-reply' }>, nowMs: number): void {
    const { reply } = event;
    if (this.isEnding(reply.refusal)) return;
    const lane = this.installingLane(event);
    if (lane === undefined) return;
    if (reply.installed && reply.refusal === null) {
      lane.install = 'done';
      const { configVersion } = this.streamOf(lane);
      this.onScl(lane, { ...reply, configVersion }, nowMs);
    } else this.onInstallFailed(event, nowMs);
  }

  private onInstallFailed(answer: InstallAnswer, nowMs: number): void {
    const lane = this.installingLane(answer);
    if (lane !== undefined) this.installs.failed(lane, nowMs);
  }

  /** Undefined: the answer is to an earlier question, or nobody's any more. */
  private installingLane({ node, pg, version }: InstallAnswer): Lane | undefined {
    const lane = this.streams[pg]?.laneOf(node);
    return lane !== undefined && this.installs.isAwaited(lane, version) ? lane : undefined;
  }

  private onManifestCommitted(version: number, nowMs: number): void {
    const { added, changed } = this.manifests.onCommitted(version);
    this.applyRules(nowMs);
    for (const config of changed) this.onMembersChanged(config);
    for (const { pg } of added) {
      this.streams[pg]!.isCommitted = true;
      this.installEverywhere(pg);
    }
    if (added.length > 0) this.log('info', 'the volume grew', { pgCount: this.manifests.committedCount });
    for (const { pg, record } of this.held.release(this.manifests.committedCount)) {
      this.queue(this.streams[pg]!, record);
    }
    this.proposeManifest(nowMs);
    this.sealAll(nowMs);
  }

  private onMembersChanged(config: PgConfig): void {
    const { pg, members, proposed, configVersion } = config;
    const stream = this.streams[pg]!;
    const left = stream.reconfigure(config, this.nodes.of(config));
    this.installEverywhere(pg);
    for (const node of left) {
      this.effects.push(this.installs.farewell(node, pg));
      this.nodes.forgetIfIdle(node);
    }
    const what = proposed === null ? 'the members of a PG have changed' : 'the members of a PG are to change';
    this.log('info', what, { pg, configVersion, members, proposed });
  }

  private installEverywhere(pg: PgIndex): void {
    for (const lane of this.segmentsOf(pg)) if (lane.node.isUp) this.requestInstall(lane);
  }

  // What comes back

  private onAppendReply(nodeId: NodeId, reply: AppendReply, nowMs: number): void {
    if (reply.volume !== this.volume || !sameEpoch(reply.epoch, this.epoch)) return;
    const lane = this.streams[reply.pg]?.laneOf(nodeId);
    if (lane === undefined) return;
    if (reply.refusal === null) {
      this.onScl(lane, reply, nowMs);
      return;
    }
    if (this.isEnding(reply.refusal)) return;
    this.onRefusal(lane, reply.refusal, nowMs);
  }

  /** The node's own matter: it gets the boxcars again later, and the manifest first where that may be what it lacks. */
  private onRefusal(lane: Lane, refusal: Refusal, nowMs: number): void {
    // Sent before another configuration was committed: it goes out again once that is installed there.
    if (refusal.code === 'STALE_CONFIG') return;
    if (lane.isPaused(nowMs)) return;
    lane.pause(nowMs);
    if (lane.install === 'done' && !HAS_THE_MANIFEST.has(refusal.code)) lane.install = 'needed';
    this.log('warn', 'a storage node refused records', {
      node: lane.nodeId,
      pg: lane.pgIndex,
      code: refusal.code,
      reason: refusal.message,
    });
  }

  private onHeartbeatReply(nodeId: NodeId, incarnation: string, grant: HeartbeatGrant, nowMs: number): void {
    if (grant.volume !== this.volume || !sameEpoch(grant.epoch, this.epoch)) return;
    if (this.isEnding(grant.refusal)) return;
    if (grant.refusal !== null) {
      // It has lost, or never had, this term's manifest: an idle volume would not notice by its appends.
      const isLacking = grant.refusal.code === 'BEHIND' || grant.refusal.code === 'NO_SEGMENT';
      if (isLacking) this.withNode(nodeId, (node) => this.installs.again(node, nowMs));
      return;
    }
    for (const { pg, scl, verified, configVersion } of grant.pgs) {
      const lane = this.streams[pg]?.laneOf(nodeId);
      if (lane !== undefined && verified) {
        this.onScl(lane, { incarnation, scl, hydrated: true, configVersion }, nowMs);
      }
    }
  }

  private onScl(lane: Lane, report: SclReport, nowMs: number): void {
    const { incarnation, scl, hydrated } = report;
    const pg = lane.pgIndex as PgIndex;
    const stream = this.streams[pg]!;
    const before = this.tracker.vdl;
    // An SCL past what was sent proves nothing, and one of an incarnation left behind is stale: neither moves the lane.
    if (scl > this.tracker.lastSentLsnOf(pg)) return;
    if (report.configVersion < lane.countsFrom) return;
    this.tracker.onScl(pg, lane.nodeId, incarnation, scl, hydrated);
    const known = this.tracker.pgTracker(pg);
    if (known.incarnationOf(lane.nodeId) !== incarnation) return;
    lane.onScl(report, nowMs);
    stream.onPgcl(known.pgcl);
    this.boundBacklog(stream);
    stream.release();
    this.note(stream);
    this.afterCounting(before, nowMs);
    this.sealAll(nowMs);
    this.pumpNode(lane.node, nowMs);
  }

  /** By a report or by another rule: VDL may have moved. */
  private afterCounting(vdlBefore: Lsn, nowMs: number): void {
    const { vcl, vdl } = this.tracker;
    if (vdl === vdlBefore) return;
    this.isStalled = false;
    this.waitingSinceMs = this.head > vdl ? nowMs : null;
    this.effects.push({ kind: 'durable', vcl, vdl });
  }

  private onTick(nowMs: number): void {
    this.isStalled = this.waitingSinceMs !== null && nowMs - this.waitingSinceMs >= this.limits.stallMs;
    this.changeWatch.endFilled(this.manifests, this.tracker);
    this.proposeManifest(nowMs);
    this.sealAll(nowMs);
    for (const node of this.nodes.all) {
      if (this.nodes.isPastBound(node)) this.dropIfSpared(node);
      if (!node.isUp) continue;
      for (const lane of node.lanes) {
        if (!lane.isPaused(nowMs)) this.requestInstall(lane);
        if (lane.isSilent(nowMs, this.limits.resendMs)) lane.rewind();
        this.pump(lane, nowMs);
      }
    }
  }

  /** Invariant 4. Returns whether the term is over. */
  private isEnding(refusal: Refusal | null): boolean {
    if (refusal?.code === 'VOLUME_DROPPED') this.drop();
    if (refusal?.code !== 'STALE_EPOCH' || refusal.promised === null) return this.state.kind !== 'open';
    if (compareEpochs(refusal.promised, this.epoch) <= 0) return false;
    this.depose(refusal.promised, refusal.message);
    return true;
  }

  private depose(by: Epoch, how: string): void {
    if (this.state.kind !== 'open') return;
    this.state = { kind: 'deposed', by };
    this.endWith({ kind: 'deposed', by, how });
  }

  /** A storage node says so only on the word of the committed retention value. */
  private drop(): void {
    if (this.state.kind !== 'open') return;
    this.state = { kind: 'dropped' };
    this.endWith({ kind: 'dropped' });
  }

  /** Nothing decided in this step goes out any more, except what was durable before. */
  private endWith(end: Extract<WriterEffect, { kind: 'deposed' | 'dropped' }>): void {
    this.effects = this.effects.filter((effect) => effect.kind === 'durable' || effect.kind === 'log');
    this.effects.push(end);
  }

  private withNode(nodeId: NodeId, action: (node: NodeLink) => void): void {
    const node = this.nodes.get(nodeId);
    if (node !== undefined) action(node);
  }

  private streamOf(lane: Lane): PgStream {
    return this.streams[lane.pgIndex]!;
  }

  private log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    this.effects.push({ kind: 'log', level, message, fields: { volume: this.volume, ...fields } });
  }
}
