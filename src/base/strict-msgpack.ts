/**
 * MessagePack, the part of it that Tidemark uses: null, booleans, unsigned integers, floats, short strings, byte strings and arrays.
 * msgpackr encodes and decodes; before it decodes, the bytes are walked once to see that they hold nothing else. So hostile
 * input can neither make it allocate by a false count, nor reach its extensions, nor build maps.
 *
 * Invariants
 * 1. unpackStrict throws TidemarkError CORRUPT or returns; it throws nothing else, whatever the bytes.
 * 2. What it returns was backed byte for byte by the input: an array of n elements took at least n bytes.
 * 3. Byte strings in the result are views of the input, not copies.
 */
import { Packr } from 'msgpackr';
import { TidemarkError } from './errors.ts';

const packr = new Packr({ useRecords: false, int64AsType: 'number' });

/** Deepest nesting of arrays that any of our formats has, with room to spare. */
const MAX_DEPTH = 8;

/** An exact-size copy, free of msgpackr's pooled buffer, behind `headroomBytes` zero bytes for the caller's own header. */
export function packStrict(value: unknown, headroomBytes = 0): Uint8Array {
  const packed = packr.pack(value);
  const out = new Uint8Array(headroomBytes + packed.length);
  out.set(packed, headroomBytes);
  return out;
}

export function unpackStrict(bytes: Uint8Array): unknown {
  const end = walkValue(bytes, 0, 0);
  if (end !== bytes.length) throw corrupt(`${bytes.length - end} bytes after the end of the value`);
  try {
    // A plain Uint8Array view, so that byte strings inside are plain ones and the caller's object stays untouched.
    return packr.unpack(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new TidemarkError('CORRUPT', 'MessagePack value could not be decoded', { cause });
  }
}

/** Returns where the value that starts at `at` ends. */
function walkValue(bytes: Uint8Array, at: number, depth: number): number {
  const token = bytes[at];
  if (token === undefined) throw corrupt('value is cut off');
  if (token < 0x80) return at + 1; // positive fixint
  if (token >= 0x90 && token <= 0x9f) return walkArray(bytes, at + 1, token & 0x0f, depth);
  if (token >= 0xa0 && token <= 0xbf) return skip(bytes, at + 1, token & 0x1f);
  switch (token) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return at + 1;
    case 0xc4: // bin8
      return skip(bytes, at + 2, readLength(bytes, at + 1, 1));
    case 0xc5: // bin16
      return skip(bytes, at + 3, readLength(bytes, at + 1, 2));
    case 0xc6: // bin32
      return skip(bytes, at + 5, readLength(bytes, at + 1, 4));
    case 0xcb: // float64
      return skip(bytes, at + 1, 8);
    case 0xcc: // uint8
      return skip(bytes, at + 1, 1);
    case 0xcd: // uint16
      return skip(bytes, at + 1, 2);
    case 0xce: // uint32
      return skip(bytes, at + 1, 4);
    case 0xd9: // str8
      return skip(bytes, at + 2, readLength(bytes, at + 1, 1));
    case 0xda: // str16
      return skip(bytes, at + 3, readLength(bytes, at + 1, 2));
    case 0xdc: // array16
      return walkArray(bytes, at + 3, readLength(bytes, at + 1, 2), depth);
    case 0xdd: // array32
      return walkArray(bytes, at + 5, readLength(bytes, at + 1, 4), depth);
    default:
      throw corrupt(`type byte 0x${token.toString(16)} is not used in any of our formats`);
  }
}

function walkArray(bytes: Uint8Array, at: number, count: number, depth: number): number {
  if (depth >= MAX_DEPTH) throw corrupt('nested too deeply');
  // A count past the input ends at the input's end: every element takes a byte at least.
  let next = at;
  for (let i = 0; i < count; i += 1) next = walkValue(bytes, next, depth + 1);
  return next;
}

function readLength(bytes: Uint8Array, at: number, width: number): number {
  if (at + width > bytes.length) throw corrupt('length is cut off');
  let length = 0;
  for (let i = 0; i < width; i += 1) length = length * 256 + (bytes[at + i] as number);
  return length;
}

function skip(bytes: Uint8Array, at: number, length: number): number {
  const end = at + length;
  if (end > bytes.length) throw corrupt('value is cut off');
  return end;
}

function corrupt(what: string): TidemarkError {
  return new TidemarkError('CORRUPT', `malformed MessagePack: ${what}`);
}
