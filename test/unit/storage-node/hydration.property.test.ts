/**
 * Random lives of a PG whose members change: writes, floors with pins, take-overs that cut, newcomers that come, stay or are sent away again,
 * nodes that crash in the middle of a copy or lose their disk. After every step: random reads of any node equal plain replay or are refused
 * for a reason; and of no member set do three vouch for lacking what is durable. In the end all are whole.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PgIndex, RunId } from '../../../src/log/lsn.ts';
import type { RetentionValue } from '../../../src/register/values.ts';
import { runById } from '../../../src/timeline/visibility.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import { newestSameLsn } from '../../../src/timeline/kept.ts';
import { StorageCluster, TEST_NODES } from '../../support/storage-cluster.ts';
import { type TestRecord, TestVolume } from '../../support/storage-volume.ts';
import { chanceFrom } from '../../support/chance.ts';

const PG = 0 as PgIndex;
const PAGES = 6;
const SPARES = ['az1-c', 'az2-c', 'az3-c'].map((nodeId) => ({
  nodeId: nodeId as NodeId,
  az: nodeId.slice(0, 3),
  address: `${nodeId}:7100`,
}));
const LIMITS: Partial<CoreLimits> = {
  roundRecords: 12,
  roundAgeMs: 100,
  chainRecords: 4,
  keptImageDeltaBytes: 120,
  pageHeads: 4,
  pageCacheBytes: 3 * 4096,
  cacheFromRecords: 2,
  collectIntervalMs: 100,
  collectBatch: 3,
  roundsRemembered: 5,
  copyReplyBytes: 6_000,
  copyBytesPerSecond: 200_000,
  absentAfterMs: 400,
  absentLogBytes: 2_000,
  gossipIntervalMs: 50,
  gossipGapIntervalMs: 50,
  gossipQuietIntervalMs: 100,
  gapAgeMs: 50,
};

class Life {
  readonly chance: () => number;
  readonly cluster: StorageCluster;
  readonly volume = new TestVolume('vol00000', { pgPages: PAGES });
  vdl = 0 as Lsn;
  retention: RetentionValue = this.volume.retention(0);
  answered = 0;
  changes = 0;
  private nextPin = 1;
  private readonly down = new Set<NodeId>();

  constructor(seed: number) {
    this.chance = chanceFrom(seed);
    this.cluster = new StorageCluster({
      chance: this.chance,
      limits: LIMITS,
      nodes: [...TEST_NODES, ...SPARES],
      ringEntries: 4 + this.pick(60),
    });
    for (const node of this.cluster.nodeIds) this.joinCluster(node);
    this.install();
  }

  pick(count: number): number {
    return Math.floor(this.chance() * count);
  }

  get hosts(): readonly NodeId[] {
    return [...new Set([...this.volume.members, ...(this.volume.proposed ?? [])])];
  }

  segment(node: NodeId) {
    return this.cluster.core(node)?.segments.get(this.volume.volume, PG) ?? null;
  }

  step(): void {
    const dice = this.chance();
    if (dice < 0.45) this.write();
    else if (dice < 0.62) this.pass(50 + this.pick(5) * 100);
    else if (dice < 0.7) this.crash();
    else if (dice < 0.74) this.takeOver();
    else if (dice < 0.82) this.raiseFloor();
    else if (dice < 0.86) this.lose();
    else this.changeMembers();
    for (let i = 0; i < 3; i += 1)
      this.read(this.cluster.nodeIds[this.pick(this.cluster.nodeIds.length)] as NodeId);
    this.judgeVotes();
  }

  /** Faults are over: everything heals, and is right. */
  finish(): void {
    for (const node of this.down) this.cluster.restart(node);
    this.down.clear();
    this.pass(8_000);
    this.endChange(this.chance() < 0.5);
    this.write();
    for (let times = 0; times < 4; times += 1) this.pass(3_000);
    this.learn();
    const tail = this.volume.tail(0, this.vdl);
    for (const node of this.volume.members) {
      expect(this.segment(node), node).toMatchObject({ quarantine: null, isHydrated: true });
      expect(this.segment(node)?.scl, node).toBeGreaterThanOrEqual(tail);
      for (let lsn = this.retention.floor; lsn <= this.vdl; lsn = (lsn + 1) as Lsn) {
        const run = this.volume.runs.find((some) => some.firstLsn <= lsn && lsn <= (some.lastLsn ?? lsn));
        if (run !== undefined) expect(this.readAt(node, run.id, lsn), `${node} at ${lsn}`).toBe('right');
      }
      for (const { point } of this.retention.pins) {
        expect(this.readAt(node, point.run, point.lsn), `${node} at pin ${point.lsn}`).toBe('right');
      }
    }
    for (const node of this.cluster.nodeIds) {
      if (this.hosts.includes(node)) continue;
      expect(this.segment(node)).toBeNull();
      const { volume } = this.volume;
      const left = [...this.cluster.disk(node).entries()].filter(([key]) => textOf(key).includes(volume));
      expect(left.length, `${node} keeps nothing`).toBe(0);
    }
  }

  private write(): void {
    const records: TestRecord[] = [];
    for (let i = this.pick(9); i >= 0; i -= 1) {
      records.push(this.volume.write(1 + this.pick(PAGES), this.pick(1000), { image: this.chance() < 0.07 }));
    }
    for (const node of this.hosts) {
      if (this.chance() < 0.15) continue;
      this.cluster.send(node, 'append', this.volume.append(records, { vdl: this.vdl }), () => {});
    }
    this.cluster.pump();
    this.learn();
  }

  /** As far as four whole segments of each set have it. */
  private learn(): void {
    const sets = [this.volume.members, ...(this.volume.proposed === null ? [] : [this.volume.proposed])];
    const reached = sets.map((set) => {
      const scls = set.map((node) => {
        const segment = this.segment(node);
        return segment?.isHydrated === true ? segment.scl : 0;
      });
      return scls.sort((a, b) => b - a)[3] as Lsn;
    });
    this.vdl = Math.max(this.vdl, Math.min(...reached)) as Lsn;
  }

  private pass(ms: number): void {
    this.cluster.advance(ms);
    this.learn();
    for (const node of this.hosts) {
      this.cluster.send(node, 'append', this.volume.append([], { vdl: this.vdl }), () => {});
    }
    this.cluster.pump();
  }

  /** At most two members are away or not whole at a time. */
  private mayHurt(node: NodeId): boolean {
    const hurt = this.volume.members.filter((member) => {
      const segment = this.segment(member);
      return segment === null || segment.quarantine !== null;
    });
    return hurt.length < 2 || hurt.includes(node);
  }

  private crash(): void {
    const node = this.cluster.nodeIds[this.pick(this.cluster.nodeIds.length)] as NodeId;
    if (this.down.delete(node)) {
      this.cluster.restart(node, { chance: this.chance });
    } else if (this.mayHurt(node)) {
      if (this.chance() < 0.5) this.cluster.restart(node, { chance: this.chance });
      else {
        this.cluster.crash(node);
        this.down.add(node);
      }
    }
    this.cluster.pump();
  }

  private lose(): void {
    const node = this.cluster.nodeIds[this.pick(this.cluster.nodeIds.length)] as NodeId;
    if (this.down.size > 0 || !this.volume.members.every((member) => this.mayHurt(member))) return;
    this.cluster.wipe(node);
    this.cluster.advance(100);
    this.joinCluster(node);
  }

  private changeMembers(): void {
    const { volume } = this;
    if (volume.proposed === null) {
      const az = `az${1 + this.pick(3)}`;
      const leaving = volume.members.filter((node) => node.startsWith(az))[this.pick(2)] as NodeId;
      const newcomer = this.cluster.nodeIds.find(
        (node) => node.startsWith(az) && !volume.members.includes(node),
      ) as NodeId;
      volume.propose(leaving, newcomer);
      this.install();
      this.changes += 1;
    } else {
      this.endChange(this.chance() < 0.7);
    }
  }

  private endChange(isKept: boolean): void {
    const { volume } = this;
    if (volume.proposed === null) return;
    this.learn();
    const newcomer = volume.proposed.find((node) => !volume.members.includes(node)) as NodeId;
    const segment = this.segment(newcomer);
    const isWhole = segment?.isHydrated === true && segment.scl >= volume.tail(0, this.vdl);
    if (isKept && !isWhole) return;
    const told = this.hosts;
    volume.endChange(isKept ? 'new' : 'old');
    // Some of those who leave hear of it by themselves.
    this.install(told.filter((node) => volume.members.includes(node) || this.chance() < 0.5));
  }

  private takeOver(): void {
    if (this.down.size > 1) return;
    this.pass(400);
    this.volume.takeOver(`w${this.volume.epoch.number + 1}`, this.vdl);
    for (const node of this.hosts) this.cluster.call(node, 'fence', this.volume.fence());
    this.install();
    this.pass(600);
  }

  private raiseFloor(): void {
    const lsn = (this.retention.floor + this.pick(Math.max(1, this.vdl - this.retention.floor))) as Lsn;
    const run = this.volume.runs.findLast((some) => some.firstLsn - 1 <= lsn) as {
      id: RunId;
      lastLsn: Lsn | null;
    };
    const at = Math.min(lsn, run.lastLsn ?? lsn) as Lsn;
    const pin = { name: `p${this.nextPin++}`, point: { volume: this.volume.volume, run: run.id, lsn: at } };
    const kept = this.retention.pins.filter(() => this.chance() < 0.7);
    const pins = at >= this.retention.floor && this.chance() < 0.5 ? [...kept, pin] : kept;
    this.retention = this.volume.retention(Math.max(this.retention.floor, lsn), pins);
    this.install();
  }

  private install(nodes: readonly NodeId[] = this.hosts): void {
    for (const node of nodes)
      this.cluster.send(node, 'install', this.volume.install(0, this.retention), () => {});
    this.cluster.pump();
  }

  /** A node is part of the cluster that asks something lasting of it. */
  private joinCluster(node: NodeId): void {
    this.cluster.call(node, 'fence', new TestVolume('vol00001').fence());
  }

  private read(node: NodeId): void {
    const pin = this.retention.pins[this.pick(this.retention.pins.length + 2)];
    const lsn =
      pin?.point.lsn ?? ((this.retention.floor + this.pick(this.vdl - this.retention.floor + 1)) as Lsn);
    const run =
      pin?.point.run ?? this.volume.runs.findLast((some) => some.firstLsn - 1 <= lsn)?.id ?? (0 as RunId);
    const outcome = this.readAt(node, run, lsn);
    if (outcome === 'right') this.answered += 1;
    const closing = runById(this.volume.runs, run)?.lastLsn ?? null;
    if (outcome === 'CUT') expect(closing !== null && lsn > closing).toBe(true);
    else if (outcome === 'GONE') {
      expect(pin).toBeUndefined();
      expect(newestSameLsn(this.volume.runs, run, lsn)).toBeLessThan(this.retention.floor);
    } else expect(['right', 'BEHIND', 'QUARANTINED', 'NO_SEGMENT', 'none', 'UNAVAILABLE']).toContain(outcome);
  }

  private readAt(node: NodeId, run: RunId, lsn: Lsn): string {
    const { volume } = this;
    const pages = Array.from({ length: PAGES }, (_, i) => i + 1);
    const reply = this.cluster.call(node, 'readPages', volume.readPages(pages, { run, lsn }));
    if (reply === null) return 'none';
    if (reply.refusal !== null) return reply.refusal.code;
    for (const { page, data } of reply.pages) {
      const expected = volume.replay({ volume: volume.volume, run, lsn }, page) ?? new Uint8Array(0);
      expect(Buffer.compare(data, expected), `page ${page} at (${run}, ${lsn}) of ${node}`).toBe(0);
    }
    return 'right';
  }

  /** 3 + 4 > 6: never do three of one member set say that they never held what is durable. */
  private judgeVotes(): void {
    const tail = this.volume.tail(0, this.vdl);
    const sets = [this.volume.members, ...(this.volume.proposed === null ? [] : [this.volume.proposed])];
    for (const set of sets) {
      const denying = set.filter((node) => {
        const reply = this.cluster.call(node, 'fence', this.volume.fence());
        return reply?.promised === true && reply.intact && reply.scl < tail;
      });
      expect(denying.length, `${denying.join(', ')} lack ${tail}`).toBeLessThan(3);
    }
  }
}

function textOf(key: Uint8Array): string {
  return String.fromCharCode(...key);
}

describe('members that change', () => {
  test('hold what is durable, and show what was written', () => {
    let answered = 0;
    let changes = 0;
    let hydrated = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 30 }), (seed) => {
        const life = new Life(seed);
        for (let i = 0; i < 60; i += 1) life.step();
        life.finish();
        answered += life.answered;
        changes += life.changes;
        hydrated += life.cluster.logs.filter(({ message }) => message === 'a segment is hydrated').length;
      }),
      {
        numRuns: Number(process.env.RUNS ?? 8),
        seed: Number(process.env.SEED ?? 20261121),
        endOnFailure: true,
      },
    );
    // The test must not pass by being refused, nor without anybody coming.
    expect(answered).toBeGreaterThan(8 * 60);
    expect(changes).toBeGreaterThan(8);
    expect(hydrated).toBeGreaterThan(8);
  });
});
