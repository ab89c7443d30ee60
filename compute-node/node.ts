/**
 * A compute node without its protocol server: connections to the storage nodes, the directory of volumes, heartbeats, and the volumes open
 * here. `start.ts` puts the protocol in front of it; a program that wants no protocol between uses it as it is.
 */
import { nodeClock } from '../src/adapters/clock.ts';
import { nodeCrc32 } from '../src/adapters/crc32.ts';
import { GrpcStorageNodeClient } from '../src/adapters/grpc/client.ts';
import type { Logger } from '../src/adapters/logger.ts';
import { nodeRandom } from '../src/adapters/random.ts';
import { nodeTimers } from '../src/adapters/timers.ts';
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import { MIB } from '../src/base/limits.ts';
import type { StatusReply } from '../src/messages/messages.ts';
import type { Timer } from '../src/env/env.ts';
import type { Lsn, NodeId } from '../src/log/lsn.ts';
import { leftBehind } from '../src/timeline/ancestry.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { type NamedVolume, openDirectory, type VolumeDirectory } from './driver/directory.ts';
import { NodeClients } from './driver/node-clients.ts';
import { openVolume } from './driver/open-volume.ts';
import { finishRegisterMove, leadName } from './driver/register-mover.ts';
import type { MembersAccess } from './driver/segment-mover.ts';
import { StorageLinks } from './driver/storage-links.ts';
import { takeOverVolume } from './driver/take-over.ts';
import { surveyVolume } from './driver/take-over-survey.ts';
import type { NewTerm } from './volume/take-over-manifest.ts';
import type { TakenOver } from './volume/taken-over.ts';
import type { Engine, EngineLimits, EngineStatus } from './engine/api.ts';
import { openEngine } from './engine/engine.ts';
import { EngineWorkers } from './engine/engine-workers.ts';
import { localMembers, remoteMembers } from './members-access.ts';
import { NodeOperations } from './node-operations.ts';
import { type ScrubProgress, scrubNodes } from './scrub-operation.ts';
import type { OpenVolume, OpenVolumeStatus } from './volume/open-volume.ts';
import { READONLY_REASON } from './timelines/past-log.ts';
import type { TimelineContext } from './timelines/context.ts';
import { httpHolderAccess } from './timelines/holder-access.ts';
import { TimelinesOnNode } from './timelines/timelines.ts';
import { Differences } from './diff/differences.ts';
import { type OpenedVolume, VolumeRegistry } from './volume-registry.ts';

export interface ComputeNodeOptions {
  /** Stable over restarts: a restarted node takes its volumes back at once, another one is refused while this one lives. */
  readonly computeId: string;
  /** Where clients reach this node; told to others that ask for its volumes. */
  readonly advertiseUrl: string;
  readonly nodes: readonly ClusterNode[];
  /** The built engine worker. */
  readonly workerUrl: URL;
  readonly engineLimits: EngineLimits;
  readonly commitTimeoutMs: number;
  readonly maxOpenVolumes: number;
  /** Pages of one protection group and history window of volumes made here. */
  readonly pgPages: number;
  readonly windowMs: number;
  /** Shown to other compute nodes of the cluster when they are asked for something. */
  readonly authToken?: string;
  readonly logger: Logger;
}

export interface ComputeNodeStatus {
  readonly clusterId: string;
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly az: string;
    readonly address: string;
    readonly reachable: boolean;
    readonly error: string | null;
    readonly status: StatusReply | null;
  }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly open: boolean;
    readonly status: OpenVolumeStatus | null;
    readonly engine: EngineStatus | null;
  }[];
}

/** Moments are many and looked at briefly. */
const PAST_PAGE_CACHE_BYTES = 64 * MIB;
const IDLE_PASTS_INTERVAL_MS = 30_000;
const STATUS_TIMEOUT_MS = 1_500;
const SURVEY_TIMEOUT_MS = 5_000;

const connect = (node: ClusterNode): GrpcStorageNodeClient => new GrpcStorageNodeClient(node);

export class ComputeNode {
  readonly #options: ComputeNodeOptions;
  readonly #nodes: NodeClients;
  readonly #directory: VolumeDirectory;
  readonly #links: StorageLinks;
  readonly #registry: VolumeRegistry;
  /** Lists, adds, empties and replaces storage nodes. */
  readonly operations: NodeOperations;
  readonly timelines: TimelinesOnNode;
  /** Compares, merges, and brings rows back. */
  readonly differences: Differences;
  readonly #workers: EngineWorkers;
  readonly #idleTimer: Timer;

  /** Connects to the storage nodes and joins their cluster (makes it, the first time). Rejects NO_QUORUM, WRONG_CLUSTER. */
  static async open(options: ComputeNodeOptions): Promise<ComputeNode> {
    const nodes = new NodeClients(connect, options.nodes);
    try {
      const directory = await openDirectory({
        clients: nodes.clients,
        nodes: options.nodes,
        random: nodeRandom,
        clock: nodeClock,
        timers: nodeTimers,
        logger: options.logger,
        settings: { defaultPgPages: options.pgPages },
      });
      nodes.update(directory.cluster.nodes);
      return new ComputeNode(options, nodes, directory);
    } catch (error) {
      nodes.close();
      throw error;
    }
  }

  private constructor(options: ComputeNodeOptions, nodes: NodeClients, directory: VolumeDirectory) {
    this.#options = options;
    this.#nodes = nodes;
    this.#directory = directory;
    this.#workers = new EngineWorkers(options.workerUrl);
    this.#links = StorageLinks.open({
      clients: nodes.clients,
      clusterId: directory.cluster.clusterId,
      computeId: options.computeId,
      computeUrl: options.advertiseUrl,
      clock: nodeClock,
      timers: nodeTimers,
    });
    this.#registry = new VolumeRegistry({
      open: (name, onEnded) => this.#open(name, onEnded),
      maxOpenVolumes: options.maxOpenVolumes,
      logger: options.logger,
    });
    this.#idleTimer = nodeTimers.every(IDLE_PASTS_INTERVAL_MS, () => this.#registry.closeIdlePasts());
    nodes.onConnected((client) => this.#links.connect(client));
    directory.view.onChange(({ cluster }) => nodes.update(cluster.nodes));
    this.operations = new NodeOperations({
      directory,
      clients: nodes.clients,
      connect,
      access: (name) => this.members(name),
      clock: nodeClock,
      timers: nodeTimers,
      logger: options.logger,
    });
    const timelineContext: TimelineContext = {
      computeId: options.computeId,
      directory,
      clients: nodes.clients,
      clock: nodeClock,
      timers: nodeTimers,
      random: nodeRandom,
      logger: options.logger,
      holders: httpHolderAccess(options.authToken ?? null),
      lookup: (name) => this.#lookup(name),
      openHere: (name) => this.#registry.peek(name),
      volume: (name) => this.volume(name),
      links: this.#links,
      holdPast: (key, open) => this.#registry.holdPast(key, open),
      openPastEngine: (log, onEnded) => this.#openPastEngine(log, onEnded),
      closeHere: (name, reason) => this.closeHere(name, reason),
      endPasts: (prefix, reason) => this.#registry.endPasts(prefix, reason),
      rewind: (name, target, reason) => this.#rewind(name, target, reason),
      holder: async (named) => (await this.#survey(named)).holder,
    };
    this.timelines = new TimelinesOnNode(timelineContext);
    this.differences = new Differences(timelineContext, this.timelines);
  }

  /** The volume's members, at the compute node that holds it; opened here when none does. */
  async members(name: string): Promise<MembersAccess> {
    try {
      const { log } = await this.volume(name);
      return localMembers(
        () => log.members,
        (place) => leadName(this.#directory, name, place),
      );
    } catch (error) {
      if (!isTidemarkError(error, 'VOLUME_HELD')) throw error;
      const { holder } = await this.#survey(await this.#lookup(name));
      // Gone in between: whoever asks again finds it free.
      if (holder === null) throw error;
      return remoteMembers(holder.url, name, this.#options.authToken ?? null);
    }
  }

  /** The volume, taken over first when it is not open here. Rejects VOLUME_NOT_FOUND, VOLUME_HELD, NO_QUORUM … */
  volume(name: string): Promise<OpenedVolume> {
    return this.#registry.get(name);
  }

  /** The volume is not open here any more when this resolves; who uses it is told the reason. */
  closeHere(name: string, reason: TidemarkError): Promise<void> {
    return this.#registry.end(name, reason);
  }

  async createVolume(name: string, pgPages?: number): Promise<{ name: string; volume: string }> {
    const created = await this.#directory.createVolume(name, {
      pgPages: pgPages ?? this.#options.pgPages,
      windowMs: this.#options.windowMs,
    });
    return { name: created.name, volume: created.volume };
  }

  /** Makes the volume unless it exists; two that try at once both succeed. */
  async ensureVolume(name: string): Promise<void> {
    if ((await this.#directory.lookup(name)) !== null) return;
    await this.createVolume(name).catch((error: unknown) => {
      if (!(error instanceof TidemarkError && error.code === 'VOLUME_EXISTS')) throw error;
    });
  }

  async volumes(): Promise<readonly { name: string; volume: string }[]> {
    return (await this.#directory.list()).map(({ name, volume }) => ({ name, volume }));
  }

  /** Append messages sent so far, to all storage nodes together. */
  get appendsSent(): number {
    return this.#links.appendsSent;
  }

  /** Volumes open here, without asking anyone. */
  opened(): readonly OpenedVolume[] {
    return this.#registry.opened();
  }

  /** What takes a thread and memory here. */
  get engines(): { readonly volumes: number; readonly moments: number; readonly spare: number } {
    return {
      volumes: this.#registry.opened().length,
      moments: this.#registry.openedPasts().length,
      spare: this.#workers.hasSpare ? 1 : 0,
    };
  }

  async status(): Promise<ComputeNodeStatus> {
    const opened = new Map(this.#registry.opened().map((volume) => [volume.name, volume]));
    const [nodes, names] = await Promise.all([
      Promise.all(this.#directory.cluster.nodes.map((node) => this.#nodeStatus(node))),
      this.#directory.list().then(
        (list) => list.map(({ name }) => name),
        () => [...opened.keys()],
      ),
    ]);
    return {
      clusterId: this.#directory.cluster.clusterId,
      nodes,
      volumes: names.map((name) => {
        const volume = opened.get(name);
        return {
          name,
          open: volume !== undefined,
          status: volume?.log.status() ?? null,
          engine: volume?.engine.status() ?? null,
        };
      }),
    };
  }

  /** A full scrub of all storage nodes, or one; of all volumes, or one. */
  async *scrub(
    volume: string | null,
    nodeId: NodeId | null,
    isAbandoned: () => boolean,
  ): AsyncGenerator<ScrubProgress> {
    const { clusterId, nodes } = await this.#directory.view.refresh();
    const nodeIds = nodes.map((node) => node.nodeId).filter((id) => nodeId === null || id === nodeId);
    if (nodeIds.length === 0) {
      throw new TidemarkError('NODE_NOT_FOUND', `there is no storage node '${nodeId}'`, {
        nextStep: 'List them with `tidemark node list`.',
      });
    }
    const onlyVolume = volume === null ? null : (await this.#lookup(volume)).volume;
    const { clients } = this.#nodes;
    yield* scrubNodes(
      { clusterId, nodeIds, onlyVolume, clients, clock: nodeClock, timers: nodeTimers },
      isAbandoned,
    );
  }

  /** Hardens what was handed over (bounded), gives leases back, disconnects. */
  async close(): Promise<void> {
    this.#idleTimer.cancel();
    await this.timelines.close();
    await this.#registry.close();
    await this.#workers.close();
    this.#links.close();
    this.#directory.close();
    this.#nodes.close();
  }

  async #rewind(
    name: string,
    rewindTo: NonNullable<NewTerm['rewindTo']>,
    reason: TidemarkError,
  ): Promise<{ readonly leftAtLsn: Lsn }> {
    let leftAtLsn: Lsn | null = null;
    await this.#registry.replace(name, reason, async (onEnded) => {
      const takenOver = await this.#takeOver(name, rewindTo);
      const { runs, volume } = takenOver.manifest;
      leftAtLsn = leftBehind(runs, volume);
      return this.#openTaken(takenOver, onEnded);
    });
    if (leftAtLsn === null) throw new TidemarkError('UNAVAILABLE', 'this compute node is stopping');
    return { leftAtLsn };
  }

  async #open(name: string, onEnded: (reason: Error) => void): Promise<OpenedVolume> {
    return this.#openTaken(await this.#takeOver(name, null), onEnded);
  }

  async #takeOver(name: string, rewindTo: NewTerm['rewindTo']): Promise<TakenOver> {
    const { computeId, logger } = this.#options;
    const found = await this.#lookup(name);
    // The manifest may name nodes that joined a moment ago.
    const cluster = await this.#directory.view.refresh();
    return takeOverVolume({
      name: found,
      cluster,
      clients: this.#nodes.clients,
      computeId,
      force: false,
      rewindTo,
      random: nodeRandom,
      clock: nodeClock,
      timers: nodeTimers,
      crc32: nodeCrc32,
      logger,
    });
  }

  async #openTaken(takenOver: TakenOver, onEnded: (reason: Error) => void): Promise<OpenedVolume> {
    const { commitTimeoutMs, engineLimits, logger, workerUrl } = this.#options;
    const { name } = takenOver.name;
    const log = openVolume({
      takenOver,
      cluster: () => this.#directory.cluster,
      links: this.#links,
      clock: nodeClock,
      timers: nodeTimers,
      random: nodeRandom,
      crc32: nodeCrc32,
      commitTimeoutMs,
      logger,
    });
    void finishRegisterMove(this.#directory, takenOver.name, log.members, logger);
    try {
      const engine = await openEngine({
        volume: log,
        workerUrl,
        workers: this.#workers,
        limits: engineLimits,
        onEnded,
      });
      return { name, log, engine };
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  #openPastEngine(volume: OpenVolume, onEnded: (reason: Error) => void): Promise<Engine> {
    const { engineLimits, workerUrl } = this.#options;
    const pageCacheBytes = Math.min(engineLimits.pageCacheBytes, PAST_PAGE_CACHE_BYTES);
    const limits = { ...engineLimits, pageCacheBytes };
    const workers = this.#workers;
    return openEngine({ volume, workerUrl, workers, limits, onEnded, readonlyReason: READONLY_REASON });
  }

  async #lookup(name: string): Promise<NamedVolume> {
    const found = await this.#directory.lookup(name);
    if (found !== null) return found;
    throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume '${name}'`, {
      nextStep: `List volumes with 'tidemark volumes', or make it with 'tidemark volumes create ${name}'.`,
    });
  }

  #survey(name: NamedVolume): ReturnType<typeof surveyVolume> {
    return surveyVolume({
      name,
      cluster: this.#directory.cluster,
      clients: this.#nodes.clients,
      clock: nodeClock,
      timers: nodeTimers,
      deadlineMs: nodeClock.now().monotonicMs + SURVEY_TIMEOUT_MS,
    });
  }

  async #nodeStatus(node: ClusterNode): Promise<ComputeNodeStatus['nodes'][number]> {
    const { nodeId, az, address } = node;
    try {
      const client = this.#nodes.clients.get(nodeId);
      if (client === undefined) throw new TidemarkError('UNAVAILABLE', 'it is not connected yet');
      const status = await client.call('status', { clusterId: '' }, { timeoutMs: STATUS_TIMEOUT_MS });
      return { nodeId, az, address, reachable: true, error: status.refusal?.message ?? null, status };
    } catch (error) {
      return { nodeId, az, address, reachable: false, error: (error as Error).message, status: null };
    }
  }
}
