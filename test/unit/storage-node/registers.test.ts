import { describe, expect, test } from 'vitest';
import { NO_EPOCH } from '../../../src/log/epoch.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { encodeCluster } from '../../../src/register/codec.ts';
import { StorageCluster, TEST_CLUSTER, TEST_NODES } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const NODE = 'az1-a' as NodeId;
const ballot = (number: number) => ({ number, writerId: 'p' });

function clusterValue(clusterId: string): Uint8Array {
  return encodeCluster({
    format: 1,
    clusterId,
    nodes: TEST_NODES,
    draining: [],
    constants: { lal: 1000, leaseTermMs: 500, defaultPgPages: 100 },
  });
}

function acceptOf(key: string, number: number, value: Uint8Array, clusterId = TEST_CLUSTER) {
  return { clusterId, key, ballot: ballot(number), version: 1, value };
}

describe('registers on a node', () => {
  test('a cluster is joined on the word of who names it, not for a value that was accepted while it was being made', () => {
    const cluster = new StorageCluster();
    const first = cluster.ask(NODE, 'registerAccept', acceptOf('cluster', 1, clusterValue('aaaa'), ''));
    expect(first.accepted).toBe(true);
    expect(cluster.ask(NODE, 'status', { clusterId: '' }).clusterId).toBe('');
    // The first one came to nothing elsewhere.
    expect(
      cluster.ask(NODE, 'registerAccept', acceptOf('cluster', 2, clusterValue('bbbb'), '')).accepted,
    ).toBe(true);
    expect(cluster.ask(NODE, 'status', { clusterId: '' }).clusterId).toBe('');
    const named = acceptOf('name/main', 1, Uint8Array.of(1), 'bbbb');
    expect(cluster.ask(NODE, 'registerAccept', named).accepted).toBe(true);
    expect(cluster.ask(NODE, 'status', { clusterId: '' }).clusterId).toBe('bbbb');
    const late = cluster.ask(NODE, 'registerAccept', acceptOf('cluster', 3, clusterValue('aaaa'), ''));
    expect(late.refusal?.code).toBe('WRONG_CLUSTER');
    cluster.restart(NODE);
    cluster.pump();
    expect(cluster.ask(NODE, 'status', { clusterId: '' }).clusterId).toBe('bbbb');
  });

  test('other clusters are refused, also in what only reads; without a cluster one may only look at the cluster register', () => {
    const cluster = new StorageCluster();
    cluster.ask(NODE, 'registerAccept', acceptOf('cluster', 1, clusterValue(TEST_CLUSTER)));
    const list = (clusterId: string) => cluster.ask(NODE, 'registerList', { clusterId, prefix: '' });
    expect(list('other').refusal?.code).toBe('WRONG_CLUSTER');
    expect(list('').refusal?.code).toBe('WRONG_CLUSTER');
    expect(list(TEST_CLUSTER).keys).toEqual(['cluster']);
    const peek = (key: string) =>
      cluster.ask(NODE, 'registerPrepare', { clusterId: '', key, ballot: NO_EPOCH });
    expect(peek('cluster').acceptedVersion).toBe(1);
    expect(peek('name/main').refusal?.code).toBe('WRONG_CLUSTER');
    expect(cluster.ask(NODE, 'status', { clusterId: 'other' }).refusal?.code).toBe('WRONG_CLUSTER');
  });

  test('a promise is told only when it is durable, also one that was made before and is still on its way', () => {
    const cluster = new StorageCluster();
    cluster.stalledDisks.add(NODE);
    const promises: boolean[] = [];
    const request = { clusterId: TEST_CLUSTER, key: 'name/x', ballot: ballot(4) };
    cluster.send(NODE, 'registerPrepare', request, (reply) => promises.push(reply.promised));
    cluster.send(NODE, 'registerPrepare', request, (reply) => promises.push(reply.promised));
    cluster.pump();
    expect(promises).toEqual([]);
    cluster.stalledDisks.clear();
    cluster.pump();
    expect(promises).toEqual([true, true]);
  });

  test('a scan tells what is accepted, by key, in portions, and nothing that was only promised', () => {
    const cluster = new StorageCluster();
    for (const name of ['b', 'a', 'c'])
      cluster.ask(NODE, 'registerAccept', acceptOf(`name/${name}`, 1, new Uint8Array(400)));
    cluster.ask(NODE, 'registerAccept', acceptOf('volume/x', 1, new Uint8Array(1)));
    cluster.ask(NODE, 'registerPrepare', { clusterId: TEST_CLUSTER, key: 'name/d', ballot: ballot(1) });
    const scan = (after: string, maxBytes: number) =>
      cluster.ask(NODE, 'registerScan', { clusterId: TEST_CLUSTER, prefix: 'name/', after, maxBytes });
    const keys = (reply: ReturnType<typeof scan>) => reply.entries.map(({ key }) => key);
    expect(keys(scan('', 10_000))).toEqual(['name/a', 'name/b', 'name/c']);
    expect(scan('', 10_000).done).toBe(true);
    expect([keys(scan('', 1_000)), scan('', 1_000).done]).toEqual([['name/a', 'name/b'], false]);
    expect([keys(scan('name/b', 1_000)), scan('name/b', 1_000).done]).toEqual([['name/c'], true]);
    expect(scan('', 1).entries.length).toBe(1);
  });

  test('keys that are none, and values that are too large, are refused', () => {
    const cluster = new StorageCluster();
    const key = 'name/../x';
    expect(
      cluster.ask(NODE, 'registerPrepare', { clusterId: TEST_CLUSTER, key, ballot: ballot(1) }).refusal?.code,
    ).toBe('BAD_REQUEST');
    const large = acceptOf('name/x', 1, new Uint8Array(950 * 1024));
    expect(cluster.ask(NODE, 'registerAccept', large).refusal?.code).toBe('TOO_LARGE');
    const torn = acceptOf('cluster', 1, Uint8Array.of(1, 2, 3), '');
    expect(cluster.ask(NODE, 'registerAccept', torn).refusal?.code).toBe('CORRUPT');
  });
});

describe('after damage to the journal', () => {
  function damaged() {
    const cluster = new StorageCluster();
    for (const node of cluster.nodeIds) {
      cluster.ask(node, 'registerAccept', acceptOf('cluster', 1, clusterValue(TEST_CLUSTER), ''));
      cluster.ask(node, 'registerAccept', acceptOf('name/main', 7, Uint8Array.of(7)));
    }
    return cluster;
  }
  const peek = (cluster: StorageCluster) =>
    cluster.ask(NODE, 'registerPrepare', { clusterId: TEST_CLUSTER, key: 'name/main', ballot: NO_EPOCH });

  test('an acceptor does not vote until three others have told it what it may have forgotten', () => {
    const cluster = damaged();
    // The accepted name is what the journal forgets.
    cluster.restart(NODE, { loseDurableEntries: 1 });
    cluster.pump();
    for (const other of TEST_NODES.slice(3)) cluster.cut(NODE, other.nodeId);
    cluster.advance(3_000);
    expect(peek(cluster).refusal?.code).toBe('QUARANTINED');
    expect(cluster.core(NODE)?.isIntact).toBe(false);
    cluster.heal();
    cluster.advance(3_000);
    const { acceptedBallot, acceptedValue, promisedBallot } = peek(cluster);
    expect({ acceptedBallot, promisedBallot }).toEqual({
      acceptedBallot: ballot(7),
      promisedBallot: ballot(7),
    });
    expect([...acceptedValue]).toEqual([7]);
    expect(cluster.core(NODE)?.isIntact).toBe(true);
  });

  test('those who are in doubt themselves do not vouch for each other', () => {
    const cluster = damaged();
    for (const { nodeId } of TEST_NODES.slice(0, 4)) cluster.crash(nodeId);
    for (const { nodeId } of TEST_NODES.slice(0, 4)) cluster.restart(nodeId, { loseDurableEntries: 1 });
    cluster.pump();
    cluster.advance(5_000);
    expect(peek(cluster).refusal?.code).toBe('QUARANTINED');
  });

  test('a segment that the journal forgot altogether is not vouched for as empty; the others tell of it', () => {
    const cluster = damaged();
    const volume = new TestVolume();
    for (const node of cluster.nodeIds) cluster.ask(node, 'install', volume.install());
    const records = volume.writeMany(4, 4);
    for (const node of cluster.nodeIds) cluster.ask(node, 'append', volume.append(records));
    cluster.restart(NODE, { chance: () => 0.999, loseDurableEntries: 4 });
    cluster.pump();
    for (const other of TEST_NODES.slice(1)) cluster.cut(NODE, other.nodeId);
    expect(cluster.ask(NODE, 'status', { clusterId: TEST_CLUSTER }).segments).toEqual([]);
    const fence = cluster.ask(NODE, 'fence', volume.fence(0, { number: 1, writerId: 'w1' }));
    expect(fence).toMatchObject({ promised: true, intact: false, scl: 0 });
    cluster.heal();
    cluster.advance(6_000);
    const [segment] = cluster.ask(NODE, 'status', { clusterId: TEST_CLUSTER }).segments;
    expect(segment).toMatchObject({ scl: 4, quarantined: false });
    expect(cluster.core(NODE)?.isIntact).toBe(true);
  });
});

describe('discovery', () => {
  test('a node that was down when a volume was made hears of it from the others', () => {
    const cluster = new StorageCluster();
    const volume = new TestVolume();
    cluster.crash(NODE);
    for (const { nodeId } of TEST_NODES.slice(1)) cluster.ask(nodeId, 'install', volume.install());
    const records = volume.writeMany(4, 4);
    for (const { nodeId } of TEST_NODES.slice(1)) cluster.ask(nodeId, 'append', volume.append(records));
    for (const { nodeId } of TEST_NODES.slice(1))
      cluster.ask(nodeId, 'append', volume.append([], { vdl: volume.lastLsn }));
    cluster.restart(NODE);
    cluster.pump();
    cluster.ask(NODE, 'registerAccept', acceptOf('name/x', 1, Uint8Array.of(1)));
    cluster.advance(8_000);
    expect(cluster.ask(NODE, 'status', { clusterId: TEST_CLUSTER }).segments).toMatchObject([
      { scl: 4, vdl: 4 },
    ]);
  });
});
