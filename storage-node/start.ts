/**
 * Puts a storage node together and starts it: data directory, store, journal, core, driver, server; and takes it apart again cleanly.
 * The `tidemark storage-node` command is a thin wrapper around this.
 */
import { BUILD_VERSION } from '../src/adapters/build-info.ts';
import { nodeClock } from '../src/adapters/clock.ts';
import { nodeCrc32 } from '../src/adapters/crc32.ts';
import { GrpcStorageNodeClient } from '../src/adapters/grpc/client.ts';
import { StorageNodeServer } from '../src/adapters/grpc/server.ts';
import { nodeRandom } from '../src/adapters/random.ts';
import { nodeTimers } from '../src/adapters/timers.ts';
import type { NodeId } from '../src/log/lsn.ts';
import { openDataDirectory } from './adapters/data-directory.ts';
import { FileJournalDisk } from './adapters/journal-disk.ts';
import { LevelStore } from './adapters/level-store.ts';
import { type CheckedConfig, checkConfig, type StorageNodeConfig } from './config.ts';
import { assembleNode } from './driver/assemble.ts';
import { Gauges } from './driver/gauges.ts';
import { keepHeapSmall } from './memory.ts';

export interface RunningStorageNode {
  readonly nodeId: NodeId;
  /** host:port at which others reach it. */
  readonly address: string;
  /** Clean shutdown: nothing is answered any more, all that was taken is durable, the next start has nothing to replay. */
  close(): Promise<void>;
}

/** Rejects with a coded error (IN_USE, WRONG_CLUSTER, WRONG_FORMAT, CORRUPT, IO_ERROR, BAD_REQUEST) when it cannot start. */
export async function startStorageNode(config: StorageNodeConfig): Promise<RunningStorageNode> {
  const checked = checkConfig(config);
  if (config.onFatal === undefined) keepHeapSmall();
  const opened: (() => Promise<void>)[] = [];
  try {
    return await start(checked, opened, config.onFatal ?? endProcess);
  } catch (error) {
    for (const undo of opened.reverse()) await undo().catch(() => undefined);
    throw error;
  }
}

async function start(
  config: CheckedConfig,
  opened: (() => Promise<void>)[],
  onFatal: (error: Error) => void,
): Promise<RunningStorageNode> {
  const { nodeId, logger } = config;
  let hasFailed = false;
  const fatal = (error: Error): void => {
    hasFailed = true;
    logger.log('error', 'the storage node stops: it can no longer vouch for its data', { nodeId, error });
    onFatal(error);
  };

  const directory = await openDataDirectory(config.dataDir, nodeId);
  const store = await LevelStore.open(directory.storePath);
  opened.push(() => store.close());
  const disk = await FileJournalDisk.open(directory.journalPath, config.journalBytes);
  opened.push(() => disk.close());
  const gauges = new Gauges(
    directory.path,
    nodeTimers,
    async () => (await store.sizeBytes()) + disk.ringBytes,
  );
  await gauges.start();
  opened.push(async () => gauges.stop());
  const peers = new Map<NodeId, GrpcStorageNodeClient>();
  for (const node of config.nodes) {
    if (node.nodeId !== nodeId) peers.set(node.nodeId, new GrpcStorageNodeClient(node));
  }
  opened.push(async () => closeAll(peers.values()));

  const { driver, journal, storeWriter, recovery } = await assembleNode({
    node: {
      nodeId,
      az: config.az,
      peers: config.nodes,
      leaseTermMs: config.leaseTermMs,
      crc32: nodeCrc32,
      buildVersion: BUILD_VERSION,
      limits: config.coreLimits,
    },
    store,
    journalDisk: disk,
    gauges,
    peer: (peer) => peers.get(peer) ?? null,
    crc32: nodeCrc32,
    clock: nodeClock,
    timers: nodeTimers,
    logger,
    onFatal: fatal,
  });

  const server = await StorageNodeServer.listen(config.listen, driver);
  opened.push(() => server.close());
  driver.serve(server);
  driver.start(recovery, nodeRandom.id(12));

  return {
    nodeId,
    address: config.advertise ?? server.address,
    close: async () => {
      driver.stop();
      await server.close();
      closeAll(peers.values());
      gauges.stop();
      if (!hasFailed) {
        await journal.close();
        await storeWriter.written();
      }
      await store.close();
    },
  };
}

function closeAll(clients: Iterable<GrpcStorageNodeClient>): void {
  for (const client of clients) client.close();
}

function endProcess(): void {
  process.exit(1);
}
