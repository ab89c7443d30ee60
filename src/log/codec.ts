/**
 * How redo records travel and are stored: boxcars, in an envelope of version and CRC-32 (base/envelope.ts) around one flat MessagePack
 * array, written by msgpackr:
 *
 *     volume, pg, epoch number, writer id, prev LSN of the first record,
 *     then for each record:  step, page, flags, time, body, checksum
 *
 * `step` is the record's LSN less its backlink's: within a boxcar each record's backlink is the record before it, so backlinks cost
 * nothing. flags: 1 image, 2 CPL. `time`: commit time in microseconds on a CPL, else 0.
 *
 * Invariants
 * 1. A record's own checksum covers its LSN, backlink, page, flags, time and body, and is seeded with volume, PG and birth epoch: moved
 *    to another page, LSN, chain, PG, volume or term, it fails. It is made once, by the writer, and checked wherever bytes come in.
 * 2. decodeBoxcar returns only what encodeBoxcar was given: envelope, every field's type and size, backlinks, delta bodies and all
 *    record checksums have been checked. It throws nothing but TidemarkError CORRUPT or WRONG_FORMAT.
 * 3. Decoded bodies are views of the bytes given to decodeBoxcar: whoever reuses that memory copies first.
 */
import { assert } from '../base/assert.ts';
import { TidemarkError } from '../base/errors.ts';
import { ENVELOPE_BYTES, type Format, openEnvelope, sealEnvelope } from '../base/envelope.ts';
import { MAX_MESSAGE_BYTES } from '../base/limits.ts';
import type { Crc32 } from '../env/env.ts';
import type { Epoch } from './epoch.ts';
import { NO_LSN, type Lsn, type PageNumber, type PgIndex, type VolumeId } from './lsn.ts';
import { checkBody } from './page-diff.ts';
import type { Boxcar, RedoRecord } from './record.ts';

const BOXCAR_FORMAT: Format = { what: 'boxcar', tag: 0x01, version: 1 };

const FLAG_IMAGE = 1;
const FLAG_CPL = 2;
const KNOWN_FLAGS = FLAG_IMAGE | FLAG_CPL;

/** Fields before the first record, and fields per record, of the flat array. */
const HEADER_FIELDS = 5;
const RECORD_FIELDS = 6;

/** Longest volume id or writer id that is taken. */
export const MAX_ID_CHARS = 64;
/** Most that an encoded boxcar takes beyond its records: envelope, array header, volume, PG, epoch, writer, first backlink. */
export const boxcarOverheadBytes = ENVELOPE_BYTES + 5 + (2 + MAX_ID_CHARS) + 5 + 9 + (2 + MAX_ID_CHARS) + 9;
/** Most that an encoded record takes beyond its body: step, page, flags, time, the body's header, checksum. Typically about 17. */
export const recordOverheadBytes = 9 + 5 + 1 + 9 + 3 + 5;

/** Upper bound of one record's share of an encoded boxcar; what writers and pullers fill boxcars by (limits.ts, MAX_BOXCAR_BYTES). */
export function recordSizeBytes(record: { readonly body: Uint8Array }): number {
  return recordOverheadBytes + record.body.length;
}

/** The seed that binds record checksums to their volume, PG and birth epoch. Computed once per chain and term. */
export function recordContext(volume: VolumeId, pg: PgIndex, birthEpoch: Epoch, crc32: Crc32): number {
  return crc32(textEncoder.encode(`${volume}\n${pg}\n${birthEpoch.number}\n${birthEpoch.writerId}`));
}

/** Gives a record its checksum. `context` is the recordContext of where it belongs. */
export function sealRecord(fields: Omit<RedoRecord, 'checksum'>, context: number, crc32: Crc32): RedoRecord {
  const { lsn, prevLsn, page, kind, isCpl, commitTimeMicros, body } = fields;
  assert(lsn > prevLsn, `record ${lsn} links back to ${prevLsn}`);
  const checksum = recordChecksum(fields, context, crc32);
  return { page, kind, body, lsn, prevLsn, isCpl, commitTimeMicros, checksum };
}

export function verifyRecord(record: RedoRecord, context: number, crc32: Crc32): boolean {
  return recordChecksum(record, context, crc32) === record.checksum;
}

export function encodeBoxcar(boxcar: Boxcar, crc32: Crc32): Uint8Array {
  const { volume, pg, birthEpoch, records } = boxcar;
  const first = records[0];
  assert(first !== undefined, 'a boxcar holds at least one record');
  const fields: unknown[] = [volume, pg, birthEpoch.number, birthEpoch.writerId, first.prevLsn];
  let prevLsn: Lsn = first.prevLsn;
  for (const record of records) {
    assert(
      record.prevLsn === prevLsn && record.lsn > prevLsn,
      `boxcar breaks the chain at ${record.lsn}: backlink ${record.prevLsn}, expected ${prevLsn}`,
    );
    fields.push(
      record.lsn - prevLsn,
      record.page,
      flagsOf(record),
      record.commitTimeMicros,
      record.body,
      record.checksum,
    );
    prevLsn = record.lsn;
  }
  return sealEnvelope(BOXCAR_FORMAT, fields, crc32);
}

export function decodeBoxcar(bytes: Uint8Array, crc32: Crc32): Boxcar {
  if (bytes.length > MAX_MESSAGE_BYTES) throw corrupt(`${bytes.length} bytes are more than any message has`);
  const fields = openEnvelope(BOXCAR_FORMAT, bytes, crc32);
  if (!Array.isArray(fields)) throw corrupt('payload is not an array');
  const recordCount = (fields.length - HEADER_FIELDS) / RECORD_FIELDS;
  if (!Number.isInteger(recordCount) || recordCount < 1) throw corrupt(`${fields.length} fields`);

  const volume = idField(fields[0], 'volume') as VolumeId;
  const pg = intField(fields[1], 0, 0xffff_ffff, 'pg') as PgIndex;
  const birthEpoch: Epoch = {
    number: intField(fields[2], 1, Number.MAX_SAFE_INTEGER, 'epoch number'),
    writerId: idField(fields[3], 'writer id'),
  };
  let prevLsn = intField(fields[4], NO_LSN, Number.MAX_SAFE_INTEGER, 'first backlink') as Lsn;
  const context = recordContext(volume, pg, birthEpoch, crc32);

  const records: RedoRecord[] = [];
  for (let at = HEADER_FIELDS; at < fields.length; at += RECORD_FIELDS) {
    const record = recordFromFields(fields, at, prevLsn);
    if (!verifyRecord(record, context, crc32))
      throw corrupt(`checksum of record ${record.lsn} does not match`);
    records.push(record);
    prevLsn = record.lsn;
  }
  return { volume, pg, birthEpoch, records };
}

function recordFromFields(fields: readonly unknown[], at: number, prevLsn: Lsn): RedoRecord {
  const step = intField(fields[at], 1, Number.MAX_SAFE_INTEGER - prevLsn, 'LSN step');
  const flags = intField(fields[at + 2], 0, KNOWN_FLAGS, 'flags');
  const isCpl = (flags & FLAG_CPL) !== 0;
  const kind = (flags & FLAG_IMAGE) !== 0 ? 'image' : 'delta';
  const body = fields[at + 4];
  if (!(body instanceof Uint8Array)) throw corrupt('record body is not a byte string');
  checkBody(kind, body);
  return {
    page: intField(fields[at + 1], 1, 0xffff_fffe, 'page') as PageNumber,
    kind,
    body,
    lsn: (prevLsn + step) as Lsn,
    prevLsn,
    isCpl,
    commitTimeMicros: intField(fields[at + 3], 0, isCpl ? Number.MAX_SAFE_INTEGER : 0, 'commit time'),
    checksum: intField(fields[at + 5], 0, 0xffff_ffff, 'checksum'),
  };
}

function flagsOf(record: Pick<RedoRecord, 'kind' | 'isCpl'>): number {
  return (record.kind === 'image' ? FLAG_IMAGE : 0) | (record.isCpl ? FLAG_CPL : 0);
}

/**
 * What a record's checksum is computed over: lsn, prevLsn and time as float64, page as uint32, flags as a byte, all big-endian, then
 * the body. Small records take one call of the port, as the call costs more than copying.
 */
const CHECKED_HEADER_BYTES = 8 + 8 + 8 + 4 + 1;
const ONE_CALL_BODY_BYTES = 512;
const checkedBytes = new Uint8Array(CHECKED_HEADER_BYTES + ONE_CALL_BODY_BYTES);
const checkedView = new DataView(checkedBytes.buffer);
const textEncoder = new TextEncoder();

function recordChecksum(record: Omit<RedoRecord, 'checksum'>, context: number, crc32: Crc32): number {
  checkedView.setFloat64(0, record.lsn);
  checkedView.setFloat64(8, record.prevLsn);
  checkedView.setFloat64(16, record.commitTimeMicros);
  checkedView.setUint32(24, record.page);
  checkedBytes[28] = flagsOf(record);
  const { body } = record;
  if (body.length <= ONE_CALL_BODY_BYTES) {
    checkedBytes.set(body, CHECKED_HEADER_BYTES);
    return crc32(checkedBytes.subarray(0, CHECKED_HEADER_BYTES + body.length), context);
  }
  return crc32(body, crc32(checkedBytes.subarray(0, CHECKED_HEADER_BYTES), context));
}

function intField(value: unknown, min: number, max: number, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw corrupt(`${what} is not an integer from ${min} to ${max}`);
  }
  return value;
}

function idField(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > MAX_ID_CHARS) {
    throw corrupt(`${what} is not a string of 1 to ${MAX_ID_CHARS} characters`);
  }
  return value;
}

function corrupt(what: string): TidemarkError {
  return new TidemarkError('CORRUPT', `malformed boxcar: ${what}`);
}
