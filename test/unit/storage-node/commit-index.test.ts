/** Which commit a time or an LSN stands for: against a plain search of the log, in memory, in page form, over runs, restarts and collection. */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, RunId } from '../../../src/log/lsn.ts';
import { KIND } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_CLUSTER } from '../../support/storage-cluster.ts';
import { type TestRecord, TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const LIMITS = {
  roundAgeMs: 50,
  roundRecords: 8,
  chainRecords: 3,
  keptImageDeltaBytes: 20,
  collectIntervalMs: 100,
};
const ANY = Number.MAX_SAFE_INTEGER;

function written() {
  const cluster = new StorageCluster({ limits: LIMITS });
  const volume = new TestVolume('vol00000', { pgPages: 4 });
  const installAll = () => {
    for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  };
  /** MTRs of 1, 2, 3, 1, … records. */
  const append = (mtrs: number) => {
    for (let i = 0; i < mtrs; i += 1) {
      const size = 1 + (i % 3);
      const records: TestRecord[] = Array.from({ length: size }, (_, at) =>
        volume.write(1 + ((volume.lastLsn * 7) % 4), volume.lastLsn, { isCpl: at === size - 1 }),
      );
      for (const node of cluster.nodeIds)
        cluster.ask(node, 'append', volume.append(records, { vdl: volume.lastLsn }));
    }
  };
  const find = (run: number, throughLsn: number, throughMicros: number) => {
    const request = {
      clusterId: TEST_CLUSTER,
      volume: volume.volume,
      pg: 0 as never,
      run: run as RunId,
      throughLsn: throughLsn as Lsn,
      throughMicros,
      requiredScl: 0 as Lsn,
    };
    const { lsn, commitTimeMicros, refusal } = cluster.ask(NODE, 'findCommit', request);
    return refusal === null ? { lsn, commitTimeMicros } : refusal.code;
  };
  const expected = (run: number, throughLsn: number, throughMicros: number) => {
    const found = volume.log.findLast(
      (made) =>
        made.run === run &&
        made.record.isCpl &&
        made.record.lsn <= throughLsn &&
        made.record.commitTimeMicros <= throughMicros,
    );
    return { lsn: found?.record.lsn ?? 0, commitTimeMicros: found?.record.commitTimeMicros ?? 0 };
  };
  const expectAll = () => {
    for (const { id } of volume.runs) {
      for (let lsn = 0; lsn <= volume.lastLsn + 2; lsn += 1) {
        expect(find(id, lsn, ANY), `run ${id}, LSN ${lsn}`).toEqual(expected(id, lsn, ANY));
        expect(find(id, ANY, lsn * 10 + 5), `run ${id}, at ${lsn}`).toEqual(expected(id, ANY, lsn * 10 + 5));
      }
    }
  };
  installAll();
  return { cluster, volume, append, find, expected, expectAll, installAll };
}

describe('findCommit', () => {
  test('finds commits in memory, in page form, and some of each', () => {
    const { cluster, append, expectAll } = written();
    append(20);
    expectAll();
    cluster.advance(500);
    expectAll();
    append(5);
    expectAll();
  });

  test('finds them on every run, rewound ones too, and after a restart', () => {
    const { cluster, volume, append, expectAll, installAll } = written();
    append(15);
    const rewindTo = { run: 0 as RunId, lsn: 6 as Lsn };
    volume.takeOver('w2', volume.lastLsn, rewindTo);
    installAll();
    append(9);
    cluster.advance(500);
    append(4);
    cluster.restart(NODE);
    cluster.pump();
    expectAll();
  });

  test('keeps, of what lies below the floor, only what tells the time of the floor', () => {
    const { cluster, volume, append, find, expected } = written();
    for (let i = 0; i < 12; i += 1) {
      append(6);
      cluster.advance(200);
    }
    const entries = () => [...cluster.disk(NODE).entries()].filter(([key]) => key[0] === KIND.commits).length;
    const before = entries();
    const floor = Math.floor(volume.lastLsn / 2);
    for (const node of cluster.nodeIds)
      cluster.call(node, 'install', volume.install(0, volume.retention(floor)));
    cluster.advance(8_000);
    expect(entries()).toBeLessThan(before);
    for (let lsn = floor; lsn <= volume.lastLsn; lsn += 1)
      expect(find(0, lsn, ANY)).toEqual(expected(0, lsn, ANY));
  });

  test('does not answer for what it does not hold', () => {
    const { cluster, volume, append, find } = written();
    append(3);
    expect(find(7, ANY, ANY)).toBe('BEHIND');
    const request = {
      clusterId: TEST_CLUSTER,
      volume: volume.volume,
      pg: 0 as never,
      run: 0 as RunId,
      throughLsn: ANY as Lsn,
      throughMicros: ANY,
      requiredScl: (volume.lastLsn + 1) as Lsn,
    };
    expect(cluster.ask(NODE, 'findCommit', request).refusal?.code).toBe('BEHIND');
    expect(cluster.ask(NODE, 'findCommit', { ...request, pg: 1 as never }).refusal?.code).toBe('NO_SEGMENT');
  });
});
