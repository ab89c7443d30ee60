/**
 * What nodes tell and remember of each other, item by item: of a segment the highest SCL acknowledged, the promise and the installed epoch; of a
 * register the promise and what was accepted. Enough to see that something was forgotten, not enough to restore a value from.
 *
 * Everything here only grows, save one: a committed manifest may cut, and lower a watermark with it. So of two watermarks under one manifest the higher
 * is true, and under a newer manifest the newer.
 */
import { FieldReader } from '../../src/base/field-reader.ts';
import { packStrict, unpackStrict } from '../../src/base/strict-msgpack.ts';
import { type Epoch, NO_EPOCH, compareEpochs } from '../../src/log/epoch.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { MemoryRegister, MemorySegment } from '../../src/messages/messages.ts';

export type MemoryItem =
  | ({ readonly kind: 'segment' } & MemorySegment)
  | ({ readonly kind: 'register' } & MemoryRegister);
type SegmentItem = Extract<MemoryItem, { kind: 'segment' }>;
type RegisterItem = Extract<MemoryItem, { kind: 'register' }>;

/** Also its order in pages and its place in the guard. */
export function itemName(item: MemoryItem): string {
  return item.kind === 'segment' ? `segment/${item.volume}/${item.pg}` : `register/${item.key}`;
}

/** `remembered` holds something that `own` does not: whoever tells `own` of itself has forgotten it. */
export function exceeds(remembered: MemoryItem, own: MemoryItem): boolean {
  if (compareEpochs(remembered.promised, own.promised) > 0) return true;
  if (remembered.kind === 'segment' && own.kind === 'segment') {
    return compareInstalled(remembered, own) > 0 || remembered.watermark > own.watermark;
  }
  return remembered.kind === 'register' && own.kind === 'register' && compareAccepted(remembered, own) > 0;
}

/** As exceeds, for one who does not know the runs: a newer manifest may have cut what was remembered. */
export function contradicts(remembered: MemoryItem, told: MemoryItem): boolean {
  const isCut =
    remembered.kind === 'segment' && told.kind === 'segment' && compareInstalled(told, remembered) > 0;
  return exceeds(isCut ? { ...remembered, watermark: 0 as Lsn } : remembered, told);
}

/** What is to be remembered when `told` comes to what is. */
export function merged(known: MemoryItem | undefined, told: MemoryItem): MemoryItem {
  if (known === undefined) return told;
  const promised = later(known.promised, told.promised);
  if (known.kind === 'segment' && told.kind === 'segment') {
    const order = compareInstalled(told, known);
    const newer = order > 0 || (order === 0 && told.watermark > known.watermark) ? told : known;
    return { ...newer, promised };
  }
  if (known.kind === 'register' && told.kind === 'register') {
    return { ...(compareAccepted(told, known) > 0 ? told : known), promised };
  }
  return told;
}

export function sameItem(a: MemoryItem, b: MemoryItem): boolean {
  return !exceeds(a, b) && !exceeds(b, a);
}

export function encodeItem(item: MemoryItem): Uint8Array {
  return packStrict(
    item.kind === 'segment'
      ? [item.watermark, ...packed(item.promised), item.installed === null ? null : packed(item.installed)]
      : [
          item.acceptedVersion,
          ...packed(item.promised),
          item.acceptedBallot === null ? null : packed(item.acceptedBallot),
        ],
  );
}

/** `blank` names the item. Throws CORRUPT. */
export function decodeItem(
  blank: Pick<SegmentItem, 'kind' | 'volume' | 'pg'> | Pick<RegisterItem, 'kind' | 'key'>,
  bytes: Uint8Array,
): MemoryItem {
  const fields = new FieldReader('remembered item', unpackStrict(bytes));
  const number = fields.int('number', 0);
  const promised = readEpoch(fields);
  const other = fields.nullable('epoch', (element, what) => readEpoch(new FieldReader(what, element)));
  fields.end();
  return blank.kind === 'segment'
    ? { ...blank, watermark: number as Lsn, promised, installed: other }
    : { ...blank, promised, acceptedBallot: other, acceptedVersion: number };
}

function compareInstalled(a: SegmentItem, b: SegmentItem): number {
  return compareEpochs(a.installed ?? NO_EPOCH, b.installed ?? NO_EPOCH);
}

function compareAccepted(a: RegisterItem, b: RegisterItem): number {
  return (
    compareEpochs(a.acceptedBallot ?? NO_EPOCH, b.acceptedBallot ?? NO_EPOCH) ||
    a.acceptedVersion - b.acceptedVersion
  );
}

function later(a: Epoch, b: Epoch): Epoch {
  return compareEpochs(a, b) >= 0 ? a : b;
}

function packed({ number, writerId }: Epoch): readonly [number, string] {
  return [number, writerId];
}

function readEpoch(fields: FieldReader): Epoch {
  return { number: fields.int('epoch number', 0), writerId: fields.string('writer id', 64, 0) };
}
