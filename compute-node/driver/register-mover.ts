/**
 * Moves the two registers of an open volume to other nodes (register/place.ts): retention by whoever asks, the manifest by its writer alone.
 * Stopped in the middle, by a crash or a failover, it goes on when it is asked for again: both then end at one place.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timers } from '../../src/env/env.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { VolumeMembers } from '../volume/open-volume.ts';
import { sameNodes } from '../volume/writer-manifests.ts';
import type { NamedVolume, VolumeDirectory } from './directory.ts';
import { pause } from './pause.ts';
import type { Registers } from './registers.ts';

const POLL_PAUSE_MS = 20;
const TIMEOUT_MS = 20_000;

export interface RegisterMoverOptions {
  readonly registers: Registers;
  readonly volume: VolumeId;
  /** Where a search for the retention register begins. */
  readonly from: RegisterPlace;
  /** Where the manifest register is now (throws when the writer's term is over), and how to ask the writer to move it. */
  readonly manifestPlace: () => RegisterPlace;
  readonly moveManifest: (to: RegisterPlace) => void;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Resolves with where both are in the end. Rejects NO_QUORUM, DEPOSED. */
export async function moveRegisters(
  options: RegisterMoverOptions,
  members: readonly NodeId[],
): Promise<RegisterPlace> {
  const { registers, volume, from, clock, timers } = options;
  const retention = (await registers.readVolume('retention', volume, from)).place;
  const to = target(options.manifestPlace(), retention, members);
  await registers.moveVolume('retention', volume, from, to);
  options.moveManifest(to);
  const untilMs = clock.now().monotonicMs + TIMEOUT_MS;
  while (options.manifestPlace().generation < to.generation) {
    if (clock.now().monotonicMs >= untilMs) throw tooLate(members);
    await pause(timers, POLL_PAUSE_MS);
  }
  return to;
}

/** The volume's name leads there from now on. */
export async function leadName(
  directory: VolumeDirectory,
  name: string,
  place: RegisterPlace,
): Promise<void> {
  const found = await directory.lookup(name);
  if (found !== null) await directory.moveRegisters(found, place);
}

/** Somebody moved the manifest register and did not come to the end: its companion and the name follow. */
export async function finishRegisterMove(
  directory: VolumeDirectory,
  name: NamedVolume,
  members: VolumeMembers,
  logger: Logger,
): Promise<void> {
  const { registers } = members;
  if (registers.generation <= name.registerGeneration) return;
  try {
    await directory.moveRegisters(name, await members.moveRegisters(registers.members));
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    logger.log('warn', 'a move of registers could not be finished; tried again at the next opening', {
      volume: name.name,
      error,
    });
  }
}

/** The place of the newer of the two, where that is what is wanted; else one beyond both. */
function target(
  manifest: RegisterPlace,
  retention: RegisterPlace,
  members: readonly NodeId[],
): RegisterPlace {
  const newest = manifest.generation > retention.generation ? manifest : retention;
  if (sameNodes(newest.members, members)) return newest;
  return { members, generation: newest.generation + 1 };
}

function tooLate(members: readonly NodeId[]): TidemarkError {
  return new TidemarkError(
    'NO_QUORUM',
    `the manifest register did not move to ${members.join(', ')} within ${TIMEOUT_MS} ms`,
    { nextStep: 'Check with `tidemark status` that its storage nodes are up, then ask again.' },
  );
}
