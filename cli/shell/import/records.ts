/** Files of rows, read twice by an import: once to learn (and check) their shape, once to load them. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { TextDecoder } from 'node:util';
import type { SqlValue } from '../../../compute-node/engine/api.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { CsvParser } from './csv.ts';
import type { JsonValue } from './json-exact.ts';
import { JsonRowParser } from './json.ts';

export type Format = 'csv' | 'tsv' | 'json';

/** One row, by column name; a name that is missing means "not given". CSV rows of a file without a header use positions. */
export interface FileRow {
  readonly line: number;
  readonly names: readonly string[] | null;
  readonly values: readonly SqlValue[];
}

const CHUNK_BYTES = 256 * 1024;

export function formatOf(path: string, asked: string | null): Format {
  const name = (asked ?? path.replace(/^.*\./s, '')).toLowerCase();
  if (name === 'csv' || name === 'tsv') return name;
  if (name === 'json' || name === 'ndjson' || name === 'jsonl') return 'json';
  throw new TidemarkError('BAD_REQUEST', `the format of ${path} is not known`, {
    nextStep: 'Say --csv, --tsv or --json.',
  });
}

export async function fileSize(path: string): Promise<number> {
  try {
    const found = await stat(path);
    if (found.isFile()) return found.size;
  } catch (cause) {
    throw new TidemarkError(
      'IO_ERROR',
      `cannot read ${path}: ${cause instanceof Error ? cause.message : cause}`,
      {
        cause,
        nextStep: 'Name a file that exists and may be read.',
      },
    );
  }
  throw new TidemarkError('IO_ERROR', `${path} is not a file`, { nextStep: 'Name a CSV or JSON file.' });
}

/** Batches of rows with the bytes read so far. CSV: the header, where there is one, is the first row. */
export async function* readRows(
  path: string,
  format: Format,
): AsyncGenerator<{ readonly rows: readonly FileRow[]; readonly doneBytes: number }> {
  const parser = format === 'json' ? jsonRows() : csvRows(format === 'tsv' ? '\t' : ',');
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let doneBytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    const bytes = chunk as Buffer;
    doneBytes += bytes.length;
    yield { rows: parser.push(decode(decoder, bytes, true, path)), doneBytes };
  }
  yield {
    rows: [...parser.push(decode(decoder, new Uint8Array(0), false, path)), ...parser.end()],
    doneBytes,
  };
}

interface RowParser {
  push(text: string): readonly FileRow[];
  end(): readonly FileRow[];
}

function csvRows(separator: string): RowParser {
  const parser = new CsvParser(separator);
  const toRow = ({ fields, line }: { fields: readonly (string | null)[]; line: number }): FileRow => ({
    line,
    names: null,
    values: fields,
  });
  return { push: (text) => parser.push(text).map(toRow), end: () => parser.end().map(toRow) };
}

function jsonRows(): RowParser {
  const parser = new JsonRowParser();
  return {
    push: (text) =>
      parser.push(text).map(({ object, line }) => ({
        line,
        names: Object.keys(object),
        values: Object.values(object).map((value) => fromJson(value, line)),
      })),
    end: () => {
      parser.end();
      return [];
    },
  };
}

const MAX_INTEGER = 2n ** 63n - 1n;

function fromJson(value: JsonValue, line: number): SqlValue {
  if (value === null || typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? 1n : 0n;
  if (typeof value === 'number')
    return Number.isInteger(value) && !Object.is(value, -0) ? integer(BigInt(value), value) : value;
  if (typeof value === 'bigint') {
    if (value > MAX_INTEGER || value < -MAX_INTEGER - 1n) {
      throw new TidemarkError('BAD_REQUEST', `line ${line}: ${value} does not fit into 64 bits`, {
        nextStep: 'Write it as a string to load its digits.',
      });
    }
    return value;
  }
  // Nested values are kept as JSON text, which SQLite's JSON functions read.
  return JSON.stringify(value, (_name, inner: unknown) =>
    typeof inner === 'bigint' ? Number(inner) : inner,
  );
}

/** 1e300 is an integer to JavaScript, but not to SQLite. */
function integer(exact: bigint, value: number): SqlValue {
  return Number.isSafeInteger(value) ? exact : value;
}

function decode(decoder: TextDecoder, bytes: Uint8Array, stream: boolean, path: string): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch (cause) {
    throw new TidemarkError('BAD_REQUEST', `${path} is not UTF-8 text`, {
      cause,
      nextStep: 'Convert it to UTF-8.',
    });
  }
}
