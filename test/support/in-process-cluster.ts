/**
 * A cluster in this process: six storage nodes with real files and gRPC, and compute nodes without a protocol in front. For what is asked of a compute
 * node itself, and for stopping it between two steps, which a process of its own would not let a test do.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDirectory, type VolumeDirectory } from '../../compute-node/driver/directory.ts';
import { type CloneSource, cloneVolume } from '../../compute-node/timelines/clone.ts';
import type { TimelineContext } from '../../compute-node/timelines/context.ts';
import { httpHolderAccess } from '../../compute-node/timelines/holder-access.ts';
import { Drops } from '../../compute-node/timelines/drops.ts';
import { MomentResolver } from '../../compute-node/timelines/moment-resolver.ts';
import { nodeClock } from '../../src/adapters/clock.ts';
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import { nodeRandom } from '../../src/adapters/random.ts';
import { nodeTimers } from '../../src/adapters/timers.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { ComputeNode } from '../../compute-node/node.ts';
import { createLogger } from '../../src/adapters/logger.ts';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import { type RunningStorageNode, startStorageNode } from '../../storage-node/start.ts';
import { testLimits } from './core-harness.ts';
import { engineWorkerUrl } from './engine-worker.ts';
import { freePort } from './free-port.ts';

const NODE_IDS = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'];
/** The dead try no longer. */
const MORTAL_TIMEOUT_MS = 300;
const logger = createLogger({ level: 'error' });

export class InProcessCluster {
  readonly nodes: readonly ClusterNode[];
  readonly #folder: string;
  readonly #storage = new Map<NodeId, RunningStorageNode>();
  readonly #compute = new Set<ComputeNode>();
  readonly #pgPages: number;

  static async start({ pgPages = 16 } = {}): Promise<InProcessCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'tidemark-timelines-'));
    const nodes = await Promise.all(
      NODE_IDS.map(async (nodeId) => ({
        nodeId: nodeId as NodeId,
        az: nodeId.slice(0, 3),
        address: `127.0.0.1:${await freePort()}`,
      })),
    );
    const cluster = new InProcessCluster(folder, nodes, pgPages);
    await Promise.all(nodes.map(({ nodeId }) => cluster.startStorage(nodeId)));
    return cluster;
  }

  private constructor(folder: string, nodes: readonly ClusterNode[], pgPages: number) {
    this.#folder = folder;
    this.nodes = nodes;
    this.#pgPages = pgPages;
  }

  async startStorage(nodeId: NodeId): Promise<void> {
    const node = this.nodes.find((known) => known.nodeId === nodeId) as ClusterNode;
    const running = await startStorageNode({
      nodeId,
      az: node.az,
      listen: node.address,
      dataDir: join(this.#folder, nodeId),
      nodes: this.nodes,
      journalBytes: 8 * MIB,
      logger,
    });
    this.#storage.set(nodeId, running);
  }

  async stopStorage(nodeId: NodeId): Promise<void> {
    await this.#storage.get(nodeId)?.close();
    this.#storage.delete(nodeId);
  }

  async openCompute(computeId: string): Promise<ComputeNode> {
    const node = await ComputeNode.open({
      computeId,
      advertiseUrl: `http://127.0.0.1:1/${computeId}`,
      nodes: this.nodes,
      workerUrl: engineWorkerUrl,
      engineLimits: { ...testLimits, pageCacheBytes: 4 * MIB },
      commitTimeoutMs: 10_000,
      maxOpenVolumes: 24,
      pgPages: this.#pgPages,
      windowMs: 3_600_000,
      logger,
    });
    this.#compute.add(node);
    return node;
  }

  async closeCompute(node: ComputeNode): Promise<void> {
    this.#compute.delete(node);
    await node.close();
  }

  /** The timelines of a compute node that can be made to die in the middle. Volumes are open on `node`. */
  async openMortal(node: ComputeNode, timeoutMs = MORTAL_TIMEOUT_MS): Promise<MortalTimelines> {
    const mortal = new MortalClients(this.nodes);
    const common = { random: nodeRandom, clock: nodeClock, timers: nodeTimers, logger };
    const directory = await openDirectory({
      ...common,
      clients: mortal.clients,
      nodes: this.nodes,
      timeoutMs,
    });
    const unused = (): never => {
      throw new Error('not of this compute node');
    };
    const context: TimelineContext = {
      ...common,
      computeId: 'c1',
      directory,
      clients: mortal.clients,
      holders: httpHolderAccess(null),
      lookup: async (name) => (await directory.lookup(name)) ?? unused(),
      openHere: (name) => {
        const opened = node.opened().find((volume) => volume.name === name);
        return opened === undefined ? null : Promise.resolve(opened);
      },
      volume: (name) => node.volume(name),
      closeHere: (name, reason) => node.closeHere(name, reason),
      endPasts: async () => undefined,
      rewind: unused,
      holder: async () => null,
      get links(): never {
        return unused();
      },
      holdPast: unused,
      openPastEngine: unused,
    };
    const resolver = new MomentResolver(context);
    const drops = new Drops(context, 0);
    return {
      clone: (source, name) =>
        cloneVolume({ context, resolver, giveUp: (child) => drops.clearAway(child) }, source, name),
      drop: (name) => drops.drop(name),
      sweep: () => drops.sweep(),
      directory,
      dieAfter: (writes) => {
        mortal.left = writes;
      },
      isDead: () => mortal.left === 0,
      close: () => {
        directory.close();
        mortal.close();
      },
    };
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.#compute].map((node) => node.close()));
    await Promise.all([...this.#storage.values()].map((node) => node.close()));
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export interface MortalTimelines {
  readonly directory: VolumeDirectory;
  clone(source: CloneSource, name: string): Promise<unknown>;
  drop(name: string): Promise<unknown>;
  /** As if everything without a name had been so for long. */
  sweep(): Promise<void>;
  /** After so many more writes to registers on single nodes nothing of what it sends arrives any more. */
  dieAfter(writes: number): void;
  isDead(): boolean;
  close(): void;
}

class MortalClients {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  left = Number.POSITIVE_INFINITY;
  readonly #inner: readonly GrpcStorageNodeClient[];

  constructor(nodes: readonly ClusterNode[]) {
    this.#inner = nodes.map((node) => new GrpcStorageNodeClient(node));
    this.clients = new Map(
      this.#inner.map((inner) => {
        const call: StorageNodeClient['call'] = (method, request, options) => {
          if (this.left === 0) return Promise.reject(new TidemarkError('UNAVAILABLE', 'dead'));
          if (method === 'registerAccept') this.left -= 1;
          return inner.call(method, request, options);
        };
        const openStream: StorageNodeClient['openStream'] = (method, handlers) =>
          inner.openStream(method, handlers);
        return [inner.nodeId, { nodeId: inner.nodeId, call, openStream, close: () => inner.close() }];
      }),
    );
  }

  close(): void {
    for (const client of this.#inner) client.close();
  }
}

/** Runs one statement on a connection of its own; rejects with what was wrong. A volume that went back is asked again, as clients do. */
export async function sql(node: ComputeNode, volume: string, text: string): Promise<readonly SqlValue[][]> {
  for (;;) {
    const { engine } = await node.volume(volume);
    const connection = await engine.connect({ readonly: false });
    try {
      return await runOn(connection, text);
    } catch (error) {
      if (!isTidemarkError(error, 'BACKTRACKED')) throw error;
    } finally {
      await connection.close();
    }
  }
}

export async function runOn(
  connection: Awaited<ReturnType<Awaited<ReturnType<ComputeNode['volume']>>['engine']['connect']>>,
  text: string,
): Promise<SqlValue[][]> {
  const rows: SqlValue[][] = [];
  const errors: string[] = [];
  const step = { statement: { sql: text, args: [], namedArgs: [], wantRows: true }, condition: null };
  await connection.run([step], {
    consistency: 'strong',
    onEvent: (event) => {
      if (event.kind === 'rows') rows.push(...event.rows.map((row) => [...row]));
      if (event.kind === 'step-error') errors.push(`${event.error.code}: ${event.error.message}`);
    },
  });
  if (errors[0] !== undefined) throw new Error(errors[0]);
  return rows;
}
