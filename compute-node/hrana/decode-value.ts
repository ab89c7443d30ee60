/** Hrana's `Value` → SqlValue. Integers are strings (64 bits), blobs base64 with or without padding, floats finite. */
import type { SqlValue } from '../engine/api.ts';
import { asObject, mismatch } from './json-read.ts';
import { MalformedError } from './protocol-error.ts';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const INTEGER = /^-?\d{1,19}$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

export function decodeValue(json: unknown): SqlValue {
  const object = asObject(json, 'a value');
  switch (object.type) {
    case 'null':
      return null;
    case 'integer':
      return decodeInteger(object.value);
    case 'float': {
      const { value } = object;
      if (typeof value !== 'number') throw mismatch('a float value', 'a number', value);
      if (!Number.isFinite(value)) throw new MalformedError('a float value must be finite');
      return value;
    }
    case 'text': {
      const { value } = object;
      if (typeof value !== 'string') throw mismatch('a text value', 'a string', value);
      return value;
    }
    case 'blob':
      return decodeBlob(object.base64);
    default:
      throw new MalformedError(
        `${JSON.stringify(object.type)} is not a type of value`,
        'use null, integer, float, text or blob',
      );
  }
}

export function decodeInteger(value: unknown): bigint {
  // Some clients send small integers as numbers; nothing is lost by taking them.
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value !== 'string' || !INTEGER.test(value)) {
    throw new MalformedError('an integer value must be a string of decimal digits');
  }
  const integer = BigInt(value);
  if (value.length >= 19 && (integer > INT64_MAX || integer < INT64_MIN)) {
    throw new MalformedError(`the integer ${value} does not fit in 64 bits`);
  }
  return integer;
}

export function decodeBlob(base64: unknown): Uint8Array {
  if (typeof base64 !== 'string') throw mismatch('the base64 of a blob', 'a string', base64);
  const bytes = Buffer.from(base64, 'base64');
  // Buffer skips what it cannot read: what it made must account for every character.
  const digits = base64.endsWith('==')
    ? base64.length - 2
    : base64.endsWith('=')
      ? base64.length - 1
      : base64.length;
  if (digits % 4 === 1 || bytes.length !== Math.floor((digits * 3) / 4) || !BASE64.test(base64)) {
    throw new MalformedError('a blob is not valid base64');
  }
  return bytes;
}
