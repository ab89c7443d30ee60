/**
 * Points at the place in a statement that an error is about: under the byte offset that SQLite gave, else under the token that the
 * message names, when it stands in the statement just once.
 */
import type { SqlError } from '../../compute-node/engine/api.ts';
import type { Style } from '../terminal/style.ts';
import { displayWidth, printable } from '../terminal/width.ts';

/** Columns of a long line shown around the place. */
const SHOWN_COLUMNS = 100;
const NAMED = [
  /^near "((?:[^"]|"")+)"/,
  /^no such (?:column|table|function|index|view|trigger|collation sequence|module): "?(?:\w+\.)?([^"\s]+)/,
  /^ambiguous column name: (\S+)/,
  /^unrecognized token: "(.+)"?$/,
  /^table (\S+) (?:already exists|has )/,
  /^wrong number of arguments to function (\w+)\(/,
];

export function describeError(error: SqlError, sql: string, where: string | null, style: Style): string {
  const code = error.extendedCode ?? error.code;
  const head = `${where === null ? '' : `${where}: `}${style.red('Error:')} ${printable(error.message)} ${style.dim(`(${code})`)}\n`;
  const index = placeOf(error, sql);
  const place = index === null ? '' : pointAt(sql, index, style);
  const next = error.nextStep === undefined ? '' : `  ${printable(error.nextStep)}\n`;
  return `${head}${place}${next}`;
}

/** Index into `sql`, in UTF-16 units. */
export function placeOf(error: Pick<SqlError, 'message' | 'offset'>, sql: string): number | null {
  if (error.offset !== null && error.offset >= 0) {
    const bytes = Buffer.from(sql, 'utf8');
    if (error.offset <= bytes.length) return bytes.subarray(0, error.offset).toString('utf8').length;
  }
  for (const pattern of NAMED) {
    const token = pattern.exec(error.message)?.[1];
    if (token === undefined) continue;
    return onlyPlaceOf(token, sql);
  }
  return null;
}

function onlyPlaceOf(token: string, sql: string): number | null {
  const escaped = token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const isWord = /^\w+$/.test(token);
  const places = [...sql.matchAll(new RegExp(isWord ? `\\b${escaped}\\b` : escaped, 'gi'))];
  return places.length === 1 ? places[0]!.index : null;
}

function pointAt(sql: string, index: number, style: Style): string {
  const lineStart = sql.lastIndexOf('\n', index - 1) + 1;
  const newline = sql.indexOf('\n', index);
  const line = sql.slice(lineStart, newline < 0 ? sql.length : newline);
  const column = index - lineStart;
  const from = Math.max(0, column - Math.floor(SHOWN_COLUMNS / 2));
  const shown = line.slice(from, from + SHOWN_COLUMNS);
  const clean = (text: string): string => printable(text).replaceAll('\t', ' ');
  const prefix = from > 0 ? '…' : '';
  const suffix = from + SHOWN_COLUMNS < line.length ? '…' : '';
  const lead = displayWidth(prefix + clean(line.slice(from, column)));
  return `  ${prefix}${clean(shown)}${suffix}\n  ${' '.repeat(lead)}${style.red('^')}\n`;
}
