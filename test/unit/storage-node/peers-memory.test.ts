import { describe, expect, test } from 'vitest';
import { incarnationCounter } from '../../../src/log/incarnation.ts';
import { NO_EPOCH } from '../../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex } from '../../../src/log/lsn.ts';
import { encodeCluster } from '../../../src/register/codec.ts';
import type { ClusterNode } from '../../../src/register/values.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import type { TestDisk } from '../../support/storage-disk.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const [A, B, C, D, E, F] = TEST_NODES.map(({ nodeId }) => nodeId) as [
  NodeId,
  NodeId,
  NodeId,
  NodeId,
  NodeId,
  NodeId,
];
/** Longer than the memory's lag. */
const TOLD_MS = 1_200;
const epoch = (number: number) => ({ number, writerId: 'z' });
const ballot = (number: number) => ({ number, writerId: 'p' });

function clusterValue(nodes: readonly ClusterNode[]): Uint8Array {
  return encodeCluster({
    format: 1,
    clusterId: TEST_CLUSTER,
    nodes,
    draining: [],
    constants: { lal: 1000, leaseTermMs: 500, defaultPgPages: 8 },
  });
}

/** Six nodes of a cluster with one volume, in which four records are on all of them and everybody has heard of it. */
function opened(options: ConstructorParameters<typeof StorageCluster>[0] = {}) {
  const cluster = new StorageCluster(options);
  const volume = new TestVolume();
  const value = clusterValue(TEST_NODES);
  const accept = (
    key: string,
    number: number,
    bytes: Uint8Array,
    nodes: readonly NodeId[] = cluster.nodeIds,
  ) => {
    for (const node of nodes) {
      const body = { clusterId: key === 'cluster' ? '' : TEST_CLUSTER, key, ballot: ballot(number) };
      cluster.ask(node, 'registerAccept', { ...body, version: 1, value: bytes });
    }
  };
  const append = (count = 4, nodes: readonly NodeId[] = cluster.nodeIds) => {
    const records = volume.writeMany(count, 4);
    for (const node of nodes) cluster.ask(node, 'append', volume.append(records));
  };
  accept('cluster', 1, value);
  for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
  append();
  cluster.advance(TOLD_MS);
  const segment = (node: NodeId) => {
    const found = cluster.core(node)?.segments.get(volume.volume, 0 as PgIndex);
    if (found === undefined || found === null) throw new Error('no segment');
    return found;
  };
  const peek = (node: NodeId, key: string) =>
    cluster.ask(node, 'registerPrepare', { clusterId: TEST_CLUSTER, key, ballot: NO_EPOCH });
  return { cluster, volume, accept, append, segment, peek };
}

function isolate(cluster: StorageCluster, node: NodeId, from: readonly NodeId[] = cluster.nodeIds): void {
  for (const other of from) if (other !== node) cluster.cut(node, other);
}

describe('a node put back to an old image of its disk', () => {
  test('keeps the promise that the image does not know', () => {
    const { cluster, volume, segment } = opened();
    const image = cluster.disk(A).copy();
    for (const node of cluster.nodeIds) cluster.ask(node, 'fence', volume.fence(0, epoch(7)));
    cluster.advance(TOLD_MS);
    cluster.putBack(A, image);
    cluster.pump();
    expect(segment(A).promised).toEqual(epoch(7));
    expect(cluster.ask(A, 'fence', volume.fence(0, epoch(5))).refusal?.code).toBe('STALE_EPOCH');
    // What it holds may be less than it acknowledged.
    expect(cluster.ask(A, 'fence', volume.fence(0, epoch(8)))).toMatchObject({
      promised: true,
      intact: false,
    });
    // And it keeps it, as if it had never been away.
    cluster.restart(A);
    cluster.pump();
    expect(segment(A).promised).toEqual(epoch(8));
    expect(segment(A).quarantine?.kind).toBe('damaged');
  });

  test('acknowledges nothing until it holds what it had acknowledged', () => {
    const { cluster, volume, append, segment } = opened();
    const image = cluster.disk(A).copy();
    append(6);
    cluster.advance(TOLD_MS);
    cluster.putBack(A, image);
    cluster.pump();
    expect(segment(A)).toMatchObject({ scl: 4, watermark: 10, quarantine: { kind: 'damaged' } });
    const next = volume.writeMany(2, 4);
    expect(cluster.ask(A, 'append', volume.append(next)).refusal?.code).toBe('QUARANTINED');
    cluster.advance(6_000);
    expect(segment(A)).toMatchObject({ scl: 10, quarantine: null });
    expect(cluster.core(A)?.isIntact).toBe(true);
    expect(cluster.ask(A, 'append', volume.append(next)).scl).toBe(12);
  });

  test('votes in no register before it has heard what the others hold', () => {
    const { cluster, accept, peek } = opened();
    accept('name/main', 3, Uint8Array.of(3));
    cluster.advance(TOLD_MS);
    const image = cluster.disk(A).copy();
    accept('name/main', 5, Uint8Array.of(5));
    accept('name/other', 2, Uint8Array.of(2));
    const prepare = { clusterId: TEST_CLUSTER, key: 'name/main', ballot: ballot(9) };
    cluster.ask(A, 'registerPrepare', prepare);
    cluster.advance(TOLD_MS);
    cluster.putBack(A, image);
    cluster.pump();
    expect(peek(A, 'name/main').refusal?.code).toBe('QUARANTINED');
    // One it has no state for is no exception.
    expect(peek(A, 'name/other').refusal?.code).toBe('QUARANTINED');
    cluster.advance(3_000);
    expect(peek(A, 'name/main')).toMatchObject({ promisedBallot: ballot(9), acceptedBallot: ballot(5) });
    expect(peek(A, 'name/other')).toMatchObject({ acceptedBallot: ballot(2) });
  });

  test('goes by a newer incarnation than any it had, and asks for no second repair', () => {
    const { cluster } = opened();
    const image = cluster.disk(A).copy();
    for (let start = 0; start < 3; start += 1) {
      cluster.restart(A);
      cluster.pump();
    }
    const before = incarnationCounter(cluster.core(A)?.incarnation ?? '');
    cluster.advance(TOLD_MS);
    cluster.putBack(A, image);
    cluster.pump();
    // Nothing else had changed: the starts alone tell.
    expect(cluster.core(A)?.isIntact).toBe(false);
    expect(incarnationCounter(cluster.core(A)?.incarnation ?? '')).toBeGreaterThan(before);
    cluster.advance(6_000);
    expect(cluster.core(A)?.isIntact).toBe(true);
    cluster.restart(A);
    cluster.pump();
    expect(cluster.core(A)?.isIntact).toBe(true);
  });

  test('is found out once: that its peers say so until it is whole is no new reason', () => {
    const { cluster, volume, segment } = opened();
    const image = cluster.disk(A).copy();
    volume.takeOver('w2');
    for (const node of cluster.nodeIds) cluster.call(node, 'fence', volume.fence());
    for (const node of cluster.nodeIds) cluster.call(node, 'install', volume.install());
    cluster.advance(TOLD_MS);
    // A take-over that went no further keeps it from the new manifest: everybody hears that it knows the old one.
    for (const node of cluster.nodeIds) cluster.ask(node, 'fence', volume.fence(0, epoch(9)));
    cluster.advance(TOLD_MS);
    cluster.putBack(A, image);
    cluster.advance(6_000);
    expect(segment(A).installedEpoch?.number).toBe(1);
    const found = cluster.logs.filter(({ message }) => message.includes('may have forgotten'));
    expect(found).toHaveLength(1);
  });

  test('is found out with another one at the same time', () => {
    const { cluster, volume, append, segment, accept, peek } = opened();
    const images = [A, B].map((node) => cluster.disk(node).copy());
    append(6);
    accept('name/main', 5, Uint8Array.of(5));
    volume.takeOver('w2');
    for (const node of cluster.nodeIds) cluster.call(node, 'fence', volume.fence());
    for (const node of cluster.nodeIds) cluster.call(node, 'install', volume.install());
    cluster.advance(TOLD_MS);
    for (const node of [A, B]) cluster.crash(node);
    for (const [i, node] of [A, B].entries()) cluster.putBack(node, images[i] as TestDisk);
    cluster.pump();
    for (const node of [A, B]) {
      expect(segment(node)).toMatchObject({
        promised: volume.epoch,
        watermark: 10,
        quarantine: { kind: 'damaged' },
      });
      expect(peek(node, 'name/main').refusal).not.toBeNull();
    }
    cluster.advance(8_000);
    for (const node of [A, B]) {
      expect(segment(node)).toMatchObject({ scl: 10, quarantine: null });
      expect(peek(node, 'name/main').acceptedBallot).toEqual(ballot(5));
    }
  });

  test('is found out late when those who knew answer late, and the writer is not misled by its name', () => {
    const { cluster, append, segment } = opened();
    const image = cluster.disk(A).copy();
    // B, C and D hear nothing more of A.
    for (const node of [B, C, D]) cluster.cut(A, node);
    append(6);
    cluster.advance(TOLD_MS);
    cluster.heal();
    for (const node of [E, F]) cluster.cut(A, node);
    cluster.putBack(A, image);
    cluster.pump();
    expect(cluster.core(A)?.incarnation).toMatch(/^0\./);
    cluster.advance(2_100);
    const { incarnation } = cluster.core(A) ?? {};
    expect(segment(A).quarantine).toBeNull();
    cluster.heal();
    cluster.advance(600);
    expect(
      cluster.logs.some(({ node, message }) => node === A && message.includes('may have forgotten')),
    ).toBe(true);
    expect(segment(A).watermark).toBe(10);
    cluster.advance(6_000);
    expect(segment(A)).toMatchObject({ scl: 10, quarantine: null });
    expect(incarnationCounter(incarnation ?? '')).toBeGreaterThan(0);
  });
});

describe('a node that lost its disk', () => {
  test('does not pass for a new one, and has everything again', () => {
    const { cluster, volume, accept, peek, segment } = opened();
    accept('name/main', 5, Uint8Array.of(5));
    cluster.advance(TOLD_MS);
    cluster.wipe(A);
    cluster.pump();
    expect(peek(A, 'name/main').refusal).not.toBeNull();
    const fenced = cluster.ask(A, 'fence', volume.fence(0, volume.epoch));
    expect(fenced).toMatchObject({ promised: true, intact: false, scl: 0, watermark: 4 });
    cluster.advance(8_000);
    expect(cluster.core(A)?.clusterId).toBe(TEST_CLUSTER);
    expect(peek(A, 'name/main').acceptedBallot).toEqual(ballot(5));
    expect(segment(A)).toMatchObject({ scl: 4, promised: volume.epoch });
  });

  test('holds acknowledgements of a new epoch for a lease term: it may have granted a lease', () => {
    const { cluster, volume } = opened();
    cluster.wipe(A);
    cluster.pump();
    cluster.ask(A, 'fence', volume.fence(0, epoch(9)));
    expect(cluster.core(A)?.leases.heldUntilMs(volume.volume, epoch(9))).toBeGreaterThan(cluster.nowMs);
  });
});

describe('beyond the six that everybody knows', () => {
  test('a node that lost its disk learns from the others of a protection group that none of the six has', () => {
    const more = ['az1-c', 'az1-d', 'az2-c', 'az2-d', 'az3-c', 'az3-d'].map((nodeId) => ({
      nodeId: nodeId as NodeId,
      az: nodeId.slice(0, 3),
      address: `${nodeId}:7100`,
    }));
    const [lost] = more.map(({ nodeId }) => nodeId) as [NodeId];
    const nodes = [...TEST_NODES, ...more];
    const cluster = new StorageCluster({ nodes, bootstrap: TEST_NODES });
    const value = clusterValue(nodes);
    for (const { nodeId } of TEST_NODES) {
      const body = { clusterId: '', key: 'cluster', ballot: ballot(1), version: 1, value };
      cluster.ask(nodeId, 'registerAccept', body);
    }
    const volume = new TestVolume();
    volume.members = more.map(({ nodeId }) => nodeId);
    for (const node of volume.members) cluster.ask(node, 'install', volume.install());
    cluster.advance(TOLD_MS);
    const records = volume.writeMany(4, 4);
    for (const node of volume.members) cluster.ask(node, 'append', volume.append(records));
    cluster.advance(TOLD_MS);
    expect(cluster.core(lost)?.isIntact).toBe(true);

    cluster.wipe(lost);
    cluster.pump();
    expect(cluster.core(lost)?.isIntact).toBe(false);
    expect(cluster.ask(lost, 'fence', volume.fence())).toMatchObject({ promised: true, intact: false });
    cluster.advance(8_000);
    expect(cluster.core(lost)?.isIntact).toBe(true);
    expect(cluster.ask(lost, 'fence', volume.fence())).toMatchObject({ intact: true, scl: 4 });
  });
});

describe('while a node asks its peers', () => {
  test('it neither promises nor acknowledges, and still reads out what it holds', () => {
    const { cluster, volume } = opened();
    for (const node of cluster.nodeIds) cluster.ask(node, 'append', volume.append([], { vdl: 4 as Lsn }));
    cluster.crash(A);
    isolate(cluster, A);
    cluster.restart(A);
    cluster.advance(400);
    const code = (reply: { refusal: { code: string } | null }) => reply.refusal?.code;
    const register = { clusterId: TEST_CLUSTER, key: 'name/x', ballot: ballot(4) };
    expect(code(cluster.ask(A, 'fence', volume.fence(0, epoch(9))))).toBe('UNAVAILABLE');
    expect(code(cluster.ask(A, 'install', volume.install()))).toBe('UNAVAILABLE');
    expect(code(cluster.ask(A, 'append', volume.append(volume.writeMany(1, 4))))).toBe('UNAVAILABLE');
    expect(code(cluster.ask(A, 'registerPrepare', register))).toBe('UNAVAILABLE');
    const proposal = { ...register, version: 1, value: Uint8Array.of(1) };
    expect(code(cluster.ask(A, 'registerAccept', proposal))).toBe('UNAVAILABLE');
    expect(code(cluster.ask(A, 'registerList', { clusterId: TEST_CLUSTER, prefix: '' }))).toBe('UNAVAILABLE');
    const { volume: id, epoch: current } = volume;
    const heartbeat = cluster.ask(A, 'heartbeat', {
      clusterId: TEST_CLUSTER,
      sequence: 1,
      computeId: 'c',
      computeUrl: '',
      volumes: [
        { volume: id, epoch: current, release: false, pgs: [], retention: new Uint8Array(0), keep: false },
      ],
    });
    expect(heartbeat.grants[0]).toMatchObject({ granted: false, refusal: { code: 'UNAVAILABLE' } });
    expect(cluster.ask(A, 'status', { clusterId: TEST_CLUSTER }).refusal).toBeNull();
    expect(cluster.ask(A, 'readPages', volume.readPages([1, 2], { lsn: 4 as Lsn })).refusal).toBeNull();
  });

  test('all five are waited for at most two seconds, three at least for ever', () => {
    const { cluster, volume, segment } = opened();
    cluster.crash(A);
    isolate(cluster, A, [D, E, F]);
    cluster.restart(A);
    cluster.pump();
    const fence = () => cluster.ask(A, 'fence', volume.fence(0, segment(B).promised)).promised;
    cluster.advance(5_000);
    expect(fence()).toBe(false);
    cluster.heal();
    isolate(cluster, A, [E, F]);
    cluster.advance(200);
    expect(fence()).toBe(true);

    cluster.crash(A);
    cluster.restart(A);
    cluster.advance(1_900);
    expect(fence()).toBe(false);
    cluster.advance(200);
    expect(fence()).toBe(true);
    expect(cluster.core(A)?.isIntact).toBe(true);
  });

  test('five that answer are enough at once', () => {
    const { cluster, volume, segment } = opened();
    cluster.restart(A);
    cluster.pump();
    expect(cluster.ask(A, 'fence', volume.fence(0, segment(B).promised)).promised).toBe(true);
  });

  test('six that start together answer each other, whoever can reach whom first', () => {
    const { cluster, segment } = opened();
    for (const node of cluster.nodeIds) cluster.crash(node);
    for (const node of cluster.nodeIds) {
      cluster.restart(node);
      cluster.pump();
    }
    for (const node of cluster.nodeIds) {
      expect(cluster.core(node)?.isIntact).toBe(true);
      expect(segment(node)).toMatchObject({ scl: 4, quarantine: null });
    }
  });
});

describe('what is remembered', () => {
  test('is no reproach when a committed manifest has cut it', () => {
    const { cluster, volume, segment } = opened();
    const ghosts = volume.writeMany(3, 4);
    cluster.ask(A, 'append', volume.append(ghosts));
    cluster.advance(TOLD_MS);
    volume.takeOver('w2', 4 as Lsn);
    for (const node of cluster.nodeIds) cluster.call(node, 'fence', volume.fence());
    for (const node of cluster.nodeIds) cluster.call(node, 'install', volume.install());
    cluster.advance(600);
    cluster.restart(A);
    cluster.pump();
    expect(segment(A)).toMatchObject({ scl: 4, quarantine: null });
    expect(cluster.core(A)?.isIntact).toBe(true);
    cluster.advance(3_000);
    cluster.restart(A);
    cluster.pump();
    expect(cluster.core(A)?.isIntact).toBe(true);
  });

  test('is told only when it is durable', () => {
    const { cluster, volume } = opened();
    cluster.stalledDisks.add(A);
    cluster.call(A, 'fence', volume.fence(0, epoch(9)));
    cluster.advance(TOLD_MS);
    // The promise was never durable, nor answered: forgetting it is nobody's business.
    cluster.crash(A);
    cluster.stalledDisks.clear();
    cluster.restart(A);
    cluster.pump();
    expect(cluster.core(A)?.isIntact).toBe(true);
  });

  test('outlives the one who remembers', () => {
    const { cluster, volume, segment } = opened();
    const image = cluster.disk(A).copy();
    cluster.ask(A, 'fence', volume.fence(0, epoch(9)));
    cluster.advance(TOLD_MS);
    cluster.crash(A);
    for (const node of [B, C, D, E, F]) cluster.restart(node);
    cluster.pump();
    cluster.putBack(A, image);
    cluster.pump();
    expect(segment(A).promised).toEqual(epoch(9));
  });

  test('is not overwritten by what an old image tells', () => {
    const { cluster, volume, segment } = opened();
    const image = cluster.disk(A).copy();
    cluster.ask(A, 'fence', volume.fence(0, epoch(9)));
    cluster.advance(TOLD_MS);
    // It reaches two only and goes down again before it has heard enough.
    cluster.crash(A);
    isolate(cluster, A, [D, E, F]);
    cluster.putBack(A, image);
    cluster.advance(3_000);
    cluster.heal();
    isolate(cluster, A, [E, F]);
    cluster.putBack(A, image);
    cluster.advance(3_000);
    expect(segment(A).promised).toEqual(epoch(9));
  });

  test('costs nothing while nothing changes, and two calls a second and pair while it does', () => {
    const { cluster, append } = opened();
    cluster.advance(2_000);
    cluster.callCounts.clear();
    cluster.advance(5_000);
    expect(cluster.callCounts.get('exchangeMemory')).toBeUndefined();
    for (let i = 0; i < 50; i += 1) {
      append(1);
      cluster.advance(100);
    }
    expect(cluster.callCounts.get('exchangeMemory')).toBeGreaterThan(100);
    expect(cluster.callCounts.get('exchangeMemory')).toBeLessThanOrEqual(30 * 11);
  });
});

describe('damage to the journal', () => {
  test('is not forgotten over further starts before it is made good', () => {
    const { cluster, append, segment } = opened();
    append(2);
    cluster.restart(A, { loseDurableEntries: 1 });
    cluster.pump();
    for (let start = 0; start < 2; start += 1) {
      cluster.restart(A);
      cluster.pump();
      expect(segment(A).quarantine?.kind).toBe('damaged');
    }
    cluster.advance(6_000);
    expect(cluster.core(A)?.isIntact).toBe(true);
    cluster.restart(A);
    cluster.pump();
    expect(segment(A).quarantine).toBeNull();
  });
});
