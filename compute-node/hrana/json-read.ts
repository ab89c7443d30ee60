/** Checked reading of parsed JSON. Unknown fields are never looked at (Hrana: they must be ignored). */
import { MalformedError } from './protocol-error.ts';

export type JsonObject = { readonly [name: string]: unknown };

export function parseJson(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MalformedError(`the message is not valid JSON: ${(error as Error).message}`);
  }
  return asObject(value, 'the message');
}

export function asObject(value: unknown, what: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw mismatch(what, 'an object', value);
}

export function asArray(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw mismatch(what, 'an array', value);
}

export function asString(value: unknown, what: string): string {
  if (typeof value === 'string') return value;
  throw mismatch(what, 'a string', value);
}

export function asInt32(value: unknown, what: string): number {
  if (typeof value === 'number' && (value | 0) === value) return value;
  throw mismatch(what, 'a 32-bit integer', value);
}

export function asUint32(value: unknown, what: string): number {
  if (typeof value === 'number' && value >>> 0 === value) return value;
  throw mismatch(what, 'an unsigned 32-bit integer', value);
}

export function mismatch(what: string, expected: string, value: unknown): MalformedError {
  const got =
    value === undefined
      ? 'nothing'
      : value === null
        ? 'null'
        : Array.isArray(value)
          ? 'an array'
          : typeof value;
  return new MalformedError(`${what} must be ${expected}, but is ${got}`);
}
