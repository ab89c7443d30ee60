import { describe, expect, test } from 'vitest';
import { type Epoch, compareEpochs } from '../../../src/log/epoch.ts';
import type { Lsn, NodeId, RunId } from '../../../src/log/lsn.ts';
import { encodeManifest } from '../../../src/register/codec.ts';
import { KIND } from '../../../storage-node/core/keys.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const PEER = 'az1-b' as NodeId;

/** One node by itself: no gossip comes between. */
function opened(nodes = TEST_NODES.slice(0, 1)) {
  const cluster = new StorageCluster({ nodes });
  const volume = new TestVolume();
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  const segment = (node = NODE) => {
    const found = cluster.core(node)?.segments.get(volume.volume, 0 as never);
    if (found === undefined || found === null) throw new Error('no segment');
    return found;
  };
  return { cluster, volume, segment };
}

describe('fence', () => {
  test('promises the newest only, again if asked again, and keeps the promise over a restart', () => {
    const { cluster, volume, segment } = opened();
    const epoch = (number: number, writerId = 'x'): Epoch => ({ number, writerId });
    const fence = (asked: Epoch) => cluster.ask(NODE, 'fence', volume.fence(0, asked));
    expect(fence(epoch(5)).promised).toBe(true);
    expect(fence(epoch(5)).promised).toBe(true);
    expect(fence(epoch(5, 'w')).refusal).toMatchObject({ code: 'STALE_EPOCH', promised: epoch(5) });
    expect(fence(epoch(4)).promised).toBe(false);
    cluster.restart(NODE);
    cluster.pump();
    expect(segment().promised).toEqual(epoch(5));
    expect(fence(epoch(4)).promised).toBe(false);
  });

  test('creates what is not there, empty and intact; its inventory answers that take-over alone', () => {
    const { cluster } = opened();
    const other = new TestVolume('vol00001');
    const reply = cluster.ask(NODE, 'fence', other.fence());
    expect(reply).toMatchObject({
      promised: true,
      intact: true,
      scl: 0,
      installedEpoch: null,
      entryCount: 0,
    });
    const inventory = (number: number) =>
      cluster.ask(NODE, 'inventory', {
        clusterId: TEST_CLUSTER,
        volume: other.volume,
        pg: 0 as never,
        epoch: { number, writerId: 'w1' },
        afterLsn: 0 as Lsn,
      });
    expect(inventory(1).done).toBe(true);
    expect(inventory(0).refusal?.code).toBe('STALE_EPOCH');
    expect(inventory(2).refusal?.code).toBe('BEHIND');
  });

  test('inventories come in pages and hold every record above the VDL, also those beyond a gap', () => {
    const cluster = new StorageCluster({ nodes: TEST_NODES.slice(0, 1), limits: { maxInventoryEntries: 4 } });
    const volume = new TestVolume();
    cluster.ask(NODE, 'install', volume.install());
    const [a, , c] = [volume.writeMany(5, 4), volume.writeMany(2, 4), volume.writeMany(5, 4)];
    cluster.ask(NODE, 'append', volume.append(a ?? []));
    cluster.ask(NODE, 'append', volume.append(c ?? [], { vdl: 2 as Lsn }));
    const epoch = { number: 2, writerId: 'w2' };
    expect(cluster.ask(NODE, 'fence', volume.fence(0, epoch)).entryCount).toBe(8);
    const lsns: number[] = [];
    for (let afterLsn = 0 as Lsn, done = false; !done; ) {
      const request = { clusterId: TEST_CLUSTER, volume: volume.volume, pg: 0 as never, epoch, afterLsn };
      const reply = cluster.ask(NODE, 'inventory', request);
      expect(reply.entries.length).toBeLessThanOrEqual(4);
      lsns.push(...reply.entries.map((entry) => entry.lsn));
      done = reply.done;
      afterLsn = (lsns[lsns.length - 1] ?? 0) as Lsn;
    }
    expect(lsns).toEqual([3, 4, 5, 8, 9, 10, 11, 12]);
  });

  test('a recovery append teaches no VDL: that take-over’s is not committed', () => {
    const { cluster, volume, segment } = opened();
    const records = volume.writeMany(4, 4);
    cluster.ask(NODE, 'append', volume.append(records.slice(0, 2)));
    const epoch = { number: 2, writerId: 'w2' };
    cluster.ask(NODE, 'fence', volume.fence(0, epoch));
    const request = volume.append(records.slice(2), { epoch, recovery: true, vdl: 4 as Lsn });
    expect(cluster.ask(NODE, 'append', request).scl).toBe(4);
    expect(segment().vdl).toBe(0);
  });
});

describe('install', () => {
  test('needs authority at or above the promise, a manifest of this node, and one that extends what is installed', () => {
    const { cluster, volume, segment } = opened();
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(4, 4)));
    cluster.ask(NODE, 'append', volume.append([], { vdl: 4 as Lsn }));
    const old = volume.install();
    const promised = { number: 9, writerId: 'x' };
    cluster.ask(NODE, 'fence', volume.fence(0, promised));
    expect(cluster.ask(NODE, 'install', old).refusal).toMatchObject({ code: 'STALE_EPOCH', promised });

    const code = (manifest: Uint8Array, pg = 0) =>
      cluster.ask(NODE, 'install', { ...volume.install(pg, null, promised), manifest }).refusal?.code;
    expect(code(new Uint8Array(40))).toMatch(/CORRUPT|WRONG_FORMAT/);
    expect(code(encodeManifest(new TestVolume('vol00009').manifest()))).toBe('BAD_REQUEST');
    const elsewhere = volume.manifest().pgs.map((config) => ({
      ...config,
      members: config.members.map((member) => (member === NODE ? ('az9-z' as NodeId) : member)),
    }));
    expect(code(encodeManifest({ ...volume.manifest(), pgs: elsewhere }))).toBe('NO_SEGMENT');

    const cutting = new TestVolume();
    cutting.writeMany(4, 4);
    cutting.takeOver('w2', 3 as Lsn);
    expect(code(encodeManifest(cutting.manifest()))).toBe('CORRUPT');
    const otherPast = new TestVolume();
    otherPast.runs = otherPast.runs.map((run) => ({ ...run, epoch: { number: 1, writerId: 'other' } }));
    otherPast.takeOver('w2', 4 as Lsn);
    expect(code(encodeManifest(otherPast.manifest()))).toBe('CORRUPT');
    expect(segment().scl).toBe(4);
    expect(segment().installedEpoch).toEqual({ number: 1, writerId: 'w1' });
  });

  test('cuts the end of the chain inside a chunk and beyond gaps, for good', () => {
    const { cluster, volume, segment } = opened();
    const [a, , c] = [volume.writeMany(6, 4), volume.writeMany(2, 4), volume.writeMany(3, 4)];
    cluster.ask(NODE, 'append', volume.append(a ?? []));
    cluster.ask(NODE, 'append', volume.append(c ?? []));
    expect(segment().held.hasGap).toBe(true);
    volume.takeOver('w2', 4 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    expect(cluster.ask(NODE, 'install', volume.install())).toMatchObject({ installed: true, scl: 4 });
    for (const chance of [0, 0.999]) {
      cluster.restart(NODE, { chance: () => chance });
      cluster.pump();
      expect(segment().scl).toBe(4);
      expect(segment().held.hasGap).toBe(false);
      expect(segment().held.countAbove(0 as Lsn)).toBe(4);
      expect(segment().isQuarantined).toBe(false);
    }
    const next = volume.writeMany(2, 4);
    cluster.call(NODE, 'append', volume.append(next));
    cluster.advance(600);
    expect(segment().scl).toBe(106);
  });

  test('of one epoch a manifest that adds a run is newer, and records are kept apart by run', () => {
    const { cluster, volume, segment } = opened();
    const first = volume.writeMany(4, 4);
    volume.branch(4 as Lsn, { run: 0 as RunId, lsn: 2 as Lsn });
    expect(cluster.ask(NODE, 'install', volume.install()).installed).toBe(true);
    const second = volume.writeMany(4, 4);
    // One boxcar over the border of two runs of one epoch, which the chain runs through.
    expect(cluster.ask(NODE, 'append', volume.append([...first, ...second])).scl).toBe(108);
    const pieces = [...segment().held.piecesAbove(0 as Lsn)].map((piece) =>
      piece.records.map((record) => record.lsn),
    );
    expect(pieces).toEqual([
      [1, 2, 3, 4],
      [105, 106, 107, 108],
    ]);
    cluster.ask(NODE, 'append', volume.append([], { vdl: 108 as Lsn }));
    cluster.advance(5_000);
    expect(segment().coalesced).toBe(108);
    for (const [run, lsn] of [
      [0, 4],
      [1, 108],
    ] as const) {
      for (let page = 1; page <= 4; page += 1) {
        const at = { run: run as RunId, lsn: lsn as Lsn };
        const [version] = cluster.ask(NODE, 'readPages', volume.readPages([page], at)).pages;
        const expected = volume.replay({ volume: volume.volume, ...at }, page) ?? new Uint8Array(0);
        expect(Buffer.compare(version?.data ?? new Uint8Array(0), expected)).toBe(0);
      }
    }
  });

  test('a held acknowledgement is refused once a newer epoch is promised', () => {
    const { cluster, volume } = opened();
    const beat = (epoch: Epoch) =>
      cluster.ask(NODE, 'heartbeat', {
        clusterId: TEST_CLUSTER,
        sequence: 1,
        computeId: 'c',
        computeUrl: 'u',
        volumes: [
          {
            volume: volume.volume,
            epoch,
            release: false,
            pgs: [],
            retention: new Uint8Array(0),
            keep: false,
          },
        ],
      }).grants[0];
    expect(beat(volume.epoch)?.granted).toBe(true);
    volume.takeOver('w2', 0 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    let answer: string | null = null;
    cluster.send(NODE, 'install', volume.install(), (reply) => {
      answer = reply.refusal?.code ?? 'installed';
    });
    cluster.pump();
    expect(answer).toBeNull();
    // Installed, but the lease that was promised to another has not run out: this one's is not granted in its place.
    expect(beat(volume.epoch)?.granted).toBe(false);
    cluster.ask(NODE, 'fence', volume.fence(0, { number: 3, writerId: 'w3' }));
    expect(answer).toBe('STALE_EPOCH');
  });

  test('a lower floor does not come back', () => {
    const { cluster, volume, segment } = opened();
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(8, 4)));
    cluster.ask(NODE, 'append', volume.append([], { vdl: 8 as Lsn }));
    cluster.ask(NODE, 'install', volume.install(0, volume.retention(6)));
    cluster.ask(NODE, 'install', volume.install(0, volume.retention(3)));
    expect(segment().floor).toBe(6);
    cluster.restart(NODE);
    cluster.pump();
    expect(segment().floor).toBe(6);
  });
});

describe('gossip', () => {
  function gapped() {
    const made = opened(TEST_NODES.slice(0, 2));
    const { cluster, volume } = made;
    const records = volume.writeMany(4, 4);
    cluster.ask(PEER, 'append', volume.append(records));
    cluster.ask(PEER, 'append', volume.append([], { vdl: 4 as Lsn }));
    return made;
  }

  test('fills what is lacking up to the VDL', () => {
    const { cluster, segment } = gapped();
    cluster.advance(2_000);
    expect(segment()).toMatchObject({ scl: 4, vdl: 4 });
  });

  test('brings nothing between promise and install', () => {
    const { cluster, volume, segment } = gapped();
    cluster.ask(NODE, 'fence', volume.fence(0, { number: 2, writerId: 'w2' }));
    cluster.advance(3_000);
    expect(segment()).toMatchObject({ scl: 0, vdl: 0 });
  });

  test('a VDL in a peer’s question is not believed: it may be of a run that is not known here', () => {
    const { cluster, volume, segment } = opened();
    const ghosts = volume.writeMany(4, 4);
    cluster.ask(NODE, 'append', volume.append(ghosts));
    const question = { clusterId: TEST_CLUSTER, volume: volume.volume, pg: 0 as never, maxBytes: 1_000 };
    const lsns = {
      afterLsn: 105 as Lsn,
      throughLsn: 105 as Lsn,
      scl: 105 as Lsn,
      vdl: 105 as Lsn,
      tail: 105 as Lsn,
      configVersion: 1,
    };
    cluster.ask(NODE, 'pullRecords', { ...question, ...lsns });
    cluster.advance(3_000);
    expect(segment()).toMatchObject({ vdl: 0, coalesced: 0 });
    volume.takeOver('w2', 2 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    expect(cluster.ask(NODE, 'install', volume.install())).toMatchObject({ installed: true, scl: 2 });
  });

  test('nor a remembered one, when the manifest it came under is lost', () => {
    const cluster = new StorageCluster({ nodes: TEST_NODES.slice(0, 1), ringEntries: 1 });
    const volume = new TestVolume();
    cluster.ask(NODE, 'install', volume.install());
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(4, 4)));
    const disk = cluster.disk(NODE);
    const [key, old] = [...disk.entries()].find(([entry]) => entry[0] === KIND.manifest) ?? [];
    if (key === undefined || old === undefined) throw new Error('no manifest stored');
    volume.takeOver('w2', 4 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence());
    cluster.ask(NODE, 'install', volume.install());
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(2, 4), { vdl: 104 as Lsn }));
    cluster.ask(NODE, 'append', volume.append([]));
    disk.put(key, old);
    cluster.restart(NODE);
    cluster.pump();
    const segment = cluster.core(NODE)?.segments.get(volume.volume, 0 as never);
    expect(segment).toMatchObject({ vdl: 0, promised: volume.epoch, quarantine: { kind: 'damaged' } });
    // Somebody who has the manifest brings it; what was appended under it is still on the disk, or comes from the peers.
    cluster.call(NODE, 'install', volume.install());
    cluster.advance(600);
    expect(segment).toMatchObject({ vdl: 104, installedEpoch: volume.epoch });
    expect(cluster.ask(NODE, 'fence', volume.fence()).intact).toBe(false);
  });

  test('brings no manifest below the promise and none that does not extend what is installed', () => {
    const { cluster, volume, segment } = opened(TEST_NODES.slice(0, 2));
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(4, 4)));
    cluster.ask(NODE, 'append', volume.append([], { vdl: 4 as Lsn }));
    const epoch = (number: number) => ({ number, writerId: 'z' });
    volume.takeOver('w2', 4 as Lsn);
    cluster.ask(NODE, 'fence', volume.fence(0, epoch(7)));
    cluster.ask(PEER, 'fence', volume.fence());
    cluster.ask(PEER, 'install', volume.install());
    cluster.advance(3_000);
    expect(segment().installedEpoch?.number).toBe(1);
    expect(compareEpochs(segment().promised, epoch(7))).toBe(0);

    const { cluster: second, volume: rival, segment: its } = opened(TEST_NODES.slice(0, 2));
    second.ask(NODE, 'append', rival.append(rival.writeMany(4, 4)));
    second.ask(NODE, 'append', rival.append([], { vdl: 4 as Lsn }));
    second.cut(NODE, PEER);
    rival.takeOver('w2', 2 as Lsn);
    second.ask(PEER, 'fence', rival.fence());
    second.ask(PEER, 'install', rival.install());
    second.ask(PEER, 'append', rival.append(rival.writeMany(3, 4)));
    second.ask(PEER, 'append', rival.append([], { vdl: rival.lastLsn }));
    second.heal();
    second.advance(3_000);
    expect(its()).toMatchObject({ scl: 4, vdl: 4, installedEpoch: { number: 1 } });
    expect(second.logs.some((line) => line.message.includes('does not extend'))).toBe(true);
  });

  test('three intact peers, caught up with, end a quarantine of unknown extent; two, or one in quarantine, do not', () => {
    const { cluster, volume, segment } = opened([...TEST_NODES]);
    const records = volume.writeMany(4, 4);
    for (const node of cluster.nodeIds) cluster.ask(node, 'append', volume.append(records));
    const [, b, c, d, e, f] = TEST_NODES.map((node) => node.nodeId) as [
      NodeId,
      NodeId,
      NodeId,
      NodeId,
      NodeId,
      NodeId,
    ];
    for (const node of [NODE, e]) {
      cluster.crash(node);
      cluster.restart(node, { loseDurableEntries: 1 });
    }
    cluster.pump();
    for (const unreachable of [b, c, d]) cluster.cut(NODE, unreachable);
    for (const other of [b, c, d, f]) cluster.cut(e, other);
    cluster.advance(4_000);
    expect(segment().quarantine?.kind).toBe('damaged');
    expect(cluster.ask(NODE, 'append', volume.append(records)).refusal?.code).toBe('QUARANTINED');
    cluster.heal();
    for (const unreachable of [b, c]) cluster.cut(NODE, unreachable);
    for (const other of [b, c, d, f]) cluster.cut(e, other);
    cluster.advance(4_000);
    expect(segment().quarantine?.kind).toBe('damaged');
    cluster.heal();
    cluster.advance(6_000);
    expect(segment().quarantine).toBeNull();
    expect(segment(e).quarantine).toBeNull();
  });

  test('a page reply tells no SCL that a crash could take back', () => {
    const { cluster, volume } = opened();
    cluster.ask(NODE, 'append', volume.append(volume.writeMany(2, 4)));
    cluster.ask(NODE, 'append', volume.append([], { vdl: 2 as Lsn }));
    cluster.stalledDisks.add(NODE);
    cluster.call(NODE, 'append', volume.append(volume.writeMany(2, 4)));
    expect(cluster.ask(NODE, 'readPages', volume.readPages([1], { lsn: 2 as Lsn })).scl).toBe(2);
  });
});
