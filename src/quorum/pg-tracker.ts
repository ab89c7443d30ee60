/**
 * How complete one protection group is: its segments' SCLs in, PGCL out.
 *
 * Invariants
 * 1. pgcl never regresses. It is reached only when the present incarnations of a write quorum (of each member set) report it or more.
 * 2. A member whose incarnation changes starts anew: what it acknowledged before its restart may be lost with it, so it counts again only
 *    by what it reports now. A report of an earlier incarnation (a late message) changes nothing, also of one never heard of before: their
 *    counters tell the order.
 * 3. A segment that is not hydrated lacks history below what it reports: it counts for nothing.
 */
import { incarnationCounter } from '../log/incarnation.ts';
import { NO_LSN, type Lsn, type NodeId } from '../log/lsn.ts';
import type { QuorumSet } from './quorum-set.ts';

interface Member {
  incarnation: string | null;
  /** What counts of its reports: NO_LSN until it is hydrated. */
  scl: Lsn;
  isHydrated: boolean;
  /** Incarnations this member had before, for those of one counter; a handful over a writer's term. Kept when it leaves. */
  readonly retired: Set<string>;
}

export class PgTracker {
  private deciders: QuorumSet;
  private readonly byNode = new Map<NodeId, Member>();
  private reached: Lsn;

  /** `pgcl`: what is known complete from the start (after a take-over: tail(PG, closing LSN); for a fresh PG: NO_LSN). */
  constructor(quorum: QuorumSet, pgcl: Lsn = NO_LSN) {
    this.deciders = quorum;
    this.addMembers();
    this.reached = pgcl;
  }

  get pgcl(): Lsn {
    return this.reached;
  }

  get quorum(): QuorumSet {
    return this.deciders;
  }

  /** The members change, or are about to. What those that stay have reported goes on counting. Returns true when PGCL advanced. */
  setQuorum(quorum: QuorumSet): boolean {
    for (const [node, member] of this.byNode) {
      // One that left and comes back is a newcomer; which of its incarnations are over stays known.
      if (this.deciders.has(node)) continue;
      member.scl = NO_LSN;
      member.isHydrated = false;
    }
    this.deciders = quorum;
    this.addMembers();
    return this.advance();
  }

  /** A segment's own report, made under the writer's epoch. Returns true when PGCL advanced. */
  report(node: NodeId, incarnation: string, scl: Lsn, isHydrated: boolean): boolean {
    const member = this.byNode.get(node);
    if (member === undefined || member.retired.has(incarnation)) return false;
    const counted = isHydrated ? scl : NO_LSN;
    if (member.incarnation !== incarnation) {
      if (isEarlier(incarnation, member.incarnation)) return false;
      if (member.incarnation !== null) member.retired.add(member.incarnation);
      member.incarnation = incarnation;
      member.scl = counted;
    } else {
      member.scl = isHydrated ? (Math.max(member.scl, counted) as Lsn) : counted;
    }
    member.isHydrated = isHydrated;
    return this.advance();
  }

  /** What the member's present incarnation has reported; NO_LSN when nothing yet. */
  sclOf(node: NodeId): Lsn {
    return this.byNode.get(node)?.scl ?? NO_LSN;
  }

  incarnationOf(node: NodeId): string | null {
    return this.byNode.get(node)?.incarnation ?? null;
  }

  /** Whether its present incarnation has told that it is. */
  isHydrated(node: NodeId): boolean {
    return this.byNode.get(node)?.isHydrated ?? false;
  }

  private addMembers(): void {
    for (const node of this.deciders.nodes) {
      if (this.byNode.has(node)) continue;
      this.byNode.set(node, { incarnation: null, scl: NO_LSN, isHydrated: false, retired: new Set() });
    }
  }

  private advance(): boolean {
    const reached = this.deciders.reachedByWriteQuorum((node) => this.sclOf(node)) as Lsn;
    if (reached <= this.reached) return false;
    this.reached = reached;
    return true;
  }
}

function isEarlier(incarnation: string, present: string | null): boolean {
  return present !== null && incarnationCounter(incarnation) < incarnationCounter(present);
}
