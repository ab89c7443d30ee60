import { describe, expect, it } from 'vitest';
import type { Lsn, NodeId, PgIndex } from '../../../src/log/lsn.ts';
import {
  HEAD_FIRST,
  mtrOf,
  NEWER_EPOCH,
  NODES,
  OLD_EPOCH,
  recordsOf,
  refusalOf,
  type VOLUME,
  WriterNet,
} from '../../support/writer-net.ts';

const [a, b, c, d, e, f] = NODES as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const pg = (n: number) => n as PgIndex;

describe('giving LSNs', () => {
  it('is dense from the head run’s first, with a CPL and a rising stamp at the end of each MTR', () => {
    const net = new WriterNet();
    net.upAll();
    net.wallMicros = 100; // a clock behind the last stamp
    expect(net.writer.submit(mtrOf([1, 2, 3]), { monotonicMs: 0, wallMicros: 100 })).toEqual({
      firstLsn: HEAD_FIRST,
      cpl: HEAD_FIRST + 2,
      commitTimeMicros: 5_001,
    });
    expect(net.writer.submit(mtrOf([2]), { monotonicMs: 0, wallMicros: 9_000 })).toEqual({
      firstLsn: HEAD_FIRST + 3,
      cpl: HEAD_FIRST + 3,
      commitTimeMicros: 9_000,
    });
    net.step({ kind: 'flush' });
    const records = recordsOf(net.node(a).inbox[0]!);
    expect(records.map(({ lsn }) => lsn)).toEqual([1001, 1002, 1003, 1004]);
    expect(records.map(({ isCpl }) => isCpl)).toEqual([false, false, true, true]);
    expect(records.map(({ commitTimeMicros }) => commitTimeMicros)).toEqual([0, 0, 5_001, 9_000]);
  });

  it('links every record to its own PG’s previous one, the first to the tail found at the take-over', () => {
    const net = new WriterNet({ pgCount: 2 });
    net.upAll();
    net.commit(1, 9, 2, 10);
    const requests = net.node(a).inbox;
    expect(requests.map((request) => request.pg)).toEqual([0, 1]);
    expect(recordsOf(requests[0]!).map(({ lsn, prevLsn }) => [prevLsn, lsn])).toEqual([
      [30, 1001],
      [1001, 1003],
    ]);
    expect(recordsOf(requests[1]!).map(({ lsn, prevLsn }) => [prevLsn, lsn])).toEqual([
      [29, 1002],
      [1002, 1004],
    ]);
  });

  it('refuses an MTR of more than LAL / 2 records before any LSN is given', () => {
    const net = new WriterNet({ lal: 20 });
    expect(() => net.submit(...Array.from({ length: 11 }, (_, i) => (i % 8) + 1))).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE' }),
    );
    expect(net.writer.headLsn).toBe(HEAD_FIRST - 1);
    expect(net.commit(1)).toBe(HEAD_FIRST);
  });

  it('never passes VDL + LAL; is not writable when an MTR might', () => {
    const net = new WriterNet({ lal: 20 });
    net.upAll();
    for (let i = 0; i < 10; i++) net.commit(1);
    expect(net.writer.isWritable).toBe(true);
    net.commit(1);
    expect(net.writer.isWritable).toBe(false);
    for (let i = 0; i < 9; i++) net.commit(1);
    expect(() => net.submit(1)).toThrow(expect.objectContaining({ code: 'OVERLOADED' }));
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 19);
    expect(net.writer.isWritable).toBe(true);
    expect(net.commit(1)).toBe(HEAD_FIRST + 20);
  });
});

describe('sending', () => {
  it('sends the first boxcar at once, to all six, the same bytes', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    expect(net.sent.map(({ node }) => node)).toEqual(NODES);
    expect(new Set(net.sent.map(({ request }) => request.boxcar)).size).toBe(1);
  });

  it('forms a batch only while earlier boxcars have no quorum', () => {
    const net = new WriterNet({ limits: { maxBoxcarsInFlight: 1 } });
    net.upAll();
    net.commit(1);
    net.commit(2);
    net.commit(3);
    expect(net.node(a).inbox.length).toBe(1);
    for (const node of [a, b, c]) net.deliver(node);
    expect(net.node(a).inbox.length).toBe(0);
    net.deliver(d);
    expect(recordsOf(net.node(a).inbox[0]!).map(({ lsn }) => lsn)).toEqual([1002, 1003]);
  });

  it('lets a large MTR span messages and hides its parts behind VDL', () => {
    const net = new WriterNet({ limits: { maxBoxcarBytes: 1_000, maxBoxcarsInFlight: 1 } });
    net.upAll();
    net.writer.submit(mtrOf([1, 2, 3, 4, 5, 6], 400), { monotonicMs: 0, wallMicros: 0 });
    net.step({ kind: 'flush' });
    for (let i = 0; i < 2; i++) for (const node of NODES) net.deliver(node);
    expect(net.writer.vcl).toBe(HEAD_FIRST + 3);
    const messages = net.sent
      .filter(({ node }) => node === a)
      .map(({ request }) => recordsOf(request).length);
    expect(messages).toEqual([2, 2, 2]);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 5);
  });

  it('carries VDL and its PG’s tail with each append', () => {
    const net = new WriterNet({ pgCount: 2 });
    net.upAll();
    net.commit(1, 9);
    net.deliverAll();
    net.commit(2);
    const last = net.sent.at(-1)!.request;
    expect([last.pg, last.vdl, last.tail]).toEqual([0, 1002, 1001]);
  });

  it('keeps no more than the window on the way to one node', () => {
    const net = new WriterNet({
      limits: { maxInFlightBytesPerNode: 1_000, maxBoxcarsInFlight: 100 },
    });
    net.upAll();
    for (let i = 0; i < 20; i++) {
      net.writer.submit(mtrOf([1], 400), { monotonicMs: 0, wallMicros: 0 });
      net.step({ kind: 'flush' });
    }
    expect(net.node(a).inbox.length).toBe(3);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 19);
  });

  it('holds while the transport is full', () => {
    const net = new WriterNet({ limits: { maxBoxcarsInFlight: 10 } });
    net.upAll();
    net.step({ kind: 'node-full', node: a });
    net.commit(1);
    expect(net.node(a).inbox.length).toBe(0);
    net.step({ kind: 'node-drained', node: a });
    expect(net.node(a).inbox.length).toBe(1);
  });
});

describe('durability', () => {
  it('comes with the fourth segment, not before', () => {
    const net = new WriterNet();
    net.upAll();
    const cpl = net.commit(1, 2);
    for (const node of [a, b, c]) net.deliver(node);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.deliver(d);
    expect(net.writer.vdl).toBe(cpl);
    expect(net.effects.filter(({ kind }) => kind === 'durable')).toEqual([
      { kind: 'durable', vcl: cpl, vdl: cpl },
    ]);
  });

  it('asks each record’s own PG', () => {
    const net = new WriterNet({ pgCount: 2 });
    net.upAll();
    net.commit(1, 9);
    for (const node of NODES) net.deliver(node); // all of PG 0
    for (const node of [a, b, c]) net.deliver(node); // three of PG 1
    expect([net.writer.vcl, net.writer.vdl]).toEqual([HEAD_FIRST, HEAD_FIRST - 1]);
    net.deliver(f);
    expect(net.writer.vdl).toBe(HEAD_FIRST + 1);
  });

  it('does not count an acknowledgement given under another epoch or by another volume', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    for (const node of [a, b, c]) net.deliver(node);
    net.node(d).takeOne();
    const reply = net.node(d).outbox.shift()!;
    net.step({ kind: 'append-reply', node: d, reply: { ...reply, epoch: OLD_EPOCH } });
    net.step({ kind: 'append-reply', node: d, reply: { ...reply, volume: 'other' as typeof VOLUME } });
    net.heartbeat(d, { epoch: OLD_EPOCH });
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.step({ kind: 'append-reply', node: d, reply });
    expect(net.writer.vdl).toBe(HEAD_FIRST);
  });

  it('forgets what a segment acknowledged before its restart', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    for (const node of [a, b, c]) net.deliver(node);
    // c restarts on an older disk and says so before the fourth acknowledges.
    const node = net.node(c);
    node.incarnation += 1;
    node.segment(pg(0)).loseAbove(30 as Lsn);
    net.heartbeat(c);
    net.deliver(d);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    // It gets again what it lost, without asking, and then counts.
    net.deliver(c);
    expect(net.writer.vdl).toBe(HEAD_FIRST);
  });

  it('does not fall back to an incarnation left behind', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    for (const node of [a, b]) net.deliver(node);
    net.node(c).takeOne(); // the answer is still on its way …
    net.node(c).incarnation += 1;
    net
      .node(c)
      .segment(pg(0))
      .loseAbove(30 as Lsn);
    net.heartbeat(c);
    net.answer(c); // … and comes after the news of the restart
    expect(net.writer.segmentsOf(pg(0)).map(({ scl }) => scl)).toEqual([1001, 1001, 30, 30, 30, 30]);
    net.deliver(d);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
  });

  it('takes SCLs from heartbeats too, of verified segments only', () => {
    const net = new WriterNet();
    net.upAll();
    const cpl = net.commit(1);
    for (const node of NODES) net.node(node).takeOne();
    for (const node of [a, b, c]) net.heartbeat(node);
    net.heartbeat(d, { verified: false });
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.heartbeat(d);
    expect(net.writer.vdl).toBe(cpl);
  });

  it('goes on with four nodes and waits with three', () => {
    const net = new WriterNet();
    net.upAll([e, f]);
    net.commit(1);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST);
    net.down(d);
    net.commit(1);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST);
    expect(net.writer.isWritable).toBe(true);
    net.tick(2_000);
    expect(net.writer.isWritable).toBe(false);
    net.up(e);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 1);
    expect(net.writer.isWritable).toBe(true);
  });
});

describe('a higher epoch', () => {
  const newer = refusalOf('STALE_EPOCH', NEWER_EPOCH);

  it('ends the term for good, whoever tells of it', () => {
    const tellers: ((net: WriterNet) => void)[] = [
      (net) => {
        net.node(a).refusal = newer;
        net.deliver(a);
      },
      (net) => net.heartbeat(a, { refusal: newer }),
      (net) =>
        net.step({
          kind: 'install-reply',
          node: a,
          pg: pg(0),
          version: 4,
          reply: { installed: false, scl: 0 as Lsn, incarnation: '1', refusal: newer, hydrated: false },
        }),
      (net) => net.step({ kind: 'manifest-refused', promised: NEWER_EPOCH }),
    ];
    for (const tell of tellers) {
      const net = new WriterNet();
      net.upAll();
      net.commit(1);
      tell(net);
      expect(net.deposed).toEqual(NEWER_EPOCH);
      expect(net.writer.isWritable).toBe(false);
      expect(() => net.submit(1)).toThrow(expect.objectContaining({ code: 'DEPOSED' }));
      // Acknowledgements that were under way count no more, and nothing more is sent.
      const sent = net.sent.length;
      net.deliverAll([b, c, d, e, f]);
      net.up(a);
      net.tick();
      expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
      expect(net.sent.length).toBe(sent);
      expect(net.writer.heartbeatFor(a, false, new Uint8Array())).toBeNull();
      expect(net.effects.filter(({ kind }) => kind === 'deposed').length).toBe(1);
    }
  });

  it('ends when one storage node says that the volume was dropped: that was committed before anybody was told', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    net.node(a).refusal = refusalOf('VOLUME_DROPPED', null);
    net.deliverAll([a, b, c, d, e, f]);
    expect(net.effects.filter(({ kind }) => kind === 'dropped').length).toBe(1);
    expect(net.writer.isWritable).toBe(false);
    expect(() => net.submit(1)).toThrow(expect.objectContaining({ code: 'VOLUME_DROPPED' }));
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    expect(net.writer.heartbeatFor(b, false, new Uint8Array())).toBeNull();
  });

  it('is not proven by a refusal that names none, or one at or below ours', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    net.node(a).refusal = refusalOf('STALE_EPOCH', null);
    net.node(b).refusal = refusalOf('STALE_EPOCH', OLD_EPOCH);
    net.deliverAll();
    expect(net.deposed).toBeNull();
    expect(net.writer.vdl).toBe(HEAD_FIRST);
  });
});

describe('nodes that fail', () => {
  it('get everything unacknowledged again when their stream is back', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    net.deliverAll([a, b, c, d, e]);
    net.down(f);
    net.commit(2);
    net.deliverAll([a, b, c, d, e]);
    expect(net.writer.vdl).toBe(HEAD_FIRST + 1);
    net.up(f);
    net.deliverAll([f]);
    expect(net.node(f).segment(pg(0)).scl).toBe(HEAD_FIRST + 1);
  });

  it('are installed before anything is sent to them', () => {
    const net = new WriterNet({ notInstalled: [f] });
    net.upAll();
    net.commit(1);
    expect(net.node(f).inbox).toEqual([]);
    expect(net.node(f).installs.map(({ request }) => request.pg)).toEqual([0]);
    net.install(f);
    expect(net.node(f).inbox.length).toBe(1);
  });

  it('are installed again when they lack the segment, then get the boxcars again', () => {
    const net = new WriterNet();
    net.upAll();
    net.node(f).refusal = refusalOf('NO_SEGMENT');
    net.commit(1);
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST);
    net.node(f).refusal = null;
    net.tick(100);
    expect(net.node(f).installs.length).toBe(1);
    net.install(f);
    net.deliverAll();
    expect(net.node(f).segment(pg(0)).scl).toBe(HEAD_FIRST);
  });

  it('that lost the manifest while nothing was written are found out by their heartbeats', () => {
    const net = new WriterNet();
    net.upAll();
    net.heartbeat(f, { refusal: refusalOf('BEHIND') });
    net.tick(100);
    expect(net.node(f).installs.length).toBe(1);
    net.install(f);
    net.commit(1);
    expect(net.node(f).inbox.length).toBe(1);
  });

  it('with a full disk or in quarantine are asked again later, without haste', () => {
    for (const code of ['DISK_FULL', 'QUARANTINED', 'OVERLOADED'] as const) {
      const net = new WriterNet();
      net.upAll();
      net.node(f).refusal = refusalOf(code);
      net.commit(1);
      net.deliverAll();
      net.tick(10);
      expect(net.node(f).inbox).toEqual([]);
      net.node(f).refusal = null;
      net.tick(100);
      expect(net.node(f).installs).toEqual([]);
      net.deliverAll();
      expect(net.node(f).segment(pg(0)).scl).toBe(HEAD_FIRST);
    }
  });

  it('that are silent get their boxcars again', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1);
    net.deliverAll([a, b, c, d, e]);
    net.node(f).inbox.length = 0; // swallowed
    net.tick(1_000);
    expect(net.node(f).inbox.length).toBe(0);
    net.tick(1_000);
    net.deliverAll();
    expect(net.node(f).segment(pg(0)).scl).toBe(HEAD_FIRST);
  });
});

describe('a slow node', () => {
  const limits = { maxUnackedBytesPerNode: 2_000, maxBoxcarsInFlight: 100 };
  const big = (net: WriterNet): void => {
    net.writer.submit(mtrOf([1], 400), { monotonicMs: net.nowMs, wallMicros: 0 });
    net.step({ kind: 'flush' });
  };
  const nodeState = (net: WriterNet, node: NodeId) =>
    [...net.writer.links].find(({ nodeId }) => nodeId === node)!;

  it('is dropped when four others are ahead, and rejoins when it speaks', () => {
    const net = new WriterNet({ limits });
    net.upAll();
    for (let i = 0; i < 10; i++) {
      big(net);
      net.deliverAll([a, b, c, d, e]);
    }
    expect(nodeState(net, f).lanes[0]!.isDropped).toBe(true);
    expect(nodeState(net, f).unackedBytes).toBe(0);
    expect(net.writer.isWritable).toBe(true);
    // What it took in before goes on to be answered; its gap is filled by its peers.
    net.deliverAll([f]);
    expect(nodeState(net, f).lanes[0]!.isDropped).toBe(false);
    net
      .node(f)
      .segment(pg(0))
      .take([...net.node(a).segment(pg(0)).records.values()]);
    big(net);
    net.deliverAll();
    expect(net.node(f).segment(pg(0)).scl).toBe(net.writer.headLsn);
  });

  it('is kept, and the engine waits, while fewer than four others are ahead', () => {
    const net = new WriterNet({ limits });
    net.upAll([e, f]);
    // e and f are gone and dropped; d, slow, is one of the four that the quorum needs.
    for (let i = 0; i < 10; i++) {
      big(net);
      net.deliverAll([a, b, c]);
    }
    expect(nodeState(net, d).lanes[0]!.isDropped).toBe(false);
    expect(net.writer.isWritable).toBe(false);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.deliverAll([d]);
    expect(net.writer.vdl).toBe(net.writer.headLsn);
    expect(net.writer.isWritable).toBe(true);
    expect(nodeState(net, e).lanes[0]!.isDropped || nodeState(net, e).unackedBytes > 0).toBe(true);
  });
});

describe('growth', () => {
  it('makes the next PG when the last is half full, before it is needed', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(4);
    expect(net.proposals).toEqual([]);
    net.commit(5);
    expect(net.proposals.map(({ version, manifest }) => [version, manifest.pgs.length])).toEqual([[5, 2]]);
    expect(net.sent.at(-1)!.request.pg).toBe(0);
    net.commitManifest();
    expect(net.node(a).installs.map(({ request }) => request.pg)).toEqual([1]);
  });

  it('sends nothing of a new PG before the manifest is committed and installed; what comes later waits behind', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(1, 9); // the second record belongs to PG 1, which does not exist
    net.commit(1);
    expect(net.sent).toEqual([]);
    expect(net.writer.headLsn).toBe(HEAD_FIRST + 2);
    net.commitManifest();
    expect(new Set(net.sent.map(({ request }) => request.pg))).toEqual(new Set([0]));
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.installAll();
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 2);
    expect(recordsOf(net.sent.find(({ request }) => request.pg === 1)!.request)[0]!.prevLsn).toBe(0);
  });

  it('proposes the same value again until it is known committed, then the next', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(9);
    const [first] = net.proposals.splice(0);
    net.commit(25); // needs more PGs meanwhile
    expect(net.proposals).toEqual([]);
    net.step({ kind: 'manifest-failed', version: first!.version });
    net.tick(300);
    expect(net.proposals).toEqual([first]);
    net.commitManifest();
    expect(net.proposals.map(({ version, manifest }) => [version, manifest.pgs.length])).toEqual([[6, 4]]);
    net.commitManifest();
    net.installAll();
    net.deliverAll();
    expect(net.writer.vdl).toBe(HEAD_FIRST + 1);
  });

  it('places copies on the least loaded nodes, two per zone', () => {
    const net = new WriterNet();
    net.upAll();
    net.commit(9);
    expect(net.proposals[0]!.manifest.pgs[1]!.members).toEqual(NODES);
  });

  it('refuses a page beyond any PG that a manifest can name', () => {
    const net = new WriterNet();
    expect(() => net.submit(8 * 8_192 + 1)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
    expect(net.writer.headLsn).toBe(HEAD_FIRST - 1);
  });
});

describe('heartbeats', () => {
  it('carry PG 0 always and the others when there is news for them', () => {
    const net = new WriterNet({ pgCount: 3 });
    net.upAll();
    const beat = () =>
      net.writer.heartbeatFor(a, false, new Uint8Array())!.pgs.map(({ pg, vdl, tail }) => [pg, vdl, tail]);
    expect(beat().map(([pg]) => pg)).toEqual([0, 1, 2]);
    expect(beat()).toEqual([[0, 1000, 30]]);
    net.commit(9);
    net.deliverAll();
    expect(beat()).toEqual([
      [0, 1001, 30],
      [1, 1001, 1001],
      [2, 1001, 28],
    ]);
    expect(beat().map(([pg]) => pg)).toEqual([0]);
  });
});
