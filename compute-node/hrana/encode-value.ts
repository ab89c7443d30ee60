/**
 * SqlValue → the JSON text of Hrana's `Value`, written by hand: this runs once per value of every result. Blobs go without padding, as
 * libSQL's own server writes them.
 */
import type { SqlValue } from '../engine/api.ts';

export function encodeValue(value: SqlValue): string {
  if (typeof value === 'string') return `{"type":"text","value":${JSON.stringify(value)}}`;
  if (typeof value === 'bigint') return `{"type":"integer","value":"${value}"}`;
  if (value === null) return '{"type":"null"}';
  if (typeof value === 'number') return `{"type":"float","value":${encodeFloat(value)}}`;
  return `{"type":"blob","base64":"${encodeBase64(value)}"}`;
}

/** JSON has no infinities; 1e999 is valid JSON that reads as one. NaN does not come out of SQLite: it is NULL there. */
export function encodeFloat(value: number): string {
  if (Number.isFinite(value)) return `${value}`;
  return value > 0 ? '1e999' : '-1e999';
}

export function encodeBase64(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  const padding = text.indexOf('=', text.length - 2);
  return padding < 0 ? text : text.slice(0, padding);
}

export function encodeRow(row: readonly SqlValue[]): string {
  let text = '[';
  for (let i = 0; i < row.length; i++) text += i === 0 ? encodeValue(row[i]!) : `,${encodeValue(row[i]!)}`;
  return `${text}]`;
}
