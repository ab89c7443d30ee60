/**
 * Whatever a node has answered holds after a crash at any point: SCLs, promises, installs, registers. The disk loses what a crash may lose: the
 * journal's newest entries that were not synced, and any number of the store's newest batches.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Epoch, NO_EPOCH, compareEpochs } from '../../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type NodeId } from '../../../src/log/lsn.ts';
import { clampToRuns } from '../../../storage-node/core/manifests.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import { type TestRecord, TestVolume } from '../../support/storage-volume.ts';
import { chanceFrom } from '../../support/chance.ts';

const NODE = 'az1-a' as NodeId;
const KEYS = ['name/a', 'name/b', 'retention/vol00000'];

/** The strongest of everything that was answered. */
interface Told {
  scl: Lsn;
  promised: Epoch;
  installed: Epoch;
  clusterId: string;
  readonly registers: Map<string, { promised: Epoch; acceptedBallot: Epoch; acceptedVersion: number }>;
}

class OneNode {
  readonly chance: () => number;
  readonly cluster: StorageCluster;
  readonly volume = new TestVolume('vol00000', { pgPages: 6 });
  readonly told: Told = {
    scl: NO_LSN,
    promised: NO_EPOCH,
    installed: NO_EPOCH,
    clusterId: '',
    registers: new Map(),
  };
  readonly sent: TestRecord[][] = [];
  private vdl = NO_LSN;
  private ballot = 1;

  constructor(seed: number) {
    this.chance = chanceFrom(seed);
    this.cluster = new StorageCluster({
      chance: this.chance,
      limits: { roundRecords: 5, roundAgeMs: 50, chainRecords: 3, roundsRemembered: 4 },
      ringEntries: 3 + Math.floor(this.chance() * 30),
      nodes: TEST_NODES.slice(0, 1),
    });
    this.install();
    this.cluster.pump();
  }

  act(): void {
    const dice = this.chance();
    if (dice < 0.35) this.append();
    else if (dice < 0.5) this.appendAgain();
    else if (dice < 0.6) this.register();
    else if (dice < 0.65) this.takeOver();
    else if (dice < 0.75) this.cluster.advance(50 + Math.floor(this.chance() * 500), { pump: false });
    for (let tasks = Math.floor(this.chance() * 12); tasks > 0; tasks -= 1) this.cluster.runOne();
    if (dice >= 0.9) this.crash();
  }

  private append(): void {
    const records = Array.from({ length: 1 + Math.floor(this.chance() * 4) }, () =>
      this.volume.write(1 + Math.floor(this.chance() * 6), Math.floor(this.chance() * 999)),
    );
    this.sent.push(records);
    this.send(records);
  }

  private appendAgain(): void {
    const records = this.sent[Math.floor(this.chance() * this.sent.length)];
    if (records !== undefined) this.send(records);
  }

  private send(records: readonly TestRecord[]): void {
    const { epoch } = this.volume;
    this.cluster.send(NODE, 'append', this.volume.append(records, { vdl: this.vdl }), (reply) => {
      expect(['STALE_EPOCH', 'CUT', 'BEHIND', 'QUARANTINED', undefined]).toContain(reply.refusal?.code);
      if (reply.refusal !== null || compareEpochs(epoch, this.volume.epoch) !== 0) return;
      this.told.scl = Math.max(this.told.scl, reply.scl) as Lsn;
      if (this.chance() < 0.7) this.vdl = Math.max(this.vdl, reply.scl) as Lsn;
    });
  }

  private register(): void {
    const key = KEYS[Math.floor(this.chance() * KEYS.length)] as string;
    const ballot = { number: this.ballot++, writerId: 'p' };
    const known = this.told.registers.get(key) ?? {
      promised: NO_EPOCH,
      acceptedBallot: NO_EPOCH,
      acceptedVersion: 0,
    };
    this.told.registers.set(key, known);
    this.cluster.send(NODE, 'registerPrepare', { clusterId: TEST_CLUSTER, key, ballot }, (reply) => {
      if (reply.promised && compareEpochs(ballot, known.promised) > 0) known.promised = ballot;
    });
    if (this.chance() < 0.4) return;
    const proposal = {
      clusterId: TEST_CLUSTER,
      key,
      ballot,
      version: ballot.number,
      value: Uint8Array.of(ballot.number),
    };
    this.cluster.send(NODE, 'registerAccept', proposal, (reply) => {
      if (!reply.accepted || compareEpochs(ballot, known.acceptedBallot) < 0) return;
      known.acceptedBallot = ballot;
      known.acceptedVersion = proposal.version;
    });
  }

  private takeOver(): void {
    // Everything from before is answered or never will be, so that what is told belongs to one term.
    this.cluster.pump();
    this.volume.takeOver(`w${this.volume.epoch.number + 1}`, Math.max(this.vdl, this.told.scl) as Lsn);
    this.vdl = this.volume.lastLsn;
    this.sent.length = 0;
    const { epoch } = this.volume;
    this.cluster.send(NODE, 'fence', this.volume.fence(), (reply) => {
      if (reply.promised && compareEpochs(epoch, this.told.promised) > 0) this.told.promised = epoch;
      expect(reply.refusal === null ? reply.scl : this.told.scl).toBeGreaterThanOrEqual(this.told.scl);
    });
    this.install();
  }

  private install(): void {
    const { epoch } = this.volume;
    this.cluster.send(NODE, 'install', this.volume.install(), (reply) => {
      if (!reply.installed) return;
      if (compareEpochs(epoch, this.told.installed) > 0) this.told.installed = epoch;
      if (compareEpochs(epoch, this.told.promised) > 0) this.told.promised = epoch;
      this.told.clusterId = TEST_CLUSTER;
    });
  }

  private crash(): void {
    this.cluster.crash(NODE);
    this.cluster.restart(NODE, { chance: this.chance });
    this.cluster.pump();
    this.check();
    // The writer comes back and sends again what was not answered.
    this.install();
    for (const records of this.sent) this.send(records);
  }

  check(): void {
    const core = this.cluster.core(NODE);
    const segment = core?.segments.get(this.volume.volume, 0 as never) ?? null;
    const { told } = this;
    if (compareEpochs(told.installed, NO_EPOCH) > 0) expect(segment).not.toBeNull();
    if (core === null || segment === null) return;
    expect(core.clusterId.length >= told.clusterId.length).toBe(true);
    expect(compareEpochs(segment.promised, told.promised)).toBeGreaterThanOrEqual(0);
    expect(compareEpochs(segment.installedEpoch ?? NO_EPOCH, told.installed)).toBeGreaterThanOrEqual(0);
    const runs = segment.manifest?.value.runs ?? [];
    expect(segment.scl).toBeGreaterThanOrEqual(clampToRuns(runs, segment.pg, told.scl));
    expect(segment.isQuarantined).toBe(false);
    for (const [key, known] of told.registers) {
      const peek = this.cluster.ask(NODE, 'registerPrepare', {
        clusterId: TEST_CLUSTER,
        key,
        ballot: NO_EPOCH,
      });
      expect(compareEpochs(peek.promisedBallot ?? NO_EPOCH, known.promised)).toBeGreaterThanOrEqual(0);
      expect(compareEpochs(peek.acceptedBallot ?? NO_EPOCH, known.acceptedBallot)).toBeGreaterThanOrEqual(0);
    }
  }
}

describe('what was answered', () => {
  test('holds after a crash at any point', () => {
    let highest = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
        const node = new OneNode(seed);
        for (let i = 0; i < 120; i += 1) node.act();
        node.cluster.pump();
        node.check();
        highest = Math.max(highest, node.told.installed.number);
      }),
      { numRuns: Number(process.env.RUNS ?? 60), seed: Number(process.env.SEED ?? 5), endOnFailure: true },
    );
    expect(highest).toBeGreaterThan(3);
  });
});
