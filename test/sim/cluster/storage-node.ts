/**
 * A storage node of the simulation: the real core, driver, journal and store's writer over simulated disks, network, clock and timers. A life ends
 * by a kill (what the operating system had is kept), a power cut (what was not synced may be lost) or a fatal error of its own; the next one
 * begins with what the disks hold.
 */
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import type { IncomingRequest, OutgoingReply } from '../../../src/adapters/grpc/server.ts';
import type { KvOp } from '../../../src/env/env.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { ClusterNode } from '../../../src/register/values.ts';
import type { StorageNodeCore } from '../../../storage-node/core/node.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import { assembleNode } from '../../../storage-node/driver/assemble.ts';
import { DiskState } from '../disk/disk-state.ts';
import { JournalFiles, SimJournalDisk } from '../disk/journal-disk.ts';
import { KvFiles, SimKv } from '../disk/kv.ts';
import type { Durability } from '../checks/durability.ts';
import { SimClient, type Host, type Tap } from '../world/client.ts';
import type { Links } from '../world/links.ts';
import { SimProcess } from '../world/process.ts';
import type { Chance } from '../world/random.ts';
import { SimServer } from '../world/server.ts';
import type { World } from '../world/world.ts';
import { simLogger } from './logger.ts';

export const LEASE_TERM_MS = 500;
const RING_BYTES = 256 * 1024;
/** Small, so that everything they bound happens within seconds. */
const CORE_LIMITS: Partial<CoreLimits> = {
  roundAgeMs: 300,
  roundRecords: 40,
  chainRecords: 6,
  keptImageDeltaBytes: 2_048,
  maxInventoryEntries: 16,
  collectIntervalMs: 700,
  collectBatch: 16,
  roundsRemembered: 8,
  scrubIntervalMs: 3_000,
  scrubStepMs: 60,
};
/** Until a process manager has started it again. */
const RESTART_AFTER_FATAL_MS = 700;

export interface StorageNodeOptions {
  readonly world: World;
  readonly links: Links;
  readonly config: ClusterNode;
  readonly nodes: readonly ClusterNode[];
  readonly hostOf: (node: NodeId) => Host;
  readonly tap: Tap;
  readonly durability: Durability;
  readonly slowestDisk: number;
  /** Whenever it answers. */
  readonly onExchange: (node: NodeId, request: IncomingRequest, reply: OutgoingReply) => void;
  /** After every step of the core. */
  readonly onStep: (node: SimStorageNode) => void;
}

/** What a machine keeps. */
export interface DiskImage {
  readonly journal: JournalFiles;
  readonly store: KvFiles;
}

export class SimStorageNode implements Host {
  readonly nodeId: NodeId;
  readonly az: string;
  readonly process: SimProcess;
  readonly disk: DiskState;
  files: DiskImage = { journal: new JournalFiles(RING_BYTES), store: new KvFiles() };
  server: SimServer | null = null;
  core: StorageNodeCore | null = null;
  readonly #options: StorageNodeOptions;
  readonly #chance: Chance;
  readonly #usualSlowness: number;

  get config(): ClusterNode {
    return this.#options.config;
  }

  constructor(options: StorageNodeOptions) {
    const { world, config } = options;
    this.#options = options;
    this.nodeId = config.nodeId;
    this.az = config.az;
    this.process = new SimProcess(world, config.nodeId);
    this.disk = new DiskState(world);
    this.#chance = world.chance(`node ${config.nodeId}`);
    this.disk.slowness = this.#chance.between(1, options.slowestDisk);
    this.#usualSlowness = this.disk.slowness;
    options.links.watch(this.process);
  }

  /** The disk is as it was made. */
  get isDiskWell(): boolean {
    return this.disk.slowness <= this.#usualSlowness * 1.001 && !this.disk.failsWrites;
  }

  start(): void {
    if (this.process.isUp) return;
    const { world } = this.#options;
    const life = this.process.begin();
    world.note(this.nodeId, () => 'starts');
    this.process.later(1, 'start', () => {
      this.#assemble().catch((error: unknown) => {
        if (!life.isOver) this.#onFatal(error as Error);
      });
    });
  }

  /** SIGKILL: what was handed to the operating system is kept. */
  kill(): void {
    this.#end('killed');
  }

  cutPower(): void {
    this.#end('power cut');
    const { store } = this.files;
    store.losePower(this.#chance.below(store.unsynced.length + 1));
  }

  /** What is on the disks now, as a later start would find it. */
  image(): DiskImage {
    const { journal, store } = this.files;
    const image = { journal: journal.copy(), store: store.copy() };
    image.store.losePower(this.#chance.below(store.unsynced.length + 1));
    return image;
  }

  /** Down, and its disks hold something else from now on; null: nothing at all. */
  replaceDisks(image: DiskImage | null): void {
    this.kill();
    this.files = image ?? { journal: new JournalFiles(RING_BYTES), store: new KvFiles() };
  }

  #end(how: string): void {
    if (!this.process.isUp) return;
    this.#options.world.note(this.nodeId, () => how);
    // Nobody was told, yet a later life finds it and counts it.
    const whole = this.files.journal.tear(this.#chance);
    if (whole !== null) this.#options.durability.onEntrySynced(this.nodeId, whole);
    this.core = null;
    const { server } = this;
    this.server = null;
    this.process.end();
    server?.close();
  }

  async #assemble(): Promise<void> {
    const { config, nodes, world, links, hostOf, tap, durability } = this.#options;
    const { process, disk: state, nodeId } = this;
    const chance = this.#chance;
    const life = process.life;
    const { store } = this.files;
    const onDurable = (ops: readonly KvOp[]): void => durability.onStoreSynced(nodeId, ops);
    store.mend();
    store.open(onDurable);
    // Nodes are reached by their id: where the cluster register has them is one and the same place here.
    const peers = new Map<NodeId, SimClient>();
    const clientOf = (peer: NodeId): SimClient => {
      let client = peers.get(peer);
      if (client === undefined) {
        client = new SimClient({ nodeId: peer, caller: process, host: hostOf(peer), links, tap });
        peers.set(peer, client);
      }
      return client;
    };
    const { core, driver, recovery } = await assembleNode({
      node: {
        nodeId,
        az: config.az,
        peers: nodes,
        leaseTermMs: LEASE_TERM_MS,
        crc32: nodeCrc32,
        buildVersion: 'simulated',
        limits: CORE_LIMITS,
      },
      store: new SimKv({
        files: store,
        process,
        chance,
        state,
        onDurable,
      }),
      journalDisk: new SimJournalDisk({
        files: this.files.journal,
        process,
        chance,
        state,
        onDurable: (entry) => durability.onEntrySynced(nodeId, entry),
      }),
      gauges: {
        diskBytes: 0,
        memoryBytes: 0,
        get diskRoom() {
          return state.isNearlyFull ? 'short' : 'enough';
        },
        noteWritten: () => undefined,
      },
      peer: (peer) => clientOf(peer),
      crc32: nodeCrc32,
      clock: process,
      timers: process,
      logger: simLogger(world, nodeId),
      onFatal: (error) => this.#onFatal(error),
      onStoreFault: (error) => this.#onFatal(error),
      storeFaults: {
        findings: store.doubts.map(() => 'a table of the store was damaged'),
        doubts: [...store.doubts],
        settle: () => {
          store.doubts = [];
        },
      },
    });
    if (life?.isOver !== false) return;
    for (const finding of recovery.findings) world.note(nodeId, () => `finds: ${finding}`);
    const step = core.step.bind(core);
    core.step = (event, now) => {
      const effects = step(event, now);
      this.#options.onStep(this);
      return effects;
    };
    this.core = core;
    const server = new SimServer(driver, (request, reply) =>
      this.#options.onExchange(nodeId, request, reply),
    );
    this.server = server;
    driver.serve(server);
    driver.start(recovery, chance.id(12));
  }

  /** The disk, or the data, is at fault: the process ends and is started again. Anything else is a bug. */
  #onFatal(error: Error): void {
    const { world } = this.#options;
    world.note(this.nodeId, () => `fatal: ${error.message}`);
    if (error.name === 'AssertionError' || !('code' in error))
      world.fail(`storage node ${this.nodeId}`, error);
    // In the middle of a step: the rest of it must not meet a life that is over.
    world.after(0, this.process.life, 'fatal', () => {
      this.kill();
      world.after(RESTART_AFTER_FATAL_MS, null, 'restart', () => this.start());
    });
  }
}
