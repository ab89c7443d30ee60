/**
 * Moves segments off a storage node: of every volume, PG by PG, each a change of members that its writer carries out and ends by itself
 * (volume/writer-manifests.ts). All that is done here is asking and waiting: whoever asks may go away and ask again, and finds what is left to do.
 *
 * Invariant: of one PG one member is replaced at a time, by a node of the same zone.
 */
import { assert } from '../../src/base/assert.ts';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timers } from '../../src/env/env.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { PgConfig } from '../../src/register/values.ts';
import type { MemberChange } from '../volume/writer-manifests.ts';
import { pause } from './pause.ts';

/** The members of one volume, here or at the compute node that holds it. */
export interface MembersAccess {
  read(): Promise<MembersReading>;
  propose(pg: PgIndex, members: readonly NodeId[]): Promise<void>;
  revert(pg: PgIndex): Promise<void>;
  /** Moves the volume's registers, and lets its name lead there. */
  moveRegisters(members: readonly NodeId[]): Promise<void>;
}

export interface MembersReading {
  readonly pgs: readonly PgConfig[];
  readonly changes: readonly MemberChange[];
  readonly registers: RegisterPlace;
}

export type MovePhase = MemberChange['phase'] | 'waiting' | 'done';

export interface MoveProgress {
  readonly volume: string;
  readonly pg: PgIndex;
  readonly phase: MovePhase;
  /** Who takes the segment; null while that is not decided. */
  readonly to: NodeId | null;
  readonly doneSegments: number;
  readonly totalSegments: number;
}

export interface MoveOptions {
  readonly leaving: NodeId;
  readonly volumes: readonly string[];
  /** Opens the volume where it is not open anywhere. */
  readonly access: (volume: string) => Promise<MembersAccess>;
  /** Who takes the place of `leaving` among these members. Rejects NO_PLACE. */
  readonly choose: (members: readonly NodeId[]) => Promise<NodeId>;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Asked between steps: nobody listens any more. */
  readonly isAbandoned: () => boolean;
}

type AskOptions = Pick<MoveOptions, 'access' | 'clock' | 'timers' | 'isAbandoned'>;

const POLL_PAUSE_MS = 100;
/** A line at least so often, so that who listens knows that it goes on. */
const REPORT_INTERVAL_MS = 1_000;
/** How long a volume may be without a writer that answers (a failover in the middle). */
const ACCESS_PATIENCE_MS = 60_000;

interface Piece {
  readonly volume: string;
  readonly pg: PgIndex;
}

export async function* moveSegments(options: MoveOptions): AsyncGenerator<MoveProgress> {
  const pieces: Piece[] = [];
  for (const volume of options.volumes) {
    const { pgs } = await read(options, volume);
    for (const config of pgs) {
      if (isKeptBy(config, options.leaving)) pieces.push({ volume, pg: config.pg });
    }
  }
  for (const [done, piece] of pieces.entries()) {
    const totals = { doneSegments: done, totalSegments: pieces.length };
    for await (const { phase, to } of movePiece(options, piece)) {
      const finished = phase === 'done' ? done + 1 : done;
      yield { ...piece, phase, to, ...totals, doneSegments: finished };
      if (options.isAbandoned()) return;
    }
  }
}

/** Moves the registers of every volume that keeps one on `leaving`. Yields the volumes, one by one, once it is done. */
export async function* moveRegistersOff(
  options: AskOptions & Pick<MoveOptions, 'volumes' | 'leaving' | 'choose'>,
): AsyncGenerator<string> {
  const { leaving } = options;
  for (const volume of options.volumes) {
    const hasMoved = await ask(options, volume, async (access) => {
      const { members } = (await access.read()).registers;
      if (!members.includes(leaving)) return false;
      const taker = await options.choose(members);
      await access.moveRegisters(members.map((node) => (node === leaving ? taker : node)));
      return true;
    });
    if (hasMoved) yield volume;
    if (options.isAbandoned()) return;
  }
}

/** Takes back every change under way that moves a segment off `leaving` (to `to`, where given). Returns how many. */
export async function revertMoves(
  options: AskOptions & Pick<MoveOptions, 'volumes'>,
  leaving: NodeId,
  to: NodeId | null,
): Promise<number> {
  let reverted = 0;
  for (const volume of options.volumes) {
    const { changes } = await read(options, volume);
    for (const change of changes) {
      const isMeant = !change.to.includes(leaving) && (to === null || change.to.includes(to));
      if (!isMeant || !change.from.includes(leaving)) continue;
      await ask(options, volume, (access) => access.revert(change.pg));
      reverted += 1;
    }
  }
  return reverted;
}

type Step = { readonly phase: MovePhase; readonly to: NodeId | null };

async function* movePiece(options: MoveOptions, { volume, pg }: Piece): AsyncGenerator<Step> {
  const { leaving, clock, timers } = options;
  let last: Step | null = null;
  let reportedMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const step = await ask(options, volume, (access) => advance(options, access, pg));
    const nowMs = clock.now().monotonicMs;
    const isNews = step.phase !== last?.phase || step.to !== last.to;
    if (isNews || nowMs - reportedMs >= REPORT_INTERVAL_MS) {
      reportedMs = nowMs;
      yield step;
    }
    last = step;
    if (step.phase === 'done') return;
    if (options.isAbandoned()) throw abandoned(leaving);
    await pause(timers, POLL_PAUSE_MS);
  }
}

/** Asks for the next step where one is to be asked for, and says where things stand. */
async function advance(options: MoveOptions, access: MembersAccess, pg: PgIndex): Promise<Step> {
  const { leaving } = options;
  const { pgs, changes } = await access.read();
  const config = pgs[pg];
  assert(config !== undefined, `PG ${pg} is gone`);
  const change = changes.find((candidate) => candidate.pg === pg);
  if (change !== undefined) {
    const isOurs = change.from.includes(leaving) && !change.to.includes(leaving);
    const to = change.to.find((node) => !change.from.includes(node)) ?? null;
    return isOurs ? { phase: change.phase, to } : { phase: 'waiting', to: null };
  }
  if (!config.members.includes(leaving)) return { phase: 'done', to: null };
  const taker = await options.choose(config.members);
  await access.propose(
    pg,
    config.members.map((node) => (node === leaving ? taker : node)),
  );
  return { phase: 'proposing', to: taker };
}

function isKeptBy({ members, proposed }: PgConfig, node: NodeId): boolean {
  return members.includes(node) || proposed?.includes(node) === true;
}

/** One that was dropped meanwhile has nothing to move. */
async function read(options: AskOptions, volume: string): Promise<Pick<MembersReading, 'pgs' | 'changes'>> {
  try {
    return await ask(options, volume, (access) => access.read());
  } catch (error) {
    const isGone = isTidemarkError(error, 'VOLUME_NOT_FOUND') || isTidemarkError(error, 'VOLUME_DROPPED');
    if (!isGone) throw error;
    return { pgs: [], changes: [] };
  }
}

/** A volume whose writer is changing is asked again, wherever it is next. */
async function ask<T>(
  options: AskOptions,
  volume: string,
  question: (access: MembersAccess) => Promise<T>,
): Promise<T> {
  const { clock, timers } = options;
  const untilMs = clock.now().monotonicMs + ACCESS_PATIENCE_MS;
  for (;;) {
    try {
      return await question(await options.access(volume));
    } catch (error) {
      if (!isTransient(error) || options.isAbandoned() || clock.now().monotonicMs >= untilMs) throw error;
      await pause(timers, 5 * POLL_PAUSE_MS);
    }
  }
}

function isTransient(error: unknown): boolean {
  const codes = [
    'DEPOSED',
    'UNAVAILABLE',
    'TIMEOUT',
    'VOLUME_HELD',
    'NO_QUORUM',
    'CHANGE_UNDER_WAY',
  ] as const;
  return codes.some((code) => isTidemarkError(error, code));
}

function abandoned(leaving: NodeId): TidemarkError {
  return new TidemarkError('INTERRUPTED', `nobody waits any more for segments to leave ${leaving}`);
}
