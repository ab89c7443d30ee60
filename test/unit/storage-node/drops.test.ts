/** Volumes that were dropped: nothing is taken for them any more; their data stays while clones need it, and goes with the last pin. */
import { describe, expect, test } from 'vitest';
import type { Lsn, NodeId, PgIndex, RunId } from '../../../src/log/lsn.ts';
import { encodeRetention } from '../../../src/register/codec.ts';
import type { HeartbeatVolume } from '../../../src/messages/messages.ts';
import type { RetentionValue } from '../../../src/register/values.ts';
import { parseKey } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const A = 'az1-a' as NodeId;
const PG = 0 as PgIndex;
const MAX_LSN = Number.MAX_SAFE_INTEGER as Lsn;
const LIMITS = { roundRecords: 8, roundAgeMs: 100, chainRecords: 4, gossipQuietIntervalMs: 100 };

function setUp() {
  const cluster = new StorageCluster({ limits: LIMITS });
  const volume = new TestVolume('vol00000', { pgPages: 8 });
  const everywhere = (of: TestVolume) => {
    for (const { nodeId } of TEST_NODES) cluster.ask(nodeId, 'install', of.install());
    const records = of.writeMany(40, 6);
    for (const { nodeId } of TEST_NODES)
      cluster.ask(nodeId, 'append', of.append(records, { vdl: of.lastLsn }));
    cluster.advance(1_000);
  };
  everywhere(volume);
  const dropped = (pins: RetentionValue['pins'] = []): RetentionValue => ({
    ...volume.retention(MAX_LSN, pins),
    dropped: true,
  });
  const tell = (node: NodeId, value: RetentionValue) =>
    cluster.ask(node, 'tellRetention', {
      clusterId: TEST_CLUSTER,
      volume: volume.volume,
      retention: encodeRetention(value),
    });
  const heartbeat = (node: NodeId, news: Partial<HeartbeatVolume> = {}) =>
    cluster.ask(node, 'heartbeat', {
      clusterId: TEST_CLUSTER,
      computeId: 'c',
      computeUrl: 'http://c',
      sequence: 1,
      volumes: [
        {
          volume: volume.volume,
          epoch: volume.epoch,
          release: false,
          pgs: [],
          retention: new Uint8Array(0),
          keep: false,
          ...news,
        },
      ],
    }).grants[0]?.refusal?.code;
  const codes = (node: NodeId) => [
    cluster.ask(node, 'append', volume.append([], { vdl: volume.lastLsn })).refusal?.code,
    cluster.ask(node, 'fence', volume.fence(0, { number: 9, writerId: 'w9' })).refusal?.code,
    cluster.ask(node, 'install', volume.install(0, null, { number: 9, writerId: 'w9' })).refusal?.code,
    heartbeat(node),
  ];
  return { cluster, volume, everywhere, dropped, tell, heartbeat, codes };
}

const ALL_DROPPED = ['VOLUME_DROPPED', 'VOLUME_DROPPED', 'VOLUME_DROPPED', 'VOLUME_DROPPED'];

describe('a dropped volume', () => {
  test('has nothing left on a node that was told, and takes nothing any more, whoever asks, after a restart too', () => {
    const { cluster, volume, dropped, tell, codes } = setUp();
    expect(tell(A, dropped())).toEqual({ segments: 0, refusal: null });
    expect(codes(A)).toEqual(ALL_DROPPED);
    cluster.advance(1_000);
    expect([...cluster.disk(A).entries()]).toEqual([]);
    expect(cluster.ask(A, 'status', { clusterId: TEST_CLUSTER }).segments).toEqual([]);
    cluster.restart(A);
    cluster.advance(20_000);
    expect(codes(A)).toEqual(ALL_DROPPED);
    // The others, which have not been told, do not bring it back.
    expect(cluster.core(A)?.segments.get(volume.volume, PG)).toBeNull();
    expect(cluster.core('az2-a' as NodeId)?.segments.get(volume.volume, PG)).not.toBeNull();
  });

  test('stays for its clones: they read on, it takes nothing; with its last pin it goes', () => {
    const { cluster, volume, everywhere, dropped, tell, codes } = setUp();
    const at = { run: 0 as RunId, lsn: 21 as Lsn };
    const clone = new TestVolume('clone000', { pgPages: 8, cloneOf: { of: volume, ...at } });
    everywhere(clone);
    const pins = [{ name: 'clone:clone000', point: { volume: volume.volume, ...at } }];
    expect(tell(A, dropped(pins)).segments).toBe(1);
    cluster.advance(2_000);
    expect(codes(A)).toEqual(ALL_DROPPED);
    const read = (lsn: number) => {
      const reply = cluster.ask(A, 'readPages', clone.readPages([1, 2, 3, 4, 5, 6], { lsn: lsn as Lsn }));
      expect(reply.refusal).toBeNull();
      for (const { page, data } of reply.pages) {
        const point = { volume: clone.volume, run: 0 as RunId, lsn: lsn as Lsn };
        expect(Buffer.compare(data, clone.replay(point, page) ?? new Uint8Array(0))).toBe(0);
      }
    };
    for (const lsn of [0, 1, 20, clone.lastLsn]) read(lsn);
    // What neither its clone nor anybody else can name is collected.
    const old = cluster.ask(A, 'readPages', volume.readPages([1], { lsn: 5 as Lsn }));
    expect(old.refusal?.code).toBe('GONE');
    cluster.restart(A);
    cluster.advance(1_000);
    expect(codes(A)).toEqual(ALL_DROPPED);
    for (const lsn of [0, clone.lastLsn]) read(lsn);
    // A value of before it was dropped comes late.
    expect(tell(A, volume.retention(MAX_LSN)).segments).toBe(1);
    expect(codes(A)).toEqual(ALL_DROPPED);
    expect(tell(A, dropped()).segments).toBe(0);
    cluster.advance(1_000);
    const kept = [...cluster.disk(A).entries()].filter(([key]) => parseKey(key)?.volume === volume.volume);
    expect(kept).toEqual([]);
  });

  test('is learnt by a node that was away when it is told; a stranger’s value is refused', () => {
    const { cluster, volume, dropped, tell } = setUp();
    cluster.crash(A);
    tell('az1-b' as NodeId, dropped());
    cluster.restart(A);
    cluster.advance(10_000);
    expect(cluster.core(A)?.segments.get(volume.volume, PG)).not.toBeNull();
    expect(tell(A, { ...dropped(), volume: 'other000' as typeof volume.volume }).refusal?.code).toBe(
      'BAD_REQUEST',
    );
    expect(cluster.core(A)?.segments.get(volume.volume, PG)).not.toBeNull();
    expect(tell(A, dropped()).segments).toBe(0);
  });
});

/** What a clone of such a moment needs to be told of a PG that has no record near it. */
describe('how far a quiet part of a volume is durable', () => {
  const BEYOND = 90 as Lsn;

  function afterPowerCut(told: (setup: ReturnType<typeof setUp>) => void): Lsn[] {
    const setup = setUp();
    const { cluster, volume, heartbeat } = setup;
    const pgs = [{ pg: PG, vdl: BEYOND, tail: volume.lastLsn }];
    for (const { nodeId } of TEST_NODES) expect(heartbeat(nodeId, { pgs })).toBeUndefined();
    told(setup);
    for (const { nodeId } of TEST_NODES) cluster.crash(nodeId);
    for (const { nodeId } of TEST_NODES) cluster.restart(nodeId);
    cluster.advance(5_000);
    return TEST_NODES.map(
      ({ nodeId }) => cluster.core(nodeId)?.segments.known(volume.volume, PG)?.vdl as Lsn,
    );
  }

  test('is known after a power cut of all nodes when a heartbeat asked for that', () => {
    const vdls = afterPowerCut(({ heartbeat }) => {
      for (const { nodeId } of TEST_NODES) heartbeat(nodeId, { keep: true });
    });
    expect(new Set(vdls)).toEqual(new Set([BEYOND]));
  });

  test('is known when the volume was dropped: nobody would tell again', () => {
    const vdls = afterPowerCut(({ volume, tell, dropped }) => {
      const point = { volume: volume.volume, run: 0 as RunId, lsn: BEYOND };
      for (const { nodeId } of TEST_NODES) tell(nodeId, dropped([{ name: 'clone:clone000', point }]));
    });
    expect(new Set(vdls)).toEqual(new Set([BEYOND]));
  });
});
