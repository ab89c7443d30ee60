/**
 * Row changes as a changeset of SQLite's session extension (the format stands in ext/session/sqlite3session.h and .c): what sqlite3changeset_apply takes
 * anywhere, in order of tables. Pure.
 *
 *     per table:   'T'  columns (varint)  per column its place in the primary key or 0 (byte each)  name, zero byte
 *     per change:  operation (byte)  0 (byte: not indirect)  records
 *     record:      per column: 0 undefined · 1 integer (8 bytes) · 2 real (8 bytes) · 3 text, 4 blob (varint length, bytes) · 5 NULL
 *
 * An INSERT has the new record, a DELETE the old one; an UPDATE the old one with the key and what changes, and the new one with what changes.
 * A table without a primary key goes by its rowid, as a first column `_rowid_`, as sessions do it that are told to.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { SqlValue } from '../engine/api.ts';
import type { ComparedTable, RowChange } from './rows.ts';
import { isSameValue } from './rows.ts';
import type { Row } from './side.ts';

const OPERATION = { delete: 9, insert: 18, update: 23 } as const;
const TYPE = { undefined: 0, integer: 1, real: 2, text: 3, blob: 4, null: 5 } as const;
const TABLE = 0x54;
const ROWID = '_rowid_';

/** Held in memory, twice: here and in SQLite. */
export const MAX_CHANGESET_BYTES = 64 * MIB;
const CHUNK_BYTES = MIB / 4;

export interface LeftOut {
  readonly table: string;
  readonly because: string;
}

/** Columns as a changeset of the table lists them. */
export function changesetColumns({ columns, keyColumns }: ComparedTable): readonly string[] {
  return keyColumns.length === 0 ? [ROWID, ...columns] : columns;
}

export class ChangesetWriter {
  /** Full ones; a value of its own would cost many times its bytes. */
  readonly #chunks: Uint8Array[] = [];
  #chunk = new Uint8Array(CHUNK_BYTES);
  #chunkBytes = 0;
  #bytes = 0;
  #table: ComparedTable | null = null;
  /** Changes that no changeset can hold. */
  leftOut = 0;
  firstLeftOut: LeftOut | null = null;

  get sizeBytes(): number {
    return this.#bytes;
  }

  /** Changes of one table come together. Throws TOO_LARGE. */
  add(table: ComparedTable, change: RowChange): void {
    const because = cannotHold(table, change);
    if (because !== null) {
      this.leftOut += 1;
      this.firstLeftOut ??= { table: table.name, because };
      return;
    }
    if (this.#table !== table) this.#startTable(table);
    const before = withRowid(table, change, change.before);
    const after = withRowid(table, change, change.after);
    this.#put(Uint8Array.of(OPERATION[change.kind], 0));
    if (change.kind !== 'update') {
      for (const value of (change.kind === 'insert' ? after : before) ?? []) this.#value(value);
      return;
    }
    if (before === null || after === null) return;
    const isKey = changesetColumns(table).map((name) => keyPlaceOf(table, name) > 0);
    const isChanged = before.map((value, index) => !isSameValue(value, after[index] ?? null));
    for (const [index, value] of before.entries())
      this.#value(isKey[index] || isChanged[index] ? value : undefined);
    for (const [index, value] of after.entries())
      this.#value(isChanged[index] && !isKey[index] ? value : undefined);
  }

  bytes(): Uint8Array {
    return Buffer.concat([...this.#chunks, this.#chunk.subarray(0, this.#chunkBytes)]);
  }

  #startTable(table: ComparedTable): void {
    this.#table = table;
    const columns = changesetColumns(table);
    this.#put(Uint8Array.of(TABLE));
    this.#put(varintBytes(columns.length));
    this.#put(Uint8Array.from(columns, (name) => keyPlaceOf(table, name)));
    this.#put(Buffer.from(`${table.name}\0`, 'utf8'));
  }

  #value(value: SqlValue | undefined): void {
    for (const bytes of valueParts(value)) this.#put(bytes);
  }

  #nextChunk(): void {
    this.#chunks.push(this.#chunk);
    this.#chunk = new Uint8Array(CHUNK_BYTES);
    this.#chunkBytes = 0;
  }

  #put(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#bytes <= MAX_CHANGESET_BYTES) {
      for (let at = 0; at < bytes.length; ) {
        if (this.#chunkBytes === CHUNK_BYTES) this.#nextChunk();
        const piece = bytes.subarray(at, at + CHUNK_BYTES - this.#chunkBytes);
        this.#chunk.set(piece, this.#chunkBytes);
        this.#chunkBytes += piece.length;
        at += piece.length;
      }
      return;
    }
    throw new TidemarkError('TOO_LARGE', `the changes take more than ${MAX_CHANGESET_BYTES / MIB} MiB`, {
      nextStep: 'Take one table at a time, or moments that are closer to each other.',
    });
  }
}

function cannotHold({ keyColumns, columns }: ComparedTable, { hasNullKey }: RowChange): string | null {
  if (hasNullKey) return 'whose primary key is NULL: it cannot be told apart';
  // SQLite would take the column for the rowid, and then pass over all of the table.
  const hidesRowid = keyColumns.length === 0 && columns.some((name) => name.toLowerCase() === ROWID);
  return hidesRowid ? `that has no primary key, and a column named ${ROWID}: no changeset can name it` : null;
}

function valueParts(value: SqlValue | undefined): readonly Uint8Array[] {
  if (value === undefined) return [Uint8Array.of(TYPE.undefined)];
  if (value === null) return [Uint8Array.of(TYPE.null)];
  if (typeof value === 'bigint' || typeof value === 'number') {
    const bytes = Buffer.alloc(9);
    bytes[0] = typeof value === 'bigint' ? TYPE.integer : TYPE.real;
    if (typeof value === 'bigint') bytes.writeBigInt64BE(value, 1);
    else bytes.writeDoubleBE(value, 1);
    return [bytes];
  }
  const isText = typeof value === 'string';
  const body = isText ? Buffer.from(value, 'utf8') : value;
  return [Uint8Array.of(isText ? TYPE.text : TYPE.blob), varintBytes(body.length), body];
}

function withRowid({ keyColumns }: ComparedTable, { key }: RowChange, row: Row | null): Row | null {
  return row === null || keyColumns.length > 0 ? row : [key[0] ?? null, ...row];
}

/** From 1 on; 0: not in the key. */
function keyPlaceOf({ keyColumns }: ComparedTable, name: string): number {
  return keyColumns.length === 0 ? Number(name === ROWID) : keyColumns.indexOf(name) + 1;
}

/** SQLite's: seven bits a byte, most significant first. */
function varintBytes(value: number): Uint8Array {
  const bytes = [value & 0x7f];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
    bytes.unshift((rest & 0x7f) | 0x80);
  return Uint8Array.from(bytes);
}
