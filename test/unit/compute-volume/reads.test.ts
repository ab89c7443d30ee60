import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readPointAt } from '../../../compute-node/volume/read-point.ts';
import {
  type Fetch,
  type ReadEffect,
  type ReadEvent,
  ReadRouter,
  type SegmentView,
} from '../../../compute-node/volume/read-router.ts';
import { FloorWindow } from '../../../compute-node/volume/writer-floor.ts';
import type { ErrorCode } from '../../../src/base/errors.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId, VolumeId } from '../../../src/log/lsn.ts';
import type { ReadPagesReply } from '../../../src/messages/messages.ts';
import { manifestValue, NODES, refusalOf, VOLUME } from '../../support/writer-net.ts';

const [a, b, c] = NODES as [NodeId, NodeId, NodeId];
type Send = Extract<ReadEffect, { kind: 'send' }>;

interface View {
  nodeId: NodeId;
  scl: Lsn;
  isInstalled: boolean;
}

class Bench {
  readonly views: View[] = NODES.map((nodeId) => ({ nodeId, scl: 100 as Lsn, isInstalled: true }));
  readonly router: ReadRouter;
  readonly sends: Send[] = [];
  readonly ends: ReadEffect[] = [];
  nowMs = 0;

  constructor(up: readonly NodeId[] = NODES, timeoutMs?: number) {
    this.router = new ReadRouter({
      segmentsOf: (): readonly SegmentView[] => this.views,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    for (const node of up) this.step({ kind: 'node-up', node });
  }

  step(event: ReadEvent): void {
    for (const effect of this.router.step(event, this.nowMs)) {
      if (effect.kind === 'send') this.sends.push(effect);
      else this.ends.push(effect);
    }
  }

  start(fetchId: number, fetch: Partial<Fetch> = {}): void {
    this.step({ kind: 'start', fetchId, fetch: { ...FETCH, ...fetch } });
  }

  /** Lets time pass, with ticks exactly when they are due. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const next = this.router.nextDeadlineMs;
      if (next === null || next > untilMs) break;
      this.nowMs = Math.max(this.nowMs, next);
      this.step({ kind: 'tick' });
    }
    this.nowMs = untilMs;
  }

  serve(send: Send): void {
    this.step({ kind: 'reply', attempt: send.attempt, reply: pagesOf(send.fetch) });
  }

  refuse(send: Send, code: ErrorCode): void {
    this.step({
      kind: 'reply',
      attempt: send.attempt,
      reply: { requestId: 1, pages: [], scl: 0 as Lsn, refusal: refusalOf(code) },
    });
  }

  /** Reads once from every node, so that `latencyMs` is known of each. */
  teach(latencyMs: (node: NodeId) => number): void {
    for (const [i, node] of NODES.entries()) {
      for (const view of this.views) view.isInstalled = view.nodeId === node;
      this.start(-1 - i);
      const send = this.sends.pop()!;
      expect(send.node).toBe(node);
      this.nowMs += latencyMs(node);
      this.serve(send);
    }
    for (const view of this.views) view.isInstalled = true;
    this.sends.length = 0;
    this.ends.length = 0;
  }
}

const FETCH: Fetch = {
  pg: 0 as PgIndex,
  run: 1 as RunId,
  lsn: 100 as Lsn,
  requiredScl: 90 as Lsn,
  pages: [1, 2] as PageNumber[],
};

function pagesOf(fetch: Fetch): ReadPagesReply {
  return {
    requestId: 1,
    pages: fetch.pages.map((page) => ({ page, lsn: 50 as Lsn, data: new Uint8Array(4096) })),
    scl: 100 as Lsn,
    refusal: null,
  };
}

describe('routing a read', () => {
  it('asks one segment', () => {
    const bench = new Bench();
    bench.start(1);
    expect(bench.sends.length).toBe(1);
    bench.serve(bench.sends[0]!);
    expect(bench.ends).toMatchObject([{ kind: 'done', fetchId: 1 }]);
    expect(bench.router.nextDeadlineMs).toBeNull();
  });

  it('asks one that is known to suffice', () => {
    const bench = new Bench();
    for (const view of bench.views) view.scl = 89 as Lsn;
    bench.views[4]!.scl = 90 as Lsn;
    bench.start(1);
    expect(bench.sends[0]!.node).toBe(NODES[4]);
  });

  it('asks the fastest, and spreads what waits', () => {
    const bench = new Bench();
    bench.teach((node) => (node === c ? 1 : node === b ? 1.5 : 20));
    bench.start(1);
    bench.start(2);
    expect(bench.sends.map(({ node }) => node)).toEqual([c, b]);
  });

  it('asks a second one when the first is late, and takes whichever answers', () => {
    const bench = new Bench();
    bench.teach((node) => (node === a ? 1 : 3));
    bench.start(1);
    expect(bench.sends.map(({ node }) => node)).toEqual([a]);
    bench.pass(4.9);
    expect(bench.sends.length).toBe(1);
    bench.pass(0.1);
    expect(bench.sends.length).toBe(2);
    bench.serve(bench.sends[1]!);
    bench.serve(bench.sends[0]!);
    expect(bench.ends.length).toBe(1);
    // The late one is preferred no more.
    bench.start(2);
    expect(bench.sends[2]!.node).not.toBe(a);
  });

  it('finds an answer past two hung nodes without waiting for them', () => {
    const bench = new Bench();
    bench.start(1);
    bench.pass(50);
    expect(bench.sends.length).toBe(3);
    bench.serve(bench.sends[2]!);
    expect(bench.ends.length).toBe(1);
  });

  it('goes to the next when one cannot serve', () => {
    for (const code of ['BEHIND', 'QUARANTINED', 'NO_SEGMENT', 'CORRUPT', 'DISK_FULL'] as const) {
      const bench = new Bench();
      bench.start(1);
      bench.refuse(bench.sends[0]!, code);
      expect(bench.sends.length).toBe(2);
      expect(bench.sends[1]!.node).not.toBe(bench.sends[0]!.node);
      bench.serve(bench.sends[1]!);
      expect(bench.ends).toMatchObject([{ kind: 'done' }]);
    }
  });

  it('ends with GONE, and with CUT from one that knows this term’s runs', () => {
    for (const code of ['GONE', 'CUT'] as const) {
      const bench = new Bench();
      bench.start(1);
      bench.refuse(bench.sends[0]!, code);
      expect(bench.ends).toMatchObject([{ kind: 'failed', error: { code } }]);
    }
    const bench = new Bench([a, b]);
    for (const view of bench.views) view.isInstalled = false;
    bench.start(1);
    bench.refuse(bench.sends[0]!, 'CUT');
    expect(bench.ends).toEqual([]);
    expect(bench.sends.length).toBe(2);
  });

  it('never takes a reply with other pages, newer ones or half ones', () => {
    const spoil: ((reply: ReadPagesReply) => ReadPagesReply)[] = [
      (reply) => ({ ...reply, pages: reply.pages.slice(1) }),
      (reply) => ({ ...reply, pages: reply.pages.toReversed() }),
      (reply) => ({ ...reply, pages: reply.pages.map((page) => ({ ...page, lsn: 101 as Lsn })) }),
      (reply) => ({ ...reply, pages: reply.pages.map((page) => ({ ...page, data: new Uint8Array(100) })) }),
      (reply) => ({ ...reply, pages: reply.pages.map((page) => ({ ...page, lsn: 0 as Lsn })) }),
    ];
    for (const spoiled of spoil) {
      const bench = new Bench();
      bench.start(1);
      const reply = spoiled(pagesOf(FETCH));
      bench.step({ kind: 'reply', attempt: bench.sends[0]!.attempt, reply });
      expect(bench.ends).toEqual([]);
      bench.serve(bench.sends[1]!);
      expect(bench.ends).toMatchObject([{ kind: 'done' }]);
    }
  });

  it('asks all anew after a pause, until the time is up', () => {
    const bench = new Bench([a, b], 1_000);
    bench.start(1);
    bench.refuse(bench.sends[0]!, 'BEHIND');
    bench.refuse(bench.sends[1]!, 'BEHIND');
    expect(bench.sends.length).toBe(2);
    bench.pass(20);
    expect(bench.sends.length).toBe(3);
    bench.step({ kind: 'node-down', node: a });
    bench.step({ kind: 'node-down', node: b });
    bench.pass(1_000);
    expect(bench.ends).toMatchObject([{ kind: 'failed', error: { code: 'NO_QUORUM' } }]);
  });

  it('goes on at once when a node comes back', () => {
    const bench = new Bench([]);
    bench.start(1);
    expect(bench.sends).toEqual([]);
    bench.step({ kind: 'node-up', node: b });
    expect(bench.sends.map(({ node }) => node)).toEqual([b]);
  });

  it('bounds what is on the way; the rest waits its turn', () => {
    const bench = new Bench();
    for (let i = 0; i < 70; i++) bench.start(i);
    expect(bench.sends.length).toBe(64);
    bench.serve(bench.sends[0]!);
    expect(bench.sends.length).toBe(65);
  });

  it('fails everything when stopped', () => {
    const bench = new Bench();
    for (let i = 0; i < 70; i++) bench.start(i);
    bench.step({ kind: 'stop', reason: new TidemarkError('DEPOSED', 'over') });
    bench.start(70);
    expect(bench.ends.length).toBe(71);
    expect(bench.ends.every((end) => end.kind === 'failed' && end.error.code === 'DEPOSED')).toBe(true);
  });

  it('ends every fetch exactly once, whatever nodes do', () => {
    const action = fc.record({
      kind: fc.constantFrom('start', 'serve', 'refuse', 'down', 'up', 'pass', 'pass', 'lost'),
      n: fc.nat(1_000),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 120 }), (script) => {
        const bench = new Bench(NODES, 3_000);
        let started = 0;
        for (const { kind, n } of script) {
          const send = bench.sends[n % Math.max(1, bench.sends.length)];
          if (kind === 'start') bench.start(started++);
          else if (kind === 'pass') bench.pass(n);
          else if (kind === 'down' || kind === 'up') {
            bench.step({ kind: kind === 'down' ? 'node-down' : 'node-up', node: NODES[n % 6]! });
          } else if (send !== undefined) {
            if (kind === 'serve') bench.serve(send);
            else if (kind === 'lost') bench.step({ kind: 'lost', attempt: send.attempt });
            else bench.refuse(send, n % 2 === 0 ? 'BEHIND' : 'QUARANTINED');
          }
        }
        bench.pass(10_000);
        const ended = bench.ends.map((end) => ('fetchId' in end ? end.fetchId : -1)).sort((x, y) => x - y);
        expect(ended).toEqual(Array.from({ length: started }, (_, i) => i));
        expect(bench.router.nextDeadlineMs).toBeNull();
      }),
      { numRuns: 200 },
    );
  });
});

describe('the read point of an LSN', () => {
  const manifest = manifestValue();

  it('is of the head run, or of the run that the head’s timeline passes', () => {
    expect(readPointAt(manifest, 1_005 as Lsn)).toEqual({ run: 1, lsn: 1_005 });
    expect(readPointAt(manifest, 12 as Lsn)).toEqual({ run: 0, lsn: 12 });
  });

  it('in the cut stretch before a run is where that run started from', () => {
    expect(readPointAt(manifest, 1_000 as Lsn)).toEqual({ run: 0, lsn: 30 });
    expect(readPointAt(manifest, 500 as Lsn)).toEqual({ run: 0, lsn: 30 });
  });

  it('passes by empty runs, and by what was rewound', () => {
    const [first, head] = manifest.runs as [(typeof manifest.runs)[0], (typeof manifest.runs)[0]];
    const empty = { ...head, lastLsn: 1_000 as Lsn, closingTails: [30 as Lsn] };
    const rewound = {
      ...head,
      id: 2 as RunId,
      firstLsn: 2_001 as Lsn,
      parent: { volume: VOLUME, run: 1 as RunId, lsn: 1_000 as Lsn },
    };
    expect(readPointAt({ volume: VOLUME, runs: [first, empty, rewound] }, 2_000 as Lsn)).toEqual({
      run: 0,
      lsn: 30,
    });
    const branch = { ...rewound, parent: { volume: VOLUME, run: 0 as RunId, lsn: 10 as Lsn } };
    const runs = [first, empty, branch];
    expect(readPointAt({ volume: VOLUME, runs }, 2_000 as Lsn)).toEqual({ run: 2, lsn: 2_000 });
    expect(readPointAt({ volume: VOLUME, runs }, 10 as Lsn)).toEqual({ run: 2, lsn: 2_000 });
    expect(readPointAt({ volume: VOLUME, runs }, 9 as Lsn)).toEqual({ run: 0, lsn: 9 });
  });

  it('does not exist before the first record; a clone’s is its own first run', () => {
    const { parent: _, ...origin } = manifest.runs[0]!;
    const run = { ...origin, lastLsn: null, parent: null };
    expect(readPointAt({ volume: VOLUME, runs: [run] }, 0 as Lsn)).toBeNull();
    const clone = { ...run, parent: { volume: 'other' as VolumeId, run: 0 as RunId, lsn: 9 as Lsn } };
    expect(readPointAt({ volume: VOLUME, runs: [clone] }, 0 as Lsn)).toEqual({ run: 0, lsn: 0 });
  });
});

describe('the history window', () => {
  it('offers no floor before its own samples cover the window', () => {
    const window = new FloorWindow(30 as Lsn, 0);
    window.onDurable(1_001 as Lsn, 5_000, 60_000);
    expect(window.floorAt(59_999, 60_000, 1_001 as Lsn)).toBeNull();
    expect(window.floorAt(60_000, 60_000, 1_001 as Lsn)).toBe(30);
    expect(window.floorAt(65_000, 60_000, 1_001 as Lsn)).toBe(1_001);
  });

  it('holds for the lowest read point, and while nobody has told one', () => {
    const window = new FloorWindow(30 as Lsn, 0);
    window.onDurable(1_050 as Lsn, 5_000, 60_000);
    expect(window.floorAt(99_000, 60_000, null)).toBeNull();
    expect(window.floorAt(99_000, 60_000, 1_020 as Lsn)).toBe(1_020);
  });

  it('is never above the VDL of any moment in the window', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ stepMs: fc.nat(3_000), lsns: fc.nat(5) }), { maxLength: 60 }),
        fc.integer({ min: 1_000, max: 20_000 }),
        (moves, windowMs) => {
          const window = new FloorWindow(30 as Lsn, 0);
          let nowMs = 0;
          let vdl = 1_000;
          const vdlAt: [number, number][] = [[0, 30]];
          for (const { stepMs, lsns } of moves) {
            nowMs += stepMs;
            vdl += lsns;
            vdlAt.push([nowMs, vdl]);
            window.onDurable(vdl as Lsn, nowMs, windowMs);
            const floor = window.floorAt(nowMs, windowMs, vdl as Lsn);
            if (floor === null) continue;
            // The oldest moment of the window shows the VDL that was reached before it.
            const atStart = vdlAt.filter(([ms]) => ms <= nowMs - windowMs).at(-1)![1];
            expect(floor).toBeLessThanOrEqual(atStart);
          }
        },
      ),
    );
  });
});
