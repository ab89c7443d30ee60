/** Which pages a segment has entries of: known from the first write, unknown after a start, learnt when somebody reads. */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId } from '../../../src/log/lsn.ts';
import { StorageCluster } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';
import { StoredPages } from '../../../storage-node/core/stored-pages.ts';

const NODE = 'az1-a' as NodeId;
const PG = 0 as PgIndex;
const PAGES = 200;
const WRITTEN = [3, 4, 150];

function cloneWithFewPages() {
  const cluster = new StorageCluster({ limits: { roundRecords: 8, roundAgeMs: 100 } });
  const parent = new TestVolume('parent00', { pgPages: 256 });
  const append = (volume: TestVolume, records: Parameters<TestVolume['append']>[0]): void => {
    cluster.ask(NODE, 'append', volume.append(records));
    cluster.ask(NODE, 'append', volume.append([], { vdl: volume.lastLsn }));
  };
  cluster.ask(NODE, 'install', parent.install());
  append(parent, parent.writeMany(2 * PAGES, PAGES));
  const at = { run: 0 as RunId, lsn: parent.lastLsn };
  const clone = new TestVolume('clone000', { pgPages: 256, cloneOf: { of: parent, ...at } });
  cluster.ask(NODE, 'install', clone.install());
  for (let i = 0; i < 12; i += 1) {
    append(
      clone,
      WRITTEN.map((page) => clone.write(page, i)),
    );
  }
  cluster.advance(2_000);
  return {
    cluster,
    clone,
    stored: () => cluster.core(NODE)!.segments.known(clone.volume, PG)!.storedPages,
    read: () => {
      const point = { volume: clone.volume, run: 0 as RunId, lsn: clone.lastLsn as Lsn };
      const pages = Array.from({ length: PAGES }, (_, i) => i + 1);
      const reply = cluster.ask(NODE, 'readPages', clone.readPages(pages, { lsn: point.lsn }));
      expect(reply.refusal).toBeNull();
      for (const { page, data } of reply.pages) {
        expect(Buffer.compare(data, clone.replay(point, page) ?? new Uint8Array(0)), `page ${page}`).toBe(0);
      }
    },
  };
}

function heldOf(stored: StoredPages): number[] {
  return Array.from({ length: PAGES }, (_, i) => i + 1).filter((page) => stored.mayHold(page as PageNumber));
}

describe('the pages of a clone', () => {
  test('are those that were written in it, and reads go by that', () => {
    const { stored, read } = cloneWithFewPages();
    expect(heldOf(stored())).toEqual(WRITTEN);
    read();
  });

  test('may be all after a start, until a read has the store looked through', () => {
    const { cluster, stored, read } = cloneWithFewPages();
    cluster.restart(NODE);
    cluster.pump();
    expect(stored().isLearningDue).toBe(false);
    read();
    expect(stored().isLearningDue).toBe(true);
    cluster.advance(1_000);
    expect(heldOf(stored())).toEqual(WRITTEN);
    expect(stored().isLearningDue).toBe(false);
    read();
  });
});

describe('stored pages', () => {
  test('are counted between two', () => {
    const stored = new StoredPages();
    const pages = [1, 7, 8, 4_095, 4_096, 9_000] as PageNumber[];
    for (const page of pages) stored.add(page);
    expect(stored.mostBetween(1 as PageNumber, 9_000 as PageNumber)).toBe(6);
    expect(stored.mostBetween(8 as PageNumber, 4_095 as PageNumber)).toBe(2);
    stored.forget();
    expect(stored.mostBetween(8 as PageNumber, 4_095 as PageNumber)).toBe(4_088);
    stored.complete();
    expect(stored.mostBetween(9 as PageNumber, 4_094 as PageNumber)).toBe(0);
  });
});
