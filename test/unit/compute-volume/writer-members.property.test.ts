/**
 * Random lives of a PG whose members change again and again, against the rule said plainly: whenever VDL covers a record, four hydrated
 * segments of every member set that any writer could learn of hold it: of the committed manifest, and of the one being committed.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isTidemarkError } from '../../../src/base/errors.ts';
import type { NodeId, PgIndex } from '../../../src/log/lsn.ts';
import { QuorumSet } from '../../../src/quorum/quorum-set.ts';
import type { ManifestValue } from '../../../src/register/values.ts';
import { HEAD_FIRST, NODES, SPARES, WriterNet } from '../../support/writer-net.ts';

const ALL = [...NODES, ...SPARES];
const PG = 0 as PgIndex;

type Op =
  | { readonly kind: 'commit' | 'tick' | 'commit-manifest' | 'fail-manifest' | 'revert' }
  | {
      readonly kind: 'deliver' | 'install' | 'hydrate' | 'restart' | 'dry' | 'heartbeat';
      readonly node: number;
    }
  | { readonly kind: 'propose'; readonly leaving: number };

const node = fc.nat(ALL.length - 1);
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Op>({ kind: 'commit' }) },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('deliver' as const), node }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('install' as const), node }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('hydrate' as const), node }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('heartbeat' as const), node }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), node }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dry' as const), node }) },
  { weight: 4, arbitrary: fc.constant<Op>({ kind: 'tick' }) },
  { weight: 5, arbitrary: fc.constant<Op>({ kind: 'commit-manifest' }) },
  { weight: 1, arbitrary: fc.constant<Op>({ kind: 'fail-manifest' }) },
  { weight: 1, arbitrary: fc.constant<Op>({ kind: 'revert' }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('propose' as const), leaving: fc.nat(5) }) },
);

class Life {
  readonly net = new WriterNet({ spares: SPARES });
  ended = 0;
  private vdl = this.net.writer.vdl;

  constructor() {
    for (const spare of SPARES) this.net.node(spare).isHydrated = false;
    this.net.upAll();
  }

  run(next: Op): void {
    this.apply(next);
    this.check();
  }

  private apply(next: Op): void {
    const { net } = this;
    switch (next.kind) {
      case 'commit':
        net.commit(1 + (net.writer.headLsn % 3));
        return;
      case 'deliver':
        net.deliver(ALL[next.node]!);
        return;
      case 'install':
        net.install(ALL[next.node]!);
        return;
      case 'hydrate':
        this.hydrate(ALL[next.node]!);
        return;
      case 'dry':
        this.dry(ALL[next.node]!);
        return;
      case 'heartbeat':
        net.heartbeat(ALL[next.node]!);
        return;
      case 'restart':
        net.down(ALL[next.node]!);
        net.node(ALL[next.node]!).incarnation += 1;
        net.up(ALL[next.node]!);
        return;
      case 'tick':
        net.tick();
        return;
      case 'commit-manifest':
        this.commitManifest();
        return;
      case 'fail-manifest': {
        const pending = net.proposals.shift();
        if (pending !== undefined) net.step({ kind: 'manifest-failed', version: pending.version });
        net.tick(300);
        return;
      }
      case 'propose':
        this.propose(next.leaving);
        return;
      case 'revert':
        this.tryIt(() => net.writer.revertMembers(PG));
        return;
    }
  }

  /** From its peers it gets all that the most complete of them has (gossip does that, for one that is behind). */
  private hydrate(nodeId: NodeId): void {
    const { net } = this;
    const own = net.node(nodeId);
    const best = ALL.map((other) => net.node(other))
      .filter((other) => other.isHydrated)
      .reduce((a, b) => (a.segment(PG).scl >= b.segment(PG).scl ? a : b));
    own.segment(PG).take([...best.segment(PG).records.values()]);
    own.isHydrated = true;
    net.heartbeat(nodeId);
  }

  /** One that has left deletes what it had. */
  private dry(nodeId: NodeId): void {
    const own = this.net.node(nodeId);
    const isHost = this.sets().some((set) => set.includes(nodeId));
    if (isHost || own.inbox.length > 0 || own.outbox.length > 0) return;
    own.isHydrated = false;
    own.segments.clear();
  }

  private propose(leaving: number): void {
    const { members } = this.net.writer.manifest.pgs[PG]!;
    const old = members[leaving]!;
    const taker = ALL.find((other) => other.startsWith(old.slice(0, 3)) && !members.includes(other));
    this.tryIt(() =>
      this.net.writer.proposeMembers(
        PG,
        members.map((member) => (member === old ? taker! : member)),
      ),
    );
  }

  private tryIt(ask: () => void): void {
    try {
      ask();
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
    }
    this.net.step({ kind: 'flush' });
  }

  private commitManifest(): void {
    const before = this.net.writer.manifest.pgs[PG]!;
    this.net.commitManifest();
    const after = this.net.writer.manifest.pgs[PG]!;
    if (before.proposed !== null && after.proposed === null && after.members !== before.members)
      this.ended += 1;
  }

  /** Every member set that another writer could learn of now. */
  private sets(): readonly (readonly NodeId[])[] {
    const pending: ManifestValue | undefined = this.net.proposals[0]?.manifest;
    const manifests = [this.net.writer.manifest, ...(pending === undefined ? [] : [pending])];
    return manifests.flatMap((manifest) => QuorumSet.of(manifest.pgs[PG]!).sets);
  }

  private check(): void {
    const { writer } = this.net;
    expect(writer.vdl).toBeGreaterThanOrEqual(this.vdl);
    if (writer.vdl === this.vdl) return;
    this.vdl = writer.vdl;
    for (const set of this.sets()) {
      const holders = set.map((member) => this.net.node(member)).filter((own) => own.isHydrated);
      const complete = holders.filter((own) => own.segment(PG).scl >= writer.vdl);
      expect(complete.length).toBeGreaterThanOrEqual(4);
    }
  }

  /** All that is asked for is answered: the load goes on, and no change stays open for ever. */
  settle(): void {
    const { net } = this;
    for (let round = 0; round < 60; round += 1) {
      this.commitManifest();
      net.installAll();
      net.deliverAll();
      for (const { to } of net.writer.memberChanges) for (const member of to) this.hydrate(member);
      net.tick(300);
      this.check();
    }
    expect(net.writer.memberChanges).toEqual([]);
    expect(net.writer.vdl).toBe(net.writer.headLsn);
    const { members, proposed } = net.writer.manifest.pgs[PG]!;
    expect(proposed).toBeNull();
    expect(new Set(members.map((member) => member.slice(0, 3))).size).toBe(3);
    expect(net.writer.segmentsOf(PG).map(({ nodeId }) => nodeId)).toEqual(members);
  }
}

it('never covers a record that four of every member set do not hold, and every change ends', () => {
  let ended = 0;
  fc.assert(
    fc.property(fc.array(op, { minLength: 40, maxLength: 160, size: 'max' }), (ops) => {
      const life = new Life();
      for (const next of ops) life.run(next);
      life.settle();
      expect(life.net.writer.vdl).toBeGreaterThanOrEqual(HEAD_FIRST - 1);
      ended += life.ended;
    }),
    { numRuns: 120 },
  );
  // Else nothing was tried.
  expect(ended).toBeGreaterThan(50);
});
