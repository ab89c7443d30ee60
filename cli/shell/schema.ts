/** Questions about a volume's schema that the shell's commands share. */
import { query, type SqlClient } from '../client/sql-client.ts';

export type TableKind = 'table' | 'view' | 'virtual' | 'shadow';

export interface TableInfo {
  readonly name: string;
  readonly kind: TableKind;
}

/** Tables and views of the main schema, without SQLite's own. */
export async function listTables(client: SqlClient): Promise<readonly TableInfo[]> {
  const rows = await query(
    client,
    "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
  );
  return rows.map(([name, kind]) => ({ name: String(name), kind: kind as TableKind }));
}

export interface SchemaNames {
  readonly tables: readonly string[];
  /** Table name in lower case → its columns. */
  readonly columns: ReadonlyMap<string, readonly string[]>;
  /** Of the cluster, not of the volume. */
  readonly volumes: readonly string[];
}

export const NO_NAMES: SchemaNames = { tables: [], columns: new Map(), volumes: [] };

/** For completion. */
export async function loadNames(client: SqlClient): Promise<Omit<SchemaNames, 'volumes'>> {
  const rows = await query(
    client,
    `SELECT l.name, c.name FROM pragma_table_list AS l JOIN pragma_table_xinfo(l.name) AS c
     WHERE l.schema = 'main' AND l.type <> 'shadow' AND c.hidden <> 1`,
  );
  const columns = new Map<string, string[]>();
  const tables = new Set<string>();
  for (const [table, column] of rows) {
    const name = String(table);
    if (!name.startsWith('sqlite_')) tables.add(name);
    const known = columns.get(name.toLowerCase()) ?? [];
    known.push(String(column));
    columns.set(name.toLowerCase(), known);
  }
  return { tables: [...tables].sort(), columns };
}

/** Columns that an INSERT may name, in order; empty when there is no such table. */
export async function insertableColumns(client: SqlClient, table: string): Promise<readonly string[]> {
  const rows = await query(client, 'SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid', [
    table,
  ]);
  return rows.map(([name]) => String(name));
}
