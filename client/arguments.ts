/** What callers give → statements of the engine. The rules of `@libsql/client`: so that a program binds the same values by either. */
import type { SqlValue, Statement } from '../compute-node/engine/api.ts';
import type { InArgs, InStatement, InValue } from './types.ts';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const NOTHING: readonly never[] = [];

export function toStatement(stmt: InStatement | [string, InArgs?], wantRows = true): Statement {
  if (typeof stmt === 'string') return { sql: stmt, args: NOTHING, namedArgs: NOTHING, wantRows };
  const [sql, args] = Array.isArray(stmt) ? stmt : [stmt.sql, stmt.args];
  if (args === undefined) return { sql, args: NOTHING, namedArgs: NOTHING, wantRows };
  if (Array.isArray(args)) return { sql, args: args.map(toSqlValue), namedArgs: NOTHING, wantRows };
  const namedArgs = Object.entries(args).map(([name, value]) => ({ name, value: toSqlValue(value) }));
  return { sql, args: NOTHING, namedArgs, wantRows };
}

/** Throws RangeError, TypeError. */
export function toSqlValue(value: InValue): SqlValue {
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
      if (Number.isFinite(value)) return value;
      throw new RangeError('only finite numbers (not Infinity or NaN) can be passed as arguments');
    case 'bigint':
      if (value >= INT64_MIN && value <= INT64_MAX) return value;
      throw new RangeError('this bigint does not fit in 64 bits and cannot be passed as an argument');
    case 'boolean':
      return value ? 1n : 0n;
    case 'object':
      break;
    default:
      throw new TypeError(`${typeof value} cannot be passed as an argument`);
  }
  if (value === null) return null;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Uint8Array) return value;
  if (value instanceof Date) return value.valueOf();
  return String(value);
}
