/** What the scrub makes of a page's stored history, entry by entry, while rounds go on. */
import { expect, test } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import type { Lsn, PageNumber, PgIndex, VolumeId } from '../../../src/log/lsn.ts';
import { SegmentKeys } from '../../../storage-node/core/keys.ts';
import { HistoryWalk } from '../../../storage-node/core/scrub.ts';
import { ValueCodec } from '../../../storage-node/core/values.ts';

const values = new ValueCodec(nodeCrc32);
const keys = new SegmentKeys('vol00000' as VolumeId, 0 as PgIndex);

function imageRecord(lsn: number, prevLsn: number) {
  const key = keys.image(3 as PageNumber, lsn as Lsn);
  const data = new Uint8Array(PAGE_SIZE_BYTES).fill(lsn);
  const image = { isRecord: true, isKept: true, prevLsn: prevLsn as Lsn, sinceKeptBytes: 0, data };
  return { key, value: values.encodeImage(key, image) };
}

test('what a round writes between two queries is not missed', () => {
  const segment = { name: 'vol00000/0', floor: 0 as Lsn, coalesced: 5 as Lsn };
  const walk = new HistoryWalk({ values }, segment);
  expect(walk.faultOf(imageRecord(5, 0))).toBeNull();
  expect(walk.faultOf(imageRecord(12, 5))).toBeNull();
  segment.coalesced = 20 as Lsn;
  expect(walk.faultOf(imageRecord(20, 12))).toBeNull();
});

test('what is missing below what is in page form is', () => {
  const segment = { name: 'vol00000/0', floor: 0 as Lsn, coalesced: 20 as Lsn };
  const walk = new HistoryWalk({ values }, segment);
  expect(walk.faultOf(imageRecord(5, 0))).toBeNull();
  expect(walk.faultOf(imageRecord(20, 12))).toContain('12, which is missing');
});
