/**
 * Replicated registers over the network: runs the pure proposer (src/register/proposer.ts) against the storage nodes that keep a register,
 * with a deadline on every call, and tries again with a higher ballot, after a random pause, until an overall limit.
 *
 * A `change` may have taken effect although an attempt of it failed, and its function then meets its own value: functions given to `change`
 * must recognise that (by an id they made up) and give null.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Random, Timers } from '../../src/env/env.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import { WRITE_BLOCKING } from '../../src/quorum/quorum.ts';
import {
  decodeMoved,
  encodeMoved,
  movedFrom,
  type RegisterPlace,
  registerKey,
  type VolumeRegister,
} from '../../src/register/place.ts';
import type { ProposerEffect, RegisterContent, RegisterOperation } from '../../src/register/proposer.ts';
import { pause } from './pause.ts';
import { runProposer } from './run-proposer.ts';

/** One prepare or accept; the acceptor has one journal write to do. */
const CALL_TIMEOUT_MS = 2_000;
/** How long an operation is tried in all. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** Pauses between attempts: long enough for a rival to finish, random so that two rivals fall out of step. */
const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 400;
const WRITER_ID_CHARS = 16;
/** A writer commits a change of its manifest within that, if it lives. */
const PEEK_PATIENCE_MS = 1_000;
const PEEK_PAUSE_MS = 20;

export type StorageNodeClients = ReadonlyMap<NodeId, StorageNodeClient>;

export interface RegistersOptions {
  readonly clients: StorageNodeClients;
  /** Empty while the cluster register itself is being made. */
  readonly clusterId: string;
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly timeoutMs?: number;
}

export interface Changed {
  readonly content: RegisterContent;
  /** False: the function gave null, `content` is what stands (committed). */
  readonly changed: boolean;
}

export interface PlacedContent {
  readonly content: RegisterContent;
  readonly place: RegisterPlace;
}

type Failure = Extract<ProposerEffect, { kind: 'failed' }>;

export class Registers {
  readonly #options: RegistersOptions;
  /** Number of the highest ballot seen per register: where the next attempt starts. */
  readonly #highestBallot = new Map<string, number>();

  constructor(options: RegistersOptions) {
    this.#options = options;
  }

  /** What is committed of a volume's register, wherever it is by now. */
  readVolume(register: VolumeRegister, volume: VolumeId, from: RegisterPlace): Promise<PlacedContent> {
    return this.#follow(register, volume, from, async (key, { members }) => {
      const seen = register === 'manifest' ? await this.#peekPatiently(key, members) : null;
      return seen ?? this.#attempt(key, members, (ballot) => ({ kind: 'read', ballot }));
    });
  }

  /**
   * A manifest's ballot is its writer's epoch: to win one, only to read, would end the writer's term. While the acceptors disagree the writer is in the
   * middle of a change, which it ends by itself; null: nobody has for a while.
   */
  async #peekPatiently(key: string, members: readonly NodeId[]): Promise<Changed | null> {
    const { clock, timers } = this.#options;
    const untilMs = clock.now().monotonicMs + PEEK_PATIENCE_MS;
    for (;;) {
      const target = { ...this.#options, key, members, callTimeoutMs: CALL_TIMEOUT_MS };
      const { end } = await runProposer(target, { kind: 'peek' });
      if (end.kind === 'done') return end;
      if (clock.now().monotonicMs >= untilMs) return null;
      await pause(timers, PEEK_PAUSE_MS);
    }
  }

  /** Compare-and-set of a volume's register, wherever it is by now. */
  changeVolume(
    register: VolumeRegister,
    volume: VolumeId,
    from: RegisterPlace,
    change: (current: Uint8Array | null) => Uint8Array | null,
  ): Promise<Changed & PlacedContent> {
    return this.#follow(register, volume, from, (key, { members }, before) =>
      this.change(key, members, (current) =>
        decodeMoved(current) === null ? change(current ?? before) : null,
      ),
    );
  }

  /** Moves it: a tombstone where it was, its value on four of the new six. Asked for again it goes on where it had stopped. */
  async moveVolume(
    register: VolumeRegister,
    volume: VolumeId,
    from: RegisterPlace,
    to: RegisterPlace,
  ): Promise<void> {
    await this.#follow(register, volume, from, (key, { members, generation }, before) =>
      this.change(key, members, (current) => {
        if (generation >= to.generation) return current === null ? before : null;
        const value = current ?? before;
        return value === null || decodeMoved(current) !== null ? null : encodeMoved({ value, place: to });
      }),
    );
  }

  /** What is committed. Disturbs nobody unless the acceptors disagree. */
  async read(key: string, members: readonly NodeId[]): Promise<RegisterContent> {
    const done = await this.#attempt(key, members, (ballot) => ({ kind: 'read', ballot }));
    return done.content;
  }

  /** Compare-and-set: `change` gets the current value and gives the next, or null to leave it. */
  change(
    key: string,
    members: readonly NodeId[],
    change: (current: Uint8Array | null) => Uint8Array | null,
  ): Promise<Changed> {
    return this.#attempt(key, members, (ballot) => ({
      kind: 'change',
      ballot,
      change: (current) => change(current.value),
    }));
  }

  /** Does something at the place of a register, and again at the next one as long as it finds a tombstone. */
  async #follow(
    register: VolumeRegister,
    volume: VolumeId,
    from: RegisterPlace,
    act: (key: string, place: RegisterPlace, before: Uint8Array | null) => Promise<Changed>,
  ): Promise<Changed & PlacedContent> {
    let place = from;
    let before: Uint8Array | null = null;
    for (;;) {
      const { content, changed } = await act(registerKey(register, volume, place), place, before);
      const moved = movedFrom(place, content.value);
      if (moved === null) {
        // Nobody has written at the new place yet: what it begins with is known from the old one.
        return { content: { ...content, value: content.value ?? before }, changed, place };
      }
      place = moved.place;
      before = moved.value;
    }
  }

  async #attempt(
    key: string,
    members: readonly NodeId[],
    operation: (ballot: Epoch) => RegisterOperation,
  ): Promise<Changed> {
    const { random, clock, timers, timeoutMs = DEFAULT_TIMEOUT_MS } = this.#options;
    const deadlineMs = clock.now().monotonicMs + timeoutMs;
    for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      const highest = this.#highestBallot.get(key) ?? 0;
      const ballot = { number: highest + 1, writerId: random.id(WRITER_ID_CHARS) };
      const run = await runProposer(
        { ...this.#options, key, members, callTimeoutMs: CALL_TIMEOUT_MS },
        operation(ballot),
      );
      const { end, problems } = run;
      const seen = end.kind === 'done' ? end.content.ballot.number : (end.promised?.number ?? 0);
      this.#highestBallot.set(key, Math.max(highest, seen));
      if (end.kind === 'done') return end;
      failAtOnce(key, end, problems);
      const waitMs = (0.5 + random.next()) * pauseMs;
      if (clock.now().monotonicMs + waitMs >= deadlineMs) throw noQuorum(key, end, problems);
      await pause(timers, waitMs);
    }
  }
}

/** Throws what no further attempt mends. */
export function failAtOnce(
  key: string,
  failure: Failure,
  problems: ReadonlyMap<NodeId, TidemarkError>,
): void {
  if (failure.code === 'CORRUPT') {
    throw new TidemarkError('CORRUPT', `register ${key}: ${failure.message}`, {
      nextStep: 'Keep the data directories of the storage nodes as they are and report this.',
    });
  }
  const foreign = [...problems.values()].filter((problem) => problem.code === 'WRONG_CLUSTER');
  if (foreign.length >= WRITE_BLOCKING) {
    throw new TidemarkError(
      'WRONG_CLUSTER',
      `storage nodes belong to another cluster: ${foreign[0]?.message}`,
      {
        nextStep: 'Check the list of storage nodes in the configuration.',
        cause: foreign[0],
      },
    );
  }
}

export function noQuorum(
  key: string,
  failure: Failure,
  problems: ReadonlyMap<NodeId, TidemarkError>,
): TidemarkError {
  const why = [...problems].map(([node, problem]) => `${node}: ${problem.message}`);
  return new TidemarkError('NO_QUORUM', `register ${key}: ${[failure.message, ...why].join('; ')}`, {
    nextStep: 'Start the storage nodes that did not answer, or check the network to them, then try again.',
  });
}
