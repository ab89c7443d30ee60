/** Quorums of one member set and of two, against counting by hand. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NodeId } from '../../../src/log/lsn.ts';
import { QuorumSet } from '../../../src/quorum/quorum-set.ts';

const OLD = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const NEW = ['a1', 'a2', 'b1', 'b2', 'c1', 'c3'] as NodeId[];
const changing = QuorumSet.of({ members: OLD, proposed: NEW });

const among = (nodes: readonly string[]) => (node: NodeId) => nodes.includes(node);

describe('a quorum set', () => {
  it('is the six members, or, while they change, the six and the six that are to follow', () => {
    expect(QuorumSet.of({ members: OLD, proposed: null }).sets).toEqual([OLD]);
    expect(changing.sets).toEqual([OLD, NEW]);
    expect(changing.nodes).toEqual([...OLD, 'c3']);
  });

  it('is not content with four of the old six alone, nor of the new', () => {
    const single = QuorumSet.of({ members: OLD, proposed: null });
    expect(single.isWriteQuorum(among(['a1', 'a2', 'b1', 'c2']))).toBe(true);
    expect(changing.isWriteQuorum(among(['a1', 'a2', 'b1', 'c2']))).toBe(false);
    expect(changing.isWriteQuorum(among(['a1', 'a2', 'b1', 'c3']))).toBe(false);
    expect(changing.isWriteQuorum(among(['a1', 'a2', 'b1', 'c2', 'c3']))).toBe(true);
    expect(changing.isReadQuorum(among(['a1', 'a2', 'c2']))).toBe(false);
    expect(changing.isReadQuorum(among(['a1', 'a2', 'b1']))).toBe(true);
    expect(changing.isWriteBlocked(among(['a1', 'a2', 'c3']))).toBe(true);
    expect(changing.isWriteBlocked(among(['a1', 'a2']))).toBe(false);
  });

  it('has one or two sets of six different nodes', () => {
    expect(() => new QuorumSet([])).toThrow();
    expect(() => new QuorumSet([OLD, NEW, OLD])).toThrow();
    expect(() => new QuorumSet([OLD.slice(1)])).toThrow(/6 different/);
    expect(() => new QuorumSet([[...OLD.slice(1), 'a2' as NodeId]])).toThrow(/6 different/);
  });

  it('agrees with counting, and any read quorum meets any write quorum in each set', () => {
    const subset = fc.subarray([...changing.nodes]);
    fc.assert(
      fc.property(subset, subset, fc.boolean(), (one, other, isChanging) => {
        const quorum = isChanging ? changing : new QuorumSet([OLD]);
        const counts = quorum.sets.map((set) => set.filter((node) => one.includes(node)).length);
        expect(quorum.least(among(one))).toBe(Math.min(...counts));
        expect(quorum.isWriteQuorum(among(one))).toBe(counts.every((count) => count >= 4));
        expect(quorum.isReadQuorum(among(one))).toBe(counts.every((count) => count >= 3));
        expect(quorum.isWriteBlocked(among(one))).toBe(counts.some((count) => count >= 3));
        if (!quorum.isReadQuorum(among(one)) || !quorum.isWriteQuorum(among(other))) return;
        for (const set of quorum.sets) {
          expect(set.some((node) => one.includes(node) && other.includes(node))).toBe(true);
        }
      }),
    );
  });

  it('tells the highest value that a quorum of each set has reached', () => {
    const values = fc.array(fc.nat(9), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(values, (list) => {
        const reachedOf = (node: NodeId) => list[changing.nodes.indexOf(node)] as number;
        for (const [told, isQuorum] of [
          [changing.reachedByWriteQuorum(reachedOf), changing.isWriteQuorum.bind(changing)],
          [changing.reachedByReadQuorum(reachedOf), changing.isReadQuorum.bind(changing)],
        ] as const) {
          expect(isQuorum((node) => reachedOf(node) >= told)).toBe(true);
          expect(isQuorum((node) => reachedOf(node) >= told + 1)).toBe(false);
        }
      }),
    );
  });
});
