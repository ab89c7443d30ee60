/**
 * Backtrack (design section 7): in place, a volume goes on from an older point. Its writer is drained, its head run closed, a new one opened whose
 * parent is the target: a take-over like any other, by the compute node that holds the volume. What is undone stays in the tree of runs, so that
 * going forward again is a backtrack to a point on it.
 *
 * Invariants
 * 1. The target is pinned before the take-over begins and until the new run is installed: else the floor, which anybody may raise, could pass it in
 *    between, and its history be collected on nodes that do not know yet that the head descends from it.
 * 2. The bookmark is the end of what the volume showed before, also when the same is asked for again because its answer was lost.
 * 3. No SQLite connection and no cached page outlives it: the engine is ended, another one opened.
 */
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../src/timeline/moment.ts';
import type { NamedVolume } from '../driver/directory.ts';
import type { Registers } from '../driver/registers.ts';
import type { Backtracked } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { MomentResolver } from './moment-resolver.ts';
import { backtrackPin, changeRetention, isBacktrackPin, pinPoint, unpin } from './pins.ts';

const ATTEMPT_CHARS = 16;

export class Backtracks {
  readonly #context: TimelineContext;
  readonly #resolver: MomentResolver;
  /** One at a time of each volume. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(context: TimelineContext, resolver: MomentResolver) {
    this.#context = context;
    this.#resolver = resolver;
  }

  async backtrack(name: string, to: Moment): Promise<Backtracked> {
    try {
      await this.#context.volume(name);
    } catch (error) {
      if (!isTidemarkError(error, 'VOLUME_HELD')) throw error;
      return this.#atHolder(name, to, error);
    }
    const before = this.#running.get(name) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(() => this.#backtrack(name, to));
    this.#running.set(name, mine);
    try {
      return await mine;
    } finally {
      if (this.#running.get(name) === mine) this.#running.delete(name);
    }
  }

  async #backtrack(name: string, to: Moment): Promise<Backtracked> {
    const { directory, logger, random } = this.#context;
    const { registers } = directory;
    const resolved = await this.#resolver.resolve(name, to);
    const { named, manifest, point, committedAtMicros } = resolved;
    await clearPins(registers, named);
    const pin = { name: backtrackPin(random.id(ATTEMPT_CHARS)), point };
    await pinPoint(registers, named, manifest, pin);
    let leftAtLsn: Lsn;
    try {
      const reason = backtracked(name, to);
      ({ leftAtLsn } = await this.#context.rewind(name, point, reason));
    } catch (error) {
      // Taken while it was closed here: whoever has it now goes back, to the very same point.
      if (!isTidemarkError(error, 'VOLUME_HELD')) throw error;
      return await this.#atHolder(name, { kind: 'lsn', lsn: point.lsn }, error);
    } finally {
      await unpin(registers, named, pin.name).catch((error: unknown) => {
        if (!isTidemarkError(error)) throw error;
        logger.log('warn', 'the pin of a backtrack stays until the next one', { name, error });
      });
    }
    logger.log('info', 'backtracked a volume', { name, to: point.lsn, from: leftAtLsn });
    return {
      name,
      to: { name, point, committedAtMicros },
      undo: formatMoment({ kind: 'lsn', lsn: leftAtLsn }),
    };
  }

  async #atHolder(name: string, to: Moment, held: TidemarkError): Promise<Backtracked> {
    const holder = await this.#context.holder(await this.#context.lookup(name));
    // Gone in between: whoever asks again finds it free.
    if (holder === null) throw held;
    return this.#context.holders.backtrack(holder.url, name, to);
  }
}

/** Left over from backtracks that a crash has ended. Only who holds the volume backtracks it, and one at a time. */
async function clearPins(registers: Registers, named: NamedVolume): Promise<void> {
  await changeRetention(registers, named, (current) =>
    current.pins.some(isBacktrackPin)
      ? { ...current, pins: current.pins.filter((pin) => !isBacktrackPin(pin)) }
      : null,
  );
}

function backtracked(name: string, to: Moment): TidemarkError {
  return new TidemarkError('BACKTRACKED', `volume '${name}' went back to ${formatMoment(to)}`, {
    nextStep: 'Send it again: the next statement sees the volume as it was then.',
  });
}
