/**
 * Takes a volume over, over the network: looks whether a live compute node holds it, then runs attempts of the pure take-over
 * (compute-node/volume/take-over.ts), each with a fresh epoch above every one seen, until one succeeds or the limit is reached.
 *
 * Heartbeats only *suggest* that a holder is gone; what decides is the epoch. A wrong guess here costs the other writer its term, never data.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Crc32, Random, Timers } from '../../src/env/env.ts';
import { type Epoch, NO_EPOCH, formatEpoch } from '../../src/log/epoch.ts';
import type { VolumeId } from '../../src/log/lsn.ts';
import type { Logger } from '../../src/adapters/logger.ts';
import type { ClusterValue, NameValue } from '../../src/register/values.ts';
import { TakeOver, type TakeOverEffect, type TakeOverEvent } from '../volume/take-over.ts';
import { type NewTerm, originManifest } from '../volume/take-over-manifest.ts';
import type { TakenOver } from '../volume/taken-over.ts';
import { pause } from './pause.ts';
import type { StorageNodeClients } from './registers.ts';
import { TakeOverCalls } from './take-over-calls.ts';
import { type VolumeSurvey, surveyVolume } from './take-over-survey.ts';

/** How long storage nodes are waited for, over all attempts. */
const DEFAULT_TIMEOUT_MS = 20_000;
/** Turns of the core without an event: its retries and deadlines. */
const TICK_MS = 10;
/** A rival is given way to for a while, at random, so that two of them fall out of step. */
const RIVAL_PAUSE_MS = 200;
/** Lost races after which a candidate leaves the volume to the others. */
const MAX_LOST_RACES = 6;
/** Pause before nodes that were too few are tried anew. */
const QUORUM_PAUSE_MS = 200;
const WRITER_ID_CHARS = 16;

export interface TakeOverVolumeOptions {
  readonly name: NameValue;
  readonly cluster: ClusterValue;
  readonly clients: StorageNodeClients;
  /** Of the compute node that takes over: its own earlier life is no obstacle. */
  readonly computeId: string;
  /** Take the volume even from a live holder (failover, on somebody's word). */
  readonly force: boolean;
  /** Backtrack: see TakeOverOptions. */
  readonly rewindTo?: NewTerm['rewindTo'];
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32: Crc32;
  readonly logger: Logger;
  readonly timeoutMs?: number;
}

type Options = TakeOverVolumeOptions & { readonly name: NameValue & { readonly volume: VolumeId } };

/** Rejects VOLUME_HELD, VOLUME_DROPPED, VOLUME_NOT_FOUND, NO_QUORUM, DATA_AT_RISK, or DEPOSED (others kept winning). */
export async function takeOverVolume(options: TakeOverVolumeOptions): Promise<TakenOver> {
  const { name, clock, random, logger, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (!hasVolume(options)) {
    throw new TidemarkError('VOLUME_NOT_FOUND', `volume '${name.name}' does not exist`, {
      nextStep: 'List the volumes, or create it.',
    });
  }
  const startedMs = clock.now().monotonicMs;
  const deadlineMs = startedMs + timeoutMs;
  let highest = 1;
  let lostRaces = 0;
  for (;;) {
    const survey = await surveyVolume({ ...options, name: options.name, deadlineMs });
    if (!options.force) refuseIfHeld(options.name, options.computeId, survey);
    highest = Math.max(highest, survey.highestEpochNumber);
    const epoch: Epoch = { number: highest + 1, writerId: random.id(WRITER_ID_CHARS) };
    const end = await runAttempt(options, epoch, deadlineMs);
    if (end.kind === 'done') {
      const tookMs = Math.round(clock.now().monotonicMs - startedMs);
      logger.log('info', 'volume taken over', { volume: name.name, epoch: formatEpoch(epoch), tookMs });
      return end.takenOver;
    }
    highest = Math.max(highest, epoch.number, end.promised?.number ?? 0);
    const pauseMs = pauseBefore(end.error, lostRaces, random);
    if (end.error.code === 'DEPOSED') lostRaces += 1;
    if (pauseMs === null || lostRaces > MAX_LOST_RACES || clock.now().monotonicMs + pauseMs >= deadlineMs)
      throw end.error;
    logger.log('info', 'taking over again', {
      volume: name.name,
      epoch: formatEpoch(epoch),
      error: end.error,
    });
    await pause(options.timers, pauseMs);
  }
}

/** null: trying again would not help. */
function pauseBefore(error: TidemarkError, lostRaces: number, random: Random): number | null {
  // The first time it may just be that the registers had promised more than the segments show.
  if (error.code === 'DEPOSED') return lostRaces === 0 ? 0 : RIVAL_PAUSE_MS * (lostRaces + random.next());
  return error.code === 'NO_QUORUM' ? QUORUM_PAUSE_MS * (0.5 + random.next()) : null;
}

function refuseIfHeld(name: NameValue, computeId: string, survey: VolumeSurvey): void {
  const { holder } = survey;
  if (holder === null || holder.computeId === computeId) return;
  throw new TidemarkError(
    'VOLUME_HELD',
    `volume '${name.name}' is held by compute node ${holder.computeId} at ${holder.url}`,
    {
      nextStep: `Connect to ${holder.url}, or take the volume over by force if that compute node is gone.`,
    },
  );
}

function hasVolume(options: TakeOverVolumeOptions): options is Options {
  return options.name.volume !== null;
}

type AttemptEnd = Extract<TakeOverEffect, { kind: 'done' | 'failed' }>;

function runAttempt(options: Options, epoch: Epoch, deadlineMs: number): Promise<AttemptEnd> {
  const { name, cluster, clients, clock, timers, crc32 } = options;
  const core = new TakeOver({
    name,
    cluster,
    epoch,
    origin: originManifest({
      volume: name.volume,
      epoch: NO_EPOCH,
      pgPages: cluster.constants.defaultPgPages,
      members: name.registerMembers,
    }),
    rewindTo: options.rewindTo ?? null,
    crc32,
    timeoutMs: deadlineMs - clock.now().monotonicMs,
  });
  return new Promise((resolve, reject) => {
    const calls = new TakeOverCalls(clients, timers, (event) => step(event));
    const ticking = timers.every(TICK_MS, () => step({ kind: 'tick' }));
    const stop = () => {
      ticking.cancel();
      calls.close();
    };
    const step = (event: TakeOverEvent): void => {
      try {
        for (const effect of core.step(event, clock.now())) {
          if (effect.kind === 'call') calls.send(effect);
          else {
            stop();
            resolve(effect);
          }
        }
      } catch (error) {
        stop();
        reject(error);
      }
    };
    step({ kind: 'start' });
  });
}
