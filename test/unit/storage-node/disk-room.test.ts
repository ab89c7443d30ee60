/** Little room on the disk: nothing new is taken in from peers either, no pages are copied; then no rounds. All goes on when there is room. */
import { expect, test } from 'vitest';
import type { Lsn, NodeId, PageNumber } from '../../../src/log/lsn.ts';
import { StorageCluster } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;

function opened() {
  const cluster = new StorageCluster({ limits: { roundRecords: 8, roundAgeMs: 100 } });
  const volume = new TestVolume('vol00000', { pgPages: 64 });
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const append = (nodes = cluster.nodeIds) => {
    const records = volume.writeMany(10, 8);
    for (const node of nodes) cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    cluster.advance(500);
  };
  const segment = () => cluster.core(NODE)?.segments.get(volume.volume, 0 as never) ?? null;
  return { cluster, volume, append, segment };
}

test('short: records are not pulled, pages not copied, reads answered', () => {
  const { cluster, volume, append, segment } = opened();
  append();
  cluster.tell(NODE, { kind: 'disk', room: 'short' });
  append(cluster.nodeIds.filter((node) => node !== NODE));
  cluster.advance(3_000);
  expect(segment()?.scl).toBe(10);
  cluster.core(NODE)?.doubtPages(segment() as never, 2 as PageNumber, 2 as PageNumber, 'test');
  cluster.advance(2_000);
  expect(segment()?.doubts.isEmpty).toBe(false);
  const read = cluster.ask(NODE, 'readPages', volume.readPages([1], { lsn: 10 as Lsn }));
  expect(read.refusal).toBeNull();

  cluster.tell(NODE, { kind: 'disk', room: 'enough' });
  cluster.advance(3_000);
  expect(segment()?.scl).toBe(20);
  expect(segment()?.doubts.isEmpty).toBe(true);
});

test('gone: nothing is brought into page form', () => {
  const { cluster, append, segment } = opened();
  append();
  const { coalesced } = segment() ?? {};
  cluster.tell(NODE, { kind: 'disk', room: 'gone' });
  append();
  append();
  expect(segment()?.coalesced).toBe(coalesced);
  cluster.tell(NODE, { kind: 'disk', room: 'short' });
  cluster.advance(500);
  expect(segment()?.coalesced).toBeGreaterThan(coalesced ?? 0);
});
