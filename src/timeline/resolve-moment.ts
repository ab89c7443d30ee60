/**
 * Which read point a moment names (design section 7). A time means what clients saw then: the run that was the head, up to its newest commit
 * stamped by then. An LSN means the newest commit at or below it, on the run it belongs to, rewound runs too. A snapshot is its pin.
 *
 * Here is what follows from the registers alone; the newest commit within bounds is with the storage nodes (`find`), and whoever asks them comes
 * back with what they found.
 *
 * Invariants
 * 1. A moment names the same read point whenever it is asked for, as long as it is kept: nothing is named above what is known to be durable,
 *    and no time while a commit of that time may still turn up (`unknown`).
 * 2. Where a run has no commit within the bounds, its start is named: what the run goes on from. It is a read point of the run itself, so
 *    that a point of a run opened above the floor is never below it, however far back the run was rewound.
 */
import { assertNever } from '../base/assert.ts';
import { TidemarkError } from '../base/errors.ts';
import type { Lsn, RunId, VolumeId } from '../log/lsn.ts';
import type { RetentionValue } from '../register/values.ts';
import { isKept } from './kept.ts';
import { formatMoment, formatTime, type Moment } from './moment.ts';
import type { ReadPoint, Run } from './run.ts';
import { headRun, runById, runOf } from './visibility.ts';

/** Pins of snapshots are named so in the retention register. */
export const SNAPSHOT_PIN_PREFIX = 'snapshot:';

/** What is known of a volume's past. */
export interface KnownHistory {
  readonly name: string;
  readonly volume: VolumeId;
  readonly runs: readonly Run[];
  readonly retention: Pick<RetentionValue, 'floor' | 'pins'>;
  /** The head run is durable up to here. */
  readonly durableLsn: Lsn;
  /** False: it may be durable further; nobody who knows was asked. */
  readonly isNewest: boolean;
  /** Of whom the moment is asked, and not before the newest stamp known. */
  readonly nowMicros: number;
}

/**
 * From when a while ago is counted back: the instant it is asked for, so that a while of nothing takes in every commit acknowledged before; or the
 * whole second, so that readers who ask within one second share one moment.
 */
export type AgoFrom = 'instant' | 'second';

export type MomentPlan =
  | { readonly kind: 'point'; readonly point: ReadPoint }
  /** The newest commit of the run within both bounds is meant. */
  | {
      readonly kind: 'find';
      readonly run: RunId;
      readonly throughLsn: Lsn;
      readonly throughMicros: number;
    }
  /** It lies in the open run above what is known to be durable: whoever writes the volume knows. */
  | { readonly kind: 'unknown' };

/** No commit is stamped later. */
export const ANY_TIME = Number.MAX_SAFE_INTEGER;
const MICROS_PER_SECOND = 1_000_000;

/** `moment` null: now. Throws IN_FUTURE, BEFORE_CREATION, CUT, SNAPSHOT_NOT_FOUND. */
export function planMoment(
  history: KnownHistory,
  moment: Moment | null,
  agoFrom: AgoFrom = 'instant',
): MomentPlan {
  if (moment === null) return planNow(history);
  switch (moment.kind) {
    case 'snapshot':
      return { kind: 'point', point: snapshotPoint(history, moment.name) };
    case 'lsn':
      return planLsn(history, moment.lsn);
    case 'time':
      return planMomentInTime(history, moment, moment.micros);
    case 'ago':
      return planMomentInTime(history, moment, timeAgo(history.nowMicros, moment.micros, agoFrom));
    default:
      return assertNever(moment, 'moment');
  }
}

/** Where what clients saw at a time is looked for: on the run that was the head then. null: there was none yet. */
export function planTime(
  runs: readonly Run[],
  durableLsn: Lsn,
  micros: number,
): Extract<MomentPlan, { kind: 'find' }> | null {
  const run = runs.findLast(({ openedAtMicros }) => openedAtMicros > 0 && openedAtMicros <= micros);
  if (run === undefined) return null;
  return { kind: 'find', run: run.id, throughLsn: run.lastLsn ?? durableLsn, throughMicros: micros };
}

/** The point a `find` stands for, once the storage nodes have said which commit it is; null: the run has none within the bounds. */
export function foundPoint(
  { volume, runs }: Pick<KnownHistory, 'volume' | 'runs'>,
  { run: id }: { readonly run: RunId },
  found: Lsn | null,
): ReadPoint {
  const run = runById(runs, id);
  if (run === null) throw new TidemarkError('CUT', `there is no run ${id}`);
  return { volume, run: id, lsn: found ?? startOf(run) };
}

/** Throws GONE, which names the window, when the point is not kept any more. `floorMicros`: the stamp at the floor, null when not known. */
export function requireKept(history: KnownHistory, point: ReadPoint, floorMicros: number | null): void {
  const { name, runs, retention } = history;
  if (isKept(runs, retention, point)) return;
  const since = floorMicros === null ? '' : `, ${formatTime(floorMicros)}`;
  throw new TidemarkError(
    'GONE',
    `${name} can be read back to lsn:${retention.floor}${since}; what came before is not kept`,
    {
      nextStep:
        'Name a later moment, or a snapshot. A longer window keeps more from now on: `tidemark window`.',
    },
  );
}

/** The point that the floor itself is: the oldest of the window. */
export function floorPoint({ volume, runs, retention }: KnownHistory): ReadPoint {
  const { floor } = retention;
  let at: Run | null = null;
  for (const run of runs) if (startOf(run) <= floor) at = run;
  const run = at ?? (runs[0] as Run);
  return { volume, run: run.id, lsn: Math.min(floor, run.lastLsn ?? floor) as Lsn };
}

function timeAgo(nowMicros: number, micros: number, from: AgoFrom): number {
  if (from === 'instant') return nowMicros - micros;
  return Math.floor(nowMicros / MICROS_PER_SECOND) * MICROS_PER_SECOND - micros;
}

function planNow({ volume, runs, durableLsn, isNewest }: KnownHistory): MomentPlan {
  const head = headRun(runs);
  if (head.lastLsn !== null && head.openedAtMicros > 0)
    return { kind: 'point', point: { volume, run: head.id, lsn: head.lastLsn } };
  if (!isNewest) return { kind: 'unknown' };
  return { kind: 'point', point: { volume, run: head.id, lsn: durableLsn } };
}

function snapshotPoint({ name, retention }: KnownHistory, snapshot: string): ReadPoint {
  const pin = retention.pins.find((candidate) => candidate.name === SNAPSHOT_PIN_PREFIX + snapshot);
  if (pin !== undefined) return pin.point;
  const known = retention.pins.flatMap((candidate) =>
    candidate.name.startsWith(SNAPSHOT_PIN_PREFIX) ? [candidate.name.slice(SNAPSHOT_PIN_PREFIX.length)] : [],
  );
  throw new TidemarkError('SNAPSHOT_NOT_FOUND', `${name} has no snapshot '${snapshot}'`, {
    nextStep:
      known.length === 0
        ? 'It has none yet. A moment can also be named by its time or its LSN.'
        : `It has ${known.slice(0, 5).join(', ')}${known.length > 5 ? ' …' : ''}.`,
  });
}

function planLsn(history: KnownHistory, lsn: Lsn): MomentPlan {
  const { volume, runs, durableLsn, isNewest, retention } = history;
  // What a pin keeps below the floor is not to be found by its commit any more.
  const pin = retention.pins.find(({ point }) => point.volume === volume && point.lsn === lsn);
  if (pin !== undefined && lsn < retention.floor) return { kind: 'point', point: pin.point };
  const run = runOf(runs, lsn);
  if (run === null) {
    const started = runs.find((candidate) => startOf(candidate) === lsn);
    if (started !== undefined) return { kind: 'point', point: { volume, run: started.id, lsn } };
    throw cutError(history, lsn);
  }
  if (run.lastLsn === null && lsn > durableLsn) {
    if (!isNewest) return { kind: 'unknown' };
    throw new TidemarkError(
      'IN_FUTURE',
      `lsn:${lsn} lies in the future: ${history.name} is at lsn:${durableLsn}`,
      { nextStep: 'Name a moment that has been.' },
    );
  }
  return { kind: 'find', run: run.id, throughLsn: lsn, throughMicros: ANY_TIME };
}

function planMomentInTime(history: KnownHistory, moment: Moment, micros: number): MomentPlan {
  const { name, runs, durableLsn, isNewest, nowMicros } = history;
  if (micros > nowMicros) {
    throw new TidemarkError(
      'IN_FUTURE',
      `${formatMoment(moment)} lies in the future: it is ${formatTime(nowMicros)} now`,
      { nextStep: 'Name a moment that has been; a time without a zone is UTC.' },
    );
  }
  const found = planTime(runs, durableLsn, micros);
  if (found === null) {
    const bornMicros = (runs[0] as Run).openedAtMicros;
    if (bornMicros === 0 && !isNewest) return { kind: 'unknown' };
    const since = bornMicros === 0 ? '' : `, which was ${formatTime(bornMicros)}`;
    throw new TidemarkError('BEFORE_CREATION', `${formatMoment(moment)} is before ${name} was made${since}`, {
      nextStep: 'Name a later moment.',
    });
  }
  const isOpen = runById(runs, found.run)?.lastLsn === null;
  return isOpen && !isNewest ? { kind: 'unknown' } : found;
}

function cutError({ name, runs, durableLsn }: KnownHistory, lsn: Lsn): TidemarkError {
  const before = runs.findLast((run) => run.firstLsn <= lsn);
  const after = runs.find((run) => run.firstLsn > lsn);
  const near = [
    ...(before === undefined ? [] : [before.lastLsn ?? durableLsn]),
    ...(after === undefined ? [] : [startOf(after)]),
  ].map((moment) => `lsn:${moment}`);
  return new TidemarkError('CUT', `lsn:${lsn} does not exist: no record of ${name} ever had it`, {
    nextStep: `Near it are ${near.join(' and ')}.`,
  });
}

/** Where the run goes on from, as a read point of its own. */
function startOf(run: Run): Lsn {
  return (run.firstLsn - 1) as Lsn;
}
