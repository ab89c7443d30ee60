/**
 * Values of SQLite's records (sqlite.org/fileformat2.html, section 2.1), and their order: what the keys of WITHOUT ROWID tables are made of. Pure.
 *
 * Text stays in bytes, so that it compares as SQLite compares it; this build of SQLite writes UTF-8 alone.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { SqlValue } from '../engine/api.ts';
import { varint } from './btree-cells.ts';

export type RawValue =
  | { readonly kind: 'null' }
  | { readonly kind: 'integer'; readonly value: bigint }
  | { readonly kind: 'real'; readonly value: number }
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  | { readonly kind: 'blob'; readonly bytes: Uint8Array };

export interface KeyColumn {
  readonly name: string;
  /** BINARY, NOCASE or RTRIM: a volume knows no others. */
  readonly collation: string;
  readonly isDescending: boolean;
}

/** The first `count` values of a record. Throws CORRUPT. */
export function decodeRecord(record: Uint8Array, count: number): readonly RawValue[] {
  const header = varint(record, 0);
  if (header === null) throw malformed();
  const headerEnd = Number(header.value);
  const values: RawValue[] = [];
  let at = header.end;
  let body = headerEnd;
  while (values.length < count) {
    // Columns that were added later end a record early: they have their defaults, and are never of a key.
    const type = at < headerEnd ? varint(record, at) : null;
    if (type === null) throw malformed();
    at = type.end;
    const sizeBytes = sizeOf(type.value);
    if (body + sizeBytes > record.length) throw malformed();
    values.push(valueAs(type.value, record.subarray(body, body + sizeBytes)));
    body += sizeBytes;
  }
  return values;
}

/** Bytes of the record's beginning that hold its first `count` values; more than `available` when that cannot be told from them. */
export function prefixBytes(record: Uint8Array, count: number): number {
  const header = varint(record, 0);
  if (header === null) throw malformed();
  const headerEnd = Number(header.value);
  let end = headerEnd;
  let at = header.end;
  for (let i = 0; i < count && at < headerEnd; i += 1) {
    const type = varint(record, at);
    // The header itself goes on in an overflow page.
    if (type === null) return Math.max(headerEnd, record.length + 1);
    end += sizeOf(type.value);
    at = type.end;
  }
  return end;
}

export function compareKeys(
  a: readonly RawValue[],
  b: readonly RawValue[],
  columns: readonly KeyColumn[],
): number {
  for (const [index, { collation, isDescending }] of columns.entries()) {
    const order = compareValues(a[index] as RawValue, b[index] as RawValue, collation);
    if (order !== 0) return isDescending ? -order : order;
  }
  return 0;
}

/** NULL, then numbers, then text by its collation, then blobs. */
function compareValues(a: RawValue, b: RawValue, collation: string): number {
  const byKind = RANK[a.kind] - RANK[b.kind];
  if (byKind !== 0) return byKind;
  if (a.kind === 'text' && b.kind === 'text') return compareText(a.bytes, b.bytes, collation);
  if (a.kind === 'blob' && b.kind === 'blob') return compareBytes(a.bytes, b.bytes);
  if (isNumber(a) && isNumber(b)) return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
  return 0;
}

/** As bound to a statement. */
export function toSqlValue(value: RawValue): SqlValue {
  switch (value.kind) {
    case 'null':
      return null;
    case 'text':
      return Buffer.from(value.bytes.buffer, value.bytes.byteOffset, value.bytes.byteLength).toString('utf8');
    case 'blob':
      return value.bytes;
    default:
      return value.value;
  }
}

export function toRawValue(value: SqlValue): RawValue {
  if (value === null) return { kind: 'null' };
  if (typeof value === 'bigint') return { kind: 'integer', value };
  if (typeof value === 'number') return { kind: 'real', value };
  if (typeof value === 'string') return { kind: 'text', bytes: Buffer.from(value, 'utf8') };
  return { kind: 'blob', bytes: value };
}

const RANK = { null: 0, integer: 1, real: 1, text: 2, blob: 3 } as const;

function isNumber(value: RawValue): value is Extract<RawValue, { kind: 'integer' | 'real' }> {
  return value.kind === 'integer' || value.kind === 'real';
}

function compareText(a: Uint8Array, b: Uint8Array, collation: string): number {
  switch (collation.toUpperCase()) {
    case 'NOCASE':
      return compareBytes(folded(a), folded(b));
    case 'RTRIM':
      return compareBytes(trimmed(a), trimmed(b));
    default:
      return compareBytes(a, b);
  }
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const order = (a[i] as number) - (b[i] as number);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** ASCII letters in one case. */
function folded(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte));
}

function trimmed(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0x20) end -= 1;
  return bytes.subarray(0, end);
}

function sizeOf(type: bigint): number {
  if (type >= 12n) return Number((type - (type % 2n === 0n ? 12n : 13n)) / 2n);
  return [0, 1, 2, 3, 4, 6, 8, 8, 0, 0][Number(type)] ?? Number.POSITIVE_INFINITY;
}

function valueAs(type: bigint, bytes: Uint8Array): RawValue {
  if (type >= 12n) return { kind: type % 2n === 0n ? 'blob' : 'text', bytes };
  switch (Number(type)) {
    case 0:
      return { kind: 'null' };
    case 7:
      return {
        kind: 'real',
        value: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat64(0),
      };
    case 8:
      return { kind: 'integer', value: 0n };
    case 9:
      return { kind: 'integer', value: 1n };
    default: {
      let value = 0n;
      for (const byte of bytes) value = (value << 8n) | BigInt(byte);
      return { kind: 'integer', value: BigInt.asIntN(bytes.length * 8, value) };
    }
  }
}

function malformed(): TidemarkError {
  return new TidemarkError('CORRUPT', 'a record of the database is malformed');
}
