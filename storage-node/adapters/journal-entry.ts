/**
 * The bytes of one journal entry, format 1. All numbers little-endian.
 *
 *      0  u32  magic "TMJ1"
 *      4  u16  format
 *      6  u16  0
 *      8  u64  sequence number: 1 for the first entry ever, then dense
 *     16  u64  offset in the ring at which this entry belongs (an entry found elsewhere is none)
 *     24  u64  greatest sequence known synced when this was written
 *     32  u64  greatest sequence whose home ops are in the store's tables
 *     40  u32  length of the payload
 *     44  u32  checksum of the entry before (the chain), 0 when there was none
 *     48  u32  0
 *     52  u32  CRC-32 over all of header (this field taken as 0) and payload
 *     56       payload: msgpack of [[kind, key, value | nil], …], kind 0 home, 1 guard
 *
 * The payload is followed by zeros up to the next sector.
 */
import { Packr, Unpackr } from 'msgpackr';
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { Crc32 } from '../../src/env/env.ts';
import type { DurableOp } from '../core/effects.ts';
import { SECTOR_BYTES } from './journal-disk.ts';

export const ENTRY_HEADER_BYTES = 56;
const MAGIC = 0x314a_4d54;
export const ENTRY_FORMAT = 1;
const CHECKSUM_AT = 52;

export interface EntryHeader {
  readonly sequence: number;
  readonly offset: number;
  readonly knownSynced: number;
  readonly storeFlushed: number;
  readonly payloadBytes: number;
  readonly previousChecksum: number;
  readonly checksum: number;
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

export function encodeOps(ops: readonly DurableOp[]): Uint8Array {
  if (ops.length === 0) return new Uint8Array(0);
  return packr.pack(ops.map((op) => [op.kind === 'home' ? 0 : 1, op.key, op.value]));
}

/** Throws CORRUPT: the checksum held, so this is another writer's format or a bug, not a torn write. */
export function decodeOps(payload: Uint8Array): readonly DurableOp[] {
  if (payload.length === 0) return [];
  let packed: unknown;
  try {
    packed = unpackr.unpack(payload);
  } catch (cause) {
    throw new TidemarkError('CORRUPT', 'a journal entry with an intact checksum is not msgpack', { cause });
  }
  if (!Array.isArray(packed)) throw malformed();
  return packed.map(decodeOp);
}

function decodeOp(packed: unknown): DurableOp {
  if (!Array.isArray(packed) || packed.length !== 3) throw malformed();
  const [kind, key, value] = packed as readonly unknown[];
  if (value !== null && !(value instanceof Uint8Array)) throw malformed();
  if (kind === 0 && key instanceof Uint8Array) return { kind: 'home', key, value };
  if (kind === 1 && typeof key === 'string') return { kind: 'guard', key, value };
  throw malformed();
}

export function entrySectors(payloadBytes: number): number {
  return Math.ceil((ENTRY_HEADER_BYTES + payloadBytes) / SECTOR_BYTES);
}

/** Writes header, payload and padding into `target`, which has exactly the entry's sectors; returns the entry's checksum. */
export function encodeEntry(
  header: Omit<EntryHeader, 'checksum' | 'payloadBytes'>,
  payload: Uint8Array,
  target: Uint8Array,
  crc32: Crc32,
): number {
  const usedBytes = ENTRY_HEADER_BYTES + payload.length;
  assert(target.length === entrySectors(payload.length) * SECTOR_BYTES, 'the target is the entry’s sectors');
  const view = new DataView(target.buffer, target.byteOffset, target.length);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, ENTRY_FORMAT, true);
  view.setUint16(6, 0, true);
  setNumber(view, 8, header.sequence);
  setNumber(view, 16, header.offset);
  setNumber(view, 24, header.knownSynced);
  setNumber(view, 32, header.storeFlushed);
  view.setUint32(40, payload.length, true);
  view.setUint32(44, header.previousChecksum, true);
  view.setUint32(48, 0, true);
  view.setUint32(CHECKSUM_AT, 0, true);
  target.set(payload, ENTRY_HEADER_BYTES);
  target.fill(0, usedBytes);
  const checksum = crc32(target.subarray(0, usedBytes));
  view.setUint32(CHECKSUM_AT, checksum, true);
  return checksum;
}

/** The header at the start of `sector` if it looks like one that belongs at `offset`; whether it is true only `entryIsIntact` says. */
export function readHeader(sector: Uint8Array, offset: number, ringBytes: number): EntryHeader | null {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.length);
  if (view.getUint32(0, true) !== MAGIC) return null;
  const header: EntryHeader = {
    sequence: getNumber(view, 8),
    offset: getNumber(view, 16),
    knownSynced: getNumber(view, 24),
    storeFlushed: getNumber(view, 32),
    payloadBytes: view.getUint32(40, true),
    previousChecksum: view.getUint32(44, true),
    checksum: view.getUint32(CHECKSUM_AT, true),
  };
  if (header.offset !== offset) return null;
  if (offset + entrySectors(header.payloadBytes) * SECTOR_BYTES > ringBytes) return null;
  return header;
}

/** `entry`: header and payload, without padding. Throws WRONG_FORMAT for an intact entry of a format this build does not know. */
export function entryIsIntact(entry: Uint8Array, header: EntryHeader, crc32: Crc32): boolean {
  const zero = new Uint8Array(4);
  let checksum = crc32(entry.subarray(0, CHECKSUM_AT));
  checksum = crc32(zero, checksum);
  checksum = crc32(entry.subarray(CHECKSUM_AT + 4), checksum);
  if (checksum !== header.checksum) return false;
  const format = new DataView(entry.buffer, entry.byteOffset, entry.length).getUint16(4, true);
  if (format !== ENTRY_FORMAT) {
    throw new TidemarkError(
      'WRONG_FORMAT',
      `the journal has entries of format ${format}; this build knows ${ENTRY_FORMAT}`,
      {
        nextStep: 'Start this storage node with the build that wrote its data directory, or a newer one.',
      },
    );
  }
  return true;
}

function setNumber(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

/** Numbers past 2^53 come from garbage only; they fail the checks that follow. */
function getNumber(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

function malformed(): TidemarkError {
  return new TidemarkError(
    'CORRUPT',
    'a journal entry with an intact checksum holds something else than operations',
  );
}
