/** The source's side of copying pages: whatever the cursor, what comes is what was missing, and nothing else. */
import { describe, expect, test } from 'vitest';
import type { NodeId, PageNumber } from '../../../src/log/lsn.ts';
import type { PageCursor, PageEntry } from '../../../src/messages/messages.ts';
import { COMMIT_INDEX, KIND } from '../../../storage-node/core/keys.ts';
import { chanceFrom } from '../../support/chance.ts';
import { copiedSegment, NODE, OTHER, PG } from '../../support/copied-segment.ts';

describe('a copy of pages', () => {
  test('has every record up to the LSN asked for, none above, and every commit', () => {
    const { pull, recordsIn, expected, volume } = copiedSegment();
    for (let lsn = 1; lsn <= volume.lastLsn; lsn += 1) {
      const { entries, cursor, throughLsn } = pull(NODE, null, lsn);
      expect(cursor).toBeNull();
      expect(throughLsn).toBe(lsn);
      expect(recordsIn(entries)).toEqual(expected(lsn));
    }
  });

  test('goes on from any cursor, also in the middle of a bundle', () => {
    const { pull, recordsIn, expected, volume } = copiedSegment();
    const through = volume.lastLsn;
    for (const { record } of volume.log) {
      for (const page of [record.page, COMMIT_INDEX as PageNumber]) {
        const cursor = { page, lsn: record.lsn, image: record.kind === 'image' || record.lsn % 2 === 0 };
        expect(recordsIn(pull(NODE, cursor, through).entries)).toEqual(expected(through, cursor));
      }
    }
  });

  test('comes in small parts from several nodes in turn', () => {
    const { pull, recordsIn, expected, volume } = copiedSegment();
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
    const { cluster, volume, append, pull } = copiedSegment();
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
