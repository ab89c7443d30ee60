/**
 * The difference of two read points, as rows and schema: what to put on top of the left one to have the right one. Cost grows with what differs, as only
 * pages that changed between the two are looked at (changed-keys.ts).
 */
import type { SqlValue } from '../engine/api.ts';
import {
  type ChangedKeys,
  type FindOptions,
  MAX_CHANGED_KEYS,
  MAX_HELD_BYTES,
  type TreePair,
  findChangedKeys,
} from './changed-keys.ts';
import { PagePair, type SideIndex } from './pages.ts';
import { type ComparedTable, type RowChange, changedRows } from './rows.ts';
import {
  type Schema,
  type SchemaChange,
  type TableShape,
  readIndexes,
  readSchema,
  schemaChanges,
} from './schema.ts';
import { type DiffSide, queryOne } from './side.ts';
import type { Tree } from './trees.ts';

export type DiffEvent =
  | { readonly kind: 'schema'; readonly change: SchemaChange }
  | { readonly kind: 'table'; readonly table: ComparedTable }
  | { readonly kind: 'row'; readonly table: ComparedTable; readonly change: RowChange }
  | {
      readonly kind: 'end';
      /** Pages that may differ, and those that were read to find out, both sides together. */
      readonly changedPages: number;
      readonly pagesRead: number;
      /** Tables whose rows were all compared, as the pages did not tell which changed. */
      readonly comparedInFull: readonly string[];
    };

export interface DiffRequest {
  readonly sides: readonly [DiffSide, DiffSide];
  /** Pages that may differ: all that do are among them. */
  readonly changedPages: ReadonlySet<number>;
  /** Only this table; null: all. */
  readonly table: string | null;
  /** Past so many changed rows of one table all of its rows are compared. */
  readonly maxKeys?: number;
  /** Of rows that pages told of, before they are asked for. */
  readonly maxHeldBytes?: number;
}

export async function* diff({
  sides,
  changedPages,
  table: only,
  maxKeys = MAX_CHANGED_KEYS,
  maxHeldBytes = MAX_HELD_BYTES,
}: DiffRequest): AsyncGenerator<DiffEvent> {
  const pages = new PagePair(sides, changedPages);
  const comparedInFull: string[] = [];
  if (changedPages.size > 0) {
    const [left, right] = await Promise.all([readSchema(sides[0]), readSchema(sides[1])]);
    const wanted = (name: string) => only === null || name.toLowerCase() === only.toLowerCase();
    for (const change of schemaChanges(left, right)) {
      if (only === null || wanted(change.object.table)) yield { kind: 'schema', change };
    }
    const tables = await comparedTables(sides, left, right);
    const keys = await keysOf(sides, pages, [left, right], tables, { maxKeys, maxHeldBytes });
    for (const [index, table] of tables.entries()) {
      if (!wanted(table.name)) continue;
      const changed = keys[index] ?? 'all';
      if (changed === 'all') comparedInFull.push(table.name);
      let isFirst = true;
      for await (const change of changedRows(sides, table, changed)) {
        if (isFirst) yield { kind: 'table', table };
        isFirst = false;
        yield { kind: 'row', table, change };
      }
    }
  }
  yield { kind: 'end', changedPages: changedPages.size, pagesRead: pages.pagesRead, comparedInFull };
}

/** Per table, in their order. */
async function keysOf(
  sides: readonly [DiffSide, DiffSide],
  pages: PagePair,
  schemas: readonly [Schema, Schema],
  tables: readonly ComparedTable[],
  limits: Pick<FindOptions, 'maxKeys' | 'maxHeldBytes'>,
): Promise<readonly ChangedKeys[]> {
  const treeOn = (shape: TableShape | null | undefined): Tree | null =>
    shape === null || shape === undefined ? null : treeOf(shape);
  const pairs = tables.map(({ shapes }, index): TreePair => {
    return { id: `${index}`, sides: [treeOn(shapes[0]), treeOn(shapes[1])] };
  });
  // SQLite's own tables are looked at for their overflow pages only.
  const internal = new Set(schemas.flatMap((schema) => [...schema.tables.keys()].filter(isInternal)));
  for (const name of internal) {
    const [left, right] = schemas.map((schema) => schema.tables.get(name));
    pairs.push({ id: name, sides: [treeOn(left), treeOn(right)] });
  }
  const schemaTree: Tree = { kind: 'rowid', rootPage: 1 };
  pairs.push({ id: 'sqlite_schema', sides: [schemaTree, schemaTree] });
  const indexes = async (side: SideIndex): Promise<readonly Tree[]> =>
    (await readIndexes(sides[side])).map(({ rootPage, columns }) => ({
      kind: 'key',
      rootPage,
      columns,
    }));
  const found = await findChangedKeys({ pages, tables: pairs, indexes, ...limits });
  return tables.map((_, index) => found.get(`${index}`) ?? 'all');
}

function treeOf({ tree, rootPage }: TableShape): Tree {
  return tree.kind === 'rowid'
    ? { kind: 'rowid', rootPage }
    : { kind: 'key', rootPage, columns: tree.columns };
}

/** Tables of either side, those that are told apart differently on the two as one that went and one that came. */
async function comparedTables(
  sides: readonly [DiffSide, DiffSide],
  left: Schema,
  right: Schema,
): Promise<readonly ComparedTable[]> {
  const tables: ComparedTable[] = [];
  const single = (shape: TableShape, side: SideIndex): ComparedTable => ({
    name: shape.name,
    shapes: side === 0 ? [shape, null] : [null, shape],
    columns: shape.columns.map(({ name }) => name),
    keyColumns: shape.keyColumns,
    defaults: new Map(),
  });
  for (const name of [...new Set([...left.tables.keys(), ...right.tables.keys()])].sort()) {
    if (isInternal(name)) continue;
    const before = left.tables.get(name);
    const after = right.tables.get(name);
    if (before === undefined || after === undefined || !areAlike(before, after)) {
      if (before !== undefined) tables.push(single(before, 0));
      if (after !== undefined) tables.push(single(after, 1));
      continue;
    }
    tables.push({
      name,
      shapes: [before, after],
      columns: after.columns.map((column) => column.name),
      keyColumns: after.keyColumns,
      defaults: await defaultsOf(sides[1], before, after),
    });
  }
  return tables;
}

function isInternal(name: string): boolean {
  return name.toLowerCase().startsWith('sqlite_');
}

function areAlike(before: TableShape, after: TableShape): boolean {
  const form = ({ tree, keyColumns }: TableShape) =>
    JSON.stringify([tree.kind, keyColumns, tree.kind === 'key' ? tree.columns : null]);
  return form(before) === form(after);
}

/** `DEFAULT active` means the text, as SQLite reads it. */
const BARE_WORD = /^[\p{L}_][\p{L}\p{N}_$]*$/u;
const CONSTANT_WORDS: ReadonlySet<string> = new Set([
  'TRUE',
  'FALSE',
  'NULL',
  'CURRENT_DATE',
  'CURRENT_TIME',
  'CURRENT_TIMESTAMP',
]);

async function defaultsOf(
  side: DiffSide,
  before: TableShape,
  after: TableShape,
): Promise<ReadonlyMap<string, SqlValue>> {
  const known = new Set(before.columns.map(({ name }) => name));
  const added = after.columns.filter(({ name, defaultSql }) => !known.has(name) && defaultSql !== null);
  const defaults = new Map<string, SqlValue>();
  for (const { name, defaultSql, declaredType } of added) {
    if (defaultSql === null) continue;
    const bare = BARE_WORD.exec(defaultSql)?.[0];
    const isText = bare !== undefined && !CONSTANT_WORDS.has(bare.toUpperCase());
    // An expression may end in a comment.
    const value = isText ? '?1' : `(${defaultSql}\n)`;
    const [row] = await queryOne(side, `SELECT ${stored(value, declaredType)}`, isText ? [bare] : []);
    defaults.set(name, row?.[0] ?? null);
  }
  return defaults;
}

/** A value as a column of this type keeps it (sqlite.org/datatype3.html, section 3.1). */
function stored(value: string, declaredType: string): string {
  const type = declaredType.toUpperCase();
  const as = (target: string, from: string) =>
    `iif(typeof(${value}) IN (${from}), CAST(${value} AS ${target}), ${value})`;
  if (type.includes('INT')) return value;
  if (/CHAR|CLOB|TEXT/.test(type)) return as('TEXT', "'integer', 'real'");
  if (/REAL|FLOA|DOUB/.test(type)) return as('REAL', "'integer'");
  return value;
}
