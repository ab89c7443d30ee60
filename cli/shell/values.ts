/** SQL values as text: for people (tables), and as SQL literals that read back as the same value (dumps). */
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { printable } from '../terminal/width.ts';

/** Blob bytes shown before a table cell is cut short. */
const SHOWN_BLOB_BYTES = 32;

export function realText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return 'Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  const text = String(value);
  return Number.isInteger(value) && !text.includes('e') ? `${Object.is(value, -0) ? '-0' : text}.0` : text;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** For a cell of a table. Text that looks like the NULL marker is quoted, so that NULL is never mistaken. */
export function cellText(value: SqlValue, nullText: string): string {
  if (value === null) return nullText;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return realText(value);
  if (typeof value === 'string') return value === nullText && value !== '' ? `'${value}'` : printable(value);
  if (value.length <= SHOWN_BLOB_BYTES) return `x'${hex(value)}'`;
  return `x'${hex(value.subarray(0, SHOWN_BLOB_BYTES))}…' (${value.length} bytes)`;
}

/** Undecorated text, as list and CSV modes give it: blobs as hex. */
export function rawText(value: Exclude<SqlValue, null>): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return realText(value);
  return hex(value);
}

export function sqlLiteral(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return realLiteral(value);
  if (typeof value === 'string') return textLiteral(value);
  return `X'${hex(value)}'`;
}

function realLiteral(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '1e999';
  if (value === Number.NEGATIVE_INFINITY) return '-1e999';
  return realText(value);
}

/**
 * A string literal that survives any reader: NUL ends SQL text, and line readers (the sqlite3 tool's among them) drop `\r` before
 * `\n`, so these never stand in a literal themselves.
 */
function textLiteral(value: string): string {
  if (value.includes('\0')) return `CAST(X'${Buffer.from(value, 'utf8').toString('hex')}' AS TEXT)`;
  let literal = value.replaceAll("'", "''");
  let wrap = (text: string): string => `'${text}'`;
  for (const [char, code, base] of [
    ['\n', 10, '\\n'],
    ['\r', 13, '\\r'],
  ] as const) {
    if (!literal.includes(char)) continue;
    const marker = unused(literal, base);
    literal = literal.replaceAll(char, marker);
    const inner = wrap;
    wrap = (text) => `replace(${inner(text)},'${marker}',char(${code}))`;
  }
  return wrap(literal);
}

function unused(text: string, base: string): string {
  if (!text.includes(base)) return base;
  for (let i = 0; ; i++) {
    const marker = `(${base}${i})`;
    if (!text.includes(marker)) return marker;
  }
}

/** Words that must be quoted as names. A name of other letters is quoted anyway, so the list needs only keywords. */
export function quoteName(name: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !KEYWORDS.has(name.toUpperCase())) return name;
  return `"${name.replaceAll('"', '""')}"`;
}

export const KEYWORDS: ReadonlySet<string> = new Set(
  `ABORT ACTION ADD AFTER ALL ALTER ALWAYS ANALYZE AND AS ASC ATTACH AUTOINCREMENT BEFORE BEGIN BETWEEN BY CASCADE CASE
  CAST CHECK COLLATE COLUMN COMMIT CONFLICT CONSTRAINT CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP
  DATABASE DEFAULT DEFERRABLE DEFERRED DELETE DESC DETACH DISTINCT DO DROP EACH ELSE END ESCAPE EXCEPT EXCLUDE EXCLUSIVE
  EXISTS EXPLAIN FAIL FILTER FIRST FOLLOWING FOR FOREIGN FROM FULL GENERATED GLOB GROUP GROUPS HAVING IF IGNORE IMMEDIATE
  IN INDEX INDEXED INITIALLY INNER INSERT INSTEAD INTERSECT INTO IS ISNULL JOIN KEY LAST LEFT LIKE LIMIT MATCH
  MATERIALIZED NATURAL NO NOT NOTHING NOTNULL NULL NULLS OF OFFSET ON OR ORDER OTHERS OUTER OVER PARTITION PLAN PRAGMA
  PRECEDING PRIMARY QUERY RAISE RANGE RECURSIVE REFERENCES REGEXP REINDEX RELEASE RENAME REPLACE RESTRICT RETURNING RIGHT
  ROLLBACK ROW ROWS SAVEPOINT SELECT SET TABLE TEMP TEMPORARY THEN TIES TO TRANSACTION TRIGGER UNBOUNDED UNION UNIQUE
  UPDATE USING VACUUM VALUES VIEW VIRTUAL WHEN WHERE WINDOW WITH WITHOUT`.split(/\s+/),
);
