/**
 * A compute node of the simulation: the real directory, volume registry, take-over, open volume, heartbeats and reads over the simulated
 * transport, with a model of the SQL engine (engine.ts). Clients' requests come in by `serve`.
 */
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { isTidemarkError, TidemarkError } from '../../../src/base/errors.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../../src/register/codec.ts';
import type { ClusterNode, RetentionValue } from '../../../src/register/values.ts';
import { localMembers } from '../../../compute-node/members-access.ts';
import { NodeClients } from '../../../compute-node/driver/node-clients.ts';
import { finishRegisterMove, leadName } from '../../../compute-node/driver/register-mover.ts';
import type { MembersAccess } from '../../../compute-node/driver/segment-mover.ts';
import { NodeOperations } from '../../../compute-node/node-operations.ts';
import { openDirectory, type VolumeDirectory } from '../../../compute-node/driver/directory.ts';
import { openVolume } from '../../../compute-node/driver/open-volume.ts';
import { StorageLinks } from '../../../compute-node/driver/storage-links.ts';
import { takeOverVolume } from '../../../compute-node/driver/take-over.ts';
import type { Engine } from '../../../compute-node/engine/api.ts';
import { type OpenedVolume, VolumeRegistry } from '../../../compute-node/volume-registry.ts';
import type { Oracle } from '../checks/oracle.ts';
import { type Host, SimClient, type Tap } from '../world/client.ts';
import type { Links } from '../world/links.ts';
import { SimProcess } from '../world/process.ts';
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';
import { type EngineResult, type EngineTransaction, ModelEngine, type SessionMemory } from './engine.ts';
import { simLogger } from './logger.ts';
import { LEASE_TERM_MS } from './storage-node.ts';

export interface ClusterShape {
  readonly lal: number;
  readonly pgPages: number;
  readonly windowMs: number;
  readonly cachePages: number;
}

export interface ComputeNodeOptions {
  readonly world: World;
  readonly links: Links;
  readonly computeId: string;
  readonly nodes: readonly ClusterNode[];
  readonly hostOf: (node: NodeId) => Host;
  readonly tap: Tap;
  readonly oracle: Oracle;
  readonly shape: ClusterShape;
  /** Who has the volume open, as the storage nodes' answers would tell. */
  readonly holderOf: (volume: string) => SimComputeNode | null;
}

const COMMIT_TIMEOUT_MS = 4_000;
const TAKE_OVER_TIMEOUT_MS = 8_000;
const RETRY_JOIN_MS = 300;
const OPERATOR_TIMEOUT_MS = 3_000;

interface Joined {
  readonly directory: VolumeDirectory;
  readonly links: StorageLinks;
  readonly clients: NodeClients['clients'];
  readonly registry: VolumeRegistry;
  readonly operations: NodeOperations;
}

export class SimComputeNode {
  readonly computeId: string;
  readonly process: SimProcess;
  readonly #options: ComputeNodeOptions;
  readonly #chance: Chance;
  #joined: Promise<Joined> | null = null;
  /** Engines of this life by volume name, for those who look on. */
  readonly engines = new Map<string, ModelEngine>();
  /** Clients that wait for an answer: their connections break when the process ends. */
  readonly callers = new Set<() => void>();
  readonly #forced = new Set<string>();
  readonly #sessions = new Map<string, SessionMemory>();

  constructor(options: ComputeNodeOptions) {
    this.#options = options;
    this.computeId = options.computeId;
    this.process = new SimProcess(options.world, options.computeId);
    this.#chance = options.world.chance(`compute ${options.computeId}`);
    options.links.watch(this.process);
  }

  start(): void {
    if (this.process.isUp) return;
    this.process.begin();
    this.#options.world.note(this.computeId, () => 'starts');
    this.process.later(1, 'start', () => {
      this.#joined = this.#join();
    });
  }

  kill(): void {
    if (!this.process.isUp) return;
    this.#options.world.note(this.computeId, () => 'killed');
    this.process.end();
    this.#joined = null;
    this.engines.clear();
    this.#sessions.clear();
    const waiting = [...this.callers];
    this.callers.clear();
    for (const tell of waiting) tell();
  }

  /** A client's transaction. Rejects with what the client is told. */
  async serve(volume: string, session: string, transaction: EngineTransaction): Promise<EngineResult> {
    const engine = await this.#engineOf(volume);
    // A client's connection: it remembers what it saw, for as long as the engine lives.
    const key = `${session} ${engine.volume.epoch.writerId}`;
    const memory = this.#sessions.get(key) ?? { seenLsn: engine.volume.vdl };
    this.#sessions.set(key, memory);
    return engine.run(transaction, memory);
  }

  /** Makes the volume unless it exists. */
  async ensureVolume(name: string): Promise<void> {
    const { directory } = await this.#ready();
    const { pgPages, windowMs } = this.#options.shape;
    if ((await directory.lookup(name)) !== null) return;
    await directory.createVolume(name, { pgPages, windowMs }).catch((error: unknown) => {
      if (!isTidemarkError(error, 'VOLUME_EXISTS')) throw error;
    });
  }

  /** Compare-and-set of the volume's retention register, as an operator's command does it. Returns what is committed. */
  async changeRetention(
    name: string,
    change: (current: RetentionValue) => RetentionValue | null,
  ): Promise<RetentionValue> {
    const { directory } = await this.#ready();
    const found = await directory.lookup(name);
    if (found === null) throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume '${name}'`);
    const { content } = await directory.registers.change(
      `retention/${found.volume}`,
      found.registerMembers,
      (bytes) => {
        const next = bytes === null ? null : change(decodeRetention(bytes));
        return next === null ? null : encodeRetention(next);
      },
    );
    if (content.value === null) throw new TidemarkError('CORRUPT', 'a volume without a retention value');
    return decodeRetention(content.value);
  }

  /** Failover on somebody's word: even from a holder that lives. */
  async takeByForce(name: string): Promise<void> {
    this.#forced.add(name);
    try {
      await this.#engineOf(name);
    } finally {
      this.#forced.delete(name);
    }
  }

  /** Drains, gives the leases back, lets the volume go. */
  async release(name: string): Promise<void> {
    const engine = this.engines.get(name);
    if (engine === undefined) return;
    await engine.close();
  }

  /** What an operator's command does here. Rejects with what the operator is told. */
  async operate(act: (operations: NodeOperations) => Promise<void>): Promise<void> {
    await act((await this.#ready()).operations);
  }

  /** The volume's members, at the compute node that holds it; opened here when none does. */
  async #membersOf(name: string): Promise<MembersAccess> {
    try {
      const engine = await this.#engineOf(name);
      return await this.#localMembers(name, engine);
    } catch (error) {
      if (!isTidemarkError(error, 'VOLUME_HELD')) throw error;
      const holder = this.#options.holderOf(name);
      if (holder === null) throw error;
      return holder.answerMembers(this, name);
    }
  }

  /** For another compute node, over the network: an exchange that gets lost is told as such, whatever became of it. */
  answerMembers(asker: SimComputeNode, name: string): MembersAccess {
    const { links, world } = this.#options;
    const [there, back] = [
      links.between(asker.computeId, this.computeId),
      links.between(this.computeId, asker.computeId),
    ];
    const exchange = <Result>(act: (members: MembersAccess) => Promise<Result>): Promise<Result> =>
      new Promise((resolve, reject) => {
        const silent = new TidemarkError('UNAVAILABLE', `${this.computeId} does not answer`);
        const deadline = asker.process.after(OPERATOR_TIMEOUT_MS, () => reject(silent));
        const answer = (end: () => void): void => {
          if (links.loses(back)) return;
          asker.process.later(links.delayMs(back, 200), 'members-answer', () => {
            deadline.cancel();
            end();
          });
        };
        if (links.loses(there)) return;
        world.after(links.delayMs(there, 200), this.process.life, 'members', () => {
          const engine = this.engines.get(name);
          if (engine === undefined) {
            answer(() =>
              reject(new TidemarkError('UNAVAILABLE', `${name} is not open at ${this.computeId}`)),
            );
            return;
          }
          const done = this.#localMembers(name, engine).then(act);
          done.then(
            (result) => answer(() => resolve(result)),
            (error: unknown) => answer(() => reject(error as Error)),
          );
        });
      });
    return {
      read: () => exchange((members) => members.read()),
      propose: (pg, six) => exchange((members) => members.propose(pg, six)),
      revert: (pg) => exchange((members) => members.revert(pg)),
      moveRegisters: (six) => exchange((members) => members.moveRegisters(six)),
    };
  }

  async #localMembers(name: string, engine: ModelEngine): Promise<MembersAccess> {
    const { directory } = await this.#ready();
    return localMembers(
      () => engine.volume.members,
      (place) => leadName(directory, name, place),
    );
  }

  async #ready(): Promise<Joined> {
    if (this.#joined === null) throw new TidemarkError('UNAVAILABLE', 'the compute node is starting');
    return this.#joined;
  }

  async #engineOf(name: string): Promise<ModelEngine> {
    const { registry } = await this.#ready();
    const opened = await registry.get(name);
    const engine = this.engines.get(name);
    if (engine === undefined || engine.volume !== opened.log)
      throw new TidemarkError('UNAVAILABLE', `volume ${name} is being closed`);
    return engine;
  }

  async #join(): Promise<Joined> {
    const { world, nodes, hostOf, links: network, tap, shape } = this.#options;
    const { process: self, computeId } = this;
    const logger = simLogger(world, computeId);
    const connect = ({ nodeId }: ClusterNode): SimClient =>
      new SimClient({ nodeId, caller: self, host: hostOf(nodeId), links: network, tap });
    const known = new NodeClients(connect, nodes);
    const { clients } = known;
    for (;;) {
      try {
        const directory = await openDirectory({
          clients,
          nodes,
          random: this.#chance,
          clock: self,
          timers: self,
          logger,
          settings: { lal: shape.lal, leaseTermMs: LEASE_TERM_MS, defaultPgPages: shape.pgPages },
        });
        const links = StorageLinks.open({
          clients,
          clusterId: directory.cluster.clusterId,
          computeId,
          computeUrl: `sim://${computeId}`,
          clock: self,
          timers: self,
        });
        const registry = new VolumeRegistry({
          open: (name, onEnded) => this.#open(name, onEnded),
          maxOpenVolumes: 8,
          logger,
        });
        known.onConnected((client) => links.connect(client));
        known.update(directory.cluster.nodes);
        directory.view.onChange(({ cluster }) => known.update(cluster.nodes));
        const operations = new NodeOperations({
          directory,
          clients,
          connect,
          access: (name) => this.#membersOf(name),
          clock: self,
          timers: self,
          logger,
        });
        world.note(computeId, () => 'has joined the cluster');
        return { directory, links, clients, registry, operations };
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
        world.note(computeId, () => `cannot join yet: ${error.message}`);
        await new Promise<void>((resolve) => self.after(RETRY_JOIN_MS, resolve));
      }
    }
  }

  /** As compute-node/node.ts does it. */
  async #open(name: string, onEnded: (reason: Error) => void): Promise<OpenedVolume> {
    const { world, oracle, shape } = this.#options;
    const { directory, links, clients } = await this.#ready();
    const logger = simLogger(world, this.computeId);
    const found = await directory.lookup(name);
    if (found === null) throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume '${name}'`);
    const cluster = await directory.view.refresh();
    const common = {
      clock: this.process,
      timers: this.process,
      random: this.#chance,
      crc32: nodeCrc32,
      logger,
    };
    const takenOver = await takeOverVolume({
      ...common,
      name: found,
      cluster,
      clients,
      computeId: this.computeId,
      force: this.#forced.has(name),
      timeoutMs: TAKE_OVER_TIMEOUT_MS,
    });
    oracle.onTakenOver(takenOver);
    const log = openVolume({
      ...common,
      takenOver,
      cluster: () => directory.cluster,
      links,
      commitTimeoutMs: COMMIT_TIMEOUT_MS,
    });
    void finishRegisterMove(directory, found, log.members, logger);
    const engine = new ModelEngine({
      volume: log,
      process: this.process,
      oracle,
      cachePages: shape.cachePages,
      onEnded: (reason) => {
        if (this.engines.get(name) === engine) this.engines.delete(name);
        onEnded(reason);
      },
    });
    this.engines.set(name, engine);
    return { name, log, engine: engine as unknown as Engine };
  }
}
