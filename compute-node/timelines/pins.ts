/**
 * Pins: read points that a volume's retention register keeps whatever the floor (design section 7). A snapshot is one, every clone has one in its
 * parent, and a backtrack has one for as long as it takes.
 *
 * Invariants
 * 1. Whether a point is still kept is looked at inside the change that pins it, so that it is ordered with every raising of the floor: a pin
 *    that is committed was never too late.
 * 2. A dropped volume keeps the pinned points of its clones alone: another clone's pin may come to one of those. No other pin may: nobody could ever
 *    take it away.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { decodeRetention, encodeRetention } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import type { ManifestValue, RetentionValue } from '../../src/register/values.ts';
import { isKept } from '../../src/timeline/kept.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { NamedVolume } from '../driver/directory.ts';
import type { Registers } from '../driver/registers.ts';

export type Pin = RetentionValue['pins'][number];

/** A clone's pin in the volume that it was cloned from. */
const CLONE_PREFIX = 'clone:';
/** The target of a backtrack under way. */
const BACKTRACK_PREFIX = 'backtrack:';

export const clonePin = (child: string): string => CLONE_PREFIX + child;
export const backtrackPin = (attempt: string): string => BACKTRACK_PREFIX + attempt;
export const isClonePin = ({ name }: Pin): boolean => name.startsWith(CLONE_PREFIX);
export const isBacktrackPin = ({ name }: Pin): boolean => name.startsWith(BACKTRACK_PREFIX);
/** Of a clone's pin. */
export const childOf = ({ name }: Pin): string => name.slice(CLONE_PREFIX.length);

/**
 * The committed retention value after `change`, which gives the next one, or null to leave it. It may be called again after its own change was
 * committed unheard: it must recognise that.
 */
export async function changeRetention(
  registers: Registers,
  named: NamedVolume,
  change: (current: RetentionValue) => RetentionValue | null,
): Promise<RetentionValue> {
  const { content } = await registers.changeVolume('retention', named.volume, placeOf(named), (bytes) => {
    const next = bytes === null ? null : change(decodeRetention(bytes));
    return next === null ? null : encodeRetention(next);
  });
  if (content.value !== null) return decodeRetention(content.value);
  throw new TidemarkError('CORRUPT', `the retention register of volume '${named.name}' is empty`, {
    nextStep: 'Keep the data directories of the storage nodes as they are and report this.',
  });
}

export async function readRetention(registers: Registers, named: NamedVolume): Promise<RetentionValue> {
  return changeRetention(registers, named, () => null);
}

/** Rejects GONE, VOLUME_DROPPED. A pin of that name that is there already stays: the value returned tells which point it has. */
export async function pinPoint(
  registers: Registers,
  named: NamedVolume,
  { runs }: Pick<ManifestValue, 'runs'>,
  pin: Pin,
): Promise<RetentionValue> {
  return changeRetention(registers, named, (current) => {
    if (current.pins.some(({ name }) => name === pin.name)) return null;
    if (current.dropped && !isClonePin(pin)) throw droppedMeanwhile(named);
    if (!isKept(runs, current, pin.point)) throw notKept(named, current, pin.point);
    return { ...current, pins: [...current.pins, pin] };
  });
}

export async function unpin(
  registers: Registers,
  named: NamedVolume,
  pinName: string,
): Promise<RetentionValue> {
  return changeRetention(registers, named, (current) => {
    const pins = current.pins.filter(({ name }) => name !== pinName);
    return pins.length === current.pins.length ? null : { ...current, pins };
  });
}

export function samePoint(a: ReadPoint, b: ReadPoint): boolean {
  return a.volume === b.volume && a.run === b.run && a.lsn === b.lsn;
}

function notKept(named: NamedVolume, { floor, dropped }: RetentionValue, { lsn }: ReadPoint): TidemarkError {
  if (dropped) return droppedMeanwhile(named);
  return new TidemarkError(
    'GONE',
    `lsn:${lsn} of ${named.name} went out of its window, which begins at lsn:${floor} now`,
    {
      nextStep: 'Name a later moment, or a snapshot.',
    },
  );
}

export function droppedMeanwhile({ name }: NamedVolume): TidemarkError {
  return new TidemarkError('VOLUME_DROPPED', `volume '${name}' was dropped`, {
    nextStep: 'List the volumes with `tidemark volumes`.',
  });
}
