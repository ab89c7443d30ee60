/**
 * A plain SQLite database whose states can be compared: each snapshot is a side of a diff, and all its rows can be had the plain way.
 */
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { SqliteLibrary } from '../../compute-node/engine/worker/sqlite-library.ts';
import { PreparedStatement } from '../../compute-node/engine/worker/statement.ts';
import type { DiffSide, Query, Row } from '../../compute-node/diff/side.ts';

const PAGE = 4_096;
const ROW = 100;
const DONE = 101;

export class PlainDatabase {
  readonly lib: SqliteLibrary;
  readonly db: number;

  private constructor(lib: SqliteLibrary, db: number) {
    this.lib = lib;
    this.db = db;
  }

  static async open(bytes: Uint8Array | null = null): Promise<PlainDatabase> {
    const lib = await SqliteLibrary.load();
    lib.withString(':memory:', (name) => lib.c.sqlite3_open_v2(name, lib.out, 0x6, 0));
    const database = new PlainDatabase(lib, lib.pointer(lib.out));
    database.run('PRAGMA page_size = 4096');
    if (bytes !== null && bytes.length > 0) {
      const at = lib.allocate(bytes.length);
      lib.heap.set(bytes, at);
      const { capi } = lib.sqlite3;
      const flags = capi.SQLITE_DESERIALIZE_FREEONCLOSE | capi.SQLITE_DESERIALIZE_RESIZEABLE;
      const rc = capi.sqlite3_deserialize(database.db, 'main', at, bytes.length, bytes.length, flags);
      if (rc !== 0) throw new Error(`deserialize: ${rc}`);
    }
    return database;
  }

  run(sql: string): void {
    const { lib } = this;
    const rc = lib.withString(sql, (at) => lib.c.sqlite3_exec(this.db, at, 0, 0, 0));
    if (rc !== 0) throw new Error(`${lib.string(lib.c.sqlite3_errmsg(this.db))}: ${sql.slice(0, 200)}`);
  }

  rows(sql: string, args: readonly SqlValue[] = []): Row[] {
    const { lib } = this;
    const rc = lib.withString(sql, (at, length) =>
      lib.c.sqlite3_prepare_v3(this.db, at, length, 0, lib.out, 0),
    );
    if (rc !== 0) throw new Error(`${lib.string(lib.c.sqlite3_errmsg(this.db))}: ${sql.slice(0, 200)}`);
    const prepared = new PreparedStatement(lib, lib.pointer(lib.out), 'other');
    prepared.bind({ args, namedArgs: [] });
    const rows: Row[] = [];
    let code = lib.c.sqlite3_step(prepared.pointer);
    for (; code === ROW; code = lib.c.sqlite3_step(prepared.pointer)) rows.push(prepared.row());
    const message = lib.string(lib.c.sqlite3_errmsg(this.db));
    prepared.finalize();
    if (code !== DONE) throw new Error(`${message}: ${sql.slice(0, 200)}`);
    return rows;
  }

  bytes(): Uint8Array {
    const { capi } = this.lib.sqlite3;
    const [[pages] = []] = this.rows('PRAGMA page_count');
    return pages === 0n ? new Uint8Array(0) : capi.sqlite3_js_db_export(this.db);
  }

  snapshot(): Promise<Snapshot> {
    return Snapshot.of(this.bytes());
  }

  close(): void {
    this.lib.c.sqlite3_close_v2(this.db);
  }
}

export class Snapshot implements DiffSide {
  readonly bytes: Uint8Array;
  readonly database: PlainDatabase;
  readonly pagesRead = new Set<number>();

  private constructor(bytes: Uint8Array, database: PlainDatabase) {
    this.bytes = bytes;
    this.database = database;
  }

  static async of(bytes: Uint8Array): Promise<Snapshot> {
    return new Snapshot(bytes, await PlainDatabase.open(bytes));
  }

  async readPages(pages: readonly number[]): Promise<readonly (Uint8Array | null)[]> {
    return pages.map((page) => {
      this.pagesRead.add(page);
      const data = this.bytes.subarray((page - 1) * PAGE, page * PAGE);
      return data.length === 0 ? null : data;
    });
  }

  async query(statements: readonly Query[]): Promise<readonly (readonly Row[])[]> {
    return statements.map(({ sql, args }) => this.database.rows(sql, args));
  }
}

/** Pages whose bytes differ; one that only one of the two has does. */
export function differingPages(a: Uint8Array, b: Uint8Array): Set<number> {
  const pages = new Set<number>();
  for (let page = 1; (page - 1) * PAGE < Math.max(a.length, b.length); page += 1) {
    const of = (bytes: Uint8Array) => bytes.subarray((page - 1) * PAGE, page * PAGE);
    if (Buffer.compare(of(a), of(b)) !== 0) pages.add(page);
  }
  return pages;
}
