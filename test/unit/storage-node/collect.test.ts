import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, RunId } from '../../../src/log/lsn.ts';
import { KIND, parsePageKey, trailingLsn } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const LIMITS = {
  roundAgeMs: 50,
  chainRecords: 3,
  keptImageDeltaBytes: 20,
  collectIntervalMs: 100,
  roundsRemembered: 3,
};

function grown() {
  const cluster = new StorageCluster({ limits: LIMITS });
  const volume = new TestVolume('vol00000', { pgPages: 4 });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (count: number, nodes = cluster.nodeIds) => {
    const records = volume.writeMany(count, 4);
    for (const node of nodes) cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    cluster.advance(150);
  };
  const raise = (floor: number, pins: Parameters<TestVolume['retention']>[1] = []) => {
    for (const node of cluster.nodeIds) {
      cluster.call(node, 'install', volume.install(0, volume.retention(floor, pins)));
    }
    cluster.advance(8_000);
  };
  const keys = (kind: number) =>
    [...cluster.disk(NODE).entries()].map(([key]) => key).filter((key) => key[0] === kind);
  const pageLsns = () => keys(KIND.page).map((key) => parsePageKey(key).lsn);
  const chunkLsns = () => keys(KIND.chunk).map(trailingLsn);
  const isRight = (lsn: number, run = 0) => {
    const at = { run: run as RunId, lsn: lsn as Lsn };
    const reply = cluster.ask(NODE, 'readPages', volume.readPages([1, 2, 3, 4], at));
    if (reply.refusal !== null) return reply.refusal.code;
    return reply.pages.every(({ page, data }) => {
      const expected = volume.replay({ volume: volume.volume, ...at }, page) ?? new Uint8Array(0);
      return Buffer.compare(data, expected) === 0;
    });
  };
  return { cluster, volume, append, raise, pageLsns, chunkLsns, isRight };
}

describe('collection', () => {
  test('takes chunks and page history below the floor, and nothing that a point at or above it needs', () => {
    const { cluster, volume, append, raise, pageLsns, chunkLsns, isRight } = grown();
    for (let i = 0; i < 10; i += 1) append(12);
    const before = pageLsns().length;
    raise(100);
    expect(Math.min(...chunkLsns())).toBeGreaterThanOrEqual(100);
    expect(pageLsns().length).toBeLessThan(before / 2);
    for (let lsn = 100; lsn <= volume.lastLsn; lsn += 1) expect(isRight(lsn)).toBe(true);
    expect(isRight(99)).toBe('GONE');
    // The log begins in the middle now, and so does the remembered chain of rounds: a start takes that for what it is.
    cluster.restart(NODE);
    cluster.pump();
    expect(cluster.core(NODE)?.segments.get(volume.volume, 0 as never)).toMatchObject({
      scl: volume.lastLsn,
      quarantine: null,
    });
    expect(cluster.logs.some((line) => line.message.includes('lost a coalescing round'))).toBe(false);
    expect(isRight(volume.lastLsn)).toBe(true);
  });

  test('keeps pinned points, and what the head descends from, however old', () => {
    const { cluster, volume, append, raise, isRight } = grown();
    for (let i = 0; i < 6; i += 1) append(12);
    volume.branch(volume.lastLsn, { run: 0 as RunId, lsn: 30 as Lsn });
    for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
    append(6);
    const pins = [{ name: 'p', point: { volume: volume.volume, run: 0 as RunId, lsn: 55 as Lsn } }];
    raise(volume.lastLsn - 2, pins);
    expect(isRight(55)).toBe(true);
    expect(isRight(56)).toBe('GONE');
    for (let lsn = volume.lastLsn - 2; lsn <= volume.lastLsn; lsn += 1) expect(isRight(lsn, 1)).toBe(true);
  });

  test('keeps what a clone has over a page of its parent, when only another branch has an image of its own', () => {
    const { cluster, volume: parent } = grown();
    cluster.ask(NODE, 'append', parent.append(parent.writeMany(8, 4), { vdl: parent.lastLsn }));
    const cloneOf = { of: parent, run: 0 as RunId, lsn: 8 as Lsn };
    const clone = new TestVolume('clone000', { pgPages: 4, cloneOf });
    const install = (floor: number) => cluster.ask(NODE, 'install', clone.install(0, clone.retention(floor)));
    const write = (count: number, image: boolean) => {
      for (let i = 0; i < count; i += 1) {
        cluster.ask(NODE, 'append', clone.append([clone.write(1, i, { image })], { vdl: clone.lastLsn }));
      }
      cluster.advance(200);
    };
    install(0);
    write(2, false);
    clone.branch(clone.lastLsn);
    install(0);
    write(2, true);
    clone.branch(clone.lastLsn, { run: 0 as RunId, lsn: 1 as Lsn });
    install(0);
    write(1, false);
    install(clone.lastLsn);
    cluster.advance(8_000);
    const at = { run: clone.headRun, lsn: clone.lastLsn };
    const reply = cluster.ask(NODE, 'readPages', clone.readPages([1], at));
    const expected = clone.replay({ volume: clone.volume, ...at }, 1) as Uint8Array;
    expect(Buffer.compare(reply.pages[0]?.data as Uint8Array, expected)).toBe(0);
  });

  test('keeps the log that a peer may still need', () => {
    const { cluster, append, raise, chunkLsns, pageLsns } = grown();
    const slow = TEST_NODES[5]?.nodeId as NodeId;
    append(12);
    cluster.crash(slow);
    const others = cluster.nodeIds.filter((node) => node !== slow);
    for (let i = 0; i < 6; i += 1) append(12, others);
    const before = pageLsns().length;
    raise(70);
    expect(pageLsns().length).toBeLessThan(before);
    expect(chunkLsns()).toContain(24);
    cluster.restart(slow);
    cluster.pump();
    cluster.advance(8_000);
    expect(cluster.core(slow)?.segments.get('vol00000' as never, 0 as never)?.scl).toBe(84);
    expect(Math.min(...chunkLsns())).toBeGreaterThanOrEqual(70);
  });

  test('a read that began before the floor rose is told GONE when it comes to its end after', () => {
    const cluster = new StorageCluster({
      limits: LIMITS,
      nodes: TEST_NODES.slice(0, 1),
      chance: () => 0.999,
    });
    const volume = new TestVolume('vol00000', { pgPages: 4 });
    cluster.ask(NODE, 'install', volume.install());
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(12, 4)));
    cluster.ask(NODE, 'append', volume.append([], { vdl: 12 as Lsn }));
    cluster.advance(500);
    let answer: string | null = null;
    cluster.send(NODE, 'readPages', volume.readPages([1], { lsn: 6 as Lsn }), (reply) => {
      answer = reply.refusal?.code ?? 'served';
    });
    cluster.runOne();
    cluster.send(NODE, 'install', volume.install(0, volume.retention(10)), () => {});
    expect(answer).toBeNull();
    // The newest task first: the floor rises before the store answers.
    cluster.pump();
    expect(answer).toBe('GONE');
  });
});
