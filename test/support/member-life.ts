/**
 * Random lives of a PG whose members change: writes, floors with pins, take-overs that cut, newcomers that come, stay or are sent away again,
 * nodes that crash in the middle of a copy or lose their disk. After every step: random reads of any node equal plain replay or are refused
 * for a reason; and of no member set do three vouch for lacking what is durable. In the end all are whole.
 */
import { strict as assert } from 'node:assert';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId } from '../../src/log/lsn.ts';
import type { RetentionValue } from '../../src/register/values.ts';
import { runById, runOf } from '../../src/timeline/visibility.ts';
import { KIND, SegmentKeys, parseKey, parsePageKey } from '../../storage-node/core/keys.ts';
import type { CoreLimits } from '../../storage-node/core/limits.ts';
import { newestSameLsn } from '../../src/timeline/kept.ts';
import { ValueCodec } from '../../storage-node/core/values.ts';
import { StorageCluster, TEST_NODES } from './storage-cluster.ts';
import { type TestRecord, TestVolume } from './storage-volume.ts';
import { chanceFrom } from './chance.ts';

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

/** Copies differ for longer. */
const SLOW_GOSSIP: Partial<CoreLimits> = {
  gossipIntervalMs: 1_000,
  gossipGapIntervalMs: 1_000,
  gossipQuietIntervalMs: 1_000,
  gapAgeMs: 500,
};

/** A copy stops in the middle of pages' histories, and goes on from another source, whose rounds ended elsewhere. */
const SMALL_REPLIES: Partial<CoreLimits> = { copyReplyBytes: 300, copyBytesPerSecond: 40_000 };

/** What a read may be answered with at any time. */
const REASONS: ReadonlySet<string> = new Set([
  'right',
  'none',
  'BEHIND',
  'QUARANTINED',
  'NO_SEGMENT',
  'UNAVAILABLE',
]);

export class MemberLife {
  readonly chance: () => number;
  readonly cluster: StorageCluster;
  /** How often a segment misses an append. */
  private readonly missRate: number;
  readonly volume = new TestVolume('vol00000', { pgPages: PAGES });
  vdl = 0 as Lsn;
  retention: RetentionValue = this.volume.retention(0);
  answered = 0;
  changes = 0;
  private nextPin = 1;
  private readonly down = new Set<NodeId>();
  /** Of configurations that are over: a message may be late. */
  private readonly stale: {
    readonly fence: ReturnType<TestVolume['fence']>;
    readonly hosts: readonly NodeId[];
  }[] = [];
  /** Nodes with an entry in their store that no run admits. */
  private readonly haunted = new Set<NodeId>();

  constructor(seed: number) {
    this.chance = chanceFrom(seed);
    this.missRate = 0.1 + 0.3 * this.chance();
    this.cluster = new StorageCluster({
      chance: this.chance,
      limits: {
        ...LIMITS,
        ...(this.chance() < 0.6 ? SLOW_GOSSIP : {}),
        ...(this.chance() < 0.4 ? SMALL_REPLIES : {}),
      },
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
    if (dice < 0.4) this.write();
    else if (dice < 0.54) this.pass(50 + this.pick(5) * 100);
    else if (dice < 0.6) this.crash();
    else if (dice < 0.63) this.takeOver();
    else if (dice < 0.69) this.raiseFloor();
    else if (dice < 0.72) this.lose();
    else this.changeMembers();
    for (let i = 0; i < 3; i += 1)
      this.read(this.cluster.nodeIds[this.pick(this.cluster.nodeIds.length)] as NodeId);
    this.judgeVotes();
    this.judgeLeft();
  }

  /** Faults are over: everything heals, and is right. */
  finish(): void {
    for (const node of this.down) this.cluster.restart(node);
    this.down.clear();
    this.pass(8_000);
    this.endChange(this.chance() < 0.5, false);
    this.write();
    for (let times = 0; times < 10; times += 1) this.pass(3_000);
    this.learn();
    const tail = this.volume.tail(0, this.vdl);
    for (const node of this.volume.members) {
      const { quarantine, isHydrated, scl } = this.segment(node) ?? {};
      assert.deepEqual({ node, quarantine, isHydrated }, { node, quarantine: null, isHydrated: true });
      assert.ok((scl ?? 0) >= tail, `${node} is complete to ${scl}, not ${tail}`);
      for (let lsn = this.retention.floor; lsn <= this.vdl; lsn = (lsn + 1) as Lsn) {
        const run = this.volume.runs.find((some) => some.firstLsn <= lsn && lsn <= (some.lastLsn ?? lsn));
        if (run !== undefined) assert.equal(this.readAt(node, run.id, lsn), 'right', `${node} at ${lsn}`);
      }
      for (const { point } of this.retention.pins) {
        assert.equal(this.readAt(node, point.run, point.lsn), 'right', `${node} at pin ${point.lsn}`);
      }
    }
    this.judgeStored();
    for (const node of this.cluster.nodeIds) {
      if (this.hosts.includes(node)) continue;
      assert.equal(this.segment(node), null, `${node} has left`);
      const { volume } = this.volume;
      const left = [...this.cluster.disk(node).entries()].filter(([key]) => textOf(key).includes(volume));
      assert.equal(left.length, 0, `${node} keeps nothing`);
    }
  }

  private write(): void {
    const records: TestRecord[] = [];
    for (let i = this.pick(9); i >= 0; i -= 1) {
      records.push(this.volume.write(1 + this.pick(PAGES), this.pick(1000), { image: this.chance() < 0.07 }));
    }
    for (const node of this.hosts) {
      if (this.chance() < this.missRate) continue;
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
    if (this.volume.proposed !== null) {
      this.endChange(this.chance() < 0.7);
      return;
    }
    const az = `az${1 + this.pick(3)}`;
    this.propose(
      this.cluster.nodeIds.find(
        (node) => node.startsWith(az) && !this.volume.members.includes(node),
      ) as NodeId,
    );
  }

  private propose(newcomer: NodeId): void {
    const { volume } = this;
    const neighbours = volume.members.filter((node) => node.startsWith(newcomer.slice(0, 3)));
    this.stale.push({ fence: volume.fence(), hosts: this.hosts });
    volume.propose(neighbours[this.pick(2)] as NodeId, newcomer);
    this.install();
    this.changes += 1;
  }

  private endChange(isKept: boolean, mayGoOn = true): void {
    const { volume } = this;
    if (volume.proposed === null) return;
    this.learn();
    const newcomer = volume.proposed.find((node) => !volume.members.includes(node)) as NodeId;
    const segment = this.segment(newcomer);
    const isWhole = segment?.isHydrated === true && segment.scl >= volume.tail(0, this.vdl);
    if (isKept && !isWhole) return;
    const told = this.hosts;
    this.stale.push({ fence: volume.fence(), hosts: this.hosts });
    volume.endChange(isKept ? 'new' : 'old');
    // Some of those who leave hear of it by themselves.
    this.install(told.filter((node) => volume.members.includes(node) || this.chance() < 0.5));
    // Asked back before they may have heard that they left.
    const left = told.find((node) => !volume.members.includes(node));
    if (mayGoOn && left !== undefined && this.chance() < 0.6) {
      this.write();
      this.propose(left);
      // What it had before is still on its disk.
      if (this.chance() < 0.5 && !this.down.has(left)) this.cluster.restart(left, { chance: this.chance });
    }
  }

  private takeOver(): void {
    if (this.down.size > 1) return;
    this.pass(400);
    this.haunt();
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
    const somewhere = (this.retention.floor + this.pick(this.vdl - this.retention.floor + 1)) as Lsn;
    const of = this.volume.runs.findLast((some) => some.firstLsn - 1 <= somewhere);
    const run = pin?.point.run ?? of?.id ?? (0 as RunId);
    // What lies between two runs is no read point.
    const lsn = pin?.point.lsn ?? (Math.min(somewhere, of?.lastLsn ?? somewhere) as Lsn);
    const outcome = this.readAt(node, run, lsn);
    if (outcome === 'right') this.answered += 1;
    const closing = runById(this.volume.runs, run)?.lastLsn ?? null;
    if (outcome === 'CUT') assert.ok(closing !== null && lsn > closing, `cut at ${lsn}`);
    else if (outcome === 'GONE') {
      assert.equal(pin, undefined);
      assert.ok(newestSameLsn(this.volume.runs, run, lsn) < this.retention.floor, `gone at ${lsn}`);
    } else assert.ok(REASONS.has(outcome), `${node} at ${lsn}: ${outcome}`);
  }

  private readAt(node: NodeId, run: RunId, lsn: Lsn): string {
    const { volume } = this;
    const pages = Array.from({ length: PAGES }, (_, i) => i + 1);
    const reply = this.cluster.call(node, 'readPages', volume.readPages(pages, { run, lsn }));
    if (reply === null) return 'none';
    if (reply.refusal !== null) return reply.refusal.code;
    for (const { page, data } of reply.pages) {
      const expected = volume.replay({ volume: volume.volume, run, lsn }, page) ?? new Uint8Array(0);
      assert.equal(Buffer.compare(data, expected), 0, `page ${page} at (${run}, ${lsn}) of ${node}`);
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
        // Who asks knows who is new, and does not believe one that has not heard of it (take-over-fence.ts).
        const isNew = !this.volume.members.includes(node);
        const hasHeard = (this.segment(node)?.configVersion ?? 0) >= this.volume.configVersion;
        if (isNew && !hasHeard) return false;
        return reply?.promised === true && reply.intact && reply.scl < tail;
      });
      assert.ok(denying.length < 3, `${denying.join(', ')} lack ${tail}`);
    }
  }

  /**
   * Who has left answers nobody who does not know that. (Of a later configuration that came and went it may not have heard: as a newcomer
   * by that, it vouches for nothing.)
   */
  private judgeLeft(): void {
    const stale = this.stale[this.pick(this.stale.length)];
    if (stale === undefined) return;
    for (const node of stale.hosts) {
      if (this.segment(node) !== null) continue;
      const left = this.cluster.core(node)?.segments.known(this.volume.volume, PG)?.left ?? null;
      const reply = this.cluster.call(node, 'fence', stale.fence);
      if (left === null || reply?.promised !== true) continue;
      assert.ok(
        stale.fence.configVersion > left.configVersion && !reply.intact,
        `${node} promises in a configuration that is over`,
      );
    }
  }

  /** A copy of a PG may hold what was cut, by a fault of its disk: a valid value where the next run will not reach. */
  private haunt(): void {
    const node = this.volume.members[this.pick(6)] as NodeId;
    if (this.haunted.size >= 2) return;
    const key = new SegmentKeys(this.volume.volume, PG).image(1 as PageNumber, (this.vdl + 10) as Lsn);
    const image = { isRecord: false, isKept: false, prevLsn: 0 as Lsn, sinceKeptBytes: 0 };
    const value = new ValueCodec(nodeCrc32).encodeImage(key, { ...image, data: new Uint8Array(4096) });
    this.cluster.disk(node).put(key, value);
    this.haunted.add(node);
  }

  private judgeStored(): void {
    for (const node of this.volume.members) {
      if (this.haunted.has(node)) continue;
      for (const [key] of this.cluster.disk(node).entries()) {
        if (key[0] !== KIND.page || parseKey(key)?.volume !== this.volume.volume) continue;
        const { lsn } = parsePageKey(key);
        assert.ok(runOf(this.volume.runs, lsn) !== null, `${node} took over ${lsn}, which was cut`);
      }
    }
  }
}

function textOf(key: Uint8Array): string {
  return String.fromCharCode(...key);
}
