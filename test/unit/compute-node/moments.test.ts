/** Moments of volumes, with all drivers but the SQL engine's, against real storage-node cores over a transport in memory, in real time. */
import { afterEach, describe, expect, it } from 'vitest';
import { openDirectory, type VolumeDirectory } from '../../../compute-node/driver/directory.ts';
import { openVolume } from '../../../compute-node/driver/open-volume.ts';
import { StorageLinks } from '../../../compute-node/driver/storage-links.ts';
import { takeOverVolume } from '../../../compute-node/driver/take-over.ts';
import { surveyVolume } from '../../../compute-node/driver/take-over-survey.ts';
import type { Engine } from '../../../compute-node/engine/api.ts';
import type { OpenedMoment } from '../../../compute-node/timelines/api.ts';
import { httpHolderAccess } from '../../../compute-node/timelines/holder-access.ts';
import { TimelinesOnNode } from '../../../compute-node/timelines/timelines.ts';
import { type OpenedVolume, VolumeRegistry } from '../../../compute-node/volume-registry.ts';
import type { AdministeredVolume, OpenVolume } from '../../../compute-node/volume/open-volume.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import type { Lsn, NodeId, PageNumber } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import { placeOf } from '../../../src/register/place.ts';
import type { RetentionValue } from '../../../src/register/values.ts';
import { leftBehind } from '../../../src/timeline/ancestry.ts';
import { parseMoment } from '../../../src/timeline/moment.ts';
import type { ReadPoint } from '../../../src/timeline/run.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { MemoryTransport } from '../../support/writer-memory-transport.ts';

const NODES = TEST_NODES.map(({ nodeId }) => nodeId) as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const PAGES = [1, 2, 3, 4, 5, 6] as const;
const common = { random: nodeRandom, clock: nodeClock, timers: nodeTimers, logger: silentLogger };
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** An engine's place is taken by the log itself: what a reader sees is asked of that. */
interface LogEngine extends Engine {
  readonly log: OpenVolume;
}

const engineOver = (log: OpenVolume): LogEngine =>
  ({ log, status: () => ({ connections: 0 }), close: async () => {} }) as unknown as LogEngine;

class TestCluster {
  readonly transport = new MemoryTransport();
  directory!: VolumeDirectory;

  static async start(pgPages: number): Promise<TestCluster> {
    const cluster = new TestCluster();
    const { clients } = cluster.transport;
    closing.push(() => cluster.transport.close());
    const settings = { defaultPgPages: pgPages, lal: 1_000 };
    cluster.directory = await openDirectory({ ...common, clients, nodes: TEST_NODES, settings });
    closing.push(() => cluster.directory.close());
    await cluster.directory.createVolume('main');
    return cluster;
  }

  node(computeId: string): TestNode {
    const node = new TestNode(this, computeId);
    closing.push(() => node.close());
    return node;
  }

  async changeRetention(change: (value: RetentionValue) => RetentionValue): Promise<void> {
    const named = await this.directory.lookup('main');
    await this.directory.registers.changeVolume('retention', named!.volume, placeOf(named!), (bytes) =>
      encodeRetention(change(decodeRetention(bytes!))),
    );
  }
}

/** A compute node without engines. */
class TestNode {
  readonly timelines: TimelinesOnNode;
  readonly #cluster: TestCluster;
  readonly #computeId: string;
  readonly #links: StorageLinks;
  #registry: VolumeRegistry;
  /** As the timelines are to see the volume's log. */
  present = (log: AdministeredVolume): AdministeredVolume => log;
  #rewindTo: Pick<ReadPoint, 'run' | 'lsn'> | null = null;

  constructor(cluster: TestCluster, computeId: string) {
    const { directory, transport } = cluster;
    const { clients } = transport;
    this.#cluster = cluster;
    this.#computeId = computeId;
    this.#links = StorageLinks.open({
      ...common,
      clients,
      clusterId: directory.cluster.clusterId,
      computeId,
      computeUrl: `http://127.0.0.1:1/${computeId}`,
    });
    this.#registry = this.#newRegistry();
    this.timelines = new TimelinesOnNode({
      ...common,
      computeId,
      directory,
      clients,
      holders: httpHolderAccess(null),
      links: this.#links,
      lookup: async (name) => (await directory.lookup(name))!,
      openHere: (name) => {
        const opening = this.#registry.peek(name);
        if (opening === null) return null;
        return opening.then((opened) => ({ ...opened, log: this.present(opened.log) }));
      },
      volume: (name) => this.#registry.get(name),
      holdPast: (key, open) => this.#registry.holdPast(key, open),
      endPasts: (prefix, reason) => this.#registry.endPasts(prefix, reason),
      openPastEngine: async (log) => engineOver(log),
      closeHere: (name, reason) => this.#registry.end(name, reason),
      rewind: async (name, target, reason) => {
        this.#rewindTo = target;
        const { log } = await this.#registry.replace(name, reason, () => this.#open());
        this.#rewindTo = null;
        const { runs, volume } = log.past.manifest;
        return { leftAtLsn: leftBehind(runs, volume) };
      },
      holder: async (named) => {
        const deadlineMs = nodeClock.now().monotonicMs + 2_000;
        return (
          await surveyVolume({ ...common, name: named, cluster: directory.cluster, clients, deadlineMs })
        ).holder;
      },
    });
  }

  async #open(): Promise<OpenedVolume> {
    const rewindTo = this.#rewindTo;
    const { directory, transport } = this.#cluster;
    const { cluster } = directory;
    const { clients } = transport;
    const name = (await directory.lookup('main'))!;
    const takenOver = await takeOverVolume({
      ...common,
      name,
      cluster,
      clients,
      computeId: this.#computeId,
      force: rewindTo !== null,
      rewindTo,
      crc32: nodeCrc32,
    });
    const log = openVolume({
      ...common,
      takenOver,
      cluster: () => cluster,
      links: this.#links,
      crc32: nodeCrc32,
    });
    return { name: 'main', log, engine: engineOver(log) };
  }

  async volume(): Promise<OpenVolume> {
    return (await this.#registry.get('main')).log;
  }

  async commit(fill: number, ...pages: number[]): Promise<Lsn> {
    const log = await this.volume();
    const body = new Uint8Array(4096).fill(fill);
    const { cpl } = log.submit({
      changes: pages.map((page) => ({ page: page as PageNumber, kind: 'image' as const, body })),
    });
    await log.whenDurable(cpl);
    return cpl;
  }

  get hasOpen(): boolean {
    return this.#registry.opened().length > 0;
  }

  /** As after a restart: the next use takes the volume over. */
  async letGo(): Promise<void> {
    await this.#registry.close();
    this.#registry = this.#newRegistry();
  }

  async rewind(text: string): Promise<void> {
    await this.timelines.backtrack('main', parseMoment(text));
  }

  #newRegistry(): VolumeRegistry {
    return new VolumeRegistry({ open: () => this.#open(), maxOpenVolumes: 20, logger: silentLogger });
  }

  async close(): Promise<void> {
    this.timelines.close();
    await this.#registry.close();
    this.#links.close();
  }
}

/** First bytes of the pages, null: never written. */
async function seen(log: OpenVolume): Promise<(number | null)[]> {
  const versions = await log.readPages(
    log.vdl,
    PAGES.map((page) => page as PageNumber),
  );
  return versions.map(({ lsn, data }) => (lsn === 0 ? null : (data[0] ?? null)));
}

const seenAt = (moment: OpenedMoment): Promise<(number | null)[]> => seen((moment.engine as LogEngine).log);

/** Where the clock stands; later stamps are later. */
async function markTime(): Promise<string> {
  await pause(2);
  const at = new Date(nodeClock.now().wallMicros / 1_000).toISOString();
  await pause(2);
  return at;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('moments', () => {
  it('show what was seen then, over protection groups, writers, and returns to older moments', async () => {
    const cluster = await TestCluster.start(2);
    const [writer, reader] = [cluster.node('c1'), cluster.node('c2')];
    const diary: { readonly at: string; readonly lsn: Lsn; readonly pages: (number | null)[] }[] = [];
    const note = async (): Promise<void> => {
      const log = await writer.volume();
      diary.push({ at: await markTime(), lsn: log.vdl, pages: await seen(log) });
    };
    await writer.volume();
    await note();
    for (let round = 1; round <= 4; round += 1) {
      for (let fill = 0; fill < 3; fill += 1) {
        await writer.commit(round * 10 + fill, 1 + ((round + fill) % 6), 1 + ((round * fill) % 6));
        await note();
      }
      if (round === 2) await writer.rewind(`lsn:${diary[2]!.lsn}`);
      // Forward again, onto what was rewound.
      else if (round === 3) await writer.rewind(`lsn:${diary[6]!.lsn}`);
      else await writer.letGo();
      await note();
    }
    expect(diary[8]!.pages).toEqual(diary[2]!.pages);
    expect(diary[12]!.pages).toEqual(diary[6]!.pages);
    for (const node of [writer, reader]) {
      for (const { at, lsn, pages } of diary.slice(0, node === reader ? -1 : undefined)) {
        for (const text of [at, `lsn:${lsn}`]) {
          const moment = await node.timelines.open('main', parseMoment(text));
          expect(await seenAt(moment), text).toEqual(pages);
          moment.release();
        }
      }
    }
  }, 60_000);

  it('that show the same share what is opened for them', async () => {
    const cluster = await TestCluster.start(8);
    const node = cluster.node('c1');
    const lsn = await node.commit(1, 1);
    const at = await markTime();
    await node.letGo();
    const start = (await node.volume()).vdl;
    expect(start).toBeGreaterThan(lsn);
    const open = (text: string) => node.timelines.open('main', parseMoment(text));
    const [byLsn, byTime, byStart] = await Promise.all([open(`lsn:${lsn}`), open(at), open(`lsn:${start}`)]);
    expect(byTime.engine).toBe(byLsn.engine);
    expect(byStart.engine).toBe(byLsn.engine);
    expect(byStart.committedAtMicros).toBe(byLsn.committedAtMicros);
  }, 30_000);

  it('in closed runs are named without a writer; what may be newer than anybody knows is taken over first', async () => {
    const cluster = await TestCluster.start(8);
    const first = cluster.node('c1');
    const lsn = await first.commit(1, 1);
    const at = await markTime();
    await first.letGo();
    const second = await first.commit(2, 1);
    await first.letGo();

    const other = cluster.node('c2');
    for (const text of [`lsn:${lsn}`, at]) {
      expect((await other.timelines.resolve('main', parseMoment(text))).point).toMatchObject({ lsn, run: 0 });
    }
    expect(other.hasOpen).toBe(false);
    expect((await other.timelines.resolve('main', parseMoment(`lsn:${second}`))).point).toMatchObject({
      lsn: second,
    });
    expect(other.hasOpen).toBe(true);
    const now = await other.timelines.resolve('main', null);
    expect(now.committedAtMicros).toBeGreaterThan(0);
    expect(now.point.lsn).toBe((await other.volume()).vdl);
  }, 30_000);

  it('are settled only when all that was stamped by then is durable', async () => {
    const cluster = await TestCluster.start(8);
    const node = cluster.node('c1');
    const early = await node.commit(1, 1);
    const before = await markTime();
    const late = await node.commit(2, 1);
    const at = await markTime();
    // As if the quorum of the second were still on its way, until somebody waits for it.
    let isWaitedFor = false;
    const waitFor = async (lsn: Lsn): Promise<void> => {
      isWaitedFor = lsn === late;
    };
    node.present = (log) =>
      new Proxy(log, {
        get: (target, property) => {
          if (property === 'vdl' && !isWaitedFor) return early;
          if (property === 'whenDurable') return waitFor;
          const value: unknown = Reflect.get(target, property, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    const resolve = async (text: string) =>
      (await node.timelines.resolve('main', parseMoment(text))).point.lsn;
    expect(await resolve(`lsn:${early}`)).toBe(early);
    expect(isWaitedFor).toBe(false);
    expect(await resolve(before)).toBe(early);
    isWaitedFor = false;
    expect(await resolve(at)).toBe(late);
    expect(isWaitedFor).toBe(true);
  }, 30_000);

  it('a while of nothing ago takes in what was acknowledged just before', async () => {
    const cluster = await TestCluster.start(8);
    const node = cluster.node('c1');
    for (let fill = 1; fill <= 5; fill += 1) {
      const cpl = await node.commit(fill, 1);
      expect((await node.timelines.resolve('main', parseMoment('-0s'))).point.lsn).toBe(cpl);
    }
    await pause(1_100);
    const last = await node.commit(6, 1);
    const undone = await node.timelines.backtrack('main', parseMoment('-0s'));
    expect(undone).toMatchObject({ to: { point: { lsn: last } }, undo: `lsn:${last}` });
  }, 30_000);

  it('that are pinned in the open run are read on a compute node that does not write', async () => {
    const cluster = await TestCluster.start(2);
    const [writer, reader] = [cluster.node('c1'), cluster.node('c2')];
    await writer.commit(1, 1, 4);
    await writer.commit(2, 1);
    // Its last record is far above the other protection groups' last.
    const { point } = await writer.timelines.resolve('main', null);
    await cluster.changeRetention((value) => ({ ...value, pins: [{ name: 'snapshot:kept', point }] }));
    await writer.commit(3, 1, 4);
    const moment = await reader.timelines.open('main', parseMoment('kept'));
    expect(await seenAt(moment)).toEqual([2, null, null, 1, null, null]);
    expect(reader.hasOpen).toBe(false);
  }, 30_000);

  it('outside the window are gone, and the window is named; a pin keeps one', async () => {
    const cluster = await TestCluster.start(8);
    const node = cluster.node('c1');
    const lsns: Lsn[] = [];
    for (let fill = 1; fill <= 5; fill += 1) lsns.push(await node.commit(fill, 1));
    const resolve = (text: string) => node.timelines.resolve('main', parseMoment(text));
    const pinned = (await resolve(`lsn:${lsns[1]}`)).point;
    const floor = lsns[3]!;
    const stamp = (await resolve(`lsn:${floor}`)).committedAtMicros!;
    await cluster.changeRetention((value) => ({
      ...value,
      floor,
      pins: [{ name: 'snapshot:kept', point: pinned }],
    }));
    await expect(resolve(`lsn:${lsns[2]}`)).rejects.toMatchObject({
      code: 'GONE',
      message: expect.stringContaining(`lsn:${floor}, ${new Date(stamp / 1_000).toISOString().slice(0, 19)}`),
    });
    await expect(resolve(`lsn:${floor}`)).resolves.toMatchObject({ point: { lsn: floor } });
    await expect(resolve(`lsn:${lsns[1]}`)).resolves.toMatchObject({ point: pinned });
    await expect(resolve('kept')).resolves.toMatchObject({ point: pinned });
    await expect(resolve('lost')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' });
  }, 30_000);

  it('after a return to a point that is collected by now are read all the same', async () => {
    const cluster = await TestCluster.start(8);
    const node = cluster.node('c1');
    const early = await node.commit(1, 1);
    const late = await node.commit(2, 1, 2);
    await node.rewind(`lsn:${early}`);
    const between = await markTime();
    await node.commit(3, 2);
    // Opened while it was kept: no engine for who asks for the run's start later.
    const target = await node.timelines.open('main', parseMoment(`lsn:${early}`));
    const start = await node.timelines.open('main', parseMoment(between));
    expect(start.engine).not.toBe(target.engine);
    // The window begins after the return: the point returned to lies below it, and is what the run shows at its start.
    await cluster.changeRetention((value) => ({ ...value, floor: (late + 1) as Lsn }));
    await node.letGo();
    await node.volume();
    const moment = await node.timelines.open('main', parseMoment(between));
    expect(await seenAt(moment)).toEqual([1, null, null, null, null, null]);
    await expect(node.timelines.resolve('main', parseMoment(`lsn:${early}`))).rejects.toMatchObject({
      code: 'GONE',
    });
  }, 30_000);

  it('are read from other nodes while some lag behind or are away', async () => {
    const cluster = await TestCluster.start(2);
    const node = cluster.node('c1');
    await node.commit(1, 1, 4);
    cluster.transport.cutOff(NODES[1]);
    cluster.transport.crash(NODES[4]);
    const lsn = await node.commit(2, 1);
    const moment = await node.timelines.open('main', parseMoment(`lsn:${lsn}`));
    expect(await seenAt(moment)).toEqual([2, null, null, 1, null, null]);
    cluster.transport.bringBack(NODES[1]);
    cluster.transport.crash(NODES[0]);
    expect(await seenAt(moment)).toEqual([2, null, null, 1, null, null]);
  }, 30_000);
});
