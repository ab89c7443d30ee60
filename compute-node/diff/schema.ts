/**
 * The schema of one side: which tables there are, how their rows are told apart, where their trees begin; and how two schemas differ.
 */
import { type DiffSide, type Query, type Row, quoted, queryOne } from './side.ts';
import type { KeyColumn } from './record.ts';

export interface Column {
  readonly name: string;
  readonly declaredType: string;
  /** As an expression, null without one. */
  readonly defaultSql: string | null;
  /** Place in the primary key from 1 on, 0: not in it. */
  readonly keyPlace: number;
}

/** How a row is found in its table's tree. */
export type RowTree =
  | {
      readonly kind: 'rowid';
      /** One that no column hides; null: all three are hidden and there is no INTEGER PRIMARY KEY. */
      readonly rowidName: string | null;
      /** The primary key is an INTEGER PRIMARY KEY: the rowid itself. */
      readonly isKey: boolean;
    }
  /** WITHOUT ROWID: by its primary key, in this order. */
  | { readonly kind: 'key'; readonly columns: readonly KeyColumn[] };

export interface TableShape {
  readonly name: string;
  readonly sql: string;
  readonly rootPage: number;
  /** Without generated ones. */
  readonly columns: readonly Column[];
  readonly tree: RowTree;
  /** Of its primary key, in the key's order; empty without one. */
  readonly keyColumns: readonly string[];
  /** Kept by a virtual table. */
  readonly isShadow: boolean;
}

export interface IndexShape {
  readonly name: string;
  readonly rootPage: number;
  readonly columns: readonly KeyColumn[];
}

export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly table: string;
  readonly sql: string;
}

export interface Schema {
  readonly tables: ReadonlyMap<string, TableShape>;
  readonly objects: readonly SchemaObject[];
}

export type SchemaChange =
  | { readonly kind: 'created'; readonly object: SchemaObject }
  | { readonly kind: 'dropped'; readonly object: SchemaObject }
  | { readonly kind: 'altered'; readonly object: SchemaObject; readonly before: SchemaObject };

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'];

export async function readSchema(side: DiffSide): Promise<Schema> {
  const [objects = [], list = []] = await side.query([
    { sql: 'SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema', args: [] },
    { sql: 'PRAGMA table_list', args: [] },
  ]);
  const kinds = new Map(
    list
      .filter((row) => row[0] === 'main')
      .map((row) => [text(row[1]), { type: text(row[2]), wr: row[4] === 1n }]),
  );
  const stored = objects.filter((row) => text(row[0]) === 'table' && row[4] !== 0n && row[4] !== null);
  const tables = new Map<string, TableShape>();
  const shapes = await readShapes(
    side,
    stored.map((row) => text(row[1])),
    (name) => kinds.get(name)?.wr ?? false,
  );
  for (const row of stored) {
    const name = text(row[1]);
    const shape = shapes.get(name);
    if (shape === undefined) continue;
    tables.set(name, {
      name,
      sql: text(row[3]),
      rootPage: Number(row[4]),
      isShadow: kinds.get(name)?.type === 'shadow',
      ...shape,
    });
  }
  return {
    tables,
    objects: objects
      .filter((row) => row[3] !== null && !text(row[1]).startsWith('sqlite_'))
      .map((row) => ({ type: text(row[0]), name: text(row[1]), table: text(row[2]), sql: text(row[3]) })),
  };
}

type Shape = Pick<TableShape, 'columns' | 'tree' | 'keyColumns'>;

async function readShapes(
  side: DiffSide,
  names: readonly string[],
  isWithoutRowid: (name: string) => boolean,
): Promise<ReadonlyMap<string, Shape>> {
  const shapes = new Map<string, Shape>();
  const answers = await side.query(
    names.flatMap((name): Query[] => [
      { sql: `PRAGMA table_xinfo(${quoted(name)})`, args: [] },
      {
        sql: `SELECT x.name, x.coll, x."desc" FROM pragma_index_list(?1) AS l, pragma_index_xinfo(l.name) AS x WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno`,
        args: [name],
      },
    ]),
  );
  for (const [index, name] of names.entries()) {
    const info = answers[2 * index] ?? [];
    const key = answers[2 * index + 1] ?? [];
    const columns = info
      // Hidden: of virtual tables, or generated.
      .filter((row) => row[6] === 0n)
      .map((row) => ({
        name: text(row[1]),
        declaredType: text(row[2] ?? ''),
        defaultSql: row[4] === null || row[4] === undefined ? null : text(row[4]),
        keyPlace: Number(row[5]),
      }));
    const keyColumns = columns
      .filter(({ keyPlace }) => keyPlace > 0)
      .sort((a, b) => a.keyPlace - b.keyPlace)
      .map((column) => column.name);
    const allNames = new Set(info.map((row) => text(row[1]).toLowerCase()));
    // An INTEGER PRIMARY KEY is the one key that needs no index.
    const isKey = keyColumns.length === 1 && key.length === 0;
    const tree: RowTree = isWithoutRowid(name)
      ? { kind: 'key', columns: key.map(keyColumn) }
      : { kind: 'rowid', rowidName: rowidName(allNames, isKey ? keyColumns[0] : undefined), isKey };
    shapes.set(name, { columns, tree, keyColumns });
  }
  return shapes;
}

function rowidName(taken: ReadonlySet<string>, key: string | undefined): string | null {
  return ROWID_NAMES.find((name) => !taken.has(name)) ?? key ?? null;
}

function keyColumn(row: Row): KeyColumn {
  return { name: text(row[0]), collation: text(row[1]), isDescending: row[2] === 1n };
}

/** Of all indexes that are trees of their own. */
export async function readIndexes(side: DiffSide): Promise<readonly IndexShape[]> {
  const rows = await queryOne(
    side,
    `SELECT s.name, s.rootpage, x.name, x.coll, x."desc"
       FROM sqlite_schema AS s, pragma_index_xinfo(s.name) AS x
      WHERE s.type = 'index' AND s.rootpage > 0 ORDER BY s.name, x.seqno`,
  );
  const indexes = new Map<string, IndexShape & { columns: KeyColumn[] }>();
  for (const [name, rootPage, ...column] of rows) {
    const known = indexes.get(text(name)) ?? { name: text(name), rootPage: Number(rootPage), columns: [] };
    indexes.set(known.name, known);
    known.columns.push(keyColumn([column[0] ?? '', column[1] ?? 'BINARY', column[2] ?? 0n]));
  }
  return [...indexes.values()];
}

export function schemaChanges(before: Schema, after: Schema): readonly SchemaChange[] {
  const keyOf = ({ type, name }: SchemaObject) => `${type} ${name.toLowerCase()}`;
  const old = new Map(before.objects.map((object) => [keyOf(object), object]));
  const now = new Map(after.objects.map((object) => [keyOf(object), object]));
  const changes: SchemaChange[] = [];
  for (const [key, object] of old) if (!now.has(key)) changes.push({ kind: 'dropped', object });
  for (const [key, object] of now) {
    const was = old.get(key);
    if (was === undefined) changes.push({ kind: 'created', object });
    else if (was.sql !== object.sql) changes.push({ kind: 'altered', object, before: was });
  }
  return changes;
}

function text(value: Row[number] | undefined): string {
  return typeof value === 'string' ? value : String(value ?? '');
}
