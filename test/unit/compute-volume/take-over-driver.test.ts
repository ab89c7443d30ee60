/**
 * The directory of volumes and the driver of take-overs, over real storage-node cores in memory and in real time: what a compute node's
 * operator and its rivals meet.
 */
import { afterEach, describe, expect, it } from 'vitest';
import {
  type DirectoryOptions,
  type NamedVolume,
  openDirectory,
} from '../../../compute-node/driver/directory.ts';
import { Registers } from '../../../compute-node/driver/registers.ts';
import { StorageLinks } from '../../../compute-node/driver/storage-links.ts';
import { openVolume } from '../../../compute-node/driver/open-volume.ts';
import { takeOverVolume } from '../../../compute-node/driver/take-over.ts';
import type { TakenOver } from '../../../compute-node/volume/taken-over.ts';
import { nodeClock } from '../../../src/adapters/clock.ts';
import { nodeTimers } from '../../../src/adapters/timers.ts';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { nodeRandom } from '../../../src/adapters/random.ts';
import type { ErrorCode } from '../../../src/base/errors.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { encodeCluster } from '../../../src/register/codec.ts';
import { REGISTER_FORMAT, type ClusterNode } from '../../../src/register/values.ts';
import { TEST_NODES } from '../../support/storage-cluster.ts';
import { MemoryTransport } from '../../support/writer-memory-transport.ts';

const NODE_IDS = TEST_NODES.map(({ nodeId }) => nodeId) as [NodeId, NodeId, NodeId, NodeId, NodeId, NodeId];
const toClose: { close(): void }[] = [];
afterEach(() => {
  for (const thing of toClose.splice(0).reverse()) thing.close();
});

const fails = (code: ErrorCode, message?: RegExp) =>
  expect.objectContaining({
    code,
    nextStep: expect.any(String),
    ...(message && { message: expect.stringMatching(message) }),
  });

function network(): MemoryTransport {
  const transport = new MemoryTransport();
  toClose.push(transport);
  return transport;
}

async function join(transport: MemoryTransport, options: Partial<DirectoryOptions> = {}) {
  const directory = await openDirectory({
    clients: transport.clients,
    nodes: TEST_NODES,
    random: nodeRandom,
    clock: nodeClock,
    timers: nodeTimers,
    logger: silentLogger,
    timeoutMs: 1_500,
    ...options,
  });
  toClose.push(directory);
  return directory;
}

describe('a cluster', () => {
  it('is made once, and found by whoever comes later', async () => {
    const transport = network();
    const [first, rival] = await Promise.all([join(transport), join(transport)]);
    expect(first.cluster.clusterId).toMatch(/^[0-9a-v]{16}$/);
    expect(rival.cluster).toEqual(first.cluster);
    const later = await join(transport, { settings: { lal: 5 } });
    expect(later.cluster).toEqual(first.cluster);
  });

  it('can be made and joined with two nodes down; they are told when they come', async () => {
    const transport = network();
    transport.crash(NODE_IDS[0]);
    transport.crash(NODE_IDS[3]);
    const { cluster } = await join(transport);
    transport.bringBack(NODE_IDS[0]);
    const told = async () =>
      (await transport.clients.get(NODE_IDS[0])?.call('status', { clusterId: '' }, { timeoutMs: 500 }))
        ?.clusterId;
    const late = performance.now() + 4_000;
    while ((await told()) === '' && performance.now() < late)
      await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await told()).toBe(cluster.clusterId);
  });

  it('names the nodes that did not answer when there are too few', async () => {
    const transport = network();
    for (const node of NODE_IDS.slice(0, 3)) transport.crash(node);
    await expect(join(transport)).rejects.toEqual(fails('NO_QUORUM', /az1-a: .*az1-b: .*az2-a: /));
  });

  it('takes new addresses, and refuses other nodes', async () => {
    const transport = network();
    const { cluster } = await join(transport);
    const moved = TEST_NODES.map((node, i) => (i === 2 ? { ...node, address: 'elsewhere:1' } : node));
    expect((await join(transport, { nodes: moved })).cluster).toEqual({ ...cluster, nodes: moved });
    const renamed: ClusterNode[] = TEST_NODES.map((node, i) => (i === 2 ? { ...node, az: 'az1' } : node));
    const seven = [...TEST_NODES, { nodeId: 'az3-c' as NodeId, az: 'az3', address: 'x:1' }];
    await expect(join(transport, { nodes: seven })).rejects.toEqual(fails('WRONG_CLUSTER'));
    await expect(join(transport, { nodes: renamed })).rejects.toEqual(
      fails('BAD_REQUEST', /two storage nodes in each/),
    );
  });

  it('is not made anew beside nodes that belong to one already', async () => {
    const transport = network();
    const foreign = {
      format: REGISTER_FORMAT,
      clusterId: 'foreign',
      nodes: TEST_NODES,
      draining: [],
      constants: { lal: 1, leaseTermMs: 1, defaultPgPages: 1 },
    } as const;
    const accept = {
      clusterId: 'foreign',
      key: 'cluster',
      ballot: { number: 1, writerId: 'x' },
      version: 1,
      value: encodeCluster(foreign),
    };
    await transport.clients.get(NODE_IDS[5])?.call('registerAccept', accept, { timeoutMs: 500 });
    // The one that knows is not heard when the register is read.
    const silent = new Map(transport.clients);
    const client = transport.clients.get(NODE_IDS[5]);
    if (client === undefined) throw new Error('no client');
    silent.set(NODE_IDS[5], {
      ...client,
      call: (method, request, options) =>
        method === 'status' ? client.call(method, request, options) : Promise.reject(new Error('lost')),
    });
    await expect(join(transport, { clients: silent })).rejects.toEqual(
      fails('WRONG_CLUSTER', /belongs to cluster foreign/),
    );
  });
});

describe('volumes', () => {
  it('are created, found and listed by name', async () => {
    const directory = await join(network());
    expect(await directory.lookup('main')).toBeNull();
    expect(await directory.list()).toEqual([]);
    const main = await directory.createVolume('main');
    const dev = await directory.createVolume('dev', { pgPages: 4, windowMs: 60_000 });
    expect(main.volume).not.toBe(dev.volume);
    expect(await directory.lookup('main')).toEqual(main);
    expect(await directory.list()).toEqual([dev, main]);
  });

  it('have one creator per name', async () => {
    const transport = network();
    const [a, b] = await Promise.all([join(transport), join(transport)]);
    const created = await Promise.allSettled([a.createVolume('main'), b.createVolume('main')]);
    const made = created.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const refused = created.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(refused).toEqual([fails('VOLUME_EXISTS')]);
    expect(await a.lookup('main')).toEqual(made[0]);
    await expect(a.createVolume('main')).rejects.toEqual(fails('VOLUME_EXISTS'));
  });

  it('refuse names that cannot be', async () => {
    const directory = await join(network());
    for (const name of ['', 'Main', '-a', 'a_b', 'x'.repeat(64), 'v2', 'health', 'a/b', 'main@now']) {
      await expect(directory.createVolume(name)).rejects.toEqual(fails('BAD_NAME'));
      await expect(directory.lookup(name)).rejects.toEqual(fails('BAD_NAME'));
    }
    await expect(directory.createVolume('a')).resolves.toMatchObject({ name: 'a' });
    await expect(directory.createVolume(`9${'x'.repeat(62)}`)).resolves.toBeDefined();
  });

  it('list needs three nodes, and finds what only four know', async () => {
    const transport = network();
    transport.crash(NODE_IDS[0]);
    transport.crash(NODE_IDS[1]);
    const directory = await join(transport);
    const main = await directory.createVolume('main');
    const back = NODE_IDS.slice(0, 2);
    for (const node of back) transport.bringBack(node);
    await expect.poll(() => back.every((node) => transport.cluster.core(node)?.isIntact)).toBe(true);
    transport.crash(NODE_IDS[2]);
    transport.crash(NODE_IDS[3]);
    expect(await directory.list()).toEqual([main]);
    for (const node of NODE_IDS.slice(0, 2)) transport.crash(node);
    await expect(directory.list()).rejects.toEqual(fails('NO_QUORUM'));
  });
});

describe('registers', () => {
  it('give every one of many rivals its turn', async () => {
    const transport = network();
    const { cluster } = await join(transport);
    const add = (current: Uint8Array | null, id: number) => new Uint8Array([...(current ?? []), id]);
    const rivals = [0, 1, 2, 3].map(
      () =>
        new Registers({
          clients: transport.clients,
          clusterId: cluster.clusterId,
          random: nodeRandom,
          clock: nodeClock,
          timers: nodeTimers,
        }),
    );
    const mine = rivals.map((registers, id) =>
      registers.change('name/counted', NODE_IDS, (current) =>
        current?.includes(id) === true ? null : add(current, id),
      ),
    );
    await Promise.all(mine);
    const { value } = await (rivals[0] as Registers).read('name/counted', NODE_IDS);
    expect([...(value ?? [])].sort()).toEqual([0, 1, 2, 3]);
  });
});

describe('taking over', () => {
  async function cluster() {
    const transport = network();
    const directory = await join(transport);
    const name = await directory.createVolume('main', { pgPages: 4 });
    const take = (
      computeId: string,
      options: { force?: boolean; timeoutMs?: number } = {},
    ): Promise<TakenOver> =>
      takeOverVolume({
        name,
        cluster: directory.cluster,
        clients: transport.clients,
        computeId,
        force: options.force ?? false,
        timeoutMs: options.timeoutMs ?? 5_000,
        random: nodeRandom,
        clock: nodeClock,
        timers: nodeTimers,
        crc32: nodeCrc32,
        logger: silentLogger,
      });
    const hold = async (computeId: string) => {
      const takenOver = await take(computeId);
      const links = StorageLinks.open({
        clients: transport.clients,
        clusterId: directory.cluster.clusterId,
        computeId,
        computeUrl: `http://${computeId}:8080`,
        clock: nodeClock,
        timers: nodeTimers,
      });
      toClose.push(links);
      const volume = openVolume({
        takenOver,
        cluster: () => directory.cluster,
        links,
        random: nodeRandom,
        clock: nodeClock,
        timers: nodeTimers,
        crc32: nodeCrc32,
        logger: silentLogger,
      });
      toClose.push({ close: () => void volume.close() });
      await new Promise((resolve) => setTimeout(resolve, 300));
      return volume;
    };
    return { transport, directory, name, take, hold };
  }

  it('opens a created volume with the settings it was created with', async () => {
    const { take } = await cluster();
    const takenOver = await take('c1');
    expect(takenOver.manifest.pgPages).toBe(4);
    expect(takenOver.manifest.runs).toMatchObject([{ id: 0, firstLsn: 1, lastLsn: null, parent: null }]);
    expect(takenOver.vdl).toBe(0);
  });

  it('leaves a volume to its live holder, and says where it is', async () => {
    const { take, hold } = await cluster();
    const volume = await hold('c1');
    await expect(take('c2')).rejects.toEqual(fails('VOLUME_HELD', /c1 at http:\/\/c1:8080/));
    // The holder's own next life, or a failover, may.
    const again = await take('c1');
    expect(again.epoch.number).toBeGreaterThan(volume.epoch.number);
    const forced = await take('c2', { force: true });
    expect(forced.epoch.number).toBeGreaterThan(again.epoch.number);
  });

  it('lets of several at once one win at a time', async () => {
    const { take } = await cluster();
    const results = await Promise.allSettled(['c1', 'c2', 'c3'].map((id) => take(id, { force: true })));
    const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(won.length).toBeGreaterThan(0);
    for (const error of lost) expect(error).toEqual(fails('DEPOSED'));
    expect(new Set(won.map(({ epoch }) => epoch.number)).size).toBe(won.length);
    // Each builds on the one before: one run per term.
    const last = won.sort((a, b) => a.epoch.number - b.epoch.number).at(-1);
    const ids = last?.manifest.runs.map((run) => run.id) ?? [];
    expect(ids).toEqual(ids.map((_, i) => i));
  });

  it('waits for a quorum, and goes on as soon as there is one', async () => {
    const { transport, take } = await cluster();
    for (const node of NODE_IDS.slice(0, 4)) transport.crash(node);
    await expect(take('c1', { timeoutMs: 300 })).rejects.toEqual(fails('NO_QUORUM', /az1-a/));
    const taking = take('c1');
    await new Promise((resolve) => setTimeout(resolve, 400));
    transport.bringBack(NODE_IDS[0]);
    transport.bringBack(NODE_IDS[1]);
    expect((await taking).installed.length).toBeGreaterThanOrEqual(4);
  });

  it('does not know a name without a volume', async () => {
    const { directory, transport, name } = await cluster();
    const gone = { ...name, volume: null } as unknown as NamedVolume;
    const taking = takeOverVolume({
      name: gone,
      cluster: directory.cluster,
      clients: transport.clients,
      computeId: 'c1',
      force: false,
      random: nodeRandom,
      clock: nodeClock,
      timers: nodeTimers,
      crc32: nodeCrc32,
      logger: silentLogger,
    });
    await expect(taking).rejects.toEqual(fails('VOLUME_NOT_FOUND'));
  });
});
