/**
 * The directory of volumes: which cluster this is, and which names lead to which volumes. All of it lives in registers on the storage nodes
 * (design section 6); this process keeps nothing but what it read.
 *
 * Invariants
 * 1. A cluster is made once: its register is proposed only where it is empty, and never beside nodes that already belong to a cluster.
 * 2. A name appears only when everything behind it is committed: the volume's record (volume-records.ts), retention and manifest come first, the
 *    name last. Two creators of one name: one wins, what the other has made is cleared away like a dropped volume. So is what took too long to make.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { DEFAULT_WINDOW_MS, RESERVED_VOLUME_NAMES, VOLUME_NAME_PATTERN } from '../../src/base/limits.ts';
import type { Clock, Random, Timers } from '../../src/env/env.ts';
import { NO_LSN, type NodeId, type VolumeId } from '../../src/log/lsn.ts';
import {
  decodeName,
  decodeRetention,
  encodeManifest,
  encodeName,
  encodeRetention,
} from '../../src/register/codec.ts';
import { placeOf, type RegisterPlace } from '../../src/register/place.ts';
import {
  type ClusterNode,
  type ClusterValue,
  type NameValue,
  REGISTER_FORMAT,
  type RetentionValue,
} from '../../src/register/values.ts';
import { AVOIDED_LOAD, avoidDraining, bootstrapSix, placeSix } from '../volume/placement.ts';
import { originManifest } from '../volume/take-over-manifest.ts';
import { ClusterView } from './cluster-view.ts';
import { type ClusterSettings, joinCluster } from './directory-cluster.ts';
import { ClusterIntroducer } from './directory-introducer.ts';
import { scanRegisters } from './register-scan.ts';
import { Registers, type StorageNodeClients } from './registers.ts';
import { makingTooSlow, VolumeRecords } from './volume-records.ts';

const CALL_TIMEOUT_MS = 1_000;
const VOLUME_ID_CHARS = 16;
const NAME_PREFIX = 'name/';

export type NamedVolume = NameValue & { readonly volume: VolumeId };

export interface VolumeSettings {
  readonly pgPages?: number;
  readonly windowMs?: number;
}

export interface VolumeDirectory {
  /** As it is known now. */
  readonly cluster: ClusterValue;
  readonly view: ClusterView;
  readonly registers: Registers;
  readonly records: VolumeRecords;
  /** Rejects BAD_NAME, VOLUME_EXISTS, NO_QUORUM. */
  createVolume(name: string, settings?: VolumeSettings): Promise<NamedVolume>;
  /** The name leads to the volume from now on: all else of it is committed. Rejects VOLUME_EXISTS. */
  giveName(volume: NamedVolume): Promise<void>;
  /** The name leads to the volume no more, if it did. */
  takeName(volume: NamedVolume): Promise<void>;
  /** null: there is no volume of that name (any more). */
  lookup(name: string): Promise<NamedVolume | null>;
  list(): Promise<readonly NamedVolume[]>;
  /** The volume's registers have moved: from now on they are looked for there. */
  moveRegisters(name: NamedVolume, to: RegisterPlace): Promise<void>;
  /** Segments per node, as the nodes that answer tell; those that do not, and those being emptied, are to be avoided. */
  loads(): Promise<ReadonlyMap<NodeId, number>>;
  close(): void;
}

export interface DirectoryOptions {
  readonly clients: StorageNodeClients;
  /** As configured; the first two of each of the first three zones keep the cluster's registers. */
  readonly nodes: readonly ClusterNode[];
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  /** For a cluster that is yet to be made. */
  readonly settings?: ClusterSettings;
  readonly timeoutMs?: number;
}

/** Joins the cluster of the configured storage nodes; makes it when they belong to none yet. */
export async function openDirectory(options: DirectoryOptions): Promise<VolumeDirectory> {
  const members = bootstrapSix(options.nodes);
  const joined = await joinCluster(options, members);
  const introducer = new ClusterIntroducer(options, joined);
  const registers = new Registers({ ...options, clusterId: joined.cluster.clusterId });
  const view = new ClusterView({ ...options, joined, registers, members });
  view.onChange((changed) => introducer.update(changed));
  introducer.start();
  return new RegisterDirectory(options, registers, view, members, introducer);
}

/** Throws BAD_NAME with the rule that the name breaks. */
export function checkVolumeName(name: string): void {
  if (!VOLUME_NAME_PATTERN.test(name)) {
    throw new TidemarkError('BAD_NAME', `'${name.slice(0, 80)}' cannot be a volume's name`, {
      nextStep: 'Use 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit.',
    });
  }
  if (RESERVED_VOLUME_NAMES.has(name)) {
    throw new TidemarkError(
      'BAD_NAME',
      `'${name}' is a path of the client protocol and cannot be a volume's name`,
      {
        nextStep: 'Choose another name.',
      },
    );
  }
}

class RegisterDirectory implements VolumeDirectory {
  readonly registers: Registers;
  readonly view: ClusterView;
  readonly #options: DirectoryOptions;
  readonly #members: readonly NodeId[];
  readonly #introducer: ClusterIntroducer;
  readonly records: VolumeRecords;

  constructor(
    options: DirectoryOptions,
    registers: Registers,
    view: ClusterView,
    members: readonly NodeId[],
    introducer: ClusterIntroducer,
  ) {
    this.#options = options;
    this.#members = members;
    this.#introducer = introducer;
    this.registers = registers;
    this.view = view;
    const { clients } = options;
    this.records = new VolumeRecords({ registers, clients, clusterId: view.value.clusterId, members });
  }

  get cluster(): ClusterValue {
    return this.view.value;
  }

  async createVolume(name: string, settings: VolumeSettings = {}): Promise<NamedVolume> {
    checkVolumeName(name);
    if ((await this.lookup(name)) !== null) throw volumeExists(name);
    const volume = this.#options.random.id(VOLUME_ID_CHARS) as VolumeId;
    const { nodes } = await this.view.refresh();
    const members = placeSix(nodes, await this.loads());
    const mine: NamedVolume = {
      format: REGISTER_FORMAT,
      name,
      volume,
      registerMembers: members,
      registerGeneration: 0,
    };
    await this.records.enter(mine);
    await this.#writeFirstValues(volume, members, settings);
    await this.giveName(mine);
    const { content } = await this.registers.readVolume('retention', volume, placeOf(mine));
    if (content.value !== null && decodeRetention(content.value).dropped) {
      await this.takeName(mine);
      throw makingTooSlow(name);
    }
    return mine;
  }

  async giveName(mine: NamedVolume): Promise<void> {
    const { content } = await this.registers.change(NAME_PREFIX + mine.name, this.#members, (current) =>
      current === null || decodeName(current).volume === null ? encodeName(mine) : null,
    );
    const winner = content.value === null ? null : decodeName(content.value).volume;
    if (winner !== mine.volume) throw volumeExists(mine.name);
  }

  async takeName({ name, volume }: NamedVolume): Promise<void> {
    await this.registers.change(NAME_PREFIX + name, this.#members, (bytes) => {
      const current = bytes === null ? null : decodeName(bytes);
      return current?.volume === volume ? encodeName({ ...current, volume: null }) : null;
    });
  }

  async lookup(name: string): Promise<NamedVolume | null> {
    checkVolumeName(name);
    const { value } = await this.registers.read(NAME_PREFIX + name, this.#members);
    if (value === null) return null;
    const found = decodeName(value);
    if (found.name !== name) {
      throw new TidemarkError('CORRUPT', `the register of name '${name}' holds '${found.name}'`, {
        nextStep: 'Keep the data directories of the storage nodes as they are and report this.',
      });
    }
    return found.volume === null ? null : { ...found, volume: found.volume };
  }

  async moveRegisters({ name, volume }: NamedVolume, to: RegisterPlace): Promise<void> {
    await this.registers.change(NAME_PREFIX + name, this.#members, (bytes) => {
      const current = bytes === null ? null : decodeName(bytes);
      if (current?.volume !== volume || current.registerGeneration >= to.generation) return null;
      return encodeName({ ...current, registerMembers: to.members, registerGeneration: to.generation });
    });
    await this.records.lead(volume, to);
  }

  async list(): Promise<readonly NamedVolume[]> {
    const { clients } = this.#options;
    const { clusterId } = this.cluster;
    const found = await scanRegisters(
      { registers: this.registers, clients, clusterId, members: this.#members },
      NAME_PREFIX,
    );
    return [...found].flatMap(([key, value]) => {
      const named = decodeName(value);
      return named.volume === null || key !== NAME_PREFIX + named.name
        ? []
        : [{ ...named, volume: named.volume }];
    });
  }

  close(): void {
    this.#introducer.close();
    this.view.close();
  }

  async #writeFirstValues(
    volume: VolumeId,
    members: readonly NodeId[],
    settings: VolumeSettings,
  ): Promise<void> {
    const { random } = this.#options;
    const retention: RetentionValue = {
      format: REGISTER_FORMAT,
      volume,
      floor: NO_LSN,
      windowMs: settings.windowMs ?? DEFAULT_WINDOW_MS,
      dropped: false,
      pins: [],
    };
    const manifest = originManifest({
      volume,
      epoch: { number: 1, writerId: random.id(VOLUME_ID_CHARS) },
      pgPages: settings.pgPages ?? this.cluster.constants.defaultPgPages,
      members,
    });
    const place = { members, generation: 0 };
    await Promise.all([
      this.registers.changeVolume('retention', volume, place, (current) =>
        current === null ? encodeRetention(retention) : null,
      ),
      this.registers.changeVolume('manifest', volume, place, (current) =>
        current === null ? encodeManifest(manifest) : null,
      ),
    ]);
  }

  async loads(): Promise<ReadonlyMap<NodeId, number>> {
    const { clients } = this.#options;
    const { nodes, clusterId } = this.cluster;
    const loads = await Promise.all(
      nodes.map(async ({ nodeId }): Promise<[NodeId, number]> => {
        try {
          const status = await clients
            .get(nodeId)
            ?.call('status', { clusterId }, { timeoutMs: CALL_TIMEOUT_MS });
          return [
            nodeId,
            status === undefined || status.refusal !== null ? AVOIDED_LOAD : status.segments.length,
          ];
        } catch {
          return [nodeId, AVOIDED_LOAD];
        }
      }),
    );
    return avoidDraining(this.cluster, new Map(loads));
  }
}

export function volumeExists(name: string): TidemarkError {
  return new TidemarkError('VOLUME_EXISTS', `volume '${name}' exists already`, {
    nextStep: 'Use that volume, or choose another name.',
  });
}
