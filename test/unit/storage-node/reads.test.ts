import { describe, expect, test } from 'vitest';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import type { Lsn, NodeId, RunId } from '../../../src/log/lsn.ts';
import { IMAGE, KIND, parseKey, parsePageKey } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;

function opened(limits: ConstructorParameters<typeof StorageCluster>[0] = {}) {
  const cluster = new StorageCluster(limits);
  const volume = new TestVolume('vol00000', { pgPages: 64 });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (count: number, pages: number) => {
    const records = volume.writeMany(count, pages);
    for (const node of cluster.nodeIds) {
      cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    }
  };
  return { cluster, volume, append };
}

/** As if the pages found damaged had been repaired: the tests put back themselves what they damaged. */
function forgetDoubts(cluster: StorageCluster): void {
  for (const segment of cluster.core(NODE)?.segments.all() ?? []) segment.doubts.clear();
}

describe('page reads', () => {
  test('say why not: BEHIND, CUT, GONE, unless pinned, BAD_REQUEST, TOO_LARGE', () => {
    const { cluster, volume, append } = opened();
    append(10, 4);
    const code = (request: ReturnType<TestVolume['readPages']>) =>
      cluster.ask(NODE, 'readPages', request).refusal?.code ?? 'served';
    const at = (lsn: number, run = 0) => ({ lsn: lsn as Lsn, run: run as RunId });
    expect(code(volume.readPages([1], { ...at(10), requiredScl: 11 as Lsn }))).toBe('BEHIND');
    expect(code(volume.readPages([1], at(10, 3)))).toBe('BEHIND');
    expect(code(volume.readPages([70], at(10)))).toBe('BAD_REQUEST');
    expect(
      code(
        volume.readPages(
          Array.from({ length: 201 }, () => 1),
          at(10),
        ),
      ),
    ).toBe('TOO_LARGE');
    volume.takeOver('w2');
    const pins = [{ name: 'p', point: { volume: volume.volume, run: 0 as RunId, lsn: 4 as Lsn } }];
    cluster.ask(NODE, 'fence', volume.fence());
    cluster.ask(NODE, 'install', volume.install(0, volume.retention(6, pins)));
    expect(code(volume.readPages([1], { ...at(11), requiredScl: 10 as Lsn }))).toBe('CUT');
    expect(code(volume.readPages([1], at(5)))).toBe('GONE');
    expect(code(volume.readPages([1], at(4)))).toBe('served');
    expect(code(volume.readPages([1], at(6)))).toBe('served');
    // The end of a closed run is read as long as the run that goes on from it.
    cluster.ask(NODE, 'install', volume.install(0, volume.retention(100, pins)));
    expect(code(volume.readPages([1], at(10)))).toBe('served');
    expect(code(volume.readPages([1], at(9)))).toBe('GONE');
  });

  test('the tail that the segment knows is required even if the asker does not know it', () => {
    const { cluster, volume, append } = opened();
    append(4, 4);
    volume.writeMany(2, 4);
    const late = volume.append([], { vdl: 6 as Lsn });
    cluster.cut(NODE, TEST_NODES[1]?.nodeId as NodeId);
    expect(cluster.ask(NODE, 'append', late).scl).toBe(4);
    const request = volume.readPages([1], { lsn: 6 as Lsn, requiredScl: 0 as Lsn });
    expect(cluster.ask(NODE, 'readPages', request).refusal?.code).toBe('BEHIND');
  });

  test('a page that was never written is told as such', () => {
    const { cluster, volume, append } = opened();
    append(4, 4);
    const reply = cluster.ask(NODE, 'readPages', volume.readPages([60, 2], { lsn: 4 as Lsn }));
    expect(reply.pages.map(({ page, lsn, data }) => [page, lsn, data.length])).toEqual([
      [60, 0, 0],
      [2, expect.any(Number), PAGE_SIZE_BYTES],
    ]);
  });

  test('a scan over many neighbouring pages, some with long histories, some with none', () => {
    const { cluster, volume, append } = opened({ limits: { roundAgeMs: 50, chainRecords: 3 } });
    append(40, 30);
    for (let i = 0; i < 6; i += 1) {
      append(20, 3);
      cluster.advance(200);
    }
    append(10, 40);
    cluster.advance(500);
    const lsn = volume.lastLsn;
    const pages = Array.from({ length: 48 }, (_, i) => i + 1);
    const reply = cluster.ask(NODE, 'readPages', volume.readPages(pages, { lsn }));
    expect(reply.refusal).toBeNull();
    for (const { page, data } of reply.pages) {
      const expected =
        volume.replay({ volume: volume.volume, run: 0 as RunId, lsn }, page) ?? new Uint8Array(0);
      expect(Buffer.compare(data, expected), `page ${page}`).toBe(0);
    }
  });

  test('a clone shows its parent beneath its own records, as it was at the branch point', () => {
    const { cluster, volume, append } = opened({
      limits: { roundAgeMs: 50, chainRecords: 3 },
      nodes: TEST_NODES.slice(0, 1),
    });
    append(12, 4);
    cluster.advance(300);
    append(6, 4);
    const at = { run: 0 as RunId, lsn: 15 as Lsn };
    const clone = new TestVolume('clone000', { pgPages: 64, cloneOf: { of: volume, ...at } });
    append(6, 4);
    cluster.ask(NODE, 'install', clone.install());
    const check = () => {
      for (const lsn of [0, 1, 3, clone.lastLsn] as Lsn[]) {
        const reply = cluster.ask(NODE, 'readPages', clone.readPages([1, 2, 3, 4, 5], { lsn }));
        expect(reply.refusal).toBeNull();
        for (const { page, data } of reply.pages) {
          const expected =
            clone.replay({ volume: clone.volume, run: 0 as RunId, lsn }, page) ?? new Uint8Array(0);
          expect(Buffer.compare(data, expected), `page ${page} at ${lsn}`).toBe(0);
        }
      }
    };
    for (let i = 0; i < 5; i += 1) {
      const records = [1, 3, 1].map((page) => clone.write(page, 60 + i));
      cluster.ask(NODE, 'append', clone.append(records));
      cluster.ask(NODE, 'append', clone.append([], { vdl: clone.lastLsn }));
      check();
      cluster.advance(300);
      check();
    }
    // Its chains are cut short like any others, although they begin in the parent.
    const images = [...cluster.disk(NODE).entries()].filter(
      ([key]) =>
        key[0] === KIND.page && parsePageKey(key).kind === IMAGE && parseKey(key)?.volume === clone.volume,
    );
    expect(images.length).toBeGreaterThan(0);
  });

  test('a clone is served only where its parent is, complete to the branch point', () => {
    const { cluster, volume } = opened({ nodes: TEST_NODES.slice(0, 1) });
    const [first, , third] = [volume.writeMany(4, 4), volume.writeMany(2, 4), volume.writeMany(2, 4)];
    cluster.ask(NODE, 'append', volume.append(first ?? []));
    cluster.ask(NODE, 'append', volume.append(third ?? []));
    const code = (parent: TestVolume, lsn: number) => {
      const cloneOf = { of: parent, run: 0 as RunId, lsn: lsn as Lsn };
      const clone = new TestVolume(`clone${parent.volume}${lsn}`, { pgPages: 64, cloneOf });
      cluster.ask(NODE, 'install', clone.install());
      return (
        cluster.ask(NODE, 'readPages', clone.readPages([1], { lsn: 0 as Lsn })).refusal?.code ?? 'served'
      );
    };
    expect(code(volume, 4)).toBe('served');
    expect(code(volume, 7)).toBe('BEHIND');
    expect(code(new TestVolume('elsewhere', { pgPages: 64 }), 1)).toBe('NO_SEGMENT');
  });

  test('chains at the head stay short in page form, whatever was written', () => {
    const { cluster, volume, append } = opened({ limits: { roundAgeMs: 50 } });
    for (let i = 0; i < 12; i += 1) {
      append(60, 3);
      cluster.advance(100);
    }
    cluster.advance(500);
    const images = new Map<number, number>();
    const newest = new Map<number, number>();
    const core = cluster.core(NODE);
    for (const [key, value] of cluster.disk(NODE).entries()) {
      if (key[0] !== KIND.page) continue;
      const { page, lsn, kind } = parsePageKey(key);
      if (kind === 1) images.set(page, Math.max(images.get(page) ?? 0, lsn));
      else {
        for (const record of core?.values.decodeBundle(key, value).records ?? []) {
          newest.set(page, Math.max(newest.get(page) ?? 0, record.lsn));
        }
      }
    }
    for (const [page, lsn] of newest) {
      const since = volume.log.filter(
        ({ record }) => record.page === page && record.lsn > (images.get(page) ?? 0) && record.lsn <= lsn,
      );
      expect(since.length, `page ${page}`).toBeLessThanOrEqual(16);
    }
  });
});

describe('damage', () => {
  function coalesced() {
    const made = opened({
      limits: { roundAgeMs: 50, chainRecords: 3, keptImageDeltaBytes: 1_000_000, pageCacheBytes: 1 },
    });
    for (let i = 0; i < 5; i += 1) {
      made.append(12, 4);
      made.cluster.advance(200);
    }
    return made;
  }

  test('a flipped byte in any page entry, or an entry that is gone, is never an older or other page', () => {
    const { cluster, volume } = coalesced();
    const disk = cluster.disk(NODE);
    const lsn = volume.lastLsn;
    let refused = 0;
    const read = (page: number) => {
      const reply = cluster.ask(NODE, 'readPages', volume.readPages([page], { lsn }));
      if (reply.refusal !== null) {
        expect(reply.refusal.code).toBe('CORRUPT');
        refused += 1;
        forgetDoubts(cluster);
        return;
      }
      const expected = volume.replay({ volume: volume.volume, run: 0 as RunId, lsn }, page);
      expect(Buffer.compare(reply.pages[0]?.data ?? new Uint8Array(0), expected ?? new Uint8Array(0))).toBe(
        0,
      );
    };
    for (const [key, value] of [...disk.entries()]) {
      if (key[0] !== KIND.page) continue;
      const { page } = parsePageKey(key);
      for (const at of [0, 3, value.length >> 1, value.length - 1]) {
        const flipped = value.slice();
        flipped[at] = (flipped[at] as number) ^ 0x10;
        disk.put(key, flipped);
        read(page);
      }
      disk.delete(key);
      read(page);
      disk.put(key, value);
      read(page);
    }
    expect(refused).toBeGreaterThan(10);
  });

  test('entries that changed places, or are gone from the middle or the end of a page, are noticed', () => {
    const { cluster, volume } = opened({
      limits: { roundAgeMs: 50, pageCacheBytes: 1 },
      nodes: TEST_NODES.slice(0, 1),
    });
    for (let round = 0; round < 4; round += 1) {
      const records = [1, 2].map((page) => volume.write(page, 31 + round, { offset: 100 * round }));
      cluster.ask(NODE, 'append', volume.append(records));
      cluster.ask(NODE, 'append', volume.append([], { vdl: volume.lastLsn }));
      cluster.advance(200);
    }
    const disk = cluster.disk(NODE);
    const entries = (page: number) =>
      [...disk.entries()]
        .filter(([key]) => key[0] === KIND.page && parsePageKey(key).page === page)
        .sort(([a], [b]) => parsePageKey(a).lsn - parsePageKey(b).lsn);
    const code = (page: number) =>
      cluster.ask(NODE, 'readPages', volume.readPages([page], { lsn: volume.lastLsn })).refusal?.code ??
      'served';
    const ones = entries(1);
    expect(ones.length).toBe(4);
    expect(code(1)).toBe('served');
    for (const [key, value] of ones) {
      disk.delete(key);
      expect(code(1), `without the entry at ${parsePageKey(key).lsn}`).toBe('CORRUPT');
      forgetDoubts(cluster);
      disk.put(key, value);
    }
    const [one, two] = [entries(1)[0], entries(2)[0]];
    if (one === undefined || two === undefined) throw new Error('no entries');
    disk.put(one[0], two[1]);
    expect(code(1)).toBe('CORRUPT');
    forgetDoubts(cluster);
    disk.put(one[0], one[1]);
    expect(code(1)).toBe('served');
    // Without memory of the page's head the backlinks still tell of a hole in the middle.
    cluster.restart(NODE);
    cluster.pump();
    forgetDoubts(cluster);
    const [middle] = ones[2] ?? [];
    disk.delete(middle as Uint8Array);
    expect(code(1)).toBe('CORRUPT');
  });

  test('after a lost round its records are coalesced anew, and what rounds behind it left is replaced', () => {
    const limits = { roundAgeMs: 50, chainRecords: 3, pageCacheBytes: 1 };
    const { cluster, volume } = opened({ limits, nodes: TEST_NODES.slice(0, 1) });
    const round = (count: number) => {
      const records = Array.from({ length: count }, (_, i) =>
        volume.write(1, 31 + i, { offset: 10 * volume.lastLsn }),
      );
      cluster.call(NODE, 'append', volume.append(records));
      cluster.call(NODE, 'append', volume.append([], { vdl: volume.lastLsn }));
    };
    for (const count of [1, 2, 2]) {
      round(count);
      cluster.advance(200);
    }
    // The second of three rounds is lost; the third left a bundle and an image.
    cluster.restart(NODE, { loseWrite: 1 });
    round(2);
    cluster.advance(1_000);
    const segment = cluster.core(NODE)?.segments.get(volume.volume, 0 as never);
    expect(segment?.coalesced).toBe(7);
    for (let lsn = 1; lsn <= 7; lsn += 1) {
      const reply = cluster.ask(NODE, 'readPages', volume.readPages([1], { lsn: lsn as Lsn }));
      expect(reply.refusal).toBeNull();
      const expected = volume.replay({ volume: volume.volume, run: 0 as RunId, lsn: lsn as Lsn }, 1);
      expect(
        Buffer.compare(reply.pages[0]?.data ?? new Uint8Array(0), expected ?? new Uint8Array(0)),
        `at ${lsn}`,
      ).toBe(0);
    }
  });

  test('damaged chunks are not passed on, and after a restart they count as maybe acknowledged', () => {
    const { cluster, volume, append } = opened();
    append(6, 4);
    const records = volume.writeMany(2, 4);
    cluster.ask(NODE, 'append', volume.append(records));
    const disk = cluster.disk(NODE);
    for (const [key, value] of [...disk.entries()]) {
      if (key[0] !== KIND.chunk) continue;
      const flipped = value.slice();
      flipped[flipped.length - 3] = (flipped[flipped.length - 3] as number) ^ 1;
      disk.put(key, flipped);
    }
    cluster.restart(NODE);
    cluster.pump();
    for (const other of TEST_NODES.slice(1)) cluster.cut(NODE, other.nodeId);
    // The journal still has them: nothing is lost.
    expect(cluster.ask(NODE, 'fence', volume.fence())).toMatchObject({ intact: true, scl: 8 });
  });

  test('what neither store nor journal has, though it was acknowledged, means quarantine until the peers have given it', () => {
    const { cluster, volume, append } = opened({ ringEntries: 1 });
    append(6, 4);
    // An entry after it: the journal's ring has forgotten the append.
    cluster.ask(NODE, 'append', volume.append([]));
    const disk = cluster.disk(NODE);
    for (const [key] of [...disk.entries()]) if (key[0] === KIND.chunk) disk.delete(key);
    cluster.restart(NODE);
    cluster.pump();
    for (const other of TEST_NODES.slice(1)) cluster.cut(NODE, other.nodeId);
    cluster.advance(600);
    expect(cluster.ask(NODE, 'fence', volume.fence())).toMatchObject({ intact: false, scl: 0, watermark: 6 });
    const next = volume.append(volume.writeMany(1, 4));
    expect(cluster.ask(NODE, 'append', next).refusal?.code).toBe('QUARANTINED');
    const request = volume.readPages([1], { lsn: 6 as Lsn });
    expect(cluster.ask(NODE, 'readPages', request).refusal?.code).toBe('QUARANTINED');
    cluster.heal();
    cluster.advance(2_000);
    expect(cluster.ask(NODE, 'fence', volume.fence())).toMatchObject({ intact: true, scl: 6 });
    expect(cluster.ask(NODE, 'append', next).scl).toBe(7);
  });

  test('a quarantine also ends when a committed manifest cuts what is missing', () => {
    const { cluster, volume, append } = opened({ ringEntries: 1 });
    append(6, 4);
    const ghosts = volume.writeMany(2, 4);
    cluster.ask(NODE, 'append', volume.append(ghosts));
    cluster.ask(NODE, 'append', volume.append([]));
    const disk = cluster.disk(NODE);
    const chunks = [...disk.entries()].filter(([key]) => key[0] === KIND.chunk);
    disk.delete((chunks[chunks.length - 1] as (typeof chunks)[number])[0]);
    cluster.restart(NODE);
    cluster.pump();
    for (const other of TEST_NODES.slice(1)) cluster.cut(NODE, other.nodeId);
    expect(cluster.ask(NODE, 'fence', volume.fence())).toMatchObject({ intact: false, watermark: 8 });
    volume.takeOver('w2', 6 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    cluster.call(NODE, 'install', volume.install());
    cluster.advance(600);
    expect(cluster.ask(NODE, 'fence', volume.fence())).toMatchObject({ intact: true, scl: 6, watermark: 6 });
  });
});
