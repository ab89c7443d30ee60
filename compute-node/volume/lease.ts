/**
 * The writer's read lease (design section 4): while it holds, no newer writer can have served anything, so a strong read needs no
 * round trip. A storage node that grants a heartbeat promises to hold its acknowledgements of a newer epoch for one lease term. Three such promises
 * among PG 0's six verified segments meet every write quorum (3 + 4 > 6), so a newer writer cannot get its install acknowledged by four. While
 * PG 0's members change, three of each member set are needed: a newer writer installs by both.
 *
 * Without a lease a read is confirmed instead: three of the six (of each set) still stood by this epoch when they answered a heartbeat that
 * was sent after the read had arrived.
 *
 * Invariants
 * 1. A promise counts from the moment its heartbeat was *sent*, never from the reply.
 * 2. Time that passed is the largest that any of the process's clocks shows; when they disagree by more than a tolerance, every promise
 *    from before is void (a suspended machine stops one clock and not another).
 * 3. Once released or ended, a lease never comes back.
 */
import { CLOCK_RATE_ERROR } from '../../src/base/limits.ts';
import { type Epoch, sameEpoch } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { HeartbeatGrant } from '../../src/messages/messages.ts';
import type { QuorumSet } from '../../src/quorum/quorum-set.ts';

/** How far the clocks' elapsed times may lie apart within one lease term: above `os.uptime`'s granularity, below a term's safety margin of use. */
export const CLOCK_DIVERGENCE_TOLERANCE_MS = 60;

/** One reading of every clock the process has. They must agree on how much time passes between two readings. */
export interface ClockReading {
  /** hrtime: stands still while the machine is suspended. */
  readonly monotonicMs: number;
  readonly wallMs: number;
  /** `os.uptime`: goes on while the machine is suspended. */
  readonly uptimeMs: number;
}

interface MemberState {
  promisedAt: ClockReading | null;
  confirmedSequence: number;
}

export class ReadLease {
  /** Every node that ever answered; who counts is for `quorum` to say. */
  private readonly members = new Map<NodeId, MemberState>();
  private readonly epoch: Epoch;
  private readonly quorum: () => QuorumSet;
  private readonly usableMs: number;
  private isEnded = false;

  /** `quorum`: who decides for PG 0 at the moment it is asked. */
  constructor(epoch: Epoch, quorum: () => QuorumSet, leaseTermMs: number) {
    this.epoch = epoch;
    this.quorum = quorum;
    this.usableMs = leaseTermMs * (1 - CLOCK_RATE_ERROR);
  }

  /**
   * What a node answered to heartbeat `sequence`, sent at `sentAt`. It counts when the node stands by this epoch and its segment of PG 0 is
   * verified (one in quarantine may have forgotten a newer promise). Sequences grow with send time.
   */
  onGrant(node: NodeId, sent: { sequence: number; sentAt: ClockReading }, grant: HeartbeatGrant): void {
    if (this.isEnded || !this.quorum().has(node)) return;
    if (grant.refusal !== null || !sameEpoch(grant.epoch, this.epoch)) return;
    if (!grant.pgs.some(({ pg, verified }) => pg === 0 && verified)) return;
    const member = this.stateOf(node);
    if (sent.sequence <= member.confirmedSequence) return;
    member.confirmedSequence = sent.sequence;
    if (grant.granted) member.promisedAt = sent.sentAt;
  }

  /** True while three unexpired promises stand. To be asked after a result is computed, before it is sent. */
  isHeld(now: ClockReading): boolean {
    if (this.isEnded) return false;
    for (const member of this.members.values()) {
      if (member.promisedAt === null) continue;
      const elapsed = elapsedMs(member.promisedAt, now);
      if (elapsed === null || elapsed >= this.usableMs) member.promisedAt = null;
    }
    return this.quorum().isReadQuorum((node) => (this.members.get(node)?.promisedAt ?? null) !== null);
  }

  /** The greatest heartbeat sequence that a read quorum has answered at or above: reads that arrived before it was sent are proven. */
  get confirmedSequence(): number {
    if (this.isEnded) return 0;
    return this.quorum().reachedByReadQuorum((node) => this.members.get(node)?.confirmedSequence ?? 0);
  }

  /** The term is over, or the promises are being given back: nothing is served under them any more. */
  end(): void {
    this.isEnded = true;
  }

  private stateOf(node: NodeId): MemberState {
    let state = this.members.get(node);
    if (state === undefined) {
      state = { promisedAt: null, confirmedSequence: 0 };
      this.members.set(node, state);
    }
    return state;
  }
}

/** Time between two readings as the fastest clock saw it; null when the clocks diverge, or one went backwards beyond the tolerance. */
export function elapsedMs(from: ClockReading, to: ClockReading): number | null {
  const monotonic = to.monotonicMs - from.monotonicMs;
  const wall = to.wallMs - from.wallMs;
  const uptime = to.uptimeMs - from.uptimeMs;
  const longest = Math.max(monotonic, wall, uptime);
  const shortest = Math.min(monotonic, wall, uptime);
  return longest - shortest > CLOCK_DIVERGENCE_TOLERANCE_MS ? null : longest;
}
