/**
 * Who decides for one protection group: one set of six, or two of them while its members change (design section 9; Aurora paper 2018,
 * section 4.1, "quorum sets"). A quorum is one of *each* set. Everything that counts segments counts them here, so that one set is no
 * case of its own.
 *
 * From the moment a change is proposed until its end is committed both sets are asked: whichever of the two manifests another writer
 * learns, its quorums meet ours.
 */
import { assert } from '../base/assert.ts';
import type { NodeId } from '../log/lsn.ts';
import { COPIES, READ_QUORUM, WRITE_BLOCKING, WRITE_QUORUM } from './quorum.ts';

/** The members of one PG as a manifest names them (register/values.ts, PgConfig). */
export interface Membership {
  readonly members: readonly NodeId[];
  readonly proposed: readonly NodeId[] | null;
}

export class QuorumSet {
  readonly sets: readonly (readonly NodeId[])[];
  /** Every node of any set, each once; those of the first set first. */
  readonly nodes: readonly NodeId[];

  static of({ members, proposed }: Membership): QuorumSet {
    return new QuorumSet(proposed === null ? [members] : [members, proposed]);
  }

  constructor(sets: readonly (readonly NodeId[])[]) {
    assert(sets.length === 1 || sets.length === 2, `${sets.length} member sets`);
    for (const set of sets) {
      assert(new Set(set).size === COPIES, `a member set has ${COPIES} different nodes: ${set.join(', ')}`);
    }
    this.sets = sets.map((set) => [...set]);
    this.nodes = [...new Set(sets.flat())];
  }

  has(node: NodeId): boolean {
    return this.nodes.includes(node);
  }

  /** Four of each set. */
  isWriteQuorum(has: (node: NodeId) => boolean): boolean {
    return this.sets.every((set) => countOf(set, has) >= WRITE_QUORUM);
  }

  /** Three of each set: they meet every write quorum, in whichever set it is looked for. */
  isReadQuorum(has: (node: NodeId) => boolean): boolean {
    return this.sets.every((set) => countOf(set, has) >= READ_QUORUM);
  }

  /** So many of one set are lost that no write quorum can come about any more. */
  isWriteBlocked(isLost: (node: NodeId) => boolean): boolean {
    return this.sets.some((set) => countOf(set, isLost) >= WRITE_BLOCKING);
  }

  /** How many there are in the set that has fewest. */
  least(has: (node: NodeId) => boolean): number {
    return Math.min(...this.sets.map((set) => countOf(set, has)));
  }

  /** The highest value that a write quorum has reached. */
  reachedByWriteQuorum(reachedOf: (node: NodeId) => number): number {
    return this.reachedBy(WRITE_QUORUM, reachedOf);
  }

  /** The highest value that a read quorum has reached. */
  reachedByReadQuorum(reachedOf: (node: NodeId) => number): number {
    return this.reachedBy(READ_QUORUM, reachedOf);
  }

  private reachedBy(quorum: number, reachedOf: (node: NodeId) => number): number {
    let reached = Number.POSITIVE_INFINITY;
    for (const set of this.sets) reached = Math.min(reached, nthHighest(set, quorum, reachedOf));
    return reached;
  }
}

function countOf(set: readonly NodeId[], has: (node: NodeId) => boolean): number {
  let count = 0;
  for (const node of set) if (has(node)) count += 1;
  return count;
}

function nthHighest(set: readonly NodeId[], n: number, reachedOf: (node: NodeId) => number): number {
  const values = set.map(reachedOf).sort((a, b) => b - a);
  return values[n - 1] as number;
}
