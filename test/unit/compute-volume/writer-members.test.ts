/** The writer while a PG's members change: who counts, when it begins, when it ends. */
import { describe, expect, it } from 'vitest';
import type { Lsn, NodeId, PgIndex } from '../../../src/log/lsn.ts';
import { decodeManifest } from '../../../src/register/codec.ts';
import { HEAD_FIRST, NODES, recordsOf, SPARES, WriterNet } from '../../support/writer-net.ts';

const [a, b, c, d, e, f] = NODES as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const NEW = SPARES[2]!;
const FOLLOWING = [a, b, c, d, e, NEW];
const PG = 0 as PgIndex;

/** A volume of one PG at which az3-c is to take the place of az3-b, and holds nothing yet. */
function changing({ isCommitted = true } = {}): WriterNet {
  const net = new WriterNet({ spares: SPARES });
  net.node(NEW).isHydrated = false;
  net.upAll();
  net.writer.proposeMembers(PG, FOLLOWING);
  net.step({ kind: 'flush' });
  if (isCommitted) {
    net.commitManifest();
    net.installAll();
  }
  return net;
}

function hydrate(net: WriterNet): void {
  net.node(NEW).isHydrated = true;
  const known = net.node(a).segment(PG);
  net
    .node(NEW)
    .segment(PG)
    .take([...known.records.values()]);
  net.heartbeat(NEW);
}

/** Ticks until the end of the change is proposed, and commits it. */
function end(net: WriterNet): void {
  net.tick();
  net.tick();
  net.commitManifest();
  net.installAll();
}

describe('a change of members', () => {
  it('is proposed as the next version of the manifest, and counts in both sets before anybody knows it', () => {
    const net = changing({ isCommitted: false });
    expect(net.proposals).toMatchObject([
      { version: 5, manifest: { pgs: [{ configVersion: 2, members: NODES, proposed: FOLLOWING }] } },
    ]);
    const lsn = net.commit(1);
    // Four of the old six, three of the new.
    net.deliverAll([a, b, c, f]);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.deliverAll([d]);
    expect(net.writer.vdl).toBe(lsn);
  });

  it('sends the newcomer nothing before the proposal is committed, then installs before it sends', () => {
    const net = changing({ isCommitted: false });
    net.commit(1);
    expect(net.node(NEW).installs.length + net.node(NEW).inbox.length).toBe(0);
    net.commitManifest();
    for (const node of [...NODES, NEW]) {
      const { request } = net.node(node).installs[0]!;
      expect(decodeManifest(request.manifest).pgs[0]?.proposed).toEqual(FOLLOWING);
    }
    net.commit(2);
    expect(net.node(NEW).inbox).toEqual([]);
    net.install(NEW);
    expect(net.node(NEW).inbox.map(({ configVersion }) => configVersion)).toEqual([2, 2]);
  });

  it('sends again under the new configuration what was on the way under the old one', () => {
    const net = changing({ isCommitted: false });
    const lsn = net.commit(1);
    net.commitManifest();
    net.installAll();
    // Every segment refuses what was sent before it installed, and takes what came after.
    net.deliverAll();
    expect(net.writer.vdl).toBe(lsn);
    const versions = net.sent.filter(({ node }) => node === a).map(({ request }) => request.configVersion);
    expect(versions).toEqual([1, 2]);
  });

  it('never counts a newcomer that is not hydrated', () => {
    const net = changing();
    const lsn = net.commit(1);
    net.deliverAll([a, b, c, f, NEW]);
    expect(net.node(NEW).segment(PG).scl).toBe(lsn);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    for (const _ of Array.from({ length: 10 })) net.tick();
    expect(net.writer.memberChanges).toMatchObject([{ phase: 'filling' }]);
    net.node(NEW).isHydrated = true;
    net.heartbeat(NEW);
    expect(net.writer.vdl).toBe(lsn);
  });

  it('does not hold back the engine, nor the buffer, for a newcomer that holds nothing', () => {
    const net = new WriterNet({ spares: SPARES, limits: { maxUnackedBytesPerNode: 2_000 } });
    net.node(NEW).isHydrated = false;
    net.upAll();
    net.writer.proposeMembers(PG, FOLLOWING);
    net.step({ kind: 'flush' });
    net.commitManifest();
    net.installAll();
    for (let i = 0; i < 200; i += 1) {
      net.commit(1 + (i % 4));
      net.deliverAll(NODES);
      expect(net.writer.isWritable).toBe(true);
    }
    const [lane] = net.writer.segmentsOf(PG);
    expect(lane!.unackedRecords).toBe(0);
  });

  it('ends by itself once the newcomer is hydrated and has what the others have', () => {
    const net = changing();
    const lsn = net.commit(1);
    net.deliverAll(NODES);
    hydrate(net);
    net.tick();
    net.tick();
    expect(net.proposals).toMatchObject([
      { version: 6, manifest: { pgs: [{ configVersion: 3, members: FOLLOWING, proposed: null }] } },
    ]);
    // Until that is committed both sets count.
    const next = net.commit(2);
    net.deliverAll([a, b, c, NEW]);
    expect(net.writer.vdl).toBe(lsn);
    net.commitManifest();
    expect(net.writer.vdl).toBe(next);
    net.installAll();
    // The one that left counts no more, is told so, and gets nothing more.
    expect(net.writer.segmentsOf(PG).map(({ nodeId }) => nodeId)).toEqual(FOLLOWING);
    expect([...net.writer.links].map(({ nodeId }) => nodeId)).not.toContain(f);
    const before = net.sent.filter(({ node }) => node === f).length;
    const last = net.commit(3);
    net.deliverAll([a, b, c, f]);
    expect(net.writer.vdl).toBe(next);
    net.deliverAll([NEW]);
    expect(net.writer.vdl).toBe(last);
    expect(net.sent.filter(({ node }) => node === f).length).toBe(before);
    expect(net.writer.memberChanges).toEqual([]);
  });

  it('does not end while four of the new six lack what is complete', () => {
    const net = changing();
    net.commit(1);
    net.deliverAll(NODES);
    hydrate(net);
    // Two of the others restart and have lost it: three of the new six hold what was acknowledged.
    for (const node of [d, e]) {
      net.node(node).incarnation += 1;
      net
        .node(node)
        .segment(PG)
        .loseAbove(0 as Lsn);
      net.heartbeat(node);
    }
    net.node(c).incarnation += 1;
    net
      .node(c)
      .segment(PG)
      .loseAbove(0 as Lsn);
    net.heartbeat(c);
    for (const _ of Array.from({ length: 5 })) net.tick();
    expect(net.proposals).toEqual([]);
  });

  it('can be taken back until its end is proposed; then the old six alone count again', () => {
    const net = changing();
    net.writer.revertMembers(PG);
    net.step({ kind: 'flush' });
    expect(net.proposals).toMatchObject([
      { version: 6, manifest: { pgs: [{ configVersion: 3, members: NODES, proposed: null }] } },
    ]);
    expect(() => net.writer.proposeMembers(PG, FOLLOWING)).toThrow(/already/);
    net.commitManifest();
    net.installAll();
    const lsn = net.commit(1);
    net.deliverAll([a, b, c, f]);
    expect(net.writer.vdl).toBe(lsn);
    expect(() => net.writer.revertMembers(PG)).toThrow(/no change/);
  });

  it('that held up the quorum lets the engine go on when it is taken back', () => {
    const net = changing();
    // The window is full with two of them, the third waits to be sent.
    for (const page of [1, 2, 3]) net.commit(page);
    net.deliverAll([a, b, c, f]);
    const lsn = net.writer.headLsn - 1;
    net.tick(3_000);
    expect(net.writer.isWritable).toBe(false);
    net.writer.revertMembers(PG);
    net.tick();
    net.commitManifest();
    expect(net.writer.vdl).toBe(lsn);
    expect(net.writer.isWritable).toBe(true);
    net.installAll();
    net.deliverAll([a, b, c, f]);
    expect(net.writer.vdl).toBe(net.writer.headLsn);
    net.tick(3_000);
    expect(net.writer.isWritable).toBe(true);
  });

  it('that was not proposed to anybody yet is simply forgotten', () => {
    const net = new WriterNet({ spares: SPARES });
    net.writer.proposeMembers(PG, FOLLOWING);
    net.writer.revertMembers(PG);
    net.step({ kind: 'flush' });
    expect(net.proposals).toEqual([]);
  });

  it('asked for again changes nothing; another one has to wait', () => {
    const net = changing();
    net.writer.proposeMembers(PG, [...FOLLOWING].reverse());
    expect(() => net.writer.proposeMembers(PG, [SPARES[0]!, b, c, d, e, f])).toThrow(/already/);
    net.step({ kind: 'flush' });
    expect(net.proposals).toEqual([]);
  });

  it('is refused with nodes that are unknown, or not two in each zone, or too many at once', () => {
    const net = new WriterNet({ spares: SPARES });
    const propose =
      (members: readonly string[], pg = PG) =>
      () =>
        net.writer.proposeMembers(pg, members as NodeId[]);
    expect(propose([a, b, c, d, e, 'nobody'])).toThrow(/not one of this cluster/);
    expect(propose([a, b, c, d, e, SPARES[0]!])).toThrow(/two in each/);
    expect(propose([SPARES[0]!, b, SPARES[1]!, d, SPARES[2]!, f])).toThrow(/would keep 3/);
    expect(propose(FOLLOWING, 7 as PgIndex)).toThrow(/no PG 7/);
  });

  it('found at a take-over counts in both sets from the start, and goes on', () => {
    const net = new WriterNet({ spares: SPARES, proposed: FOLLOWING, notInstalled: [NEW] });
    net.node(NEW).isHydrated = false;
    for (const node of NODES) net.node(node).configs.set(PG, 2);
    net.upAll();
    net.installAll();
    const lsn = net.commit(1);
    net.deliverAll([a, b, c, f]);
    expect(net.writer.vdl).toBe(HEAD_FIRST - 1);
    net.deliverAll([d]);
    expect(net.writer.vdl).toBe(lsn);
    hydrate(net);
    end(net);
    expect(net.writer.manifest.pgs[0]).toMatchObject({ members: FOLLOWING, proposed: null });
  });

  it('shares one sequence of manifest versions with growth', () => {
    const net = new WriterNet({ spares: SPARES, pgPages: 8 });
    net.upAll();
    net.submit(7);
    net.writer.proposeMembers(PG, FOLLOWING);
    net.step({ kind: 'flush' });
    expect(net.proposals).toMatchObject([
      { version: 5, manifest: { pgs: [{ configVersion: 2 }, { configVersion: 1, proposed: null }] } },
    ]);
    // Proposed again with the same value until it is known committed.
    net.step({ kind: 'manifest-failed', version: 5 });
    net.submit(15);
    net.tick(300);
    expect(net.proposals[1]).toEqual(net.proposals[0]);
    net.proposals.length = 1;
    net.commitManifest();
    expect(net.proposals).toMatchObject([{ version: 6, manifest: { pgs: [{}, {}, {}] } }]);
  });

  it('shares it with the moves of its register, one at a time, each to a later generation', () => {
    const net = new WriterNet({ spares: SPARES });
    net.upAll();
    const first = net.writer.registerPlace;
    const next = { members: FOLLOWING, generation: 1 };
    net.writer.moveRegister(next);
    net.step({ kind: 'flush' });
    // Asked for again while it is on its way, and when it is there.
    net.writer.moveRegister(next);
    expect(net.proposals).toMatchObject([{ version: 5, place: first, moveTo: next }]);
    net.commitManifest();
    net.writer.moveRegister(next);
    net.tick();
    expect(net.proposals).toEqual([]);
    expect(net.writer.registerPlace).toEqual(next);
    net.writer.proposeMembers(PG, FOLLOWING);
    net.tick();
    expect(net.proposals).toMatchObject([{ version: 6, place: next, moveTo: null }]);
  });

  it('counts nothing that a node said before it left and came back', () => {
    const net = changing();
    const lsn = net.commit(1);
    net.deliverAll(NODES);
    // f leaves, and is proposed again in the place of the one that took its place.
    hydrate(net);
    end(net);
    net.deliverAll();
    net.writer.proposeMembers(PG, NODES);
    net.step({ kind: 'flush' });
    net.commitManifest();
    for (const node of [...NODES, NEW]) if (node !== f) net.install(node);
    // Of its first life: late, and with the same incarnation.
    const late = {
      volume: net.writer.volume,
      pg: PG,
      epoch: net.writer.epoch,
      scl: lsn,
      incarnation: '1',
      refusal: null,
      hydrated: true,
      configVersion: 2,
    };
    net.step({ kind: 'append-reply', node: f, reply: late });
    for (const _ of Array.from({ length: 5 })) net.tick();
    expect(net.proposals).toEqual([]);
    net.step({ kind: 'append-reply', node: f, reply: { ...late, configVersion: 4 } });
    end(net);
    expect(net.writer.manifest.pgs[0]?.members).toEqual(NODES);
  });

  it('lets a node that has no segment of the volume yet take one of a new PG', () => {
    const net = new WriterNet({ spares: SPARES, pgPages: 8 });
    net.upAll();
    net.commit(7);
    net.commitManifest();
    net.installAll();
    const lsn = net.commit(9);
    const members = net.writer.segmentsOf(1 as PgIndex).map(({ nodeId }) => nodeId);
    expect(members.filter((node) => SPARES.includes(node)).length).toBe(3);
    net.deliverAll();
    expect(net.writer.vdl).toBe(lsn);
    expect(recordsOf(net.sent.at(-1)!.request).at(-1)?.lsn).toBe(lsn);
  });
});
