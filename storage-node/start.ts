/**
 * Puts a storage node together and starts it: data directory, store, journal, core, driver, server; and takes it apart again cleanly.
 * The `tidemark storage-node` command is a thin wrapper around this.
 *
 * A store that cannot be read any more is no reason to end the process: the node is taken apart and started again in place, and the start mends
 * the store. A failed write or sync is: what the disk holds then is not known.
 */
import { BUILD_VERSION } from '../src/adapters/build-info.ts';
import { nodeClock } from '../src/adapters/clock.ts';
import { nodeCrc32 } from '../src/adapters/crc32.ts';
import { StorageNodeServer } from '../src/adapters/grpc/server.ts';
import { nodeRandom } from '../src/adapters/random.ts';
import { nodeTimers } from '../src/adapters/timers.ts';
import type { NodeId } from '../src/log/lsn.ts';
import { type DataDirectory, openDataDirectory } from './adapters/data-directory.ts';
import { FileJournalDisk } from './adapters/journal-disk.ts';
import { LevelStore } from './adapters/level-store.ts';
import { checkedStore } from './adapters/leveldb-files/checked-store.ts';
import { LiveTables } from './adapters/leveldb-files/live-tables.ts';
import { PeerClients } from './adapters/peer-clients.ts';
import { StoreLock } from './adapters/store-lock.ts';
import { type CheckedConfig, checkConfig, type StorageNodeConfig } from './config.ts';
import { assembleNode } from './driver/assemble.ts';
import { Gauges, readDiskOf } from './driver/gauges.ts';
import { TableScrub } from './driver/table-scrub.ts';
import { keepHeapSmall } from './memory.ts';

export interface RunningStorageNode {
  readonly nodeId: NodeId;
  /** host:port at which others reach it. */
  readonly address: string;
  /** Clean shutdown: nothing is answered any more, all that was taken is durable, the next start has nothing to replay. */
  close(): Promise<void>;
}

interface Running {
  readonly listening: string;
  close(): Promise<void>;
}

interface Ends {
  readonly onFatal: (error: Error) => void;
  readonly onStoreFault: (error: Error) => void;
}

/** Starts in place after faults of the store, of one process: a disk that goes on failing is for the operator. */
const MAX_RESTARTS = 5;

/** Rejects with a coded error (IN_USE, WRONG_CLUSTER, WRONG_FORMAT, CORRUPT, IO_ERROR, BAD_REQUEST) when it cannot start. */
export async function startStorageNode(config: StorageNodeConfig): Promise<RunningStorageNode> {
  const checked = checkConfig(config);
  if (config.onFatal === undefined) keepHeapSmall();
  const directory = await openDataDirectory(checked.dataDir, checked.nodeId);
  const lock = await StoreLock.take(directory.lockPath);
  const node = new RestartingNode(checked, directory, config.onFatal ?? endProcess);
  try {
    await node.start();
  } catch (error) {
    await lock.release();
    throw error;
  }
  return {
    nodeId: checked.nodeId,
    address: config.advertise ?? node.listening,
    close: async () => {
      await node.close();
      await lock.release();
    },
  };
}

class RestartingNode {
  readonly #config: CheckedConfig;
  readonly #directory: DataDirectory;
  readonly #onFatal: (error: Error) => void;
  #running: Running | null = null;
  #restart: Promise<void> = Promise.resolve();
  #restarts = 0;
  #isClosed = false;
  #hasFailed = false;

  constructor(config: CheckedConfig, directory: DataDirectory, onFatal: (error: Error) => void) {
    this.#config = config;
    this.#directory = directory;
    this.#onFatal = onFatal;
  }

  /** host:port that the server is bound to. */
  get listening(): string {
    return this.#running?.listening ?? this.#config.listen;
  }

  async start(): Promise<void> {
    const config = { ...this.#config, listen: this.listening };
    const opened: (() => Promise<void>)[] = [];
    try {
      this.#running = await start(config, this.#directory, opened, {
        onFatal: (error) => this.#fail(error),
        onStoreFault: (error) => this.#onStoreFault(error),
      });
    } catch (error) {
      for (const undo of opened.reverse()) await undo().catch(() => undefined);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#restart;
    await this.#running?.close();
  }

  #fail(error: Error): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    const { logger, nodeId } = this.#config;
    logger.log('error', 'the storage node stops: it can no longer vouch for its data', { nodeId, error });
    this.#onFatal(error);
  }

  #onStoreFault(error: Error): void {
    this.#restarts += 1;
    if (this.#isClosed) return;
    if (this.#restarts > MAX_RESTARTS) {
      this.#fail(error);
      return;
    }
    const { logger, nodeId } = this.#config;
    logger.log('error', 'the store cannot be read: it is closed and mended', { nodeId, error });
    this.#restart = this.#restart.then(() => this.#startAgain()).catch((again: Error) => this.#fail(again));
  }

  async #startAgain(): Promise<void> {
    await this.#running?.close();
    if (!this.#isClosed) await this.start();
  }
}

async function start(
  config: CheckedConfig,
  directory: DataDirectory,
  opened: (() => Promise<void>)[],
  ends: Ends,
): Promise<Running> {
  const { nodeId, logger } = config;
  let hasFailed = false;
  const ending = (report: (error: Error) => void) => (error: Error) => {
    hasFailed = true;
    report(error);
  };

  const disk = await FileJournalDisk.open(directory.journalPath, config.journalBytes);
  opened.push(() => disk.close());
  const storeFaults = await checkedStore(directory.storePath, {
    isExpected: !disk.isNew,
    logger,
    clock: nodeClock,
  });
  const store = await LevelStore.open(directory.storePath);
  opened.push(() => store.close());
  const gauges = new Gauges(
    readDiskOf(directory.path),
    nodeTimers,
    async () => (await store.sizeBytes()) + disk.ringBytes,
  );
  await gauges.start();
  opened.push(async () => gauges.stop());
  const peers = new PeerClients(nodeId, config.nodes);
  opened.push(async () => peers.close());

  const onStoreFault = ending(ends.onStoreFault);
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
    storeFaults,
    tables: new TableScrub({
      files: new LiveTables(directory.storePath),
      timers: nodeTimers,
      logger,
      onDamage: (error) => driver.failStore(error),
    }),
    journalDisk: disk,
    gauges,
    peer: (peer) => peers.get(peer),
    learnNodes: (nodes) => peers.learn(nodes),
    crc32: nodeCrc32,
    clock: nodeClock,
    timers: nodeTimers,
    logger,
    onFatal: ending(ends.onFatal),
    onStoreFault,
  });

  const server = await StorageNodeServer.listen(config.listen, driver);
  opened.push(() => server.close());
  driver.serve(server);
  driver.start(recovery, nodeRandom.id(12));

  return {
    listening: server.address,
    close: async () => {
      driver.stop();
      await server.close();
      peers.close();
      gauges.stop();
      if (hasFailed) {
        await disk.close();
      } else {
        await journal.close();
        await storeWriter.written();
      }
      await store.close();
    },
  };
}

function endProcess(): void {
  process.exit(1);
}
