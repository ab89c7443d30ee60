/**
 * `.dump`: SQL text that makes the same database again, in the order of the stock tool's dump: tables with their rows, then what refers to
 * them (indexes, triggers, views).
 *
 * Virtual tables. The stock tool writes their entry into sqlite_schema by hand and copies the shadow tables, which needs
 * writable_schema. Here they are made by their own CREATE VIRTUAL TABLE and filled through the table itself, which any SQLite can read
 * back: FTS with its own content and R-trees row by row, FTS over another table's content by 'rebuild'. Only where the content cannot be
 * asked for (contentless FTS, other modules) the shadow tables are copied over the fresh ones.
 */
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { query, queryEach, type SqlClient, StatementError } from '../client/sql-client.ts';
import type { Write } from './render/renderer.ts';
import { insertableColumns, listTables } from './schema.ts';
import { quoteName, sqlLiteral } from './values.ts';

interface SchemaEntry {
  readonly name: string;
  readonly sql: string;
  readonly isVirtual: boolean;
}

/** `pattern`: a LIKE pattern for table names, null for everything. */
export async function dump(client: SqlClient, write: Write, pattern: string | null): Promise<void> {
  const isOwnTransaction = client.isAutocommit;
  // One read point for all of it.
  if (isOwnTransaction) await beginReading(client);
  await write('PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n');
  try {
    await new Dumper(client, write).all(pattern);
    await write('COMMIT;\n');
  } catch (error) {
    await write('ROLLBACK; -- the dump ended with an error\n');
    throw error;
  } finally {
    if (isOwnTransaction && !client.isAutocommit) await query(client, 'ROLLBACK');
  }
}

/** `READONLY` is libSQL's; a server that does not know it has a deferred transaction, which is as good while nothing is written. */
async function beginReading(client: SqlClient): Promise<void> {
  try {
    await query(client, 'BEGIN TRANSACTION READONLY');
  } catch (error) {
    if (!(error instanceof StatementError)) throw error;
    await query(client, 'BEGIN');
  }
}

class Dumper {
  private readonly client: SqlClient;
  private readonly write: Write;
  private shadows: ReadonlySet<string> = new Set();

  constructor(client: SqlClient, write: Write) {
    this.client = client;
    this.write = write;
  }

  async all(pattern: string | null): Promise<void> {
    const kinds = await listTables(this.client);
    this.shadows = new Set(kinds.filter(({ kind }) => kind === 'shadow').map(({ name }) => name));
    const virtual = new Set(kinds.filter(({ kind }) => kind === 'virtual').map(({ name }) => name));
    const tables = await query(
      this.client,
      `SELECT name, sql FROM sqlite_schema
       WHERE type = 'table' AND sql IS NOT NULL AND (?1 IS NULL OR name LIKE ?1)
       ORDER BY name = 'sqlite_sequence', rowid`,
      [pattern],
    );
    const late: (() => Promise<void>)[] = [];
    for (const [nameValue, sqlValue] of tables) {
      const name = String(nameValue);
      const entry: SchemaEntry = { name, sql: String(sqlValue), isVirtual: virtual.has(name) };
      if (!this.shadows.has(name)) await this.table(entry, late);
    }
    const rest = await query(
      this.client,
      `SELECT sql FROM sqlite_schema
       WHERE type IN ('index', 'trigger', 'view') AND sql IS NOT NULL AND (?1 IS NULL OR tbl_name LIKE ?1)
       ORDER BY type = 'trigger', rowid`,
      [pattern],
    );
    for (const [sql] of rest) await this.write(`${sql};\n`);
    // Last: the content of such a table may be a view.
    for (const step of late) await step();
  }

  private async table(entry: SchemaEntry, late: (() => Promise<void>)[]): Promise<void> {
    const { name } = entry;
    if (entry.isVirtual) return this.virtualTable(entry, late);
    if (name === 'sqlite_sequence') {
      await this.write('DELETE FROM sqlite_sequence;\n');
    } else if (/^sqlite_stat\d$/.test(name)) {
      await this.write('ANALYZE sqlite_schema;\n');
    } else if (name.startsWith('sqlite_')) {
      return;
    } else {
      await this.write(`${entry.sql};\n`);
    }
    const columns = await insertableColumns(this.client, name);
    await this.rows(name, columns.map(quoteName).join(','), '');
  }

  private async virtualTable(entry: SchemaEntry, late: (() => Promise<void>)[]): Promise<void> {
    const { name, sql } = entry;
    const using = /\bUSING\s+["'`[]?(\w+)["'`\]]?\s*(?:\((.*)\)\s*)?$/is.exec(sql);
    const module = using?.[1]?.toLowerCase() ?? '';
    const content = /(?:^|,)\s*content\s*=\s*(?:'([^']*)'|"([^"]*)"|([^\s,)]*))/i.exec(using?.[2] ?? '');
    await this.write(`${sql};\n`);
    switch (module) {
      case 'fts5':
      case 'fts4':
      case 'fts3': {
        if (module === 'fts5') await this.ftsConfig(name);
        if (content === null) return this.ftsRows(name);
        const source = content[1] ?? content[2] ?? content[3] ?? '';
        if (source === '') return this.shadowRows(name);
        late.push(async () => {
          await this.write(`INSERT INTO ${quoteName(name)}(${quoteName(name)}) VALUES('rebuild');\n`);
        });
        return;
      }
      case 'rtree':
      case 'rtree_i32': {
        const columns = await insertableColumns(this.client, name);
        return this.rows(name, columns.map(quoteName).join(','), '');
      }
      case 'fts5vocab':
      case 'dbstat':
        return; // views of other tables' content
      default:
        return this.shadowRows(name);
    }
  }

  private async ftsRows(name: string): Promise<void> {
    const columns = await insertableColumns(this.client, name);
    const list = ['rowid', ...columns.map(quoteName)].join(',');
    await this.rows(name, list, `(${list})`);
  }

  /** Options set after creation live in a shadow table. */
  private async ftsConfig(name: string): Promise<void> {
    const config = await query(
      this.client,
      `SELECT k, v FROM ${quoteName(`${name}_config`)} WHERE k NOT IN ('version') ORDER BY k`,
    );
    const target = quoteName(name);
    for (const [key, value] of config) {
      await this.write(
        `INSERT INTO ${target}(${target}, rank) VALUES(${sqlLiteral(key ?? null)},${sqlLiteral(value ?? null)});\n`,
      );
    }
  }

  private async shadowRows(name: string): Promise<void> {
    for (const shadow of this.shadows) {
      if (!shadow.startsWith(`${name}_`)) continue;
      await this.write(`DELETE FROM ${quoteName(shadow)};\n`);
      const columns = await insertableColumns(this.client, shadow);
      await this.rows(shadow, columns.map(quoteName).join(','), '');
    }
  }

  private async rows(table: string, selected: string, into: string): Promise<void> {
    const head = `INSERT INTO ${quoteName(table)}${into} VALUES(`;
    await queryEach(this.client, `SELECT ${selected} FROM ${quoteName(table)}`, [], async (rows) => {
      let text = '';
      for (const row of rows)
        text += `${head}${row.map((value: SqlValue) => sqlLiteral(value)).join(',')});\n`;
      await this.write(text);
    });
  }
}
