/** A segment with some history on six nodes whose rounds ended elsewhere, what a copy of it brings, and what it should bring. */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import type { Lsn, NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { PageCursor, PageEntry } from '../../src/messages/messages.ts';
import { COMMIT_INDEX, SegmentKeys } from '../../storage-node/core/keys.ts';
import { ValueCodec } from '../../storage-node/core/values.ts';
import { StorageCluster, TEST_CLUSTER } from './storage-cluster.ts';
import { TestVolume } from './storage-volume.ts';

export const NODE = 'az1-a' as NodeId;
export const OTHER = 'az2-a' as NodeId;
export const PG = 0 as PgIndex;
const PAGES = 5;

export function copiedSegment() {
  const limits = { roundRecords: 9, roundAgeMs: 50, chainRecords: 3, keptImageDeltaBytes: 60 };
  const cluster = new StorageCluster({ limits });
  const volume = new TestVolume('vol00000', { pgPages: PAGES });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (count: number) => {
    const records = volume.writeMany(count, PAGES);
    for (const node of cluster.nodeIds)
      cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
  };
  for (let i = 0; i < 20; i += 1) {
    append(1 + (i % 7));
    // Rounds of different sizes: bundles begin and end elsewhere on each node.
    if (i % 3 === 0) cluster.advance(100);
  }
  cluster.advance(500);
  const values = new ValueCodec(nodeCrc32);
  const keys = new SegmentKeys(volume.volume, PG);
  const pull = (node: NodeId, cursor: PageCursor | null, throughLsn: number, maxBytes = 900_000) =>
    cluster.ask(node, 'pullPages', {
      clusterId: TEST_CLUSTER,
      volume: volume.volume,
      pg: PG,
      throughLsn: throughLsn as Lsn,
      firstPage: 0,
      lastPage: 0,
      cursor,
      maxBytes,
    });
  /** page → the LSNs of its delta and image records, and commits, in the order they came. */
  const recordsIn = (entries: readonly PageEntry[]) => {
    const found = new Map<number, number[]>();
    for (const { page, lsn, image, value } of entries) {
      const list = found.get(page) ?? [];
      found.set(page, list);
      if (page === COMMIT_INDEX)
        list.push(...values.decodeCommits(keys.commits(lsn), value).map((commit) => commit.lsn));
      else if (!image)
        list.push(...values.decodeBundle(keys.bundle(page, lsn), value).records.map((record) => record.lsn));
      else if (values.decodeImage(keys.image(page, lsn), value).isRecord) list.push(lsn);
    }
    // Images made here are no records.
    return new Map([...found].filter(([, list]) => list.length > 0));
  };
  const expected = (throughLsn: number, cursor: PageCursor | null = null) => {
    const all = new Map<number, number[]>();
    const add = (page: number, lsn: number) => {
      if (lsn > throughLsn) return;
      if (cursor !== null && (page < cursor.page || (page === cursor.page && lsn <= cursor.lsn))) return;
      all.set(page, [...(all.get(page) ?? []), lsn]);
    };
    for (const { record } of volume.log) add(record.page, record.lsn);
    for (const { record } of volume.log) if (record.isCpl) add(COMMIT_INDEX, record.lsn);
    return all;
  };
  return { cluster, volume, append, pull, recordsIn, expected };
}
