/**
 * The writer under random deliveries, losses, restarts and growth, against a twin that knows nothing of windows, buffers or rings: it keeps every
 * record handed over and every report heard, and works out VCL and VDL from the definitions (design section 1).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Lsn, NodeId, PgIndex } from '../../../src/log/lsn.ts';
import { decodeBoxcar } from '../../../src/log/codec.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { CLOSED_AT, HEAD_FIRST, NODES, WriterNet } from '../../support/writer-net.ts';

interface Report {
  readonly incarnation: string;
  scl: number;
}

/** Definitions only. */
class DumbTwin {
  private readonly records: { readonly pg: number; readonly isCpl: boolean }[] = [];
  private readonly reports = new Map<string, Report>();
  private readonly pgcl = new Map<number, number>();
  private readonly past = new Set<string>();

  handedOver(pages: readonly number[], pgPages: number): void {
    pages.forEach((page, i) => {
      this.records.push({ pg: Math.floor((page - 1) / pgPages), isCpl: i === pages.length - 1 });
    });
  }

  heard(pg: number, node: NodeId, incarnation: string, scl: number): void {
    const key = `${pg}/${node}`;
    const known = this.reports.get(key);
    if (this.past.has(`${key}/${incarnation}`)) return;
    if (known !== undefined && known.incarnation === incarnation) known.scl = Math.max(known.scl, scl);
    else {
      if (known !== undefined) this.past.add(`${key}/${known.incarnation}`);
      this.reports.set(key, { incarnation, scl });
    }
    const scls = NODES.map((id) => this.reports.get(`${pg}/${id}`)?.scl ?? 0).sort((x, y) => y - x);
    this.pgcl.set(pg, Math.max(this.pgcl.get(pg) ?? 0, scls[3]!));
  }

  get vdl(): number {
    let vdl = HEAD_FIRST - 1;
    for (const [i, record] of this.records.entries()) {
      const lsn = HEAD_FIRST + i;
      if ((this.pgcl.get(record.pg) ?? 0) < lsn) break;
      if (record.isCpl) vdl = lsn;
    }
    return vdl;
  }
}

type Op =
  | { readonly kind: 'commit'; readonly pages: readonly number[] }
  | { readonly kind: 'take' | 'answer' | 'install' | 'flap' | 'heartbeat'; readonly node: number }
  | { readonly kind: 'restart'; readonly node: number; readonly keep: number }
  | { readonly kind: 'gossip'; readonly from: number; readonly to: number }
  | { readonly kind: 'grow' | 'tick' };

const PG_PAGES = 4;
const node = fc.integer({ min: 0, max: 5 });
const ops: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      pages: fc.array(fc.integer({ min: 1, max: 18 }), { minLength: 1, maxLength: 4 }),
    }),
  },
  { weight: 16, arbitrary: fc.record({ kind: fc.constantFrom('take' as const, 'answer' as const), node }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('install' as const), node }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('flap' as const, 'heartbeat' as const), node }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('restart' as const),
      node,
      keep: fc.integer({ min: 0, max: 20 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('gossip' as const), from: node, to: node }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('grow' as const, 'tick' as const) }) },
);

describe('the writer, at random', () => {
  it('agrees with the definitions at every step, and in the end everything is everywhere', () => {
    fc.assert(
      fc.property(
        fc.array(ops, { maxLength: 150 }),
        fc.integer({ min: 1, max: 3 }),
        fc.constantFrom(60, 200, 100_000),
        (script, maxBoxcarsInFlight, maxUnackedBytesPerNode) => {
          const net = new WriterNet({
            pgPages: PG_PAGES,
            pgCount: 2,
            lal: 60,
            limits: {
              maxBoxcarsInFlight,
              maxUnackedBytesPerNode,
              maxBoxcarBytes: 100,
              maxHardeningBytes: 5_000,
            },
          });
          const twin = new DumbTwin();
          for (const nodeId of NODES) for (const pg of [0, 1]) twin.heard(pg, nodeId, '1', CLOSED_AT - pg);
          net.upAll();
          for (const op of script) {
            run(net, twin, op);
            check(net, twin);
          }
          heal(net, twin);
          check(net, twin);
          expect(net.writer.vdl).toBe(net.writer.headLsn);
          expect(net.writer.isWritable).toBe(true);
        },
      ),
      { numRuns: 150 },
    );
  });
});

function run(net: WriterNet, twin: DumbTwin, op: Op): void {
  switch (op.kind) {
    case 'commit':
      try {
        net.commit(...op.pages);
      } catch (error) {
        expect(error).toMatchObject({ code: 'OVERLOADED' });
        return;
      }
      twin.handedOver(op.pages, PG_PAGES);
      return;
    case 'take':
      net.node(NODES[op.node]!).takeOne();
      return;
    case 'answer':
      answer(net, twin, NODES[op.node]!);
      return;
    case 'install': {
      const target = net.node(NODES[op.node]!);
      for (const { request } of target.installs) {
        const { pg } = request;
        twin.heard(pg, target.nodeId, String(target.incarnation), target.segment(pg).scl);
      }
      net.install(target.nodeId);
      return;
    }
    case 'heartbeat':
      heartbeat(net, twin, NODES[op.node]!);
      return;
    case 'flap': {
      const nodeId = NODES[op.node]!;
      if (net.node(nodeId).isUp) net.down(nodeId);
      else net.up(nodeId);
      return;
    }
    case 'restart': {
      const target = net.node(NODES[op.node]!);
      net.down(target.nodeId);
      target.incarnation += 1;
      // What it loses is never on fewer than the quorum's worth elsewhere in this test only by luck; the twin does not care.
      for (const segment of target.segments.values()) segment.loseAbove((HEAD_FIRST + op.keep) as Lsn);
      net.up(target.nodeId);
      return;
    }
    case 'gossip':
      gossip(net, NODES[op.from]!, NODES[op.to]!);
      return;
    case 'grow':
      net.commitManifest();
      return;
    case 'tick':
      net.tick(100);
      return;
  }
}

function answer(net: WriterNet, twin: DumbTwin, nodeId: NodeId): boolean {
  const reply = net.node(nodeId).outbox[0];
  if (reply !== undefined) twin.heard(reply.pg, nodeId, reply.incarnation, reply.scl);
  return net.answer(nodeId);
}

function heartbeat(net: WriterNet, twin: DumbTwin, nodeId: NodeId): void {
  const target = net.node(nodeId);
  for (const [pg, { scl }] of target.segments) twin.heard(pg, nodeId, String(target.incarnation), scl);
  net.heartbeat(nodeId);
}

function gossip(net: WriterNet, from: NodeId, to: NodeId): void {
  for (const [pg, segment] of net.node(from).segments) {
    net
      .node(to)
      .segment(pg)
      .take([...segment.records.values()]);
  }
}

function check(net: WriterNet, twin: DumbTwin): void {
  expect(net.writer.vdl).toBe(twin.vdl);
  expect(net.writer.vcl).toBeGreaterThanOrEqual(net.writer.vdl);
  expect(net.writer.headLsn).toBeGreaterThanOrEqual(net.writer.vcl);
  const named = net.writer.manifest.pgs.length;
  for (const { request } of net.sent.splice(0)) {
    expect(request.pg).toBeLessThan(named);
    expect(request.vdl).toBeLessThanOrEqual(net.writer.vdl);
    const { records } = decodeBoxcar(request.boxcar, nodeCrc32);
    expect(records.length).toBeGreaterThan(0);
  }
}

/** All are up, installed, answering and gossiping until nothing moves. */
function heal(net: WriterNet, twin: DumbTwin): void {
  for (const nodeId of NODES) if (!net.node(nodeId).isUp) net.up(nodeId);
  for (let round = 0; round < 60; round++) {
    run(net, twin, { kind: 'grow' });
    for (const [i, nodeId] of NODES.entries()) {
      run(net, twin, { kind: 'install', node: i });
      while (net.node(nodeId).takeOne()) answer(net, twin, nodeId);
      while (answer(net, twin, nodeId));
      for (const other of NODES) gossip(net, other, nodeId);
      heartbeat(net, twin, nodeId);
    }
    net.tick(500);
  }
  const last = new Map<PgIndex, number>();
  for (const nodeId of NODES) {
    for (const [pg, { scl }] of net.node(nodeId).segments) last.set(pg, Math.max(last.get(pg) ?? 0, scl));
  }
  for (const nodeId of NODES) {
    for (const [pg, { scl }] of net.node(nodeId).segments) expect(scl).toBe(last.get(pg));
  }
}
