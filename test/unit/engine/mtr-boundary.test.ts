/** Design section 10: what becomes an MTR, and what never does. */
import { describe, expect, it } from 'vitest';
import { CoreHarness } from '../../support/core-harness.ts';
import { hasStockSqlite, stockQuery } from '../../support/stock-sqlite.ts';

async function withTable(limits = {}) {
  const h = await CoreHarness.create({ limits });
  const c = h.connect();
  h.ok(c, 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)');
  return { h, c, mtrs: () => h.volume.mtrs.length };
}

const FILL =
  'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<?) INSERT INTO t(v) SELECT hex(randomblob(200)) FROM g';

describe('the MTR boundary', () => {
  it('makes one MTR of one transaction, and its last record is the CPL', async () => {
    const { h, c, mtrs } = await withTable();
    const before = mtrs();
    h.ok(c, 'BEGIN', "INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')", 'COMMIT');
    expect(mtrs()).toBe(before + 1);
    expect(h.volume.mtrs.at(-1)?.cpl).toBe(h.volume.headLsn);
  });

  it('makes small deltas of a one-row update', async () => {
    const { h, c } = await withTable();
    h.ok(c, [FILL, 500n]);
    h.ok(c, "UPDATE t SET v = 'changed' WHERE id = 77");
    const changes = h.volume.mtrs.at(-1)?.mtr.changes ?? [];
    expect(changes.length).toBeLessThanOrEqual(5);
    expect(changes.every((change) => change.kind === 'delta')).toBe(true);
  });

  it('makes none of a transaction that changed nothing', async () => {
    const { h, c, mtrs } = await withTable();
    const before = mtrs();
    h.ok(c, 'BEGIN IMMEDIATE', 'COMMIT');
    h.ok(c, 'BEGIN EXCLUSIVE', 'SELECT * FROM t', 'COMMIT');
    h.ok(c, "UPDATE t SET v = 'x' WHERE id = 12345");
    h.ok(c, 'SELECT count(*) FROM t');
    expect(mtrs()).toBe(before);
  });

  it('makes none of a rollback, not even after the cache spilled', async () => {
    const { h, c, mtrs } = await withTable();
    h.ok(c, [FILL, 3000n]);
    // Free pages, which SQLite takes without journalling them.
    h.ok(c, 'DELETE FROM t WHERE id > 1000');
    const before = mtrs();
    const rows = h.rows(c, 'SELECT count(*), sum(id), max(v) FROM t');
    h.ok(c, 'BEGIN', [FILL, 3000n], "UPDATE t SET v = v || 'y'", 'ROLLBACK');
    expect(mtrs()).toBe(before);
    expect(h.rows(c, 'SELECT count(*), sum(id), max(v) FROM t')).toEqual(rows);
    expect(h.rows(c, 'PRAGMA integrity_check')).toEqual([['ok']]);
    // The same connection writes again, over what it had in its cache.
    h.ok(c, [FILL, 500n]);
    const other = h.connect();
    expect(h.rows(other, 'PRAGMA integrity_check')).toEqual([['ok']]);
    expect(h.rows(other, 'SELECT count(*) FROM t')).toEqual([[1500n]]);
  });

  it('rolls a failed statement back, keeps its transaction', async () => {
    const { h, c, mtrs } = await withTable();
    h.ok(c, [FILL, 300n]);
    h.ok(c, "INSERT INTO t VALUES (9001, 'taken')");
    const before = mtrs();
    h.ok(c, 'BEGIN', "INSERT INTO t VALUES (9002, 'kept')");
    const error = h.errorOf(c, "INSERT INTO t(v) SELECT v || 'z' FROM t UNION ALL SELECT 'taken'");
    expect(error).toMatchObject({ code: 'SQLITE_CONSTRAINT', extendedCode: 'SQLITE_CONSTRAINT_UNIQUE' });
    h.ok(c, 'COMMIT');
    expect(mtrs()).toBe(before + 1);
    expect(h.rows(h.connect(), 'SELECT count(*) FROM t')).toEqual([[302n]]);
  });

  it('honours savepoints, with spilled pages between', async () => {
    const { h, c } = await withTable();
    h.ok(c, [FILL, 1000n]);
    h.ok(c, 'BEGIN', 'SAVEPOINT a', "UPDATE t SET v = v || 'A'", 'SAVEPOINT b', [FILL, 1500n]);
    h.ok(
      c,
      'ROLLBACK TO b',
      "UPDATE t SET v = v || 'B' WHERE id % 2 = 0",
      'RELEASE b',
      'RELEASE a',
      'COMMIT',
    );
    const other = h.connect();
    expect(h.rows(other, "SELECT count(*), sum(v LIKE '%AB'), sum(v LIKE '%A') FROM t")).toEqual([
      [1000n, 500n, 500n],
    ]);
    expect(h.rows(other, 'PRAGMA integrity_check')).toEqual([['ok']]);
  });

  it('shrinks the database with VACUUM, in one MTR, and grows it again', async () => {
    const { h, c, mtrs } = await withTable();
    h.ok(c, [FILL, 3000n]);
    const large = h.rows(c, 'PRAGMA page_count')[0]?.[0] as bigint;
    h.ok(c, 'DELETE FROM t WHERE id > 20');
    const before = mtrs();
    h.ok(c, 'VACUUM');
    expect(mtrs()).toBe(before + 1);
    const small = h.rows(c, 'PRAGMA page_count')[0]?.[0] as bigint;
    expect(small).toBeLessThan(large / 10n);
    const other = h.connect();
    expect(h.rows(other, 'PRAGMA integrity_check')).toEqual([['ok']]);
    h.ok(c, [FILL, 3000n]);
    // Pages that lie beyond the base's size are images, whatever was there before the database shrank.
    const regrown = h.volume.mtrs.at(-1)?.mtr.changes.filter((change) => change.page > Number(small)) ?? [];
    expect(regrown.length).toBeGreaterThan(10);
    expect(regrown.every((change) => change.kind === 'image')).toBe(true);
    expect(h.rows(h.connect(), 'PRAGMA integrity_check')).toEqual([['ok']]);
    if (hasStockSqlite) expect(stockQuery(h.volume.replay(), 'PRAGMA integrity_check')).toBe('ok');
  });

  it('shrinks with auto_vacuum too', async () => {
    const h = await CoreHarness.create();
    const c = h.connect();
    h.ok(c, 'PRAGMA auto_vacuum = FULL', 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)', [
      FILL,
      2000n,
    ]);
    const large = h.rows(c, 'PRAGMA page_count')[0]?.[0] as bigint;
    h.ok(c, 'DELETE FROM t WHERE id > 5');
    expect(h.rows(c, 'PRAGMA page_count')[0]?.[0]).toBeLessThan(large / 4n);
    expect(h.rows(h.connect(), 'PRAGMA integrity_check')).toEqual([['ok']]);
    if (hasStockSqlite) expect(stockQuery(h.volume.replay(), 'PRAGMA integrity_check')).toBe('ok');
  });

  it('refuses a transaction past its limit before the commit, with the limit in the message', async () => {
    const { h, c, mtrs } = await withTable({ maxTransactionBytes: 100 * 4096 });
    h.ok(c, "INSERT INTO t VALUES (1, 'kept')");
    const before = mtrs();
    const error = h.errorOf(c, FILL, 5000n);
    expect(error).toMatchObject({ code: 'SQLITE_FULL' });
    expect(error?.message).toContain('100 pages');
    expect(mtrs()).toBe(before);
    // In a transaction: all of it is rolled back, as SQLite does when the disk is full.
    h.ok(c, 'BEGIN', "INSERT INTO t VALUES (2, 'lost')");
    expect(h.errorOf(c, FILL, 5000n)).toMatchObject({ code: 'SQLITE_FULL' });
    h.run(c, 'ROLLBACK');
    expect(h.rows(c, 'SELECT id, v FROM t')).toEqual([[1n, 'kept']]);
    h.ok(c, "INSERT INTO t VALUES (3, 'goes on')");
    expect(h.rows(h.connect(), 'PRAGMA integrity_check')).toEqual([['ok']]);
    expect(mtrs()).toBe(before + 1);
  });

  it('refuses at the commit too, where the last pages are written', async () => {
    // Few enough pages not to spill from SQLite's own cache, more than the limit.
    const { h, c, mtrs } = await withTable({ maxTransactionBytes: 20 * 4096 });
    const before = mtrs();
    h.ok(c, 'BEGIN', [FILL, 150n]);
    expect(h.errorOf(c, 'COMMIT')).toMatchObject({ code: 'SQLITE_FULL' });
    h.run(c, 'ROLLBACK');
    expect(mtrs()).toBe(before);
    expect(h.rows(c, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('refuses VACUUM of a database that is too large for one transaction', async () => {
    const { h, c } = await withTable({ maxTransactionBytes: 100 * 4096 });
    for (let i = 0; i < 20; i += 1) h.ok(c, [FILL, 30n]);
    expect(h.errorOf(c, 'VACUUM')).toMatchObject({
      code: 'SQLITE_FULL',
      message: expect.stringContaining('VACUUM'),
    });
  });

  it('keeps temporary tables out of the log', async () => {
    const { h, c, mtrs } = await withTable();
    const before = mtrs();
    h.ok(c, 'CREATE TEMP TABLE x (a)', 'INSERT INTO x VALUES (1)', 'SELECT * FROM x');
    expect(mtrs()).toBe(before);
    expect(h.errorOf(h.connect(), 'SELECT * FROM x')?.message).toContain('no such table');
  });
});
