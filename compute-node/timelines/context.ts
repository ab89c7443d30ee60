/** What the operations on timelines share: the compute node they are part of, seen from here. */
import type { Logger } from '../../src/adapters/logger.ts';
import type { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Random, Timers } from '../../src/env/env.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { NamedVolume, VolumeDirectory } from '../driver/directory.ts';
import type { StorageNodeClients } from '../driver/registers.ts';
import type { VolumeHolder } from '../driver/take-over-survey.ts';
import type { StorageLinks } from '../driver/storage-links.ts';
import type { Engine } from '../engine/api.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type { OpenedVolume, VolumeRegistry } from '../volume-registry.ts';
import type { HolderAccess } from './holder-access.ts';

export interface TimelineContext {
  /** Of this compute node, stable over restarts. */
  readonly computeId: string;
  readonly directory: VolumeDirectory;
  readonly clients: StorageNodeClients;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly logger: Logger;
  /** Other compute nodes. */
  readonly holders: HolderAccess;
  /** Rejects VOLUME_NOT_FOUND. */
  lookup(name: string): Promise<NamedVolume>;
  /** Open, or being opened, here: without asking anyone. */
  openHere(name: string): Promise<OpenedVolume> | null;
  /** Taken over first when it is not open here. Rejects VOLUME_HELD when another compute node has it. */
  volume(name: string): Promise<OpenedVolume>;
  readonly links: StorageLinks;
  /** The moment under that key, opened when it is not yet; counted with the volumes. Rejects OVERLOADED. */
  readonly holdPast: VolumeRegistry['holdPast'];
  /** An SQL engine that writes nothing. */
  openPastEngine(log: OpenVolume, onEnded: (reason: Error) => void): Promise<Engine>;
  /** The volume is not open here any more when this resolves; who uses it is told the reason. */
  closeHere(name: string, reason: TidemarkError): Promise<void>;
  /** Nor is any moment of it. */
  endPasts(prefix: string, reason: TidemarkError): Promise<void>;
  /**
   * Closes the volume's head run and opens one that goes on from the target; whoever uses the volume is told the reason, whoever asks for it meanwhile
   * waits. Resolves with the end of what the volume showed before. Rejects VOLUME_HELD when another compute node was faster.
   */
  rewind(
    name: string,
    target: Pick<ReadPoint, 'run' | 'lsn'>,
    reason: TidemarkError,
  ): Promise<{ readonly leftAtLsn: Lsn }>;
  /** Who heartbeats for it. */
  holder(named: NamedVolume): Promise<VolumeHolder | null>;
}
