/** The open volume with all its drivers, against real storage-node cores over a transport in memory, in real time. */
import { afterEach, describe, expect, it } from 'vitest';
import { openDirectory } from '../../../compute-node/driver/directory.ts';
import { openVolume } from '../../../compute-node/driver/open-volume.ts';
import { StorageLinks } from '../../../compute-node/driver/storage-links.ts';
import { takeOverVolume } from '../../../compute-node/driver/take-over.ts';
import type { OpenVolume } from '../../../compute-node/volume/open-volume.ts';
import type { WriterLimits } from '../../../compute-node/volume/writer-types.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import type { Clock } from '../../../src/env/env.ts';
import type { Lsn, NodeId, PageNumber } from '../../../src/log/lsn.ts';
import type { Mtr } from '../../../src/log/record.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { MemoryTransport } from '../../support/writer-memory-transport.ts';

const NODES = TEST_NODES.map(({ nodeId }) => nodeId) as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const open: { close(): void }[] = [];

afterEach(() => {
  for (const thing of open.splice(0).reverse()) thing.close();
});

interface Setting {
  readonly pgPages?: number;
  readonly lal?: number;
  readonly windowMs?: number;
}

type Links = { links?: StorageLinks; volumeName?: string };

async function cluster(setting: Setting = {}) {
  const transport = new MemoryTransport();
  open.push(transport);
  const common = {
    clients: transport.clients,
    random: nodeRandom,
    clock: nodeClock,
    timers: nodeTimers,
    logger: silentLogger,
  };
  const directory = await openDirectory({
    ...common,
    nodes: TEST_NODES,
    settings: { defaultPgPages: setting.pgPages ?? 64, lal: setting.lal ?? 10_000 },
  });
  open.push(directory);
  const linksOf = (computeId: string, clock: Clock = nodeClock): StorageLinks => {
    const links = StorageLinks.open({
      clients: transport.clients,
      clusterId: directory.cluster.clusterId,
      computeId,
      computeUrl: `http://${computeId}`,
      clock,
      timers: nodeTimers,
    });
    open.push(links);
    return links;
  };
  const openWriter = async (
    computeId: string,
    options: Links & { clock?: Clock; commitTimeoutMs?: number; writerLimits?: Partial<WriterLimits> } = {},
  ): Promise<OpenVolume> => {
    const { clock = nodeClock, volumeName = 'main' } = options;
    const name =
      (await directory.lookup(volumeName)) ??
      (await directory.createVolume(volumeName, {
        ...(setting.windowMs === undefined ? {} : { windowMs: setting.windowMs }),
      }));
    const takenOver = await takeOverVolume({
      ...common,
      name,
      cluster: directory.cluster,
      computeId,
      force: true,
      crc32: nodeCrc32,
    });
    const volume = openVolume({
      takenOver,
      cluster: () => directory.cluster,
      ...common,
      crc32: nodeCrc32,
      ...options,
      links: options.links ?? linksOf(computeId, clock),
      clock,
    });
    open.push({ close: () => void volume.close() });
    return volume;
  };
  return { transport, openWriter, linksOf };
}

const page = (n: number) => n as PageNumber;

/** An MTR of whole pages filled with `fill`. */
function fill(fillByte: number, ...pages: number[]): Mtr {
  return {
    changes: pages.map((n) => ({
      page: page(n),
      kind: 'image',
      body: new Uint8Array(4096).fill(fillByte),
    })),
  };
}

async function commit(volume: OpenVolume, mtr: Mtr): Promise<Lsn> {
  const { cpl } = volume.submit(mtr);
  await volume.whenDurable(cpl);
  return cpl;
}

async function readByte(volume: OpenVolume, at: Lsn, n: number): Promise<number | null> {
  const [version] = await volume.readPages(at, [page(n)]);
  return version!.lsn === 0 ? null : version!.data[17]!;
}

async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  const late = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > late) throw new Error('it did not come to pass');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('an open volume', () => {
  it('commits, and reads every page as of every LSN, over a reopening too', async () => {
    const { openWriter } = await cluster();
    const first = await openWriter('c1');
    expect(await readByte(first, first.vdl, 1)).toBeNull();
    const at1 = await commit(first, fill(1, 1, 2));
    const at2 = await commit(first, fill(2, 2, 3));
    const seen = async (volume: OpenVolume, at: Lsn) => {
      const versions = await volume.readPages(at, [3, 1, 2, 4].map(page));
      return versions.map(({ lsn, data }) => (lsn === 0 ? null : data[17]));
    };
    expect(await seen(first, at1)).toEqual([null, 1, 1, null]);
    expect(await seen(first, at2)).toEqual([2, 1, 2, null]);
    await first.close();

    const second = await openWriter('c1');
    expect(second.headLsn).toBe(second.vdl);
    expect(second.vdl).toBeGreaterThan(at2);
    expect(await seen(second, second.vdl)).toEqual([2, 1, 2, null]);
    expect(await seen(second, at1)).toEqual([null, 1, 1, null]);
    await commit(second, fill(3, 1));
    expect(await seen(second, second.vdl)).toEqual([2, 3, 2, null]);
    expect(await seen(second, at2)).toEqual([2, 1, 2, null]);
  });

  it('shares its process’s streams with others, and with its own successor', async () => {
    const { openWriter, linksOf } = await cluster();
    const links = linksOf('c1');
    const main = await openWriter('c1', { links });
    const other = await openWriter('c1', { links, volumeName: 'other' });
    for (let n = 1; n <= 20; n++) {
      await Promise.all([commit(main, fill(n, 1)), commit(other, fill(100 + n, 1))]);
    }
    expect([await readByte(main, main.vdl, 1), await readByte(other, other.vdl, 1)]).toEqual([20, 120]);
    await until(() => main.status().hasReadLease && other.status().hasReadLease);

    const again = await openWriter('c1', { links });
    await expect(main.confirmReadable()).rejects.toMatchObject({ code: 'DEPOSED' });
    await commit(again, fill(50, 1));
    expect(await readByte(again, again.vdl, 1)).toBe(50);
    await commit(other, fill(130, 1));
    await other.confirmReadable();
  });

  it('grows under load with tiny protection groups', async () => {
    const { openWriter } = await cluster({ pgPages: 2 });
    const volume = await openWriter('c1');
    const waits: Promise<void>[] = [];
    for (let n = 1; n <= 40; n++) {
      await volume.whenWritable(5_000);
      const { cpl } = volume.submit(fill(n, n, Math.max(1, n - 5)));
      waits.push(volume.whenDurable(cpl));
      if (n % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(waits);
    expect(volume.status().pgCount).toBeGreaterThanOrEqual(20);
    const pages = Array.from({ length: 45 }, (_, i) => page(i + 1));
    const versions = await volume.readPages(volume.vdl, pages);
    const bytes = versions.map(({ lsn, data }) => (lsn === 0 ? null : data[17]));
    expect(bytes.slice(0, 35)).toEqual(Array.from({ length: 35 }, (_, i) => i + 6));
    expect(bytes.slice(40)).toEqual([null, null, null, null, null]);
  });

  it('tells VDL to its listeners and the nodes’ state to its status', async () => {
    const { openWriter } = await cluster();
    const volume = await openWriter('c1');
    const heard: number[] = [];
    volume.onVdl((vdl) => heard.push(vdl));
    const cpl = await commit(volume, fill(1, 1));
    expect(heard.at(-1)).toBe(cpl);
    await until(() => volume.status().nodes.every(({ scls }) => scls[0]?.scl === cpl));
    const status = volume.status();
    expect(status).toMatchObject({ name: 'main', vdl: cpl, vcl: cpl, headLsn: cpl, pgCount: 1 });
    expect(
      status.nodes.map(({ nodeId, az, connected, lagRecords }) => [nodeId, az, connected, lagRecords]),
    ).toEqual(NODES.map((nodeId) => [nodeId, nodeId.slice(0, 3), true, 0]));
  });

  it('raises the floor as the window moves on, and storage lets go of what lies below', async () => {
    const { openWriter } = await cluster({ windowMs: 1_000 });
    const volume = await openWriter('c1');
    const early = await commit(volume, fill(1, 1));
    for (let n = 2; n < 40; n++) {
      await commit(volume, fill(n, 1));
      volume.reportReadPoint(volume.vdl);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await until(() => volume.status().floor > early);
    expect(await readByte(volume, volume.vdl, 1)).toBe(39);
    await expect(
      (async () => {
        for (;;) {
          await volume.readPages(early, [page(1)]);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      })(),
    ).rejects.toMatchObject({ code: 'GONE' });
  }, 20_000);
});

describe('storage nodes that fail', () => {
  it('two of six are not missed; they catch up when they are back', async () => {
    const { transport, openWriter } = await cluster();
    const volume = await openWriter('c1');
    await commit(volume, fill(1, 1));
    transport.crash(NODES[1]);
    transport.cutOff(NODES[4]);
    for (let n = 2; n < 30; n++) await commit(volume, fill(n, 1, n));
    expect(await readByte(volume, volume.vdl, 1)).toBe(29);
    transport.bringBack(NODES[1]);
    transport.bringBack(NODES[4]);
    await until(() => volume.status().nodes.every(({ scls }) => scls[0]?.scl === volume.headLsn));
    expect(volume.status().nodes.every(({ lagRecords }) => lagRecords === 0)).toBe(true);
  });

  it('with three of six gone commits end unknown, reads go on, and all goes on when one is back', async () => {
    const { transport, openWriter } = await cluster();
    const volume = await openWriter('c1', { commitTimeoutMs: 400, writerLimits: { stallMs: 300 } });
    await commit(volume, fill(1, 1));
    for (const node of [NODES[0], NODES[2], NODES[4]]) transport.crash(node);
    const { cpl } = volume.submit(fill(2, 1));
    await expect(volume.whenDurable(cpl)).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(volume.writable).toBe(false);
    await expect(volume.whenWritable(100)).rejects.toMatchObject({ code: 'NO_QUORUM' });
    await volume.confirmReadable();
    expect(await readByte(volume, volume.vdl, 1)).toBe(1);
    transport.bringBack(NODES[2]);
    await volume.whenWritable(5_000);
    await volume.whenDurable(cpl);
    expect(await readByte(volume, volume.vdl, 1)).toBe(2);
    await commit(volume, fill(3, 1));
  });

  it('with four of six gone no strong read is served', async () => {
    const { transport, openWriter } = await cluster();
    const volume = await openWriter('c1');
    await commit(volume, fill(1, 1));
    await until(() => volume.status().hasReadLease);
    for (const node of NODES.slice(0, 4)) transport.cutOff(node);
    await until(() => !volume.status().hasReadLease);
    let isConfirmed = false;
    const confirmed = volume.confirmReadable().then(() => {
      isConfirmed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isConfirmed).toBe(false);
    transport.bringBack(NODES[0]);
    await confirmed;
  });
});

describe('the read lease', () => {
  it('comes with the heartbeats and makes strong reads free of round trips', async () => {
    const { openWriter } = await cluster();
    const volume = await openWriter('c1');
    await until(() => volume.status().hasReadLease);
    await volume.confirmReadable();
  });

  it('is not used while the clocks diverge: reads are confirmed by a round then', async () => {
    const { openWriter } = await cluster();
    let jumpMicros = 0;
    const clock: Clock = {
      now: () => {
        // A wall clock that goes on too fast.
        const { monotonicMs, wallMicros } = nodeClock.now();
        return { monotonicMs, wallMicros: wallMicros + jumpMicros };
      },
      uptimeMs: nodeClock.uptimeMs,
    };
    const volume = await openWriter('c1', { clock });
    await until(() => volume.status().hasReadLease);
    jumpMicros = 10_000_000;
    expect(volume.status().hasReadLease).toBe(false);
    await volume.confirmReadable();
  });

  it('given back at closing, lets the next writer open without waiting for it to run out', async () => {
    const { openWriter } = await cluster();
    const first = await openWriter('c1');
    await commit(first, fill(1, 1));
    await until(() => first.status().hasReadLease);
    await first.close();
    const before = performance.now();
    await openWriter('c2');
    expect(performance.now() - before).toBeLessThan(300);
  });

  it('not given back, holds the next writer until no read can be served under it any more', async () => {
    const { openWriter } = await cluster();
    const first = await openWriter('c1');
    await commit(first, fill(1, 1));
    await until(() => first.status().hasReadLease);
    const opened = openWriter('c2');
    let servedUntil = 0;
    let isOpen = false;
    void opened.then(() => {
      isOpen = true;
    });
    while (!isOpen) {
      if (first.status().hasReadLease) servedUntil = performance.now();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(first.status().hasReadLease).toBe(false);
    expect(servedUntil).toBeGreaterThan(0);
    await expect(first.confirmReadable()).rejects.toMatchObject({ code: 'DEPOSED' });
  });
});

describe('a writer that lost its epoch', () => {
  it('hears of it, rejects what waits, and serves nothing more', async () => {
    const { openWriter } = await cluster();
    const old = await openWriter('c1');
    const kept = await commit(old, fill(1, 1));
    const reasons: Error[] = [];
    old.onDeposed((reason) => reasons.push(reason));
    const current = await openWriter('c2');
    const attempt = (async () => {
      const { cpl } = old.submit(fill(2, 1));
      await old.whenDurable(cpl);
    })();
    await expect(attempt).rejects.toMatchObject({ code: 'DEPOSED' });
    await until(() => reasons.length > 0);
    expect(reasons).toMatchObject([{ code: 'DEPOSED' }]);
    expect(old.writable).toBe(false);
    expect(() => old.submit(fill(3, 1))).toThrow(expect.objectContaining({ code: 'DEPOSED' }));
    await expect(old.whenWritable(1_000)).rejects.toMatchObject({ code: 'DEPOSED' });
    await expect(old.confirmReadable()).rejects.toMatchObject({ code: 'DEPOSED' });
    await expect(old.readPages(kept, [page(1)])).rejects.toMatchObject({ code: 'DEPOSED' });
    expect(await readByte(current, current.vdl, 1)).toBe(1);
    await commit(current, fill(4, 1));
    expect(await readByte(current, current.vdl, 1)).toBe(4);
  });
});

describe('closing', () => {
  it('waits for what was handed over, then takes nothing more', async () => {
    const { openWriter } = await cluster();
    const volume = await openWriter('c1');
    const { cpl } = volume.submit(fill(1, 1));
    const durable = volume.whenDurable(cpl);
    await volume.close();
    await durable;
    expect(volume.vdl).toBe(cpl);
    expect(() => volume.submit(fill(2, 1))).toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
    await expect(volume.confirmReadable()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await volume.close();
  });
});
