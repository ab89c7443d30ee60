/**
 * Random lives of a small cluster: writes (some nodes miss some), coalescing, thinning, collection, pins, take-overs, backtracks, crashes of
 * single nodes that lose what a crash may lose. After every step random reads must equal plain replay, byte for byte, or be refused with
 * a reason that holds.
 */
import { strict as assert } from 'node:assert';
import type { Lsn, NodeId, PgIndex, RunId } from '../../src/log/lsn.ts';
import type { RetentionValue } from '../../src/register/values.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import { isVisible, newestVisibleLsn, runById, visiblePath } from '../../src/timeline/visibility.ts';
import { compareKeys, parseKey, parsePageKey } from '../../storage-node/core/keys.ts';
import type { CoreLimits } from '../../storage-node/core/limits.ts';
import { newestSameLsn } from '../../src/timeline/kept.ts';
import { StorageCluster, TEST_CLUSTER } from './storage-cluster.ts';
import { type TestRecord, TestVolume } from './storage-volume.ts';
import { chanceFrom } from './chance.ts';

const PAGES = 6;
const FIRST_PG = 0 as PgIndex;
const MAX_AWAY = 2;
const MAX_TRIES = 50;
/** Long enough for every peer to have been asked, in turn, after any pause. */
const SETTLE_MS = 12_000;
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
};

export class PageLife {
  readonly chance: () => number;
  readonly cluster: StorageCluster;
  readonly volume = new TestVolume('vol00000', { pgPages: PAGES });
  vdl = 0 as Lsn;
  retention: RetentionValue = this.volume.retention(0);
  reads = 0;
  private nextPin = 1;
  refusals = new Map<string, number>();
  /** Nodes that nothing reaches, for so many more steps. */
  private readonly away = new Map<NodeId, number>();

  constructor(seed: number) {
    this.chance = chanceFrom(seed);
    this.cluster = new StorageCluster({
      chance: this.chance,
      limits: LIMITS,
      ringEntries: 4 + this.pick(60),
    });
    for (const node of this.cluster.nodeIds) this.cluster.ask(node, 'install', this.volume.install());
  }

  pick(count: number): number {
    return Math.floor(this.chance() * count);
  }

  step(): void {
    const dice = this.chance();
    if (dice < 0.5) this.write();
    else if (dice < 0.7) this.cluster.advance(50 + this.pick(4) * 100);
    else if (dice < 0.78) this.restart();
    else if (dice < 0.84) this.takeOver();
    else if (dice < 0.92) this.raiseFloor();
    else if (dice < 0.95) this.vanish();
    else this.cluster.advance(600);
    for (let i = 0; i < 4; i += 1) this.read();
    this.comeBack();
  }

  /** All reach each other again: every copy becomes whole by itself, and holds the same. */
  settle(): void {
    this.away.clear();
    this.cluster.heal();
    const { volume } = this;
    this.cluster.advance(SETTLE_MS);
    // A heartbeat's news: who lacks the end does not know it otherwise.
    const news = volume.append([], { vdl: volume.lastLsn });
    for (const node of this.cluster.nodeIds) this.cluster.send(node, 'append', news, () => {});
    this.cluster.advance(SETTLE_MS);
    const tail = volume.tail(FIRST_PG, volume.lastLsn);
    for (const node of this.cluster.nodeIds) {
      const segment = this.cluster.core(node)?.segments.get(volume.volume, FIRST_PG);
      assert.ok(segment, `${node} has no segment`);
      assert.equal(
        segment.quarantine,
        null,
        `${node} is in quarantine: ${JSON.stringify(segment.quarantine)}`,
      );
      assert.equal(segment.held.hasGap, false, `${node} holds records beyond a gap`);
      assert.equal(segment.scl, tail, `SCL of ${node}`);
      const pages = Array.from({ length: PAGES }, (_, i) => i + 1);
      const reply = this.cluster.ask(node, 'readPages', {
        ...volume.readPages(pages, { run: volume.headRun, lsn: volume.lastLsn }),
        clusterId: TEST_CLUSTER,
      });
      assert.equal(reply.refusal, null, `${node}: ${reply.refusal?.message}`);
      const point = { volume: volume.volume, run: volume.headRun, lsn: volume.lastLsn };
      for (const { page, data } of reply.pages) {
        const expected = volume.replay(point, page) ?? new Uint8Array(0);
        assert.equal(Buffer.compare(data, expected), 0, `page ${page} of ${node} in the end`);
      }
    }
  }

  /** Writers and peers do not reach the node any more; whoever asks it for pages does. */
  private goAway(node: NodeId): void {
    if (this.away.size >= MAX_AWAY || this.away.has(node)) return;
    this.away.set(node, 1 + this.pick(10));
    for (const other of this.cluster.nodeIds) if (other !== node) this.cluster.cut(node, other);
  }

  private comeBack(): void {
    for (const [node, steps] of this.away) {
      if (steps > 1) this.away.set(node, steps - 1);
      else this.away.delete(node);
    }
    this.cluster.heal();
    for (const node of this.away.keys())
      for (const other of this.cluster.nodeIds) if (other !== node) this.cluster.cut(node, other);
  }

  /** Those that a writer reaches. */
  private get reached(): readonly NodeId[] {
    return this.cluster.nodeIds.filter((node) => !this.away.has(node));
  }

  /** Nodes whose store has lost a write in its middle. */
  private readonly lossy = new Set<NodeId>();

  private write(): void {
    const records: TestRecord[] = [];
    for (let i = this.pick(9); i >= 0; i -= 1) {
      records.push(this.volume.write(1 + this.pick(PAGES), this.pick(1000), { image: this.chance() < 0.07 }));
    }
    const sure = this.reached[this.pick(this.reached.length)];
    const append = this.volume.append(records, { vdl: this.vdl });
    let isHeld = false;
    for (let tries = 0; !isHeld && tries < MAX_TRIES; tries += 1) {
      // All that were sent it may be asking their peers after a restart: the writer sends again.
      if (tries > 0) this.cluster.advance(200);
      for (const node of this.reached) {
        if (tries === 0 && node !== sure && this.chance() < 0.15) continue;
        this.cluster.send(node, 'append', append, ({ refusal }) => {
          isHeld ||= refusal === null;
        });
      }
      this.cluster.pump();
    }
    assert.ok(isHeld, 'nobody takes a write');
    if (this.chance() < 0.8) this.vdl = this.volume.lastLsn;
  }

  private restart(): void {
    const node = this.cluster.nodeIds[this.pick(6)] as NodeId;
    const loseWrite = this.chance() < 0.4 ? this.pick(6) : undefined;
    if (loseWrite !== undefined) this.lossy.add(node);
    this.cluster.restart(
      node,
      loseWrite === undefined ? { chance: this.chance } : { chance: this.chance, loseWrite },
    );
    this.cluster.pump();
  }

  /** The new writer finds the VDL that was reported, or more; half of the time it goes back to an older point of any run. */
  private takeOver(): void {
    this.cluster.advance(400);
    for (let i = this.pick(3); i > 0; i -= 1) this.goAway(this.cluster.nodeIds[this.pick(6)] as NodeId);
    const found = this.chance() < 0.5 ? this.volume.lastLsn : this.vdl;
    const target = this.chance() < 0.5 ? this.point() : null;
    this.volume.takeOver(`w${this.volume.epoch.number + 1}`, Math.max(this.vdl, found) as Lsn, target);
    for (const node of this.reached) this.cluster.send(node, 'fence', this.volume.fence(), () => {});
    this.cluster.pump();
    for (const node of this.reached) {
      this.cluster.send(node, 'install', this.volume.install(0, this.retention), (reply) => {
        const isAsking = reply.refusal?.code === 'UNAVAILABLE';
        assert.ok(reply.installed || isAsking, reply.refusal?.message);
      });
    }
    this.cluster.pump();
    this.cluster.advance(600);
    this.vdl = this.volume.lastLsn;
  }

  /**
   * LevelDB loses one entry of a page without a word, as a flipped bit in one of its tables makes it do: whoever reads the head now gets the
   * right bytes or is told of the damage. An entry that is the newest up to there is missed only where the page's head is remembered.
   */
  private vanish(): void {
    const { volume } = this;
    this.cluster.pump();
    const node = this.cluster.nodeIds[this.pick(6)] as NodeId;
    const segment = this.cluster.core(node)?.segments.get(volume.volume, FIRST_PG);
    if (segment === undefined || segment === null || segment.manifest === null) return;
    const disk = this.cluster.disk(node);
    const entries = [...disk.entries()].filter(([key]) => parseKey(key)?.kind === 'page');
    const [key] = entries[this.pick(entries.length)] ?? [];
    if (key === undefined) return;
    const { page } = parsePageKey(key);
    const path = visiblePath(volume.runs, volume.headRun, this.vdl, volume.volume);
    const upToLsn = newestVisibleLsn(path, volume.volume) ?? 0;
    const ofPage = entries.filter(
      ([other]) => parsePageKey(other).page === page && parsePageKey(other).lsn <= upToLsn,
    );
    const isNewest = ofPage.every(([other]) => compareKeys(other, key) <= 0);
    const head = segment.heads.get(page);
    if (isNewest && (head === null || head.newestLsn > upToLsn)) return;
    disk.hide(key, () => {
      const reply = this.cluster.ask(node, 'readPages', {
        ...volume.readPages([page], { run: volume.headRun, lsn: this.vdl }),
        clusterId: TEST_CLUSTER,
      });
      for (const { data } of reply.pages) {
        const point = { volume: volume.volume, run: volume.headRun, lsn: this.vdl };
        const expected = volume.replay(point, page) ?? new Uint8Array(0);
        assert.equal(Buffer.compare(data, expected), 0, `page ${page} after an entry vanished`);
      }
    });
  }

  private raiseFloor(): void {
    const point = this.point();
    const pin = { name: `p${this.nextPin++}`, point: this.point() };
    const kept = this.retention.pins.filter(() => this.chance() < 0.7);
    const pins = pin.point.lsn >= this.retention.floor && this.chance() < 0.5 ? [...kept, pin] : kept;
    const floor = Math.max(this.retention.floor, Math.min(point.lsn, this.vdl)) as Lsn;
    this.retention = this.volume.retention(floor, pins);
    for (const node of this.reached) {
      this.cluster.send(node, 'install', this.volume.install(0, this.retention), () => {});
    }
    this.cluster.advance(300);
  }

  /** A read point at or above the floor, of any run. */
  private point(): ReadPoint {
    const { volume } = this;
    for (let tries = 0; tries < 20; tries += 1) {
      const run = volume.runs[this.pick(volume.runs.length)];
      if (run === undefined) continue;
      const from = Math.max(run.firstLsn - 1, this.retention.floor);
      const to = Math.min(run.lastLsn ?? this.vdl, this.vdl);
      if (to < from) continue;
      return { volume: volume.volume, run: run.id, lsn: (from + this.pick(to - from + 1)) as Lsn };
    }
    return { volume: volume.volume, run: volume.headRun, lsn: this.vdl };
  }

  private read(): void {
    const { volume, retention } = this;
    const pin = retention.pins[this.pick(retention.pins.length + 2)];
    const dice = this.chance();
    const point =
      pin?.point ??
      (dice < 0.3 ? { volume: volume.volume, run: volume.headRun, lsn: this.vdl } : this.point());
    const lsn = this.chance() < 0.1 && pin === undefined ? (this.pick(point.lsn + 1) as Lsn) : point.lsn;
    const run =
      pin === undefined && lsn < (runById(volume.runs, point.run)?.firstLsn ?? 0) - 1
        ? (0 as RunId)
        : point.run;
    const pages = Array.from({ length: PAGES }, (_, i) => i + 1).filter(() => this.chance() < 0.7);
    const node = this.cluster.nodeIds[this.pick(6)] as NodeId;
    const reply = this.cluster.ask(node, 'readPages', {
      ...volume.readPages(pages, { run, lsn }),
      clusterId: TEST_CLUSTER,
    });
    this.reads += 1;
    if (reply.refusal !== null) {
      // A round lost before those that are remembered is met by who reads its pages, and they are repaired then.
      if (reply.refusal.code === 'CORRUPT' && this.lossy.has(node)) return;
      this.explain(reply.refusal.code, run, lsn, pin !== undefined, reply.refusal.message);
      return;
    }
    // No read point: a node that knows better says CUT, one that was away when the run was closed cannot know.
    const closing = runById(volume.runs, run)?.lastLsn ?? null;
    if (closing !== null && lsn > closing) return;
    const path = visiblePath(volume.runs, run, lsn, volume.volume);
    for (const version of reply.pages) {
      const expected = volume.replay({ volume: volume.volume, run, lsn }, version.page);
      const newest = volume.log.findLast(
        ({ record }) => record.page === version.page && isVisible(path, volume.volume, record.lsn),
      );
      assert.equal(
        version.lsn,
        newest?.record.lsn ?? 0,
        `page ${version.page} at (${run}, ${lsn}) of ${node}`,
      );
      assert.equal(
        Buffer.compare(version.data, expected ?? new Uint8Array(0)),
        0,
        `bytes of page ${version.page}`,
      );
    }
  }

  private explain(code: string, run: RunId, lsn: Lsn, isPinned: boolean, message: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
    const closing = runById(this.volume.runs, run)?.lastLsn ?? null;
    switch (code) {
      case 'GONE':
        assert.ok(!isPinned, message);
        assert.ok(lsn < this.retention.floor, message);
        assert.ok(newestSameLsn(this.volume.runs, run, lsn) < this.retention.floor, message);
        return;
      case 'CUT':
        assert.ok(closing !== null && lsn > closing, `${message} (closed at ${closing})`);
        return;
      case 'BEHIND':
      case 'QUARANTINED':
      case 'UNAVAILABLE':
        return;
      default:
        assert.fail(`${code}: ${message}`);
    }
  }
}
