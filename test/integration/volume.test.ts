/**
 * A volume without SQL: six storage nodes with real files and gRPC in this process, taken over, written and read through `OpenVolume`, closed and
 * taken over again.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDirectory, type VolumeDirectory } from '../../compute-node/driver/directory.ts';
import { openVolume } from '../../compute-node/driver/open-volume.ts';
import { StorageLinks } from '../../compute-node/driver/storage-links.ts';
import { takeOverVolume } from '../../compute-node/driver/take-over.ts';
import type { OpenVolume } from '../../compute-node/volume/open-volume.ts';
import { nodeClock } from '../../src/adapters/clock.ts';
import { nodeTimers } from '../../src/adapters/timers.ts';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import { createLogger } from '../../src/adapters/logger.ts';
import { nodeRandom } from '../../src/adapters/random.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { toPageNumber } from '../../src/log/lsn.ts';
import { diffPage } from '../../src/log/page-diff.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import { type RunningStorageNode, startStorageNode } from '../../storage-node/start.ts';
import { freePort } from '../support/free-port.ts';

const logger = createLogger({ level: 'error' });
const PG_PAGES = 8;
let folder: string;
let nodes: ClusterNode[];
let running: RunningStorageNode[];
let clients: Map<NodeId, GrpcStorageNodeClient>;
let directory: VolumeDirectory;
let links: StorageLinks;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tidemark-volume-'));
  nodes = await Promise.all(
    ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'].map(async (nodeId) => ({
      nodeId: nodeId as NodeId,
      az: nodeId.slice(0, 3),
      address: `127.0.0.1:${await freePort()}`,
    })),
  );
  running = await Promise.all(
    nodes.map(({ nodeId, az, address }) =>
      startStorageNode({
        nodeId,
        az,
        listen: address,
        dataDir: join(folder, nodeId),
        nodes,
        journalBytes: 8 << 20,
        logger,
      }),
    ),
  );
  clients = new Map(nodes.map((node) => [node.nodeId, new GrpcStorageNodeClient(node)]));
  directory = await openDirectory({
    clients,
    nodes,
    random: nodeRandom,
    clock: nodeClock,
    timers: nodeTimers,
    logger,
  });
  links = StorageLinks.open({
    clients,
    clusterId: directory.cluster.clusterId,
    computeId: 'test',
    computeUrl: 'http://127.0.0.1:0',
    clock: nodeClock,
    timers: nodeTimers,
  });
});

afterAll(async () => {
  links?.close();
  directory?.close();
  for (const client of clients?.values() ?? []) client.close();
  await Promise.all(running?.map((node) => node.close()) ?? []);
  await rm(folder, { recursive: true, force: true });
});

async function open(name: string): Promise<OpenVolume> {
  const found = await directory.lookup(name);
  if (found === null) throw new Error(`no volume ${name}`);
  const takenOver = await takeOverVolume({
    name: found,
    cluster: directory.cluster,
    clients,
    computeId: 'test',
    force: false,
    random: nodeRandom,
    clock: nodeClock,
    timers: nodeTimers,
    crc32: nodeCrc32,
    logger,
  });
  return openVolume({
    takenOver,
    cluster: () => directory.cluster,
    links,
    clock: nodeClock,
    timers: nodeTimers,
    random: nodeRandom,
    crc32: nodeCrc32,
    logger,
  });
}

describe('a volume', () => {
  it('keeps what was written over take-overs, in several protection groups that are made as it grows', async () => {
    await directory.createVolume('one', { pgPages: PG_PAGES });
    const model = new Map<number, Uint8Array>();
    for (let round = 0; round < 3; round += 1) {
      const volume = await open('one');
      for (let commit = 0; commit < 200; commit += 1) {
        const pages = new Set(
          Array.from({ length: 3 }, () => 1 + Math.floor(Math.random() * (8 + round * 12 + commit / 20))),
        );
        const changes = [...pages].map((page) => {
          const base = model.get(page) ?? null;
          const next = base === null ? new Uint8Array(PAGE_SIZE_BYTES) : base.slice();
          next[Math.floor(Math.random() * PAGE_SIZE_BYTES)] = 1 + Math.floor(Math.random() * 255);
          next[round * 7] = (commit % 255) + 1;
          model.set(page, next);
          return diffPage(toPageNumber(page), base, next) ?? expect.fail('unchanged');
        });
        await volume.whenWritable(5_000);
        const { cpl } = volume.submit({ changes });
        if (commit % 10 === 0) await volume.whenDurable(cpl);
      }
      await volume.whenDurable(volume.headLsn);
      expect(volume.vdl).toBe(volume.headLsn);
      await volume.confirmReadable();
      const pages = [...model.keys()].sort((a, b) => a - b).map(toPageNumber);
      const versions = await volume.readPages(volume.vdl, pages);
      for (const [index, page] of pages.entries()) {
        expect(versions[index]?.page).toBe(page);
        expect(Buffer.compare(Buffer.from(versions[index]!.data), Buffer.from(model.get(page)!))).toBe(0);
      }
      await volume.close();
    }
  });

  it('is refused a second name, and an unknown one is not found', async () => {
    await expect(directory.createVolume('one')).rejects.toMatchObject({ code: 'VOLUME_EXISTS' });
    expect(await directory.lookup('two')).toBeNull();
    await expect(directory.createVolume('Bad Name')).rejects.toMatchObject({ code: 'BAD_NAME' });
  });
});
