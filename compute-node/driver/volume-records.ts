/**
 * Volumes by id: one register per volume, beside its name, made before anything else of it and given up last. A name is gone the moment its
 * volume is dropped, and may lead to another volume at once; the record still tells what there is to clear away, and where its registers are.
 *
 * Invariants
 * 1. Everything that a volume has (registers, pins in its parent, segments) it has while its record stands: what a crash leaves half made or
 *    half dropped is found by the records that no name leads to.
 * 2. A record that was given up never comes back: a volume whose making was given up as an orphan's can not be finished any more.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import { decodeName, encodeName } from '../../src/register/codec.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import { type NameValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import type { NamedVolume } from './directory.ts';
import { scanRegisters } from './register-scan.ts';
import type { Registers, StorageNodeClients } from './registers.ts';

const PREFIX = 'volume/';

export interface VolumeRecordsOptions {
  readonly registers: Registers;
  readonly clients: StorageNodeClients;
  readonly clusterId: string;
  /** Who keep the cluster's own registers. */
  readonly members: readonly NodeId[];
}

export class VolumeRecords {
  readonly #options: VolumeRecordsOptions;

  constructor(options: VolumeRecordsOptions) {
    this.#options = options;
  }

  /** Rejects UNAVAILABLE when somebody has given the volume up meanwhile. */
  async enter(volume: NamedVolume): Promise<void> {
    const value = await this.#change(volume.volume, (current) =>
      current === null ? encodeName(volume) : null,
    );
    if (value?.volume === volume.volume) return;
    throw makingTooSlow(volume.name);
  }

  /** null: there is no such volume, or nothing of it is left. */
  async read(volume: VolumeId): Promise<NamedVolume | null> {
    const { registers, members } = this.#options;
    const { value } = await registers.read(PREFIX + volume, members);
    return value === null ? null : standing(decodeName(value));
  }

  /** All that stand. */
  async list(): Promise<readonly NamedVolume[]> {
    const found = await scanRegisters(this.#options, PREFIX);
    return [...found.values()].flatMap((value) => standing(decodeName(value)) ?? []);
  }

  /** Its registers have moved. */
  async lead(volume: VolumeId, to: RegisterPlace): Promise<void> {
    await this.#change(volume, (current) => {
      const record = current === null ? null : standing(decodeName(current));
      if (record === null || record.registerGeneration >= to.generation) return null;
      return encodeName({ ...record, registerMembers: to.members, registerGeneration: to.generation });
    });
  }

  /** For good. Of a volume that has none yet, too: whoever is making it learns so. */
  async giveUp(volume: VolumeId): Promise<void> {
    await this.#change(volume, (current) => {
      if (current === null) return encodeName(this.#neverMade(volume));
      const record = decodeName(current);
      return record.volume === null ? null : encodeName({ ...record, volume: null });
    });
  }

  #neverMade(volume: VolumeId): NameValue {
    const { members } = this.#options;
    return {
      format: REGISTER_FORMAT,
      name: volume,
      volume: null,
      registerMembers: members,
      registerGeneration: 0,
    };
  }

  async #change(
    volume: VolumeId,
    change: (current: Uint8Array | null) => Uint8Array | null,
  ): Promise<NameValue | null> {
    const { registers, members } = this.#options;
    const { content } = await registers.change(PREFIX + volume, members, change);
    return content.value === null ? null : decodeName(content.value);
  }
}

/** Cleared away meanwhile, as what a crash has left half made; its name goes the same way (timelines/drops.ts). */
export function makingTooSlow(name: string): TidemarkError {
  return new TidemarkError('UNAVAILABLE', `making volume '${name}' took too long and was given up`, {
    nextStep: 'Try again.',
  });
}

function standing(record: NameValue): NamedVolume | null {
  const { volume } = record;
  return volume === null ? null : { ...record, volume };
}
