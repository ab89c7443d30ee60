/**
 * The way of one PG's boxcars to one of its six segments: what was sent, what was acknowledged, whether the segment is ready to take more.
 * `NodeLink` is the node behind it, shared by the lanes of all PGs that have a segment there.
 *
 * Invariants
 * 1. base ≤ acked ≤ next ≤ end, as ordinals of the PG's buffer (acked may trail base while the lane is dropped).
 * 2. Only boxcars below `acked` may be let go on this lane's account, and `acked` moves by the segment's own SCL. A restart of the segment
 *    (another incarnation) moves it back to what the segment still holds.
 * 3. A lane that does not count holds nothing in the buffer: one that is dropped, or leads to a segment that is not hydrated. The latter gets
 *    what is sent anyway, and the rest from its peers.
 */
import type { Lsn, NodeId } from '../../src/log/lsn.ts';
import { NO_LSN } from '../../src/log/lsn.ts';
import type { BoxcarBuffer, SealedBoxcar } from './writer-buffer.ts';

const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;
/** Weight of the newest sample in the average acknowledgement latency. */
const LATENCY_WEIGHT = 1 / 16;

export class NodeLink {
  readonly nodeId: NodeId;
  readonly lanes: Lane[] = [];
  isUp = false;
  /** The transport asked to hold. */
  isFull = false;
  unackedBytes = 0;
  inFlightBytes = 0;
  ackLatencyMs: number | null = null;

  constructor(nodeId: NodeId) {
    this.nodeId = nodeId;
  }

  onAckLatency(elapsedMs: number): void {
    this.ackLatencyMs =
      this.ackLatencyMs === null
        ? elapsedMs
        : this.ackLatencyMs + (elapsedMs - this.ackLatencyMs) * LATENCY_WEIGHT;
  }
}

/** `needed`: the segment has not acknowledged this term's manifest; `asked`: the call is on the way. */
export type InstallState = 'needed' | 'asked' | 'done';

export class Lane {
  readonly node: NodeLink;
  readonly pgIndex: number;
  /** Reports made under an earlier configuration are of a time before the segment became a newcomer (again): they prove nothing. */
  readonly countsFrom: number;
  install: InstallState = 'needed';
  /** Of the manifest that it was last asked to install. */
  installVersion = 0;
  /** The SCL that the segment's present incarnation reported, also for the choice of whom to read from. */
  scl: Lsn = NO_LSN;
  incarnation: string | null = null;
  /** Highest VDL that a message to it carried since its stream came up. */
  toldVdl: Lsn = NO_LSN;
  isDropped = false;
  private isHydrated: boolean;
  private readonly buffer: BoxcarBuffer;
  private acked: number;
  private next: number;
  private chargedUnacked = 0;
  private chargedInFlight = 0;
  private pausedUntilMs = 0;
  private pauseMs = FIRST_PAUSE_MS;
  private lastProgressMs = 0;
  private silencePatience = 1;

  constructor(
    node: NodeLink,
    pgIndex: number,
    buffer: BoxcarBuffer,
    start: { readonly countsFrom: number; readonly isHydrated: boolean },
  ) {
    this.node = node;
    this.pgIndex = pgIndex;
    this.buffer = buffer;
    this.countsFrom = start.countsFrom;
    this.isHydrated = start.isHydrated;
    this.acked = buffer.base;
    this.next = buffer.base;
    node.lanes.push(this);
  }

  get ackedOrdinal(): number {
    return this.acked;
  }

  get unackedRecords(): number {
    return this.buffer.recordsBetween(this.acked, this.buffer.end);
  }

  get unackedBytes(): number {
    return this.buffer.bytesBetween(this.acked, this.buffer.end);
  }

  get nodeId(): NodeId {
    return this.node.nodeId;
  }

  /** It has this term's manifest and all history: it can be asked for pages. */
  get isInstalled(): boolean {
    return this.install === 'done' && this.isHydrated;
  }

  get isCounted(): boolean {
    return !this.isDropped && this.isHydrated;
  }

  isPaused(nowMs: number): boolean {
    return nowMs < this.pausedUntilMs;
  }

  /** The next boxcar to send, null when there is none or the segment, its node or the transport is not ready. */
  peek(nowMs: number, maxInFlightBytes: number): SealedBoxcar | null {
    if (!this.isHydrated) this.next = Math.max(this.next, this.buffer.base);
    if (this.next >= this.buffer.end || this.isDropped || this.install !== 'done') return null;
    if (!this.node.isUp || this.node.isFull || this.isPaused(nowMs)) return null;
    if (this.node.inFlightBytes >= maxInFlightBytes) return null;
    return this.buffer.at(this.next);
  }

  onSent(nowMs: number): void {
    if (this.next === this.acked) this.lastProgressMs = nowMs;
    this.next += 1;
    this.charge();
  }

  /** After a boxcar was sealed, or the buffer let some go. */
  onBufferChanged(): void {
    this.charge();
  }

  /** The segment's own report, made under this term. A late one of an earlier incarnation must not come here (the tracker knows). */
  onScl(report: { incarnation: string; scl: Lsn; hydrated: boolean }, nowMs: number): void {
    const { incarnation, scl } = report;
    if (this.incarnation !== incarnation) {
      const isRestart = this.incarnation !== null;
      this.incarnation = incarnation;
      this.scl = scl;
      if (isRestart) this.restart();
    } else if (scl > this.scl) {
      this.scl = scl;
    }
    if (this.isDropped || (report.hydrated && !this.isHydrated)) this.rejoin();
    this.isHydrated = report.hydrated;
    const before = this.acked;
    this.acked = Math.max(this.acked, this.buffer.base);
    let newest: SealedBoxcar | null = null;
    while (this.acked < this.buffer.end) {
      const boxcar = this.buffer.at(this.acked);
      if (boxcar.lastLsn > this.scl) break;
      newest = boxcar;
      this.acked += 1;
    }
    if (this.next < this.acked) this.next = this.acked;
    if (newest !== null) this.node.onAckLatency(nowMs - newest.sealedAtMs);
    if (this.acked !== before) {
      this.lastProgressMs = nowMs;
      this.silencePatience = 1;
      this.pauseMs = FIRST_PAUSE_MS;
    }
    this.charge();
  }

  /** Everything not acknowledged goes out again: the stream is new, or a boxcar was refused. */
  rewind(): void {
    this.acked = Math.max(this.acked, this.buffer.base);
    this.next = this.acked;
    this.charge();
  }

  onStreamUp(): void {
    this.isDropped = false;
    this.toldVdl = NO_LSN;
    this.pausedUntilMs = 0;
    this.pauseMs = FIRST_PAUSE_MS;
    this.rewind();
  }

  /** The segment refused; ask again in a while. */
  pause(nowMs: number): void {
    if (this.isPaused(nowMs)) return;
    this.pausedUntilMs = nowMs + this.pauseMs;
    this.pauseMs = Math.min(this.pauseMs * 2, MAX_PAUSE_MS);
    this.rewind();
  }

  /** True once when boxcars were sent long ago and nothing has moved since; waits twice as long for the next time. */
  isSilent(nowMs: number, resendMs: number): boolean {
    if (
      !this.isHydrated ||
      this.next === this.acked ||
      nowMs - this.lastProgressMs < resendMs * this.silencePatience
    )
      return false;
    this.lastProgressMs = nowMs;
    this.silencePatience = Math.min(this.silencePatience * 2, 16);
    return true;
  }

  /** The configuration changed: it is installed first, then goes out again what was sent under the old one. */
  reinstall(): void {
    this.install = 'needed';
    this.pausedUntilMs = 0;
    this.rewind();
  }

  /** Its segment belongs to the PG no more. */
  leave(): void {
    this.drop();
    const at = this.node.lanes.indexOf(this);
    if (at >= 0) this.node.lanes.splice(at, 1);
  }

  /** Out of the live set: it will catch up by itself, from its peers and from what is still buffered when it speaks again. */
  drop(): void {
    this.isDropped = true;
    this.charge();
  }

  private rejoin(): void {
    this.isDropped = false;
    this.acked = Math.max(this.acked, this.buffer.base);
    this.next = Math.max(this.next, this.acked);
  }

  /** The restarted segment holds what it now reports and nothing else is sure: back to the oldest boxcar that may lack. */
  private restart(): void {
    this.acked = this.buffer.base;
    this.next = this.buffer.base;
  }

  private charge(): void {
    const unacked = this.isCounted ? this.unackedBytes : 0;
    const inFlight = this.isCounted ? this.buffer.bytesBetween(this.acked, this.next) : 0;
    this.node.unackedBytes += unacked - this.chargedUnacked;
    this.node.inFlightBytes += inFlight - this.chargedInFlight;
    this.chargedUnacked = unacked;
    this.chargedInFlight = inFlight;
  }
}
