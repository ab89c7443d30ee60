import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Lsn, type NodeId, NO_LSN, type PgIndex, toLsn, toPgIndex } from '../../../src/log/lsn.ts';
import { QuorumSet } from '../../../src/quorum/quorum-set.ts';
import { VolumeTracker } from '../../../src/quorum/volume-tracker.ts';

const NODES = ['a1', 'a2', 'b1', 'b2', 'c1', 'c2'] as NodeId[];
const SINGLE = QuorumSet.of({ members: NODES, proposed: null });
const P0 = toPgIndex(0);
const P1 = toPgIndex(1);

/** Sends a record as the writer would, with the backlink it keeps. */
function send(tracker: VolumeTracker, pg: PgIndex, isCpl: boolean): Lsn {
  const lsn = toLsn(tracker.highestSentLsn + 1);
  tracker.onSent(pg, lsn, tracker.lastSentLsnOf(pg), isCpl);
  return lsn;
}

function ackBy(tracker: VolumeTracker, count: number, pg: PgIndex, lsn: Lsn): void {
  for (const node of NODES.slice(0, count)) tracker.onScl(pg, node, 'i', lsn, true);
}

function twoPgs(first = 1): VolumeTracker {
  const tracker = new VolumeTracker(toLsn(first));
  tracker.addPg(P0, SINGLE, NO_LSN);
  tracker.addPg(P1, SINGLE, NO_LSN);
  return tracker;
}

describe('VolumeTracker', () => {
  it('starts at the head run’s first − 1', () => {
    const tracker = twoPgs(501);
    expect([tracker.vcl, tracker.vdl, tracker.highestSentLsn]).toEqual([500, 500, 500]);
  });

  it('is not held back by a PG that has nothing new (not min(PGCL))', () => {
    const tracker = twoPgs();
    const cpl = send(tracker, P0, true);
    ackBy(tracker, 4, P0, cpl);
    expect(tracker.vdl).toBe(cpl);
    expect(tracker.pgTracker(P1).pgcl).toBe(NO_LSN);
  });

  it('asks each record’s own PG: four acks of the one do not harden the other', () => {
    const tracker = twoPgs();
    send(tracker, P0, false);
    const cpl = send(tracker, P1, true);
    ackBy(tracker, 6, P1, cpl);
    expect(tracker.vcl).toBe(0);
    ackBy(tracker, 3, P0, toLsn(1));
    expect(tracker.vcl).toBe(0);
    ackBy(tracker, 4, P0, toLsn(1));
    expect([tracker.vcl, tracker.vdl]).toEqual([2, 2]);
  });

  it('VDL stops at the last whole MTR', () => {
    const tracker = twoPgs();
    const first = send(tracker, P0, true);
    send(tracker, P0, false);
    const part = send(tracker, P0, false);
    ackBy(tracker, 4, P0, part);
    expect([tracker.vcl, tracker.vdl]).toEqual([3, first]);
    const last = send(tracker, P0, true);
    ackBy(tracker, 4, P0, last);
    expect([tracker.vcl, tracker.vdl]).toEqual([4, 4]);
  });

  it('passes over an SCL past what was sent: it must not cover what comes later', () => {
    const tracker = twoPgs();
    ackBy(tracker, 6, P0, toLsn(5));
    send(tracker, P0, true);
    expect(tracker.vdl).toBe(0);
    ackBy(tracker, 6, P0, toLsn(2));
    expect(tracker.vdl).toBe(0);
    ackBy(tracker, 3, P0, toLsn(1));
    expect(tracker.vdl).toBe(0);
    tracker.onScl(P0, NODES[3] as NodeId, 'i', toLsn(1), true);
    expect(tracker.vdl).toBe(1);
  });

  it('forgets a restarted segment’s acks for what is not yet durable', () => {
    const tracker = twoPgs();
    const cpl = send(tracker, P0, true);
    ackBy(tracker, 3, P0, cpl);
    tracker.onScl(P0, NODES[0] as NodeId, 'restarted', NO_LSN, true);
    tracker.onScl(P0, NODES[3] as NodeId, 'i', cpl, true);
    expect(tracker.vdl).toBe(0);
    tracker.onScl(P0, NODES[0] as NodeId, 'restarted', cpl, true);
    expect(tracker.vdl).toBe(cpl);
  });

  it('knows the tails that travel with VDL, and what a read needs', () => {
    const tracker = new VolumeTracker(toLsn(101));
    tracker.addPg(P0, SINGLE, toLsn(90));
    tracker.addPg(P1, SINGLE, toLsn(95));
    expect([tracker.tailOf(P0), tracker.tailOf(P1)]).toEqual([90, 95]);
    send(tracker, P0, true); // 101
    send(tracker, P1, false); // 102
    send(tracker, P0, true); // 103
    ackBy(tracker, 4, P0, toLsn(103));
    expect(tracker.vdl).toBe(101);
    expect([tracker.tailOf(P0), tracker.tailOf(P1)]).toEqual([101, 95]);
    ackBy(tracker, 4, P1, toLsn(102));
    expect([tracker.tailOf(P0), tracker.tailOf(P1)]).toEqual([103, 102]);
    expect(tracker.requiredScl(P1, toLsn(103))).toBe(102);
    expect(tracker.requiredScl(P1, toLsn(98))).toBe(98);
    expect(() => tracker.requiredScl(P1, toLsn(104))).toThrow(/above VDL/);
  });

  it('takes a PG made while it runs', () => {
    const tracker = twoPgs();
    ackBy(tracker, 4, P0, send(tracker, P0, true));
    tracker.addPg(toPgIndex(2), SINGLE, NO_LSN);
    const cpl = send(tracker, toPgIndex(2), true);
    ackBy(tracker, 4, toPgIndex(2), cpl);
    expect([tracker.vdl, tracker.tailOf(toPgIndex(2))]).toEqual([cpl, cpl]);
    expect(() => tracker.addPg(toPgIndex(9), SINGLE, NO_LSN)).toThrow(/PG 9/);
  });

  it('keeps no memory of what VDL has passed, and room for any backlog', () => {
    const tracker = twoPgs();
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 5000; i += 1) send(tracker, i % 3 === 0 ? P1 : P0, i % 7 === 0);
      const cpl = send(tracker, P0, true);
      expect(tracker.outstandingRecords).toBe(5001);
      ackBy(tracker, 4, P1, tracker.lastSentLsnOf(P1));
      ackBy(tracker, 4, P0, cpl);
      expect([tracker.vdl, tracker.outstandingRecords]).toEqual([cpl, 0]);
      expect(tracker.tailOf(P1)).toBe(tracker.lastSentLsnOf(P1));
    }
  });

  it('keeps the order of a backlog far longer than the ring it began with', () => {
    const tracker = twoPgs();
    const pgOf = (lsn: number) => (lsn % 3 === 0 ? P1 : P0);
    const isCpl = (lsn: number) => lsn % 7 === 0;
    for (let lsn = 1; lsn <= 5000; lsn += 1) send(tracker, pgOf(lsn), isCpl(lsn));
    ackBy(tracker, 4, P0, tracker.lastSentLsnOf(P0));
    for (const scl of [3, 6, 300, 1026, 3300, 4098, 4998]) {
      ackBy(tracker, 4, P1, toLsn(scl));
      // P0 is complete: VCL stands before P1's next record, VDL at the multiple of seven before.
      const vcl = Math.min(scl + 2, 5000);
      const vdl = vcl - (vcl % 7);
      expect([tracker.vcl, tracker.vdl]).toEqual([vcl, vdl]);
      expect(tracker.tailOf(P1)).toBe(vdl - (vdl % 3));
      expect(tracker.tailOf(P0)).toBe(vdl % 3 === 0 ? Math.max(vdl - 1, 0) : vdl);
    }
  });

  it('stops at what only a bug can cause: an LSN left out, a wrong backlink, an unknown PG', () => {
    const tracker = twoPgs();
    expect(() => tracker.onSent(P0, toLsn(2), NO_LSN, true)).toThrow(/sent after/);
    send(tracker, P0, true);
    expect(() => tracker.onSent(P0, toLsn(2), NO_LSN, true)).toThrow(/links to/);
    expect(() => tracker.onSent(toPgIndex(7), toLsn(2), NO_LSN, true)).toThrow(/not tracked/);
    expect(tracker.onScl(toPgIndex(7), NODES[0] as NodeId, 'i', toLsn(1), true)).toEqual({ vcl: 0, vdl: 0 });
  });

  it('gives the same object until something moves', () => {
    const tracker = twoPgs();
    const cpl = send(tracker, P0, true);
    const before = tracker.onScl(P0, NODES[0] as NodeId, 'i', cpl, true);
    expect(tracker.onScl(P0, NODES[1] as NodeId, 'i', cpl, true)).toBe(before);
    tracker.onScl(P0, NODES[2] as NodeId, 'i', cpl, true);
    expect(tracker.onScl(P0, NODES[3] as NodeId, 'i', cpl, true)).not.toBe(before);
  });

  it('agrees with its dumb twin over several PGs, restarts and lies', () => {
    type Event =
      | { readonly kind: 'send'; readonly pg: number; readonly isCpl: boolean }
      /** One report by each of the nodes, `behind` records before the PG's newest (negative: ahead of it, a lie). */
      | {
          readonly kind: 'scl';
          readonly pg: number;
          readonly nodes: readonly number[];
          readonly behind: number;
        }
      | { readonly kind: 'restart'; readonly node: number }
      /** A message of the incarnation before. */
      | { readonly kind: 'late'; readonly pg: number; readonly node: number };
    const pg = fc.nat(2);
    const node = fc.nat(5);
    const event: fc.Arbitrary<Event> = fc.oneof(
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('send' as const), pg, isCpl: fc.boolean() }) },
      {
        weight: 8,
        arbitrary: fc.record({
          kind: fc.constant('scl' as const),
          pg,
          nodes: fc.uniqueArray(node, { minLength: 2, maxLength: 6 }),
          behind: fc.constantFrom(0, 0, 0, 1, 2, 5, -1),
        }),
      },
      fc.record({ kind: fc.constant('restart' as const), node }),
      fc.record({ kind: fc.constant('late' as const), pg, node }),
    );
    let reached = 0;
    fc.assert(
      fc.property(
        fc.array(event, { minLength: 20, maxLength: 150, size: 'max' }),
        fc.integer({ min: 1, max: 1000 }),
        (events, first) => {
          const tracker = new VolumeTracker(toLsn(first));
          const twin = new DumbVolume(first);
          for (let pg = 0; pg < 3; pg += 1) tracker.addPg(toPgIndex(pg), SINGLE, NO_LSN);
          const incarnations = new Array<number>(6).fill(1);
          const report = (pg: number, node: number, incarnation: number, scl: Lsn): void => {
            tracker.onScl(toPgIndex(pg), NODES[node] as NodeId, `${incarnation}`, scl, true);
            twin.scl(pg, node, `${incarnation}`, scl);
          };
          for (const e of events) {
            if (e.kind === 'send') {
              send(tracker, toPgIndex(e.pg), e.isCpl);
              twin.send(e.pg, e.isCpl);
            } else if (e.kind === 'restart') {
              incarnations[e.node] = (incarnations[e.node] as number) + 1;
            } else if (e.kind === 'late') {
              const scl = tracker.lastSentLsnOf(toPgIndex(e.pg));
              if ((incarnations[e.node] as number) > 1) {
                report(e.pg, e.node, incarnations[e.node] as number, NO_LSN);
                report(e.pg, e.node, (incarnations[e.node] as number) - 1, scl);
              }
            } else {
              const scl = toLsn(Math.max(0, tracker.lastSentLsnOf(toPgIndex(e.pg)) - e.behind));
              for (const node of e.nodes) report(e.pg, node, incarnations[node] as number, scl);
            }
            expect({
              vcl: tracker.vcl,
              vdl: tracker.vdl,
              tails: [0, 1, 2].map((i) => tracker.tailOf(toPgIndex(i))),
            }).toEqual(twin.state());
          }
          reached += tracker.vdl - first + 1;
        },
      ),
      { numRuns: 60 },
    );
    // The runs must have gone somewhere.
    expect(reached).toBeGreaterThan(600);
  });
});

/** Keeps every record and report for ever, and works everything out again from them after every event. */
class DumbVolume {
  private readonly first: number;
  private readonly sent: { pg: number; isCpl: boolean }[] = [];
  private readonly reports: { pg: number; node: number; incarnation: string; scl: number }[] = [];
  private readonly hardened = new Set<number>();

  constructor(first: number) {
    this.first = first;
  }

  send(pg: number, isCpl: boolean): void {
    this.sent.push({ pg, isCpl });
  }

  scl(pg: number, node: number, incarnation: string, scl: number): void {
    const last = this.first + this.sent.findLastIndex((record) => record.pg === pg);
    if (scl > (this.sent.some((record) => record.pg === pg) ? last : 0)) return;
    this.reports.push({ pg, node, incarnation, scl });
    for (const [index, record] of this.sent.entries()) {
      const lsn = this.first + index;
      const holders = [0, 1, 2, 3, 4, 5].filter((member) => this.presentScl(record.pg, member) >= lsn);
      if (holders.length >= 4) this.hardened.add(lsn);
    }
  }

  state(): { vcl: number; vdl: number; tails: number[] } {
    let vcl = this.first - 1;
    while (this.hardened.has(vcl + 1)) vcl += 1;
    let vdl = this.first - 1;
    for (let lsn = this.first; lsn <= vcl; lsn += 1) if (this.sent[lsn - this.first]?.isCpl) vdl = lsn;
    const tails = [0, 1, 2].map((pg) => {
      const index = this.sent.findLastIndex((record, at) => record.pg === pg && this.first + at <= vdl);
      return index < 0 ? 0 : this.first + index;
    });
    return { vcl, vdl, tails };
  }

  private presentScl(pg: number, node: number): number {
    const own = this.reports.filter((report) => report.pg === pg && report.node === node);
    const present = String(Math.max(...own.map((report) => Number(report.incarnation))));
    return Math.max(0, ...own.filter((report) => report.incarnation === present).map((report) => report.scl));
  }
}
