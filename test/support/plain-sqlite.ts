/** The same SQLite build, plain: in memory, without our VFS. The twin that results are held against. */
import sqlite3InitModule, { type SqlValue } from '@sqlite.org/sqlite-wasm';

export interface PlainResult {
  readonly rows: readonly Readonly<Record<string, SqlValue>>[];
  readonly rowsAffected: number;
}

export interface PlainSqlite {
  execute(statement: string | { readonly sql: string; readonly args?: readonly SqlValue[] }): PlainResult;
  close(): void;
}

export async function openPlainSqlite(): Promise<PlainSqlite> {
  const sqlite3 = await sqlite3InitModule();
  const db = new sqlite3.oo1.DB(':memory:');
  return {
    execute(statement) {
      const { sql, args } =
        typeof statement === 'string' ? { sql: statement, args: [] } : { args: [], ...statement };
      const rows = db.exec({
        sql,
        bind: args.length === 0 ? undefined : [...args],
        rowMode: 'object',
        returnValue: 'resultRows',
      });
      return { rows, rowsAffected: Number(db.changes()) };
    },
    close: () => db.close(),
  };
}
