/**
 * LevelDB's log format, in which its write-ahead log and its MANIFEST are written (google/leveldb, doc/log_format.md): blocks of 32 KiB; in them
 * fragments of records, each with checksum (4 bytes), length (2), type (1). A block's last bytes too few for a header are zeros.
 *
 * LevelDB itself drops what fails and goes on with the next block. Here reading ends at the first fault: what came before it is a state that
 * the store really had.
 */
import { maskedCrc32c } from './crc32c.ts';

const BLOCK_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

export interface LoggedRecord {
  readonly data: Uint8Array;
  /** Where the record after this one starts. */
  readonly endsAt: number;
}

export interface LogContent {
  readonly records: readonly LoggedRecord[];
  /** Why reading ended before the end of the file; null when it did not. */
  readonly fault: string | null;
  /** What follows the last record is what a crash in the middle of a write leaves: LevelDB ignores it by itself. */
  readonly isTornOnly: boolean;
}

type Fragment =
  | { readonly kind: 'fragment'; readonly type: number; readonly data: Uint8Array; readonly endsAt: number }
  | { readonly kind: 'end' }
  | { readonly kind: 'torn' }
  | { readonly kind: 'fault'; readonly why: string };

export function readLog(bytes: Uint8Array): LogContent {
  const records: LoggedRecord[] = [];
  let parts: Uint8Array[] | null = null;
  let at = 0;
  const ended = (fault: string | null, isTornOnly: boolean): LogContent => ({ records, fault, isTornOnly });
  for (;;) {
    const next = readFragment(bytes, at);
    switch (next.kind) {
      case 'end':
        return ended(parts === null ? null : 'the last record is cut short', true);
      case 'torn':
        return ended('the last record is cut short', true);
      case 'fault':
        return ended(`${next.why} at byte ${at}`, false);
      case 'fragment':
        break;
    }
    const { type, data, endsAt } = next;
    const isStart = type === FULL || type === FIRST;
    if (isStart !== (parts === null)) return ended(`a fragment out of place at byte ${at}`, false);
    const all: Uint8Array[] = [...(parts ?? []), data];
    parts = all;
    at = endsAt;
    if (type === FULL || type === LAST) {
      records.push({ data: all.length === 1 ? data : joined(all), endsAt });
      parts = null;
    }
  }
}

function readFragment(bytes: Uint8Array, from: number): Fragment {
  let at = from;
  const left = BLOCK_BYTES - (at % BLOCK_BYTES);
  if (left < HEADER_BYTES) {
    for (let i = at; i < Math.min(at + left, bytes.length); i += 1) {
      if (bytes[i] !== 0) return { kind: 'fault', why: 'a block does not end in zeros' };
    }
    at += left;
  }
  if (at >= bytes.length) return { kind: 'end' };
  if (at + HEADER_BYTES > bytes.length) return { kind: 'torn' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lengthBytes = view.getUint16(at + 4, true);
  const type = bytes[at + 6] as number;
  const dataAt = at + HEADER_BYTES;
  const endsAt = dataAt + lengthBytes;
  if (type === 0 && lengthBytes === 0 && isZero(bytes, at)) return { kind: 'torn' };
  if (endsAt - at > BLOCK_BYTES - (at % BLOCK_BYTES)) return { kind: 'fault', why: 'an impossible length' };
  if (endsAt > bytes.length) return { kind: 'torn' };
  if (maskedCrc32c(bytes, at + 6, endsAt) !== view.getUint32(at, true)) {
    return { kind: 'fault', why: 'a checksum that does not match' };
  }
  if (type !== FULL && type !== FIRST && type !== MIDDLE && type !== LAST) {
    return { kind: 'fault', why: `a fragment of unknown type ${type}` };
  }
  return { kind: 'fragment', type, data: bytes.subarray(dataAt, endsAt), endsAt };
}

/** A file that was grown and never written. */
function isZero(bytes: Uint8Array, from: number): boolean {
  for (let i = from; i < bytes.length; i += 1) if (bytes[i] !== 0) return false;
  return true;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
