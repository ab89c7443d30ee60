/**
 * What a spare thread does before it is known for which volume (engine-workers.ts): runs SQLite once over, on a database in memory, so that its
 * functions are compiled when the first client waits for its first row.
 */
import type { SqliteLibrary } from './sqlite-library.ts';

const OPEN_READWRITE_CREATE = 0x6;
const SCRIPT = `
PRAGMA page_size=4096; PRAGMA cache_size=-64;
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n REAL);
CREATE INDEX i ON t (n);
BEGIN; INSERT INTO t (name, n) VALUES ('a', 1.5), ('b', 2); UPDATE t SET n = n + 1 WHERE name = 'a'; COMMIT;
SELECT count(*), sum(n) FROM t;
SELECT a.name, upper(b.name) FROM t a JOIN t b ON a.id <= b.id WHERE a.n > 0 GROUP BY a.name ORDER BY b.n DESC LIMIT 5;
DELETE FROM t;
`;

export function warmUp(lib: SqliteLibrary): void {
  const { c } = lib;
  const rc = lib.withString(':memory:', (name) => c.sqlite3_open_v2(name, lib.out, OPEN_READWRITE_CREATE, 0));
  const db = lib.pointer(lib.out);
  if (rc === 0) lib.withString(SCRIPT, (at) => c.sqlite3_exec(db, at, 0, 0, 0));
  c.sqlite3_close_v2(db);
}
