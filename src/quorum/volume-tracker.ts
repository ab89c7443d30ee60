/**
 * How durable a volume is, during one run of one writer: records sent and SCLs reported in, VCL and VDL out (design section 1; Aurora
 * paper, section 4.1–4.2).
 *
 * VCL is not the lowest PGCL: a PG without new records would hold it back for ever. It is found by following the records in
 * LSN order, each asking only its own PG. The records wait in a ring; each enters and leaves it once, so the work per record
 * is constant and the memory is that of the records between VDL and the newest sent.
 *
 * Invariants (asserted after every event)
 * 1. VDL ≤ VCL ≤ highest LSN sent; none of them regresses.
 * 2. VCL covers a record only when a write quorum of its own PG reported an SCL at or past it.
 * 3. VDL is a CPL ≤ VCL, or the head run's first − 1.
 * 4. tail(pg) is the PG's last record ≤ VDL.
 * An SCL beyond what was ever sent to its PG proves nothing and is passed over: were it believed, records sent later would count as held.
 */
import { assert } from '../base/assert.ts';
import type { Lsn, NodeId, PgIndex } from '../log/lsn.ts';
import { PgTracker } from './pg-tracker.ts';
import type { QuorumSet } from './quorum-set.ts';

export interface DurablePoint {
  readonly vcl: Lsn;
  readonly vdl: Lsn;
}

interface PgState {
  readonly tracker: PgTracker;
  lastSentLsn: Lsn;
  tailAtVdl: Lsn;
}

const INITIAL_SLOTS = 1024;

export class VolumeTracker {
  private readonly pgs: PgState[] = [];
  private point: DurablePoint;
  private sentLsn: Lsn;
  /**
   * Ring of the records above VDL, in LSN order; LSNs are dense within a run, so a slot holds only pg × 2 + (1 if CPL). The slot
   * of LSN l is l modulo the length.
   */
  private slots = new Uint32Array(INITIAL_SLOTS);

  /** `headFirstLsn`: first LSN of the writer's run. PGs follow by addPg. */
  constructor(headFirstLsn: Lsn) {
    const before = (headFirstLsn - 1) as Lsn;
    this.point = { vcl: before, vdl: before };
    this.sentLsn = before;
  }

  /** PGs come in order of their index. `tail`: the PG's last record before this run, NO_LSN when it has none. */
  addPg(pg: PgIndex, quorum: QuorumSet, tail: Lsn): void {
    assert(pg === this.pgs.length, `PG ${pg} added after ${this.pgs.length} others`);
    assert(tail <= this.point.vdl || tail === 0, `tail ${tail} of PG ${pg} lies above VDL ${this.point.vdl}`);
    this.pgs.push({ tracker: new PgTracker(quorum, tail), lastSentLsn: tail, tailAtVdl: tail });
  }

  /** Another rule for the PG from now on (see PgTracker.setQuorum). Returns the durable point, as onScl does. */
  setQuorum(pg: PgIndex, quorum: QuorumSet): DurablePoint {
    if (this.stateOf(pg).tracker.setQuorum(quorum)) this.advance();
    return this.point;
  }

  get vcl(): Lsn {
    return this.point.vcl;
  }

  get vdl(): Lsn {
    return this.point.vdl;
  }

  /** Highest LSN sent in this run; first − 1 before any. */
  get highestSentLsn(): Lsn {
    return this.sentLsn;
  }

  get pgCount(): number {
    return this.pgs.length;
  }

  /** Records sent and not yet covered by VDL. */
  get outstandingRecords(): number {
    return this.sentLsn - this.point.vdl;
  }

  pgTracker(pg: PgIndex): PgTracker {
    return this.stateOf(pg).tracker;
  }

  /** The backlink of the PG's next record. */
  lastSentLsnOf(pg: PgIndex): Lsn {
    return this.stateOf(pg).lastSentLsn;
  }

  /** tail(pg, VDL): travels with every VDL. */
  tailOf(pg: PgIndex): Lsn {
    return this.stateOf(pg).tailAtVdl;
  }

  /** The SCL with which a segment of `pg` surely holds what the read point needs (design section 1, "tail"). */
  requiredScl(pg: PgIndex, at: Lsn): Lsn {
    assert(at <= this.point.vdl, `read point ${at} lies above VDL ${this.point.vdl}`);
    return Math.min(at, this.stateOf(pg).tailAtVdl) as Lsn;
  }

  /** One record, in LSN order over all PGs, before or when it is sent. */
  onSent(pg: PgIndex, lsn: Lsn, prevLsn: Lsn, isCpl: boolean): void {
    const state = this.stateOf(pg);
    assert(lsn === this.sentLsn + 1, `record ${lsn} sent after ${this.sentLsn}`);
    assert(
      prevLsn === state.lastSentLsn,
      `record ${lsn} links to ${prevLsn}, PG ${pg} ends at ${state.lastSentLsn}`,
    );
    if (this.outstandingRecords === this.slots.length) this.grow();
    this.slots[lsn % this.slots.length] = pg * 2 + (isCpl ? 1 : 0);
    state.lastSentLsn = lsn;
    this.sentLsn = lsn;
  }

  /**
   * A segment's own report under the writer's epoch. Returns the durable point: the same object as long as neither VCL nor VDL moved.
   */
  onScl(pg: PgIndex, node: NodeId, incarnation: string, scl: Lsn, isHydrated: boolean): DurablePoint {
    const state = this.pgs[pg];
    if (state === undefined || scl > state.lastSentLsn) return this.point;
    if (state.tracker.report(node, incarnation, scl, isHydrated)) this.advance();
    return this.point;
  }

  private advance(): void {
    const { vcl: oldVcl, vdl: oldVdl } = this.point;
    let vcl: Lsn = oldVcl;
    let vdl: Lsn = oldVdl;
    while (vcl < this.sentLsn) {
      const next = (vcl + 1) as Lsn;
      const slot = this.slotAt(next);
      if (this.stateOf((slot >>> 1) as PgIndex).tracker.pgcl < next) break;
      vcl = next;
      if (slot & 1) vdl = next;
    }
    for (let lsn = (oldVdl + 1) as Lsn; lsn <= vdl; lsn = (lsn + 1) as Lsn) {
      this.stateOf((this.slotAt(lsn) >>> 1) as PgIndex).tailAtVdl = lsn;
    }
    assert(oldVdl <= vdl && oldVcl <= vcl && vdl <= vcl && vcl <= this.sentLsn, 'VDL ≤ VCL ≤ sent is broken');
    if (vcl !== oldVcl || vdl !== oldVdl) this.point = { vcl, vdl };
  }

  private slotAt(lsn: Lsn): number {
    return this.slots[lsn % this.slots.length] as number;
  }

  private grow(): void {
    const wider = new Uint32Array(this.slots.length * 2);
    for (let lsn = this.point.vdl + 1; lsn <= this.sentLsn; lsn += 1) {
      wider[lsn % wider.length] = this.slots[lsn % this.slots.length] as number;
    }
    this.slots = wider;
  }

  private stateOf(pg: PgIndex): PgState {
    const state = this.pgs[pg];
    assert(state !== undefined, `PG ${pg} is not tracked`);
    return state;
  }
}
