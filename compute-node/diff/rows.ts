/**
 * Rows that differ, of one table: SQLite fetches them on both sides, by key where the pages told which, in order of the key where they did not.
 *
 * Rows are told apart by their primary key where there is one, else by rowid: a row that only moved to another rowid has not changed.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { SqlValue } from '../engine/api.ts';
import type { ChangedKey, ChangedKeys } from './changed-keys.ts';
import { type SideIndex, SIDES } from './pages.ts';
import { type RawValue, compareKeys, toRawValue, toSqlValue } from './record.ts';
import type { TableShape } from './schema.ts';
import { type DiffSide, type Query, type Row, queryOne, quoted } from './side.ts';

/** Values in the order of the table's columns (RowsOf.columns). */
export interface RowChange {
  readonly kind: 'insert' | 'update' | 'delete';
  /** The primary key's values, or the rowid. */
  readonly key: Row;
  readonly before: Row | null;
  readonly after: Row | null;
  /** Part of the key is NULL: SQLite allows that, and no key then tells the row apart. */
  readonly hasNullKey: boolean;
}

/** A table as it is compared. */
export interface ComparedTable {
  readonly name: string;
  /** Null: not on that side. */
  readonly shapes: readonly [TableShape | null, TableShape | null];
  /** Names; of the right side, or the left one where that is all there is. */
  readonly columns: readonly string[];
  /** Names of the primary key's columns; empty: rows are told apart by rowid. */
  readonly keyColumns: readonly string[];
  /** What the left side shows of columns that only the right one has: their defaults. */
  readonly defaults: ReadonlyMap<string, SqlValue>;
}

/** Row bytes fetched at a time, and rows. */
const BATCH_BYTES = 4 * MIB;
const BATCH_ROWS = 200;
/** Bytes of rows held until both sides were seen, where physical order does not bring them together. */
const MAX_HELD_BYTES = 256 * MIB;
/** What holding a row costs beyond its values, about. */
const HELD_ROW_BYTES = 400;
/** Of one batch: they may be a thousand times as large as those of the batch before. */
const MAX_ORDERED_ROWS = 500;

export async function* changedRows(
  sides: readonly [DiffSide, DiffSide],
  table: ComparedTable,
  keys: ChangedKeys,
): AsyncGenerator<RowChange> {
  for (const shape of table.shapes) {
    if (shape?.tree.kind !== 'rowid' || shape.tree.rowidName !== null || (keys !== 'all' && keys.size === 0))
      continue;
    throw new TidemarkError(
      'UNSUPPORTED',
      `rows of table '${table.name}' cannot be asked for: its columns hide all three names of the rowid`,
      {
        nextStep: 'Compare the other tables one by one, or rename one of its columns rowid, oid or _rowid_.',
      },
    );
  }
  const fetched = keys === 'all' ? allRows(sides, table) : rowsByKey(sides, table, [...keys.values()]);
  // A row of each side that is asked for by rowid comes once; one of a tree in order of the key in which all rows are gone through, too. Keys that
  // compare as equal can be written in more than one way, so that rows asked for by such keys may come more than once.
  const isByRowid = treeOf(table).kind === 'rowid';
  const isOnce = isByRowid || keys === 'all';
  // Both sides' rows of one key come together.
  const isByKey = isByRowid ? table.keyColumns.length === 0 || isRowidKey(table) : keys === 'all';
  const matcher = new Matcher(table, isOnce);
  for await (const pair of fetched) {
    yield* matcher.take(pair);
    if (isByKey) yield* matcher.changes();
  }
  yield* matcher.changes();
}

interface RowPair {
  readonly rows: readonly [FetchedRow | null, FetchedRow | null];
}

interface Held {
  readonly key: Row;
  readonly rows: [Row | null, Row | null];
  bytes: number;
}

interface FetchedRow {
  readonly rowid: SqlValue;
  readonly values: Row;
}

/** Brings the two sides' rows of one key together, and holds those whose other side has not come yet. */
class Matcher {
  readonly #table: ComparedTable;
  readonly #isOnce: boolean;
  readonly #keyPlaces: readonly number[];
  #held = new Map<string, Held>();
  #heldBytes = 0;

  /** `isOnce`: no row comes twice, so that what both sides have of a key is all there is of it. */
  constructor(table: ComparedTable, isOnce: boolean) {
    this.#table = table;
    this.#isOnce = isOnce;
    this.#keyPlaces = table.keyColumns.map((name) => table.columns.indexOf(name));
  }

  *take({ rows }: RowPair): Generator<RowChange> {
    const [left, right] = rows;
    if (left !== null && right !== null && isSameRow(left.values, right.values)) {
      if (this.#keyPlaces.length > 0 || left.rowid === right.rowid) return;
    }
    for (const side of SIDES) {
      const row = rows[side];
      if (row === null) continue;
      const key = this.#keyOf(row);
      // A row without a whole key is told apart by rowid, for want of a better.
      const name = key.includes(null) ? `rowid ${row.rowid}` : textOfRow(key);
      const known = this.#held.get(name) ?? { key, rows: [null, null], bytes: 0 };
      known.rows[side] = row.values;
      const isWhole = this.#isOnce && known.rows[0] !== null && known.rows[1] !== null;
      if (isWhole) {
        this.#held.delete(name);
        this.#heldBytes -= known.bytes;
        yield* this.#changeOf(known);
        continue;
      }
      const bytes = HELD_ROW_BYTES + 2 * name.length + sizeOfRow(row.values);
      known.bytes += bytes;
      this.#heldBytes += bytes;
      this.#held.set(name, known);
    }
    if (this.#heldBytes <= MAX_HELD_BYTES) return;
    throw new TidemarkError(
      'TOO_LARGE',
      `more than ${MAX_HELD_BYTES / MIB} MiB of rows of table '${this.#table.name}' differ`,
      { nextStep: 'Compare one table at a time, or moments that are closer to each other.' },
    );
  }

  *changes(): Generator<RowChange> {
    for (const held of this.#held.values()) yield* this.#changeOf(held);
    this.#held.clear();
    this.#heldBytes = 0;
  }

  *#changeOf({ key, rows: [before, after] }: Held): Generator<RowChange> {
    if (before !== null && after !== null && isSameRow(before, after)) return;
    const kind = before === null ? 'insert' : after === null ? 'delete' : 'update';
    const hasNullKey = this.#keyPlaces.length > 0 && key.includes(null);
    yield { kind, key, before, after, hasNullKey };
  }

  #keyOf(row: FetchedRow): Row {
    if (this.#keyPlaces.length === 0) return [row.rowid];
    return this.#keyPlaces.map((place) => row.values[place] ?? null);
  }
}

/** Columns to select on a side: what the side has not is given as its default. */
function selection(table: ComparedTable, side: SideIndex): { readonly list: string; readonly defaults: Row } {
  const shape = table.shapes[side];
  const own = new Set(shape?.columns.map(({ name }) => name) ?? []);
  const rowid =
    shape?.tree.kind === 'rowid' && shape.tree.rowidName !== null ? quoted(shape.tree.rowidName) : 'NULL';
  const defaults: SqlValue[] = [];
  const columns = table.columns.map((name) => {
    if (own.has(name)) return quoted(name);
    defaults.push(table.defaults.get(name) ?? null);
    return `?${defaults.length}`;
  });
  return { list: [rowid, ...columns].join(', '), defaults };
}

function fetchedRow([rowid, ...values]: Row): FetchedRow {
  return { rowid: rowid ?? null, values };
}

async function* rowsByKey(
  sides: readonly [DiffSide, DiffSide],
  table: ComparedTable,
  keys: readonly ChangedKey[],
): AsyncGenerator<RowPair> {
  for (const batch of batchesOf(keys)) {
    const [left, right] = await Promise.all(SIDES.map((side) => fetchByKey(sides[side], table, side, batch)));
    for (const [index] of batch.entries()) yield { rows: [left?.[index] ?? null, right?.[index] ?? null] };
  }
}

function* batchesOf(keys: readonly ChangedKey[]): Generator<readonly ChangedKey[]> {
  let batch: ChangedKey[] = [];
  let bytes = 0;
  for (const key of keys) {
    if (batch.length > 0 && (batch.length >= BATCH_ROWS || bytes + key.sizeBytes > BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(key);
    bytes += key.sizeBytes;
  }
  if (batch.length > 0) yield batch;
}

/** In the order of the keys; null where there is no such row. */
async function fetchByKey(
  side: DiffSide,
  table: ComparedTable,
  index: SideIndex,
  keys: readonly ChangedKey[],
): Promise<readonly (FetchedRow | null)[]> {
  const shape = table.shapes[index];
  if (shape === null) return keys.map(() => null);
  const { list, defaults } = selection(table, index);
  const select = `SELECT ${list} FROM ${quoted(shape.name)} WHERE`;
  if (shape.tree.kind === 'rowid') {
    const rowids = keys.map(({ key }) => key as bigint);
    const parameters = rowids.map((_, at) => `?${defaults.length + at + 1}`).join(', ');
    const name = quoted(shape.tree.rowidName ?? 'rowid');
    const rows = await queryOne(side, `${select} ${name} IN (${parameters})`, [...defaults, ...rowids]);
    const byRowid = new Map(rows.map((row) => [row[0], fetchedRow(row)]));
    return rowids.map((rowid) => byRowid.get(rowid) ?? null);
  }
  const where = shape.tree.columns
    .map(({ name }, at) => `${quoted(name)} IS ?${defaults.length + at + 1}`)
    .join(' AND ');
  const queries = keys.map(({ key }): Query => {
    const values = (key as readonly RawValue[]).map(toSqlValue);
    return { sql: `${select} ${where}`, args: [...defaults, ...values] };
  });
  const answers = await side.query(queries);
  return answers.map((rows) => (rows[0] === undefined ? null : fetchedRow(rows[0])));
}

/** Both sides in the order of their trees, merged. */
async function* allRows(sides: readonly [DiffSide, DiffSide], table: ComparedTable): AsyncGenerator<RowPair> {
  const left = orderedRows(sides[0], table, 0);
  const right = orderedRows(sides[1], table, 1);
  let [a, b] = await Promise.all([left.next(), right.next()]);
  while (!a.done || !b.done) {
    const order = a.done ? 1 : b.done ? -1 : compareOrdered(table, a.value.order, b.value.order);
    yield { rows: [order <= 0 && !a.done ? a.value.row : null, order >= 0 && !b.done ? b.value.row : null] };
    if (order <= 0) a = await left.next();
    if (order >= 0) b = await right.next();
  }
}

type OrderKey = bigint | readonly RawValue[];

function compareOrdered(table: ComparedTable, a: OrderKey, b: OrderKey): number {
  if (typeof a === 'bigint' || typeof b === 'bigint') return a < b ? -1 : a > b ? 1 : 0;
  const tree = treeOf(table);
  return compareKeys(a, b, tree.kind === 'key' ? tree.columns : []);
}

async function* orderedRows(
  side: DiffSide,
  table: ComparedTable,
  index: SideIndex,
): AsyncGenerator<{ readonly order: OrderKey; readonly row: FetchedRow }> {
  const shape = table.shapes[index];
  if (shape === null) return;
  const { list, defaults } = selection(table, index);
  const { tree } = shape;
  const names = tree.kind === 'rowid' ? [tree.rowidName ?? 'rowid'] : tree.columns.map(({ name }) => name);
  const orderBy = names
    .map(
      (name, at) => `${quoted(name)}${tree.kind === 'key' && tree.columns[at]?.isDescending ? ' DESC' : ''}`,
    )
    .join(', ');
  let last: Row | null = null;
  let limit = 16;
  for (;;) {
    const where: string = last === null ? '' : ` WHERE ${afterCondition(tree, names, defaults.length)}`;
    const args: readonly SqlValue[] = [...defaults, ...(last ?? [])];
    const sql: string = `SELECT ${list} FROM ${quoted(shape.name)}${where} ORDER BY ${orderBy} LIMIT ${limit}`;
    const [rows = []] = await side.query([{ sql, args }]);
    let bytes = 0;
    for (const values of rows) {
      const row = fetchedRow(values);
      bytes += sizeOfRow(row.values);
      last =
        tree.kind === 'rowid'
          ? [row.rowid]
          : names.map((name) => row.values[table.columns.indexOf(name)] ?? null);
      const order = tree.kind === 'rowid' ? (row.rowid as bigint) : last.map(toRawValue);
      yield { order, row };
    }
    if (rows.length < limit) return;
    // About so many rows as fit a batch.
    limit = Math.max(
      1,
      Math.min(MAX_ORDERED_ROWS, Math.floor((BATCH_BYTES * rows.length) / Math.max(bytes, 1))),
    );
  }
}

/** Rows behind the last one; key columns of a WITHOUT ROWID table are never NULL. */
function afterCondition(tree: TableShape['tree'], names: readonly string[], before: number): string {
  const isUniform = tree.kind === 'rowid' || tree.columns.every(({ isDescending }) => !isDescending);
  const parameters = names.map((_, index) => `?${before + index + 1}`);
  if (isUniform) return `(${names.map(quoted).join(', ')}) > (${parameters.join(', ')})`;
  const alternatives = names.map((name, index) => {
    const equal = names.slice(0, index).map((other, at) => `${quoted(other)} = ${parameters[at]}`);
    const isDescending = tree.kind === 'key' && tree.columns[index]?.isDescending === true;
    return [...equal, `${quoted(name)} ${isDescending ? '<' : '>'} ${parameters[index]}`].join(' AND ');
  });
  return alternatives.map((alternative) => `(${alternative})`).join(' OR ');
}

function treeOf({ shapes }: ComparedTable): TableShape['tree'] {
  const shape = shapes[1] ?? shapes[0];
  return shape?.tree ?? { kind: 'rowid', rowidName: 'rowid', isKey: false };
}

/** On every side that has the table. */
function isRowidKey({ shapes }: ComparedTable): boolean {
  return shapes.every((shape) => shape === null || (shape.tree.kind === 'rowid' && shape.tree.isKey));
}

function isSameRow(a: Row, b: Row): boolean {
  return a.every((value, index) => isSameValue(value, b[index] ?? null));
}

export function isSameValue(a: SqlValue, b: SqlValue): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0;
  return Object.is(a, b);
}

/** Equal for equal rows alone. */
export function textOfRow(row: Row): string {
  return row
    .map((value) => {
      if (value instanceof Uint8Array) return `b${Buffer.from(value).toString('hex')}`;
      return typeof value === 'string' ? `t${JSON.stringify(value)}` : `${typeof value} ${value}`;
    })
    .join(' ');
}

/** What a row takes in memory, about. */
export function sizeOfRow(row: Row): number {
  let bytes = 0;
  for (const value of row) {
    if (typeof value === 'string') bytes += 2 * value.length;
    else if (value instanceof Uint8Array) bytes += value.length;
    bytes += 8;
  }
  return bytes;
}
