/**
 * Random SQL through the engine and through plain SQLite: the same rows after every transaction, a sound database, and a log whose replay is
 * that database. Tiny caches, so that pages come from storage; VDL held back at random, so that states above it are kept.
 */
import { strict as assert } from 'node:assert';
import type { SqlValue } from '../../compute-node/engine/api.ts';
import { SqliteLibrary } from '../../compute-node/engine/worker/sqlite-library.ts';
import { PreparedStatement } from '../../compute-node/engine/worker/statement.ts';
import { CoreHarness } from './core-harness.ts';
import { hasStockSqlite, stockQuery } from './stock-sqlite.ts';

/** Mulberry32: small, seeded, good enough to choose statements. */
function chooser(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

interface Plain {
  run(sql: string): string | null;
  rows(sql: string): SqlValue[][];
}

/** The same build, without any of ours between. */
async function plainSqlite(): Promise<Plain> {
  const lib = await SqliteLibrary.load();
  const { c } = lib;
  lib.withString(':memory:', (name) => c.sqlite3_open_v2(name, lib.out, 0x6, 0));
  const db = lib.pointer(lib.out);
  return {
    run: (sql) =>
      lib.withString(sql, (at) => c.sqlite3_exec(db, at, 0, 0, 0)) === 0
        ? null
        : lib.string(c.sqlite3_errmsg(db)),
    rows: (sql) => {
      const rc = lib.withString(sql, (at, length) => c.sqlite3_prepare_v3(db, at, length, 0, lib.out, 0));
      if (rc !== 0) throw new Error(lib.string(c.sqlite3_errmsg(db)) ?? '');
      const prepared = new PreparedStatement(lib, lib.pointer(lib.out), 'other');
      const rows: SqlValue[][] = [];
      while (c.sqlite3_step(prepared.pointer) === 100) rows.push(prepared.row());
      prepared.finalize();
      return rows;
    },
  };
}

const TABLES = ['a', 'b', 'c'] as const;

function statement(pick: (below: number) => number): string {
  const table = TABLES[pick(TABLES.length)];
  const id = pick(400);
  const text = `'${'x'.repeat(pick(5) === 0 ? pick(9000) : pick(60))}${pick(1000)}'`;
  switch (pick(14)) {
    case 0:
      return `CREATE TABLE IF NOT EXISTS ${table} (id INTEGER PRIMARY KEY, k INTEGER, v TEXT)`;
    case 1:
      return `CREATE INDEX IF NOT EXISTS i${table}${pick(2)} ON ${table}(${pick(2) === 0 ? 'k' : 'v'})`;
    case 2:
      return pick(3) === 0 ? `DROP TABLE IF EXISTS ${table}` : `DROP INDEX IF EXISTS i${table}${pick(2)}`;
    case 3:
      return `DELETE FROM ${table} WHERE id BETWEEN ${id} AND ${id + pick(200)}`;
    case 4:
    case 5:
      return `UPDATE ${table} SET k = k + 1, v = ${text} WHERE id BETWEEN ${id} AND ${id + pick(20)}`;
    case 6:
      return `WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < ${1 + pick(200)}) INSERT OR REPLACE INTO ${table} SELECT i + ${id}, i, ${text} || i FROM g`;
    default:
      return `INSERT OR ${pick(2) === 0 ? 'REPLACE' : 'ABORT'} INTO ${table} VALUES (${id}, ${pick(100)}, ${text})`;
  }
}

/** Rejects when anything differs. */
export async function compareWithPlainSqlite(seed: number): Promise<void> {
  const pick = chooser(seed);
  const h = await CoreHarness.create({ limits: { pageCacheBytes: (4 + pick(40)) * 4096 } });
  const plain = await plainSqlite();
  const connections = [h.connect(), h.connect(), h.connect()];
  let isSchemaNew = false;
  let inTransaction = false;
  const both = (connection: number, sql: string): void => {
    // Outside of a transaction names are looked up at VDL: a table whose commit has not hardened is not there yet, for good reason.
    if (isSchemaNew && !inTransaction) h.volume.release();
    isSchemaNew = /^(CREATE|DROP|VACUUM)/.test(sql) || (isSchemaNew && inTransaction);
    if (/^(BEGIN|COMMIT|ROLLBACK$)/.test(sql)) inTransaction = sql.startsWith('BEGIN');
    const ours = h.errorOf(connection, sql)?.message ?? null;
    const theirs = plain.run(sql);
    assert.equal(ours === null, theirs === null, `seed ${seed}: ${sql}: ${ours} / ${theirs}`);
  };
  if (pick(3) === 0) both(connections[0] as number, 'PRAGMA auto_vacuum = INCREMENTAL');
  for (const table of TABLES)
    both(connections[0] as number, `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, k INTEGER, v TEXT)`);

  for (let round = 0; round < 60; round += 1) {
    if (pick(4) === 0) h.volume.hold();
    if (pick(3) === 0) h.volume.release();
    const writer = connections[pick(3)] as number;
    if (pick(3) === 0) {
      both(writer, statement(pick));
    } else {
      both(writer, pick(2) === 0 ? 'BEGIN' : 'BEGIN IMMEDIATE');
      const savepoint = pick(3) === 0;
      for (let i = pick(8); i >= 0; i -= 1) {
        if (savepoint && i === 3) both(writer, 'SAVEPOINT s');
        both(writer, statement(pick));
        if (savepoint && i === 1) both(writer, pick(2) === 0 ? 'ROLLBACK TO s' : 'RELEASE s');
      }
      both(writer, pick(4) === 0 ? 'ROLLBACK' : 'COMMIT');
    }
    if (pick(20) === 0) both(writer, 'VACUUM');
    if (pick(20) === 0) both(writer, 'PRAGMA incremental_vacuum(5)');
    if (pick(15) === 0) {
      const index = pick(3);
      h.disconnect(connections[index] as number);
      connections[index] = h.connect();
    }
    // A transaction reads the head, wherever VDL is.
    const reader = connections[pick(3)] as number;
    h.ok(reader, 'BEGIN');
    const sql = 'SELECT name FROM sqlite_schema ORDER BY name';
    assert.deepEqual(h.rows(reader, sql), plain.rows(sql), `seed ${seed}, round ${round}`);
    for (const [table] of h.rows(reader, "SELECT name FROM sqlite_schema WHERE type = 'table'")) {
      const rows = `SELECT id, k, v FROM ${table} ORDER BY id`;
      assert.deepEqual(h.rows(reader, rows), plain.rows(rows), `seed ${seed}, round ${round}`);
    }
    h.ok(reader, 'COMMIT');
  }
  h.volume.release();
  for (const connection of connections)
    assert.deepEqual(h.rows(connection, 'PRAGMA integrity_check'), [['ok']]);
  if (!hasStockSqlite) return;
  const file = h.volume.replay();
  assert.equal(stockQuery(file, 'PRAGMA integrity_check'), 'ok', `seed ${seed}`);
  const rows = stockQuery(file, 'SELECT name, sql FROM sqlite_schema ORDER BY name');
  assert.equal(
    rows,
    plain
      .rows('SELECT name, sql FROM sqlite_schema ORDER BY name')
      .map((row) => row.map((v) => v ?? '').join('|'))
      .join('\n'),
  );
}
