/**
 * One segment: this node's copy of one protection group. It owns the segment's state and the changes of it that must be durable; who
 * may ask for a change is decided in the files named after the requests (append.ts, takeover.ts, gossip.ts, recovery.ts).
 *
 * Invariants (asserted by `check`)
 * 1. promised ≥ installed: a manifest is installed only under an epoch that is promised by then.
 * 2. coalesced ≤ VDL, coalesced ≤ SCL; tail ≤ VDL. VDL never goes down.
 * 3. collected < floor, or nothing is collected.
 * 4. SCL goes down only when a committed manifest cuts (HeldLog.cut); the watermark is ≥ every SCL that was acknowledged, and goes down
 *    only with such a cut.
 * 5. In quarantine absences prove nothing: the segment says so to recovery and acknowledges no new appends.
 * 6. What is not hydrated is in quarantine. That it has to be is in the guard before anything else of it is durable, and until it is.
 */
import { assert } from '../../src/base/assert.ts';
import type { Crc32 } from '../../src/env/env.ts';
import { encodeBoxcar } from '../../src/log/codec.ts';
import { type Epoch, NO_EPOCH, compareEpochs, sameEpoch } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  type PgIndex,
  type VolumeId,
} from '../../src/log/lsn.ts';
import type { Boxcar } from '../../src/log/record.ts';
import { sameBytes } from '../../src/register/bytes.ts';
import type { ManifestValue, RetentionValue } from '../../src/register/values.ts';
import type { Run } from '../../src/timeline/run.ts';
import { admits, headRun } from '../../src/timeline/visibility.ts';
import { type Admission, sift } from './admission.ts';
import type { DurableOp } from './effects.ts';
import { HeldLog, type Piece, lastLsnOf } from './held-log.ts';
import { Hydration } from './hydration-state.ts';
import { type SegmentGuard, SegmentKeys, segmentGuardKey } from './keys.ts';
import { clampToRuns, configOf, provenBy } from './manifests.ts';
import { PageDoubts } from './page-doubts.ts';
import { PageHeads } from './page-memory.ts';
import { encodeEpoch, encodeLsns, encodeText } from './values.ts';

export interface InstalledManifest {
  readonly value: ManifestValue;
  /** As it came: what is stored, reported and passed on. */
  readonly bytes: Uint8Array;
}

/**
 * Why the segment's absences prove nothing.
 * - missing: it acknowledged more than it holds; over when it holds everything up to `throughLsn` or that was cut.
 * - damaged: what it acknowledged is not known; over when it holds all that three intact peers held when first asked (3 + 4 > 6).
 * - hydrating: its pages are being copied from a peer (hydration.ts); `damaged` follows, with the log's end still to come.
 * - conflict: it holds, or was sent, two records that cannot both be; never over by itself.
 */
export type Quarantine =
  | { readonly kind: 'hydrating' }
  | { readonly kind: 'missing'; readonly throughLsn: Lsn }
  | { readonly kind: 'damaged'; readonly targets: Map<NodeId, Lsn> }
  | { readonly kind: 'conflict'; readonly reason: string };

const NOTHING = new Uint8Array(0);

/** Peers to catch up with, to end a quarantine of unknown extent: any three of five meet every write quorum this segment was in. */
const CLEARING_PEERS = 3;

/** What is left of a segment whose node does not belong to its PG (membership.ts). */
export interface Left {
  /** Messages of this or an older configuration come from those who do not know that it is over. */
  readonly configVersion: number;
  /** Kept, read-only, for what clones on this node see of it. */
  readonly isBase: boolean;
  /** Its volume was dropped: nothing of it ever comes here again, under whatever configuration. */
  readonly isDropped: boolean;
}

/** In the guard, beside the configuration. */
const LEFT_FLAGS = { base: 1, dropped: 2 };

export function leftOf(configVersion: number, flags: number | undefined): Left {
  return { configVersion, isBase: flags === LEFT_FLAGS.base, isDropped: flags === LEFT_FLAGS.dropped };
}

export interface GossipState {
  nextAtMs: number;
  peerCursor: number;
  isRunning: boolean;
  gapSinceMs: number | null;
  /** Exchanges since one with records last moved the SCL, and peers whose logs were found to begin above it since. */
  fruitless: number;
  readonly unreached: Set<NodeId>;
  readonly heardAtMs: Map<NodeId, number>;
}

export class Segment {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  /** `volume/pg`. */
  readonly name: string;
  readonly keys: SegmentKeys;
  readonly held: HeldLog;
  readonly heads: PageHeads;
  private readonly crc32: Crc32;
  private readonly chainRecords: number;
  private readonly guardKeys: Readonly<Record<SegmentGuard, string>>;

  promised: Epoch = NO_EPOCH;
  manifest: InstalledManifest | null = null;
  /** Highest VDL reported to this segment, and the PG's last record at or below it. */
  vdl: Lsn = NO_LSN;
  tail: Lsn = NO_LSN;
  watermark: Lsn = NO_LSN;
  retention: RetentionValue | null = null;
  private retentionBytes: Uint8Array | null = null;
  collected: Lsn = NO_LSN;
  /** The log's chunks are collected up to here, as far as this start knows. */
  chunksCollected: Lsn = NO_LSN;
  quarantine: Quarantine | null = null;
  /** Under way or yet to begin; null: nothing is to be copied here. */
  hydration: Hydration | null = null;
  /** Not null: this node is no member of the PG (any more). */
  left: Left | null = null;
  /** Of a tombstone: the segment that it stands for, whose last background work is waited for; then whether its data has been deleted. */
  remains: Segment | null = null;
  isRemoved = false;

  /** Pages that are not to be read, nor given to peers, before they were copied anew. Added to by `doubtPages`. */
  readonly doubts = new PageDoubts();
  /** Pages of it are being replaced: no round and no collection meanwhile. */
  isRepairing = false;
  readonly repair = { nextAtMs: 0, peerCursor: 0 };

  /** SCL of the peers as last heard. */
  readonly peerScls = new Map<NodeId, Lsn>();
  readonly gossip: GossipState = {
    nextAtMs: 0,
    peerCursor: 0,
    isRunning: false,
    gapSinceMs: null,
    fruitless: 0,
    unreached: new Set(),
    heardAtMs: new Map(),
  };
  /** Ends of the remembered coalescing rounds, ascending, and where the first of them began. */
  rounds: Lsn[] = [];
  roundsFrom: Lsn = NO_LSN;
  /** Page entries above baseLsn up to here are left over from rounds behind a lost one: each page's are replaced when it is coalesced. */
  recoalesceThrough: Lsn = NO_LSN;
  highestPage = 0;
  /** Of the log. */
  storedBytes = 0;
  /** In page form, about. */
  pageBytes = 0;
  /** When the oldest record of the backlog came, for pacing; null without a backlog. */
  backlogSinceMs: number | null = null;
  isCoalescing = false;
  isCollecting = false;
  isCopying = false;
  collectAfterMs = 0;
  /** Pages with so many records in memory that they are worth a version there. */
  readonly longChains = new Set<PageNumber>();

  constructor(
    volume: VolumeId,
    pg: PgIndex,
    crc32: Crc32,
    limits: { readonly pageHeads: number; readonly chainRecords: number },
  ) {
    this.volume = volume;
    this.pg = pg;
    this.name = `${volume}/${pg}`;
    this.keys = new SegmentKeys(volume, pg);
    this.held = new HeldLog(NO_LSN);
    this.heads = new PageHeads(limits.pageHeads);
    this.crc32 = crc32;
    this.chainRecords = limits.chainRecords;
    const guardKey = (what: SegmentGuard) => segmentGuardKey(volume, pg, what);
    this.guardKeys = {
      promise: guardKey('promise'),
      installed: guardKey('installed'),
      marks: guardKey('marks'),
      distrust: guardKey('distrust'),
      hydration: guardKey('hydration'),
      left: guardKey('left'),
      doubts: guardKey('doubts'),
    };
  }

  get scl(): Lsn {
    return this.held.scl;
  }
  get coalesced(): Lsn {
    return this.held.baseLsn;
  }
  get floor(): Lsn {
    return this.retention?.floor ?? NO_LSN;
  }
  get installedEpoch(): Epoch | null {
    return this.manifest?.value.epoch ?? null;
  }
  /** It holds all history below its SCL, so that its SCL counts. */
  get isHydrated(): boolean {
    return this.hydration === null;
  }
  /** It takes part in its PG: not a tombstone, not a mere base of clones. */
  get isInForce(): boolean {
    return this.left === null;
  }
  /** Its volume was dropped, as this node has been told. */
  get isDropped(): boolean {
    return this.retention?.dropped === true || this.left?.isDropped === true;
  }
  /** As this PG sees them: one that a clone grew by itself has nothing of the parent beneath. */
  get runs(): readonly Run[] {
    const manifest = this.manifest?.value;
    if (manifest === undefined) return [];
    const { runs, inheritedPgs, volume } = manifest;
    const parent = runs[0]?.parent ?? null;
    if (this.pg < inheritedPgs || parent === null || parent.volume === volume) return runs;
    return runs.map((run) => (run.parent?.volume === volume ? run : { ...run, parent: null }));
  }
  /** Of the PG's members, as installed here; 0 without a manifest. */
  get configVersion(): number {
    return this.manifest === null ? 0 : (configOf(this.manifest.value, this.pg)?.configVersion ?? 0);
  }
  /** As it came; empty without one. */
  get retentionValue(): Uint8Array {
    return this.retentionBytes ?? NOTHING;
  }
  get isQuarantined(): boolean {
    return this.quarantine !== null;
  }
  /** Between promise and install a segment listens to its take-over alone. */
  get isInTerm(): boolean {
    return this.manifest !== null && sameEpoch(this.promised, this.manifest.value.epoch);
  }
  /** What may be shown and put in page form: durable, and held without a gap. */
  get settledLsn(): Lsn {
    return Math.min(this.vdl, this.scl) as Lsn;
  }

  /** Everything up to `lsn` is here. */
  holdsThrough(lsn: Lsn): boolean {
    return this.scl >= (this.vdl >= lsn ? Math.min(lsn, this.tail) : lsn);
  }
  /** All records up to here are in page form. */
  get pagesThrough(): Lsn {
    const isAllCoalesced = this.held.recordCount === 0 && this.scl >= this.tail;
    return isAllCoalesced ? (Math.max(this.coalesced, this.vdl) as Lsn) : this.coalesced;
  }

  promise(epoch: Epoch): DurableOp[] {
    assert(compareEpochs(epoch, this.promised) >= 0, 'a promise is never taken back');
    if (sameEpoch(epoch, this.promised)) return [];
    this.promised = epoch;
    return [this.guard('promise', encodeEpoch(epoch))];
  }

  sift(boxcar: Boxcar): Admission {
    assert(this.manifest !== null, 'records are admitted by an installed manifest');
    return sift(boxcar, this, this.manifest.value, this.held);
  }

  /** Takes in what `sift` admitted. `bytes` is the boxcar it came in, stored as it is when nothing of it was left out. */
  take(admission: Extract<Admission, { kind: 'admitted' }>, bytes: Uint8Array, nowMs: number): DurableOp[] {
    if (admission.pieces.length === 0) return [];
    const ops = admission.pieces.map((piece) => {
      this.held.add(piece);
      for (const { page } of piece.records) {
        if (this.held.recordsOf(page).length > this.chainRecords) this.longChains.add(page);
      }
      return this.chunkOp(piece, admission.isWhole ? bytes : null);
    });
    this.backlogSinceMs ??= nowMs;
    this.watermark = Math.max(this.watermark, this.scl) as Lsn;
    ops.push(...this.endQuarantineIfFilled(), this.marks());
    this.check();
    return ops;
  }

  /** Knowledge of the VDL from a writer of this term, a peer in it, or a committed manifest. */
  learnVdl(vdl: Lsn, tail: Lsn): boolean {
    if (vdl <= this.vdl || tail > vdl || tail < this.tail) return false;
    this.vdl = vdl;
    this.tail = tail;
    return true;
  }

  /**
   * A committed manifest that extends the installed one (the caller has checked both). Cuts what it denies, with everything the segment
   * believed of it.
   */
  install(manifest: InstalledManifest): DurableOp[] {
    const { value, bytes } = manifest;
    const previousHead = this.manifest === null ? null : headRun(this.manifest.value.runs).id;
    this.manifest = manifest;
    const ops: DurableOp[] = [
      ...this.promise(compareEpochs(value.epoch, this.promised) > 0 ? value.epoch : this.promised),
      { kind: 'home', key: this.keys.manifest, value: bytes },
      this.guard('installed', encodeEpoch(value.epoch)),
    ];
    const cut = this.held.cut((lsn, birthEpoch) => admits(value.runs, lsn, birthEpoch));
    for (const piece of cut.removed)
      ops.push({ kind: 'home', key: this.keys.chunk(lastLsnOf(piece)), value: null });
    for (const piece of cut.kept) ops.push(this.chunkOp(piece, null));
    this.watermark = clampToRuns(value.runs, this.pg, this.watermark);
    for (const [peer, scl] of this.peerScls) this.peerScls.set(peer, clampToRuns(value.runs, this.pg, scl));
    this.clampQuarantine((lsn) => clampToRuns(value.runs, this.pg, lsn));
    const proven = provenBy(value, this.pg);
    this.learnVdl(proven.vdl, proven.tail);
    ops.push(...this.endQuarantineIfFilled());
    if (previousHead !== headRun(value.runs).id) this.heads.clear();
    ops.push(this.marks());
    this.check();
    return ops;
  }

  /**
   * A committed retention value. Of two with one floor either will do: no pin below a committed floor can be new. One that says dropped is
   * the last word but for pins that go.
   */
  learnRetention(value: RetentionValue, bytes: Uint8Array): DurableOp[] {
    if (this.retention !== null && value.floor < this.retention.floor) return [];
    if (this.retention?.dropped === true && !value.dropped) return [];
    if (this.retentionBytes !== null && sameBytes(this.retentionBytes, bytes)) return [];
    this.retention = value;
    this.retentionBytes = bytes;
    const told: DurableOp = { kind: 'home', key: this.keys.retention, value: bytes };
    // Nobody will ever tell the VDL again, and clones stand on what is durable by it.
    return value.dropped ? [told, this.marks()] : [told];
  }

  /** What the peers remember of this segment, and it had forgotten: in force again at once. */
  recall({ promised, watermark }: { readonly promised: Epoch; readonly watermark: Lsn }): DurableOp[] {
    const ops = compareEpochs(promised, this.promised) > 0 ? this.promise(promised) : [];
    if (watermark <= this.watermark) return ops;
    this.watermark = watermark;
    return [...ops, this.marks()];
  }

  /** This node has forgotten an unknown part of what it held. */
  doubt(): void {
    const kind = this.quarantine?.kind;
    if (!this.isInForce || kind === 'conflict' || kind === 'hydrating') return;
    this.quarantine = { kind: 'damaged', targets: new Map() };
  }

  /** The stored history of pages first … last may lack something. */
  doubtPages(first: PageNumber, last: PageNumber): DurableOp[] {
    if (!this.doubts.add(first, last)) return [];
    return [this.doubtsOp()];
  }

  /** What the guard is to say of the doubts once the copies that settled some are durable. */
  doubtsOp(): DurableOp {
    return this.guard('doubts', this.doubts.encode());
  }

  distrust(reason: string): DurableOp[] {
    this.quarantine = { kind: 'conflict', reason };
    return [this.guard('distrust', encodeText(reason))];
  }

  /** A peer told its SCL, in answer to a question asked after this start. */
  hearPeer(peer: NodeId, scl: Lsn, isIntact: boolean, promised: Epoch | null): DurableOp[] {
    this.peerScls.set(peer, scl);
    if (!isIntact || this.quarantine === null) return [];
    if (this.quarantine.kind === 'damaged' && !this.quarantine.targets.has(peer)) {
      this.quarantine.targets.set(peer, scl);
      if (promised !== null) this.hydration?.hearPromise(promised);
    }
    return this.endQuarantineIfFilled();
  }

  /** What is here is not enough to go on from: everything in page form is copied anew from a peer. */
  hydrate(id: string): DurableOp[] {
    this.hydration = new Hydration(id);
    this.quarantine = { kind: 'hydrating' };
    const ops = [this.guard('hydration', encodeText(id))];
    // All pages will be copied.
    if (!this.doubts.isEmpty) {
      this.doubts.clear();
      ops.push(this.doubtsOp());
    }
    return ops;
  }

  /** All pages are copied, and durable, as of `throughLsn`: the log goes on from there. */
  rebase(throughLsn: Lsn, highestPage: number): DurableOp[] {
    assert(this.hydration !== null && throughLsn >= this.coalesced, 'a copy replaces what is older');
    this.hydration.isCopied = true;
    this.quarantine = { kind: 'damaged', targets: new Map() };
    this.rounds = [];
    this.roundsFrom = throughLsn;
    this.recoalesceThrough = NO_LSN;
    this.collected = NO_LSN;
    this.highestPage = highestPage;
    this.heads.clear();
    this.longChains.clear();
    this.learnVdl(throughLsn, throughLsn);
    const contradiction = this.held.rebase(throughLsn);
    const ops =
      contradiction === null ? [] : this.distrust(`record ${contradiction} contradicts the copied pages`);
    if (this.left?.isBase === true) {
      // A base follows nothing: there is nothing to catch up with.
      this.quarantine = null;
      ops.push(...this.endHydration());
    }
    this.check();
    return ops;
  }

  /** This node does not belong to the PG by a committed configuration. What was promised and acknowledged stays: late messages must not find a blank page. */
  leave(left: Left): DurableOp[] {
    this.left = left;
    const { configVersion, isBase, isDropped } = left;
    const flags = (isBase ? LEFT_FLAGS.base : 0) + (isDropped ? LEFT_FLAGS.dropped : 0);
    return [this.guard('left', encodeLsns(configVersion as Lsn, flags as Lsn))];
  }

  /** What it knew of itself as a member is over with that. */
  forgetMembership(): DurableOp[] {
    const forgotten = (['installed', 'distrust', 'hydration', 'doubts'] as const).map((what) =>
      this.guard(what, null),
    );
    return [...forgotten, this.marks()];
  }

  /** It belongs to the PG again. */
  rejoin(): DurableOp[] {
    this.left = null;
    return [this.guard('left', null)];
  }

  marks(): DurableOp {
    return this.guard('marks', encodeLsns(this.watermark, this.vdl, this.tail));
  }

  check(): void {
    assert(this.coalesced <= this.vdl, `${this.name}: coalesced ${this.coalesced} above VDL ${this.vdl}`);
    assert(this.coalesced <= this.scl, `${this.name}: coalesced ${this.coalesced} above SCL ${this.scl}`);
    assert(this.tail <= this.vdl, `${this.name}: tail ${this.tail} above VDL ${this.vdl}`);
    assert(
      this.collected === NO_LSN || this.collected < this.floor,
      `${this.name}: collected ${this.collected} at floor ${this.floor}`,
    );
    const installed = this.installedEpoch;
    assert(
      installed === null || compareEpochs(installed, this.promised) <= 0,
      `${this.name}: installed above its promise`,
    );
  }

  private endQuarantineIfFilled(): DurableOp[] {
    if (this.quarantine?.kind === 'damaged') {
      if (this.membersReached(this.quarantine.targets) < CLEARING_PEERS) return [];
      this.quarantine = { kind: 'missing', throughLsn: this.watermark };
    }
    // (At the start quarantine is not judged yet, and records of an earlier life are taken again.)
    if (this.hydration !== null && !(this.hydration.isCopied && this.hydration.isComplete)) return [];
    if (this.quarantine?.kind === 'missing' && this.scl >= this.quarantine.throughLsn) this.quarantine = null;
    return this.quarantine === null ? this.endHydration() : [];
  }

  /** Those that are yet to become members have not been in the write quorums so far: they prove nothing of what those held. */
  private membersReached(targets: ReadonlyMap<NodeId, Lsn>): number {
    const members = (this.manifest && configOf(this.manifest.value, this.pg)?.members) ?? [];
    return members.filter((member) => (targets.get(member) ?? Number.POSITIVE_INFINITY) <= this.scl).length;
  }

  private endHydration(): DurableOp[] {
    const { hydration } = this;
    if (hydration === null) return [];
    this.hydration = null;
    this.watermark = Math.max(this.watermark, this.scl) as Lsn;
    const highest = compareEpochs(hydration.promised, this.promised) > 0 ? hydration.promised : this.promised;
    return [...this.promise(highest), this.marks(), this.guard('hydration', null)];
  }

  private clampQuarantine(clamp: (lsn: Lsn) => Lsn): void {
    const quarantine = this.quarantine;
    if (quarantine?.kind === 'missing') {
      this.quarantine = { kind: 'missing', throughLsn: clamp(quarantine.throughLsn) };
    } else if (quarantine?.kind === 'damaged') {
      for (const [peer, target] of quarantine.targets) quarantine.targets.set(peer, clamp(target));
    }
  }

  private chunkOp(piece: Piece, bytes: Uint8Array | null): DurableOp {
    const value = bytes ?? encodeBoxcar({ volume: this.volume, pg: this.pg, ...piece }, this.crc32);
    this.storedBytes += value.length;
    return { kind: 'home', key: this.keys.chunk(lastLsnOf(piece)), value };
  }

  private guard(what: SegmentGuard, value: Uint8Array | null): DurableOp {
    return { kind: 'guard', key: this.guardKeys[what], value };
  }
}
