import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NodeId, NO_LSN, toLsn } from '../../../src/log/lsn.ts';
import { PgTracker } from '../../../src/quorum/pg-tracker.ts';
import { QuorumSet } from '../../../src/quorum/quorum-set.ts';

const NODES = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const [A1, A2, B1, B2, C1] = NODES as [NodeId, NodeId, NodeId, NodeId, NodeId];

const single = (members: readonly NodeId[]) => QuorumSet.of({ members, proposed: null });

/** The dumb twin: keeps every report ever made and works everything out again from them. */
class DumbPgTracker {
  private readonly reports: { node: NodeId; incarnation: string; scl: number }[] = [];
  private highest = 0;

  report(node: NodeId, incarnation: string, scl: number): void {
    this.reports.push({ node, incarnation, scl });
    const sorted = NODES.map((member) => this.sclOf(member)).sort((a, b) => b - a);
    this.highest = Math.max(this.highest, sorted[3] as number);
  }

  /** Highest SCL of the present incarnation: the one with the highest counter; of two with one counter the one that appeared last. */
  sclOf(node: NodeId): number {
    const own = this.reports.filter((report) => report.node === node);
    const order = [...new Set(own.map((report) => report.incarnation))];
    const newest = Math.max(0, ...order.map((incarnation) => Number.parseInt(incarnation, 10)));
    const present = order.findLast((incarnation) => Number.parseInt(incarnation, 10) === newest);
    return Math.max(0, ...own.filter((report) => report.incarnation === present).map((report) => report.scl));
  }

  get pgcl(): number {
    return this.highest;
  }
}

describe('PgTracker', () => {
  it('reaches an LSN at the fourth segment, not at the third', () => {
    const tracker = new PgTracker(single(NODES));
    expect(tracker.report(A1, 'i', toLsn(10), true)).toBe(false);
    expect(tracker.report(A2, 'i', toLsn(12), true)).toBe(false);
    expect(tracker.report(B1, 'i', toLsn(9), true)).toBe(false);
    expect(tracker.pgcl).toBe(NO_LSN);
    expect(tracker.report(B2, 'i', toLsn(11), true)).toBe(true);
    expect(tracker.pgcl).toBe(9);
    expect(tracker.report(C1, 'i', toLsn(10), true)).toBe(true);
    expect(tracker.pgcl).toBe(10);
  });

  it('counts one segment once, however often it reports', () => {
    const tracker = new PgTracker(single(NODES));
    for (let i = 0; i < 10; i += 1) tracker.report(A1, 'i', toLsn(10 + i), true);
    expect(tracker.pgcl).toBe(NO_LSN);
  });

  it('forgets what a segment acknowledged before its restart, but never goes back', () => {
    const tracker = new PgTracker(single(NODES));
    for (const node of [A1, A2, B1]) tracker.report(node, 'i', toLsn(20), true);
    tracker.report(B1, 'restarted', toLsn(5), true);
    expect(tracker.sclOf(B1)).toBe(5);
    expect(tracker.incarnationOf(B1)).toBe('restarted');
    // B1's 20 of before must not make up the four.
    tracker.report(B2, 'i', toLsn(20), true);
    expect(tracker.pgcl).toBe(5);
    tracker.report(C1, 'i', toLsn(20), true);
    expect(tracker.pgcl).toBe(20);
    for (const node of NODES) tracker.report(node, 'again', toLsn(1), true);
    expect(tracker.pgcl).toBe(20);
  });

  it('passes over a late message of an incarnation left behind', () => {
    const tracker = new PgTracker(single(NODES));
    tracker.report(A1, 'first', toLsn(30), true);
    tracker.report(A1, 'second', toLsn(4), true);
    tracker.report(A1, 'first', toLsn(30), true);
    expect(tracker.sclOf(A1)).toBe(4);
    expect(tracker.incarnationOf(A1)).toBe('second');
  });

  it('passes over a late message of an incarnation between two that it heard of', () => {
    const tracker = new PgTracker(single(NODES));
    tracker.report(A1, '5.a', toLsn(30), true);
    tracker.report(A1, '7.c', toLsn(4), true);
    expect(tracker.report(A1, '6.b', toLsn(50), true)).toBe(false);
    expect(tracker.sclOf(A1)).toBe(4);
    tracker.report(A1, '7.c', toLsn(9), true);
    expect(tracker.sclOf(A1)).toBe(9);
    // As numbers, not as text.
    tracker.report(A1, '10.d', toLsn(2), true);
    expect(tracker.incarnationOf(A1)).toBe('10.d');
  });

  it('takes another seed of the same counter for another life', () => {
    const tracker = new PgTracker(single(NODES));
    tracker.report(A1, '7.c', toLsn(30), true);
    tracker.report(A1, '7.x', toLsn(4), true);
    expect(tracker.sclOf(A1)).toBe(4);
    tracker.report(A1, '7.c', toLsn(30), true);
    expect(tracker.sclOf(A1)).toBe(4);
  });

  it('passes over nodes that are no members', () => {
    const tracker = new PgTracker(single(NODES));
    for (const node of ['x', 'y', 'z', 'w'])
      expect(tracker.report(node as NodeId, 'i', toLsn(9), true)).toBe(false);
    expect(tracker.pgcl).toBe(NO_LSN);
    expect(tracker.sclOf('x' as NodeId)).toBe(NO_LSN);
  });

  it('has six different members', () => {
    expect(() => new PgTracker(single(NODES.slice(1)))).toThrow(/6 different/);
    expect(() => new PgTracker(single([...NODES.slice(1), A2]))).toThrow(/6 different/);
  });

  it('agrees with its dumb twin', () => {
    const reports = fc.array(
      fc.tuple(fc.constantFrom(...NODES), fc.constantFrom('1', '1', '1', '2.a', '2.b', '3'), fc.nat(30)),
      { maxLength: 60, size: 'max' },
    );
    fc.assert(
      fc.property(reports, (list) => {
        const tracker = new PgTracker(single(NODES));
        const twin = new DumbPgTracker();
        for (const [node, incarnation, scl] of list) {
          const before = tracker.pgcl;
          const advanced = tracker.report(node, incarnation, toLsn(scl), true);
          twin.report(node, incarnation, scl);
          expect(tracker.pgcl).toBe(twin.pgcl);
          expect(advanced).toBe(tracker.pgcl > before);
          for (const member of NODES) expect(tracker.sclOf(member)).toBe(twin.sclOf(member));
        }
      }),
      { numRuns: 300 },
    );
  });
});
