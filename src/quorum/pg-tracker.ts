/**
 * How complete one protection group is: six segments' SCLs in, PGCL out.
 *
 * Invariants
 * 1. pgcl never regresses. It is reached only when four members' present incarnations report it or more.
 * 2. A member whose incarnation changes starts anew: what it acknowledged before its restart may be lost with it, so it counts again only
 *    by what it reports now. A report of an earlier incarnation (a late message) changes nothing, also of one never heard of before: their
 *    counters tell the order.
 */
import { assert } from '../base/assert.ts';
import { incarnationCounter } from '../log/incarnation.ts';
import { NO_LSN, type Lsn, type NodeId } from '../log/lsn.ts';
import { COPIES, WRITE_QUORUM } from './quorum.ts';

interface Member {
  incarnation: string | null;
  scl: Lsn;
  /** Incarnations this member had before, for those of one counter; a handful over a writer's term. */
  readonly retired: Set<string>;
}

export class PgTracker {
  readonly members: readonly NodeId[];
  private readonly byNode: ReadonlyMap<NodeId, Member>;
  private reached: Lsn;

  /** `pgcl`: what is known complete from the start (after a take-over: tail(PG, closing LSN); for a fresh PG: NO_LSN). */
  constructor(members: readonly NodeId[], pgcl: Lsn = NO_LSN) {
    assert(
      new Set(members).size === COPIES,
      `a protection group has ${COPIES} different members: ${members.join(', ')}`,
    );
    this.members = [...members];
    this.byNode = new Map(
      members.map((node) => [node, { incarnation: null, scl: NO_LSN, retired: new Set<string>() }]),
    );
    this.reached = pgcl;
  }

  get pgcl(): Lsn {
    return this.reached;
  }

  /** A segment's own report, made under the writer's epoch. Returns true when PGCL advanced. */
  report(node: NodeId, incarnation: string, scl: Lsn): boolean {
    const member = this.byNode.get(node);
    if (member === undefined || member.retired.has(incarnation)) return false;
    if (member.incarnation !== incarnation) {
      if (isEarlier(incarnation, member.incarnation)) return false;
      if (member.incarnation !== null) member.retired.add(member.incarnation);
      member.incarnation = incarnation;
      member.scl = scl;
    } else if (scl > member.scl) {
      member.scl = scl;
    } else {
      return false;
    }
    return this.advance();
  }

  /** What the member's present incarnation has reported; NO_LSN when nothing yet. */
  sclOf(node: NodeId): Lsn {
    return this.byNode.get(node)?.scl ?? NO_LSN;
  }

  incarnationOf(node: NodeId): string | null {
    return this.byNode.get(node)?.incarnation ?? null;
  }

  /** How many members have reported `lsn` or more: whether a stream may be dropped, whom a read may ask. */
  countAtLeast(lsn: Lsn): number {
    let count = 0;
    for (const member of this.byNode.values()) if (member.scl >= lsn) count += 1;
    return count;
  }

  private advance(): boolean {
    let advanced = false;
    // PGCL is the largest SCL that four have reached: some member's own.
    for (const { scl } of this.byNode.values()) {
      if (scl > this.reached && this.countAtLeast(scl) >= WRITE_QUORUM) {
        this.reached = scl;
        advanced = true;
      }
    }
    return advanced;
  }
}

function isEarlier(incarnation: string, present: string | null): boolean {
  return present !== null && incarnationCounter(incarnation) < incarnationCounter(present);
}
