/** The source's side of copying pages: whatever the cursor, what comes is what was missing, and nothing else. */
import { describe, expect, test } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import type { Lsn, NodeId, PageNumber, PgIndex } from '../../../src/log/lsn.ts';
import type { PageCursor, PageEntry } from '../../../src/messages/messages.ts';
import { COMMIT_INDEX, KIND, SegmentKeys } from '../../../storage-node/core/keys.ts';
import { ValueCodec } from '../../../storage-node/core/values.ts';
import { chanceFrom } from '../../support/chance.ts';
import { StorageCluster, TEST_CLUSTER } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const OTHER = 'az2-a' as NodeId;
const PG = 0 as PgIndex;
const PAGES = 5;

function grown() {
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
    return found;
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

describe('a copy of pages', () => {
  test('has every record up to the LSN asked for, none above, and every commit', () => {
    const { pull, recordsIn, expected, volume } = grown();
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) {
      const { entries, cursor, throughLsn } = pull(NODE, null, lsn);
      expect(cursor).toBeNull();
      expect(throughLsn).toBe(lsn);
      expect(recordsIn(entries)).toEqual(expected(lsn));
    }
  });

  test('goes on from any cursor, also in the middle of a bundle', () => {
    const { pull, recordsIn, expected, volume } = grown();
    const through = volume.lastLsn;
    for (const { record } of volume.log) {
      for (const page of [record.page, COMMIT_INDEX as PageNumber]) {
        const cursor = { page, lsn: record.lsn, image: record.kind === 'image' || record.lsn % 2 === 0 };
        expect(recordsIn(pull(NODE, cursor, through).entries)).toEqual(expected(through, cursor));
      }
    }
  });

  test('comes in small parts from several nodes in turn', () => {
    const { pull, recordsIn, expected, volume } = grown();
    const chance = chanceFrom(5);
    const through = volume.lastLsn - 10;
    const entries: PageEntry[] = [];
    let cursor: PageCursor | null = null;
    let pulls = 0;
    do {
      const node: NodeId = chance() < 0.5 ? NODE : OTHER;
      const reply = pull(node, cursor, through, 1 + Math.floor(chance() * 9_000));
      entries.push(...reply.entries);
      cursor = reply.cursor;
      pulls += 1;
    } while (cursor !== null);
    expect(pulls).toBeGreaterThan(5);
    expect(recordsIn(entries)).toEqual(expected(through));
  });

  test('is refused by a node that has not come so far, is not whole, or meets damage', () => {
    const { cluster, volume, append, pull } = grown();
    append(1);
    expect(pull(NODE, null, volume.lastLsn).refusal?.code).toBe('BEHIND');
    expect(pull(NODE, null, 0)).toMatchObject({ refusal: null, throughLsn: volume.lastLsn - 1 });
    for (const [key, value] of cluster.disk(OTHER).entries()) {
      if (key[0] !== KIND.page) continue;
      cluster.disk(OTHER).put(key, value.with(value.length - 3, (value.at(-3) ?? 0) ^ 1));
      break;
    }
    expect(pull(OTHER, null, 0).refusal?.code).toBe('CORRUPT');
    cluster.core(NODE)?.segments.get(volume.volume, PG)?.distrust('a test says so');
    expect(pull(NODE, null, 0).refusal?.code).toBe('QUARANTINED');
  });
});
