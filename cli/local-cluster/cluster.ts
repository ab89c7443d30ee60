/**
 * A whole cluster on this machine: storage nodes in three zones and one compute node, each a process, all on loopback (the compute node's
 * clients may come from elsewhere when `host` says so). Used by `up` and by the benchmarks.
 */
import { join, resolve } from 'node:path';
import { TidemarkError } from '../../src/base/errors.ts';
import { formatNodeList } from '../../src/base/node-list.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { ChildSpec } from './child.ts';
import { checkDirectory, type Layout, makeFolder, prepareLayout } from './layout.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { isPortFree } from './ports.ts';
import { Supervisor, type SupervisorEvent } from './supervisor.ts';

const STORAGE_HOST = '127.0.0.1';
/** Children of a process that was killed need a moment to notice and let go of their ports. */
const PORT_WAIT_MS = 5_000;
const COMPUTE_STOP_MS = 4_000;
const STORAGE_STOP_MS = 4_000;

export interface LocalClusterOptions {
  readonly directory: string;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Null: as many as the directory has, six in a new one. */
  readonly storageNodes: number | null;
  readonly commandPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** More flags for the compute node. */
  readonly computeArgs?: readonly string[];
  /** Storage nodes only: the caller brings its own compute node. */
  readonly withoutCompute?: boolean;
  readonly onEvent: (event: LocalClusterEvent) => void;
}

export type LocalClusterEvent =
  | { readonly kind: 'prepared'; readonly layout: Layout }
  | {
      readonly kind: 'storage-node-ready';
      readonly nodeId: string;
      readonly ready: number;
      readonly total: number;
    }
  | { readonly kind: 'compute-node-ready'; readonly url: string }
  | SupervisorEvent;

export class LocalCluster {
  readonly layout: Layout;
  readonly nodes: readonly ClusterNode[];
  private readonly options: LocalClusterOptions;
  private readonly lock: DirectoryLock;
  private readonly storage: readonly Supervisor[];
  private compute: Supervisor | null = null;
  private isStopped = false;
  private computeUrl = '';

  /** `whenStarted` is called before anything runs, so that a signal can stop a cluster that is still starting. */
  static async start(
    options: LocalClusterOptions,
    whenStarted: (cluster: LocalCluster) => void = () => {},
  ): Promise<LocalCluster> {
    const directory = resolve(options.directory);
    checkDirectory(directory);
    makeFolder(directory);
    const lock = lockDirectory(directory);
    try {
      if (options.withoutCompute !== true) await requireFreePort(options, lock.wasStale);
      const layout = await prepareLayout(
        directory,
        STORAGE_HOST,
        options.storageNodes,
        new Set([options.port]),
      );
      options.onEvent({ kind: 'prepared', layout });
      const cluster = new LocalCluster(options, layout, lock);
      whenStarted(cluster);
      try {
        await cluster.startAll();
      } catch (error) {
        await cluster.stop();
        throw error;
      }
      return cluster;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private constructor(options: LocalClusterOptions, layout: Layout, lock: DirectoryLock) {
    this.options = options;
    this.layout = layout;
    this.lock = lock;
    this.nodes = layout.nodes.map(({ nodeId, az, port }) => ({
      nodeId: nodeId as NodeId,
      az,
      address: `${STORAGE_HOST}:${port}`,
    }));
    this.storage = this.nodes.map((node) => new Supervisor(this.storageSpec(node), options.onEvent));
  }

  get url(): string {
    return this.computeUrl;
  }

  /** Process ids by name, for tests and reports. */
  get pids(): ReadonlyMap<string, number | undefined> {
    const all = this.compute === null ? this.storage : [...this.storage, this.compute];
    return new Map(all.map((child) => [child.spec.name, child.pid]));
  }

  /** A fresh compute node on the same storage nodes and port: what it had in memory is gone. */
  async restartCompute(): Promise<void> {
    await this.compute?.stop(COMPUTE_STOP_MS);
    await this.startCompute(Number(new URL(this.computeUrl).port));
  }

  /** In order: the compute node hardens what it has, then the storage nodes go. */
  async stop(): Promise<void> {
    if (this.isStopped) return;
    this.isStopped = true;
    await this.compute?.stop(COMPUTE_STOP_MS);
    await Promise.all(this.storage.map((node) => node.stop(STORAGE_STOP_MS)));
    this.lock.release();
  }

  /** At once, whatever is under way. */
  kill(): void {
    this.isStopped = true;
    this.compute?.kill();
    for (const node of this.storage) node.kill();
    this.lock.release();
  }

  private async startAll(): Promise<void> {
    let ready = 0;
    const total = this.storage.length;
    await Promise.all(
      this.storage.map(async (supervisor) => {
        await supervisor.start();
        ready++;
        this.options.onEvent({ kind: 'storage-node-ready', nodeId: supervisor.spec.name, ready, total });
      }),
    );
    if (this.isStopped) throw new TidemarkError('INTERRUPTED', 'stopped while starting');
    if (this.options.withoutCompute !== true) await this.startCompute(this.options.port);
  }

  private async startCompute(port: number): Promise<void> {
    this.compute = new Supervisor(this.computeSpec(port), this.options.onEvent);
    const ready = await this.compute.start();
    if (ready.kind !== 'compute-node')
      throw new TidemarkError('INTERNAL', 'the compute node said it is something else');
    this.computeUrl = ready.url;
    // A restart after a crash keeps the port that clients know.
    if (port === 0) {
      const { spec } = this.compute;
      const chosen = new URL(ready.url).port;
      this.compute.respawnWith({
        ...spec,
        args: spec.args.map((arg) => (arg === '--port=0' ? `--port=${chosen}` : arg)),
      });
    }
    this.options.onEvent({ kind: 'compute-node-ready', url: ready.url });
  }

  private storageSpec(node: ClusterNode): ChildSpec {
    const { directory } = this.layout;
    return this.spec(node.nodeId, [
      'storage-node',
      `--node-id=${node.nodeId}`,
      `--az=${node.az}`,
      `--listen=${node.address}`,
      `--data=${join(directory, 'nodes', node.nodeId)}`,
      `--nodes=${formatNodeList(this.nodes)}`,
    ]);
  }

  private computeSpec(port: number): ChildSpec {
    return this.spec('compute', [
      'compute-node',
      '--compute-id=local',
      `--host=${this.options.host}`,
      `--port=${port}`,
      `--nodes=${formatNodeList(this.nodes)}`,
      ...(this.options.computeArgs ?? []),
    ]);
  }

  private spec(name: string, args: readonly string[]): ChildSpec {
    return {
      name,
      commandPath: this.options.commandPath,
      args,
      nodeArgs: [],
      env: this.options.env,
      logPath: join(this.layout.directory, 'logs', `${name}.log`),
    };
  }
}

async function requireFreePort(options: LocalClusterOptions, mayBeEnding: boolean): Promise<void> {
  if (options.port === 0) return;
  const deadlineMs = performance.now() + (mayBeEnding ? PORT_WAIT_MS : 0);
  for (;;) {
    if (await isPortFree(options.host, options.port)) return;
    if (performance.now() >= deadlineMs) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new TidemarkError('IN_USE', `port ${options.port} on ${options.host} is already in use`, {
    nextStep: 'Stop what uses it, or choose another port with --port N (0 for any free one).',
  });
}
