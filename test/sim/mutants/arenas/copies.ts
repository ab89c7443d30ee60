/** Copies of pages from any point on, in parts of any size, from one node and another. See test/support/copied-segment.ts. */
import { strict as assert } from 'node:assert';
import type { NodeId } from '../../../../src/log/lsn.ts';
import type { PageCursor, PageEntry } from '../../../../src/messages/messages.ts';
import { chanceFrom } from '../../../support/chance.ts';
import { copiedSegment } from '../../../support/copied-segment.ts';
import type { Arena } from './arena.ts';

const COPIES = 20;
const MAX_PART_BYTES = 9_000;

export const copies: Arena = {
  async runSeed(seed) {
    const { cluster, volume, pull, recordsIn, expected } = copiedSegment();
    const chance = chanceFrom(seed);
    const pick = (count: number): number => Math.floor(chance() * count);
    for (let copy = 0; copy < COPIES; copy += 1) {
      const record = volume.log[pick(volume.log.length)]?.record;
      assert.ok(record !== undefined);
      // The middle of a bundle, as likely as not: another source's ended there.
      const from: PageCursor = { page: record.page, lsn: record.lsn, image: record.kind === 'image' };
      const through = record.lsn + pick(volume.lastLsn - record.lsn + 1);
      const entries: PageEntry[] = [];
      let cursor: PageCursor | null = from;
      while (cursor !== null) {
        const source = cluster.nodeIds[pick(cluster.nodeIds.length)] as NodeId;
        const reply = pull(source, cursor, through, 1 + pick(MAX_PART_BYTES));
        assert.equal(reply.refusal, null);
        entries.push(...reply.entries);
        cursor = reply.cursor;
      }
      assert.deepEqual(recordsIn(entries), expected(through, from));
    }
    return [];
  },
};
