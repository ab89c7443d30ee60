/**
 * `import { open } from 'tidemark'`: a compute node in the caller's own process, over storage nodes that run elsewhere (`nodes`) or are started for it
 * (`directory`), with the interface of `@libsql/client`. SQLite runs in a worker thread of this process; between it and the caller is no protocol.
 *
 * The compute node it runs is one like any other: it holds its volume, and another one (or another program with `open`) is refused while it lives.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { LocalCluster } from '../cli/local-cluster/cluster.ts';
import { ComputeNode } from '../compute-node/node.ts';
import { DEFAULT_SESSION_LIMITS } from '../compute-node/session/limits.ts';
import { nodeScheduler } from '../compute-node/session/scheduler.ts';
import { Sessions } from '../compute-node/session/sessions.ts';
import { DEFAULT_MAX_OPEN_VOLUMES, ENGINE_WORKER_URL, engineLimits } from '../compute-node/start.ts';
import { sessionsOf } from '../compute-node/timelines/sessions.ts';
import { type Logger, silentLogger } from '../src/adapters/logger.ts';
import { TidemarkError } from '../src/base/errors.ts';
import { DEFAULT_COMMIT_TIMEOUT_MS, DEFAULT_PG_PAGES, DEFAULT_WINDOW_MS } from '../src/base/limits.ts';
import { formatNodeList, parseNodeList } from '../src/base/node-list.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { type ClientNode, type ClientSettings, InProcessClient } from './client.ts';
import type { Client, VolumeOptions } from './types.ts';

export { LibsqlBatchError, LibsqlError } from './errors.ts';
export type {
  Client,
  InArgs,
  InStatement,
  IntMode,
  InValue,
  ResultSet,
  Row,
  Transaction,
  TransactionMode,
  Value,
  VolumeOptions,
} from './types.ts';

export interface OpenConfig {
  /** Storage nodes that run: `az1-a=az1@10.0.0.1:7100,…`, or the same as a list. */
  readonly nodes?: string | readonly StorageNodeAddress[];
  /** Or: where six storage nodes of this machine keep their data. They are started, and stop with this process. The one that `tidemark up` uses. */
  readonly directory?: string;
  /** Default `main`; a moment, read-only, as `main@-15m`. */
  readonly volume?: string;
  /** Make the volume when there is none of its name. `main` is always made. */
  readonly create?: boolean;
  /** Default `number`. */
  readonly intMode?: VolumeOptions['intMode'];
  /** Calls at once; more wait for their turn. Default 256; 0: any number. */
  readonly concurrency?: number;
  /** How fresh reads are; default `strong`. */
  readonly consistency?: VolumeOptions['consistency'];
  /**
   * The compute node's name. One that is stable over restarts takes its volumes back at once after a crash; two programs that run at the same time must
   * not share it. Default: a fresh one.
   */
  readonly computeId?: string;
  readonly pageCacheBytes?: number;
  readonly maxTransactionBytes?: number;
  /** 0: none. */
  readonly statementTimeoutMs?: number;
  readonly transactionTimeoutMs?: number;
  readonly busyTimeoutMs?: number;
  readonly commitTimeoutMs?: number;
  /** Default: says nothing. */
  readonly logger?: Logger;
}

export interface StorageNodeAddress {
  readonly nodeId: string;
  readonly az: string;
  /** host:port */
  readonly address: string;
}

const DEFAULT_DIRECTORY = 'tidemark-data';
const DEFAULT_VOLUME = 'main';
const DEFAULT_CONCURRENCY = 256;
/** The name `tidemark up` gives its own compute node: what one of them left, the other takes back at once. */
const LOCAL_COMPUTE_ID = 'local';
/** This package's command, as built: what runs as a storage node. */
const COMMAND_PATH = fileURLToPath(new URL('../cli/main.js', import.meta.url));

/** Ready when it resolves: the volume is taken over and open. Rejects with a LibsqlError: VOLUME_HELD, NO_QUORUM, IN_USE … */
export async function open(config: OpenConfig = {}): Promise<Client> {
  const settings: ClientSettings = {
    volume: config.volume ?? DEFAULT_VOLUME,
    intMode: config.intMode ?? 'number',
    concurrency:
      config.concurrency === 0 ? Number.POSITIVE_INFINITY : (config.concurrency ?? DEFAULT_CONCURRENCY),
    level: config.consistency ?? 'strong',
  };
  const reopen = (): Promise<ClientNode> => startNode(config, settings.volume);
  const client = new InProcessClient({ settings, node: reopen(), reopen });
  try {
    return await client.opened();
  } catch (error) {
    await client.close().catch(() => undefined);
    throw error;
  }
}

async function startNode(config: OpenConfig, volume: string): Promise<ClientNode> {
  if (config.nodes !== undefined && config.directory !== undefined) {
    throw new TidemarkError('BAD_REQUEST', 'nodes and directory exclude each other', {
      nextStep: 'Give nodes for storage nodes that run, or directory for ones of this machine.',
    });
  }
  if (config.nodes !== undefined) return joinCluster(config, volume, nodeList(config.nodes), null);
  const cluster = await LocalCluster.start({
    directory: config.directory ?? DEFAULT_DIRECTORY,
    host: '127.0.0.1',
    port: 0,
    storageNodes: null,
    commandPath: COMMAND_PATH,
    env: process.env,
    withoutCompute: true,
    onEvent: (event) => {
      if (event.kind === 'died' || event.kind === 'restart-failed') {
        config.logger?.log('warn', 'a storage node ended', { ...event });
      }
    },
  });
  try {
    return await joinCluster(config, volume, cluster.nodes, cluster);
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function joinCluster(
  config: OpenConfig,
  volume: string,
  nodes: readonly ClusterNode[],
  cluster: LocalCluster | null,
): Promise<ClientNode> {
  const node = await ComputeNode.open({
    computeId: config.computeId ?? (cluster === null ? freshComputeId() : LOCAL_COMPUTE_ID),
    advertiseUrl: `the process ${process.pid} on ${hostname()}`,
    nodes,
    workerUrl: ENGINE_WORKER_URL,
    engineLimits: engineLimits(config),
    commitTimeoutMs: config.commitTimeoutMs ?? DEFAULT_COMMIT_TIMEOUT_MS,
    maxOpenVolumes: DEFAULT_MAX_OPEN_VOLUMES,
    pgPages: DEFAULT_PG_PAGES,
    windowMs: DEFAULT_WINDOW_MS,
    logger: config.logger ?? silentLogger,
  });
  try {
    const isMade = volume === DEFAULT_VOLUME || config.create === true;
    if (isMade) await node.ensureVolume(volume);
  } catch (error) {
    await node.close();
    throw error;
  }
  const sessions = new Sessions(DEFAULT_SESSION_LIMITS, nodeScheduler);
  return {
    sessions,
    resolveVolume: (name) => sessionsOf(node, name),
    createVolume: async (name) => void (await node.createVolume(name)),
    close: async () => {
      await sessions.closeAll();
      await node.close();
      await cluster?.stop();
    },
  };
}

/** Checked the way a list on a command line is. */
function nodeList(nodes: string | readonly StorageNodeAddress[]): readonly ClusterNode[] {
  return parseNodeList(typeof nodes === 'string' ? nodes : formatNodeList(nodes as readonly ClusterNode[]));
}

function freshComputeId(): string {
  return `${hostname().replace(/[^A-Za-z0-9.-]/g, '-')}-${process.pid}-${randomBytes(4).toString('hex')}`;
}
