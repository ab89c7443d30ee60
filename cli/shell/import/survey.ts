/**
 * The first pass of an import: the file's columns, and for each the type that holds all its values unchanged. Types are judged over the
 * whole file, because a column's affinity would silently rewrite a value that a sample had missed ('007' in an INTEGER column).
 */
import type { SqlValue } from '../../../compute-node/engine/api.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { type Format, type FileRow, readRows } from './records.ts';

export interface Survey {
  /** Names by which rows are loaded: of the header, or of the objects' members in order of first appearance. Null: no header. */
  readonly names: readonly string[] | null;
  readonly columnCount: number;
  /** Declared types for a new table, '' for no affinity. */
  readonly types: readonly string[];
  /** Without the header. */
  readonly rowCount: number;
}

/** What has been seen in one column, as bits. */
const SAW_INTEGER = 1;
const SAW_REAL = 2;
const SAW_TEXT = 4;
/** With SAW_INTEGER: one that is exact as INTEGER, but would not be in a REAL column beside fractions. */
const SAW_LONG_INTEGER = 8;

export interface SurveyOptions {
  readonly format: Format;
  /** True: the first CSV row names the columns. `columns`: it does when it names all of these. */
  readonly header: boolean | { readonly columns: readonly string[] };
  readonly onProgress: (doneBytes: number) => void;
}

export async function surveyFile(path: string, options: SurveyOptions): Promise<Survey> {
  const seen: number[] = [];
  let names: string[] | null = options.format === 'json' ? [] : null;
  const indexOf = new Map<string, number>();
  let rowCount = 0;
  let columnCount = 0;
  let isFirst = true;
  for await (const { rows, doneBytes } of readRows(path, options.format)) {
    for (const row of rows) {
      if (row.names !== null) {
        for (const [i, name] of row.names.entries()) {
          let at = indexOf.get(name);
          if (at === undefined) {
            at = indexOf.size;
            indexOf.set(name, at);
            names!.push(name);
          }
          seen[at] = (seen[at] ?? 0) | kindOfValue(row.values[i] ?? null);
        }
        rowCount++;
        continue;
      }
      if (isFirst) {
        isFirst = false;
        columnCount = row.values.length;
        if (isHeader(row, options.header)) {
          names = headerNames(row);
          continue;
        }
      }
      if (row.values.length !== columnCount) throw ragged(row, columnCount, path);
      for (const [i, value] of row.values.entries())
        seen[i] = (seen[i] ?? 0) | kindOfText(value as string | null);
      rowCount++;
    }
    options.onProgress(doneBytes);
  }
  if (options.format === 'json') columnCount = names!.length;
  if (columnCount === 0) {
    throw new TidemarkError('BAD_REQUEST', `${path} holds no rows`, { nextStep: 'Nothing was changed.' });
  }
  const types = Array.from({ length: columnCount }, (_, i) => typeOf(seen[i] ?? 0, options.format));
  return { names, columnCount, types, rowCount };
}

function typeOf(seen: number, format: Format): string {
  if (seen === 0 || seen === SAW_TEXT) return 'TEXT';
  if ((seen & ~SAW_LONG_INTEGER) === SAW_INTEGER) return 'INTEGER';
  if ((seen & (SAW_TEXT | SAW_LONG_INTEGER)) === 0) return 'REAL';
  // Numbers and texts: CSV has only texts, JSON means both as they are.
  return format === 'json' ? '' : 'TEXT';
}

function kindOfValue(value: SqlValue): number {
  if (value === null) return 0;
  if (typeof value === 'bigint') {
    return Number.isSafeInteger(Number(value)) ? SAW_INTEGER : SAW_INTEGER | SAW_LONG_INTEGER;
  }
  return typeof value === 'number' ? SAW_REAL : SAW_TEXT;
}

const INTEGER_TEXT = /^(?:0|-?[1-9]\d{0,17})$/;
const REAL_TEXT = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** Decimal digits that a double always keeps. */
const EXACT_DIGITS = 15;

/** A text counts as a number only when nothing is lost by storing the number. */
function kindOfText(text: string | null): number {
  if (text === null) return 0;
  if (INTEGER_TEXT.test(text))
    return text.length > EXACT_DIGITS + 1 ? SAW_INTEGER | SAW_LONG_INTEGER : SAW_INTEGER;
  if (REAL_TEXT.test(text) && digitsOf(text) <= EXACT_DIGITS && Number.isFinite(Number(text)))
    return SAW_REAL;
  return SAW_TEXT;
}

function digitsOf(text: string): number {
  return text.replace(/[eE].*$/, '').replace(/\D/g, '').length;
}

function isHeader(row: FileRow, header: SurveyOptions['header']): boolean {
  if (typeof header === 'boolean') return header;
  const known = new Set(header.columns.map((name) => name.toLowerCase()));
  return row.values.every((value) => value !== null && known.has(String(value).trim().toLowerCase()));
}

function headerNames(row: FileRow): string[] {
  const taken = new Set<string>();
  return row.values.map((value, i) => {
    const name = value === null || String(value).trim() === '' ? `column${i + 1}` : String(value).trim();
    if (taken.has(name.toLowerCase())) {
      throw new TidemarkError('BAD_REQUEST', `line ${row.line}: the header names "${name}" twice`, {
        nextStep: 'Rename one of them, or use --no-header.',
      });
    }
    taken.add(name.toLowerCase());
    return name;
  });
}

function ragged(row: FileRow, expected: number, path: string): TidemarkError {
  return new TidemarkError(
    'BAD_REQUEST',
    `${path}:${row.line}: the row has ${row.values.length} fields, the first has ${expected}`,
    { nextStep: 'Nothing was imported. Mend the file, or name the right format (--csv, --tsv, --json).' },
  );
}
