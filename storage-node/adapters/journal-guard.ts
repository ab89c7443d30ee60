/**
 * The guard: small state that must never be forgotten (incarnation, promises, register values, floor, drops, watermarks), newest value
 * per key. It lives in the entries of the ring and, so that ring space can be reused, as a whole in two files.
 *
 * Why two files replaced one after the other suffice: a checkpoint writes generation g+1 to `guard-a`, syncs it, then to `guard-b`.
 * It counts, and ring space is released by it, only after both. So at every moment one of these holds:
 *   - both files hold generation g: each key is there twice, and a damaged record in one is read from the other;
 *   - one file holds g+1, the other g: ring space was released up to g only, so g and the ring say everything again.
 * Each file is replaced by rename, so neither is ever half-written.
 *
 * File format 1, little-endian: "TMG1", u16 format, u16 0, u64 generation, u64 through (sequence of the last entry included),
 * u64 storeFlushed, u32 number of records, u32 CRC-32 of the header; then per record u16 key length, u32 value length,
 * u32 CRC-32 of lengths and key, u32 CRC-32 of lengths, key and value, key, value. A damaged value costs that key only.
 */
import type { Crc32 } from '../../src/env/env.ts';
import { TidemarkError } from '../../src/base/errors.ts';

const MAGIC = 0x3147_4d54;
const GUARD_FORMAT = 1;
const HEADER_BYTES = 40;
const RECORD_HEADER_BYTES = 14;

export interface GuardGeneration {
  readonly generation: number;
  /** The values are those after this journal entry. */
  readonly through: number;
  readonly storeFlushed: number;
  readonly values: ReadonlyMap<string, Uint8Array>;
}

export interface GuardFile extends GuardGeneration {
  /** Keys whose value was damaged. */
  readonly damagedKeys: readonly string[];
  /** Records lost with their names, because a record's head was damaged. */
  readonly lostRecords: number;
}

export function encodeGuard(guard: GuardGeneration, crc32: Crc32): Uint8Array {
  const encoder = new TextEncoder();
  const records = [...guard.values].map(([key, value]) => ({ key: encoder.encode(key), value }));
  const sizeBytes = records.reduce(
    (sum, { key, value }) => sum + RECORD_HEADER_BYTES + key.length + value.length,
    HEADER_BYTES,
  );
  const bytes = new Uint8Array(sizeBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint16(4, GUARD_FORMAT, true);
  view.setBigUint64(8, BigInt(guard.generation), true);
  view.setBigUint64(16, BigInt(guard.through), true);
  view.setBigUint64(24, BigInt(guard.storeFlushed), true);
  view.setUint32(32, records.length, true);
  view.setUint32(36, crc32(bytes.subarray(0, 36)), true);
  let at = HEADER_BYTES;
  for (const { key, value } of records) {
    view.setUint16(at, key.length, true);
    view.setUint32(at + 2, value.length, true);
    const head = crc32(key, crc32(bytes.subarray(at, at + 6)));
    view.setUint32(at + 6, head, true);
    view.setUint32(at + 10, crc32(value, head), true);
    bytes.set(key, at + RECORD_HEADER_BYTES);
    bytes.set(value, at + RECORD_HEADER_BYTES + key.length);
    at += RECORD_HEADER_BYTES + key.length + value.length;
  }
  return bytes;
}

/** null: the header is damaged, nothing of the file can be used. Throws WRONG_FORMAT for an intact one of a newer format. */
export function decodeGuard(bytes: Uint8Array, crc32: Crc32): GuardFile | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(36, true) !== crc32(bytes.subarray(0, 36)))
    return null;
  const format = view.getUint16(4, true);
  if (format !== GUARD_FORMAT) {
    throw new TidemarkError(
      'WRONG_FORMAT',
      `the guard has format ${format}; this build knows ${GUARD_FORMAT}`,
      {
        nextStep: 'Start this storage node with the build that wrote its data directory, or a newer one.',
      },
    );
  }
  const count = view.getUint32(32, true);
  const values = new Map<string, Uint8Array>();
  const damagedKeys: string[] = [];
  const decoder = new TextDecoder();
  let at = HEADER_BYTES;
  let read = 0;
  for (; read < count && at + RECORD_HEADER_BYTES <= bytes.length; read++) {
    const keyAt = at + RECORD_HEADER_BYTES;
    const valueAt = keyAt + view.getUint16(at, true);
    const end = valueAt + view.getUint32(at + 2, true);
    const head = crc32(bytes.subarray(keyAt, valueAt), crc32(bytes.subarray(at, at + 6)));
    if (valueAt > bytes.length || head !== view.getUint32(at + 6, true)) break;
    const key = decoder.decode(bytes.subarray(keyAt, valueAt));
    if (end <= bytes.length && crc32(bytes.subarray(valueAt, end), head) === view.getUint32(at + 10, true)) {
      values.set(key, bytes.slice(valueAt, end));
    } else {
      damagedKeys.push(key);
    }
    at = end;
  }
  return {
    generation: Number(view.getBigUint64(8, true)),
    through: Number(view.getBigUint64(16, true)),
    storeFlushed: Number(view.getBigUint64(24, true)),
    values,
    damagedKeys,
    lostRecords: count - read,
  };
}

export function isWhole(file: GuardFile): boolean {
  return file.damagedKeys.length === 0 && file.lostRecords === 0;
}
