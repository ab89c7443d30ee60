/**
 * Rows as `@libsql/client` has them: by index and by column name, with the names alone enumerable. Indexes and `length` live on a prototype made once
 * for each result, which makes a row cost what a plain object costs.
 */
import type { SqlValue } from '../compute-node/engine/api.ts';
import type { IntMode, Row, Value } from './types.ts';

export function makeRows(
  columns: readonly string[],
  values: readonly (readonly SqlValue[])[],
  intMode: IntMode,
): Row[] {
  if (values.length === 0) return [];
  return isPlain(columns)
    ? plainRows(columns, values, intMode)
    : values.map((row) => exactRow(columns, row, intMode));
}

/** Each column has a name of its own that means nothing else to an object. */
function isPlain(columns: readonly string[]): boolean {
  return (
    new Set(columns).size === columns.length &&
    columns.every((name) => name !== 'length' && name !== '__proto__' && !/^\d+$/.test(name))
  );
}

function plainRows(
  columns: readonly string[],
  values: readonly (readonly SqlValue[])[],
  intMode: IntMode,
): Row[] {
  const prototype: object = Object.create(Object.prototype, {
    length: { value: columns.length },
    ...Object.fromEntries(
      columns.map((name, i) => [
        i,
        {
          get(this: Row): Value {
            return this[name] as Value;
          },
        },
      ]),
    ),
  });
  return values.map((row) => {
    const made = Object.create(prototype) as Row;
    for (let i = 0; i < columns.length; i++) made[columns[i]!] = toValue(row[i]!, intMode);
    return made;
  });
}

/** The first of several columns with one name has it. */
function exactRow(columns: readonly string[], row: readonly SqlValue[], intMode: IntMode): Row {
  const made = {} as Row;
  Object.defineProperty(made, 'length', { value: row.length });
  for (let i = 0; i < row.length; i++) {
    const value = toValue(row[i]!, intMode);
    Object.defineProperty(made, i, { value });
    const name = columns[i]!;
    if (Object.hasOwn(made, name)) continue;
    Object.defineProperty(made, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return made;
}

/** Throws RangeError. */
export function toValue(value: SqlValue, intMode: IntMode): Value {
  if (typeof value === 'bigint') return toInteger(value, intMode);
  // The caller's own: the bytes may lie in a larger buffer.
  if (value instanceof Uint8Array) return value.slice().buffer as ArrayBuffer;
  return value;
}

function toInteger(value: bigint, intMode: IntMode): Value {
  switch (intMode) {
    case 'bigint':
      return value;
    case 'string':
      return String(value);
    case 'number': {
      const number = Number(value);
      if (Number.isSafeInteger(number)) return number;
      throw new RangeError(
        'Received integer which is too large to be safely represented as a JavaScript number',
      );
    }
  }
}
