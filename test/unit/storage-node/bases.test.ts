/** What clones on a node see of their parents: copied with them, kept for them, and gone with them. */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PgIndex, RunId } from '../../../src/log/lsn.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import { StorageCluster, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const PG = 0 as PgIndex;
const OLD = 'az3-b' as NodeId;
const NEW = 'az3-c' as NodeId;
const NODES = [...TEST_NODES, { nodeId: NEW, az: 'az3', address: 'az3-c:7100' }];
const PAGES = 6;
const BRANCH = { run: 0 as RunId, lsn: 41 as Lsn };
const LIMITS: Partial<CoreLimits> = {
  roundRecords: 12,
  roundAgeMs: 100,
  chainRecords: 4,
  gossipQuietIntervalMs: 100,
  copyReplyBytes: 9_000,
};

function cloned() {
  const cluster = new StorageCluster({ limits: LIMITS, nodes: NODES });
  const parent = new TestVolume('parent00', { pgPages: PAGES });
  const clone = new TestVolume('clone000', { pgPages: PAGES, cloneOf: { of: parent, ...BRANCH } });
  const hostsOf = (volume: TestVolume) => [...new Set([...volume.members, ...(volume.proposed ?? [])])];
  const install = (volume: TestVolume, nodes = hostsOf(volume)) => {
    for (const node of nodes) cluster.call(node, 'install', volume.install());
  };
  const write = (volume: TestVolume, count: number, pages: number) => {
    for (let i = 0; i < count; i += 1) {
      const records = [volume.write(1 + ((i * 5) % pages), i)];
      for (const node of hostsOf(volume))
        cluster.call(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    }
    for (const node of hostsOf(volume))
      cluster.call(node, 'append', volume.append([], { vdl: volume.lastLsn }));
    cluster.advance(500);
  };
  install(parent);
  write(parent, 60, PAGES);
  install(clone);
  write(clone, 20, 3);
  return {
    cluster,
    parent,
    clone,
    install,
    write,
    known: (node: NodeId, volume: TestVolume) =>
      cluster.core(node)?.segments.known(volume.volume, PG) ?? null,
    read: (node: NodeId, volume: TestVolume, lsn: number) => {
      const at = { run: 0 as RunId, lsn: lsn as Lsn };
      const pages = Array.from({ length: PAGES }, (_, page) => page + 1);
      const reply = cluster.ask(node, 'readPages', volume.readPages(pages, at));
      if (reply.refusal !== null) return reply.refusal.code;
      for (const { page, data } of reply.pages) {
        const expected = volume.replay({ volume: volume.volume, ...at }, page) ?? new Uint8Array(0);
        expect(Buffer.compare(data, expected), `page ${page} at ${lsn} of ${node}`).toBe(0);
      }
      return 'right';
    },
    move: (volume: TestVolume) => {
      volume.propose(OLD, NEW);
      install(volume);
      cluster.advance(12_000);
      const leaving = hostsOf(volume);
      volume.endChange('new');
      install(volume, leaving);
      cluster.advance(6_000);
    },
  };
}

describe('a clone', () => {
  test('that moves to a node without its parent brings what it sees of it', () => {
    const { cluster, parent, clone, move, known, read, write } = cloned();
    move(clone);
    expect(known(NEW, clone)).toMatchObject({ isHydrated: true, isInForce: true });
    expect(known(NEW, parent)).toMatchObject({
      left: { isBase: true },
      isHydrated: true,
      coalesced: BRANCH.lsn,
    });
    write(clone, 6, PAGES);
    for (let lsn = 0; lsn <= clone.lastLsn; lsn += 1) expect(read(NEW, clone, lsn)).toBe('right');
    // The base answers for nothing of its own.
    expect(read(NEW, parent, 10)).toBe('NO_SEGMENT');
    expect(cluster.ask(NEW, 'append', parent.append([])).refusal?.code).toBe('NO_SEGMENT');
    cluster.restart(NEW);
    cluster.pump();
    cluster.advance(6_000);
    expect(known(NEW, parent)).toMatchObject({ left: { isBase: true }, isHydrated: true });
    expect(read(NEW, clone, clone.lastLsn)).toBe('right');
  });

  test('keeps its parent’s segment where it is when that moves away', () => {
    const { parent, clone, move, known, read } = cloned();
    move(parent);
    expect(known(NEW, parent)).toMatchObject({ isHydrated: true, isInForce: true });
    expect(known(OLD, parent)).toMatchObject({ left: { isBase: true } });
    expect(read(OLD, parent, 60)).toBe('NO_SEGMENT');
    for (let lsn = 0; lsn <= clone.lastLsn; lsn += 1) expect(read(OLD, clone, lsn)).toBe('right');
  });

  test('takes the base with it when it leaves', () => {
    const { cluster, parent, clone, move, known } = cloned();
    move(clone);
    clone.propose(NEW, OLD);
    for (const node of [...clone.members, OLD]) cluster.call(node, 'install', clone.install());
    cluster.advance(12_000);
    clone.endChange('new');
    for (const node of [...clone.members, NEW]) cluster.call(node, 'install', clone.install());
    cluster.advance(12_000);
    expect(known(NEW, clone)?.left).toMatchObject({ isBase: false });
    expect(known(NEW, parent)?.left).toMatchObject({ isBase: false });
    expect([...cluster.disk(NEW).entries()]).toEqual([]);
  });

  test('that loses its disk gets its base again', () => {
    const { cluster, parent, clone, move, known, read } = cloned();
    move(clone);
    cluster.wipe(NEW);
    cluster.call(NEW, 'fence', new TestVolume('vol00001').fence());
    cluster.advance(20_000);
    expect(known(NEW, clone)).toMatchObject({ isHydrated: true, quarantine: null });
    expect(known(NEW, parent)).toMatchObject({ left: { isBase: true }, isHydrated: true });
    expect(read(NEW, clone, clone.lastLsn)).toBe('right');
  });

  test('has nothing of its parent beneath the protection groups that it grew by itself', () => {
    const cluster = new StorageCluster({ limits: LIMITS, nodes: NODES });
    const parent = new TestVolume('parent00', { pgPages: PAGES });
    const at = { run: 0 as RunId, lsn: 5 as Lsn };
    const clone = new TestVolume('clone000', { pgPages: PAGES, pgCount: 2, cloneOf: { of: parent, ...at } });
    const second = 1 as PgIndex;
    for (const node of clone.members) {
      cluster.ask(node, 'install', parent.install());
      for (const pg of [0, 1]) cluster.ask(node, 'install', clone.install(pg));
    }
    const inParent = parent.writeMany(8, PAGES);
    const grown = Array.from({ length: 30 }, (_, i) => clone.write(PAGES + 1 + (i % 3), i));
    for (const node of clone.members) {
      cluster.ask(node, 'append', parent.append(inParent, { vdl: parent.lastLsn }));
      cluster.ask(node, 'append', clone.append(grown, { vdl: clone.lastLsn }));
    }
    cluster.advance(6_000);
    const read = clone.readPages([PAGES + 1, PAGES + 2, PAGES + 3, PAGES + 4], {
      lsn: clone.lastLsn,
      pg: second,
    });
    const reply = cluster.ask(OLD, 'readPages', read);
    expect(reply.refusal).toBeNull();
    for (const { page, data } of reply.pages) {
      const point = { volume: clone.volume, run: 0 as RunId, lsn: clone.lastLsn };
      expect(Buffer.compare(data, clone.replay(point, page) ?? new Uint8Array(0))).toBe(0);
    }
    // Nor is a base of it looked for.
    expect(cluster.core(OLD)?.segments.known(parent.volume, second)).toBeNull();
  });
});
