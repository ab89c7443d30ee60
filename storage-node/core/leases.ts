/**
 * The node's side of read leases (design section 4). Granting one promises: until it runs out or is given back, no acknowledgement of
 * another epoch's install or appends leaves this node for that volume. So a holder of three promises knows that no newer writer has been able to open.
 * Leases never delay fencing: a newer promise is made at once, it ends the granting, and only the acknowledgements behind it wait.
 *
 * Promises live in memory only. After a start the node may have forgotten some, so it holds such acknowledgements for a full term; a node
 * that never ran before has none to forget.
 */
import { type Epoch, sameEpoch } from '../../src/log/epoch.ts';
import type { VolumeId } from '../../src/log/lsn.ts';

interface Lease {
  readonly epoch: Epoch;
  readonly untilMs: number;
}

export interface Holder {
  readonly computeId: string;
  readonly computeUrl: string;
  readonly atMs: number;
}

export class Leases {
  private readonly termMs: number;
  private readonly leases = new Map<VolumeId, Lease>();
  private readonly holders = new Map<VolumeId, Holder>();
  private readonly forgottenUntilMs: number;

  constructor(termMs: number, startedAtMs: number, isFirstStart: boolean) {
    this.termMs = termMs;
    this.forgottenUntilMs = isFirstStart ? startedAtMs : startedAtMs + termMs;
  }

  /** Promises, if it can. The caller has seen that every segment of the volume here has promised and installed `epoch`, nothing newer. */
  grant(volume: VolumeId, epoch: Epoch, nowMs: number): boolean {
    const known = this.leases.get(volume);
    // Another epoch's promise that has not run out is not to be forgotten for this one's.
    if (known !== undefined && !sameEpoch(known.epoch, epoch) && known.untilMs > nowMs) return false;
    this.leases.set(volume, { epoch, untilMs: nowMs + this.termMs });
    return true;
  }

  release(volume: VolumeId, epoch: Epoch): void {
    const known = this.leases.get(volume);
    if (known !== undefined && sameEpoch(known.epoch, epoch)) this.leases.delete(volume);
  }

  /** Until when acknowledgements to `epoch` are held; in the past: not at all. */
  heldUntilMs(volume: VolumeId, epoch: Epoch): number {
    const lease = this.leases.get(volume);
    const other = lease !== undefined && !sameEpoch(lease.epoch, epoch) ? lease.untilMs : 0;
    return Math.max(other, this.forgottenUntilMs);
  }

  heard(volume: VolumeId, holder: Holder): void {
    this.holders.set(volume, holder);
  }

  /** Gone for good: the next status names nobody. */
  forgetHolder(volume: VolumeId, computeId: string): void {
    if (this.holders.get(volume)?.computeId === computeId) this.holders.delete(volume);
  }

  holderOf(volume: VolumeId): Holder | null {
    return this.holders.get(volume) ?? null;
  }
}
