/** Read points, the writer lock and what waits for what (design section 4, "On the writer's engine"). */
import { describe, expect, it } from 'vitest';
import { CoreHarness, resultsOf } from '../../support/core-harness.ts';

async function withRows(limits = {}) {
  const h = await CoreHarness.create({ limits });
  const [a, b] = [h.connect(), h.connect()];
  h.ok(a, 'CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)', 'INSERT INTO t VALUES (1, 10), (2, 20)');
  return { h, a, b };
}

describe('read points', () => {
  it('an autocommit read sees VDL, not what is handed over above it', async () => {
    const { h, a, b } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    expect(h.rows(b, 'SELECT v FROM t')).toEqual([[10n], [20n]]);
    h.volume.release();
    expect(h.rows(b, 'SELECT v FROM t')).toEqual([[11n], [20n]]);
  });

  it('a client sees its own write at once, and its output depends on it', async () => {
    const { h, a } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    const run = h.startSteps(a, 'SELECT v FROM t WHERE id = 1');
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]?.rows).toEqual([[11n]]);
    expect(h.output(run).lsn).toBe(h.volume.headLsn);
    expect(h.output(run).lsn).toBeGreaterThan(h.volume.vdl);
  });

  it('who has seen the head keeps seeing at least that', async () => {
    const { h, a, b } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    // A zero-row update reads the head.
    const run = h.startSteps(b, 'UPDATE t SET v = 0 WHERE id = 99');
    h.finish(run);
    expect(h.output(run).lsn).toBe(h.volume.headLsn);
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[11n]]);
  });

  it('a handle that is lent on does not carry what its last client had seen', async () => {
    const { h, a } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    h.disconnect(a);
    const next = h.connect();
    const run = h.startSteps(next, 'SELECT v FROM t WHERE id = 1');
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]?.rows).toEqual([[10n]]);
    expect(h.output(run).lsn).toBe(h.volume.vdl);
  });

  it('a transaction reads one state, whatever is committed meanwhile', async () => {
    const { h, a, b } = await withRows();
    h.ok(b, 'BEGIN');
    expect(h.rows(b, 'SELECT sum(v) FROM t')).toEqual([[30n]]);
    h.ok(a, 'UPDATE t SET v = v * 100', 'CREATE TABLE u (x)');
    expect(h.rows(b, 'SELECT sum(v) FROM t')).toEqual([[30n]]);
    expect(h.errorOf(b, 'SELECT * FROM u')?.message).toContain('no such table');
    h.ok(b, 'COMMIT');
    expect(h.rows(b, 'SELECT sum(v) FROM t')).toEqual([[3000n]]);
    expect(h.rows(b, 'SELECT * FROM u')).toEqual([]);
  });

  it('a deferred transaction reads the newest handed-over state', async () => {
    const { h, a, b } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    h.ok(b, 'BEGIN');
    const run = h.startSteps(b, 'SELECT v FROM t WHERE id = 1');
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]?.rows).toEqual([[11n]]);
    expect(h.output(run).lsn).toBe(h.volume.headLsn);
    // So it may write: nobody came in between.
    h.ok(b, 'UPDATE t SET v = v + 1 WHERE id = 1', 'COMMIT');
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[12n]]);
  });

  it('refuses a stale snapshot that wants to write, as WAL mode does', async () => {
    const { h, a, b } = await withRows();
    h.ok(b, 'BEGIN');
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[10n]]);
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    const mtrs = h.volume.mtrs.length;
    expect(h.errorOf(b, 'UPDATE t SET v = v + 1 WHERE id = 1')).toMatchObject({
      code: 'SQLITE_BUSY',
      extendedCode: 'SQLITE_BUSY_SNAPSHOT',
    });
    // It goes on reading, and holds up nobody.
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[10n]]);
    h.ok(a, 'UPDATE t SET v = 12 WHERE id = 1');
    h.run(b, 'COMMIT');
    expect(h.volume.mtrs.length).toBe(mtrs + 1);
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[12n]]);
  });

  it('a snapshot that grows stale while it waits for the lock is refused', async () => {
    const { h, a, b } = await withRows();
    h.ok(a, 'BEGIN IMMEDIATE', 'UPDATE t SET v = 11 WHERE id = 1');
    h.ok(b, 'BEGIN');
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[10n]]);
    const run = h.startSteps(b, 'UPDATE t SET v = v + 1 WHERE id = 1');
    h.turn();
    expect(h.isDone(run)).toBe(false);
    h.ok(a, 'COMMIT');
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]?.error?.extendedCode).toBe('SQLITE_BUSY_SNAPSHOT');
    // The lock is free.
    h.ok(a, 'UPDATE t SET v = 13 WHERE id = 1');
  });

  it('a transaction declared read-only reads what is durable and cannot write', async () => {
    const { h, a, b } = await withRows();
    h.volume.hold();
    h.ok(a, 'UPDATE t SET v = 11 WHERE id = 1');
    h.ok(b, 'BEGIN TRANSACTION READONLY');
    expect(h.rows(b, 'SELECT v FROM t WHERE id = 1')).toEqual([[10n]]);
    expect(h.errorOf(b, 'DELETE FROM t')).toMatchObject({ code: 'SQLITE_READONLY' });
    h.ok(b, 'COMMIT');
    h.ok(b, 'BEGIN', 'DELETE FROM t WHERE id = 2', 'COMMIT');
  });

  it('a read-only connection cannot write, and waits for nobody', async () => {
    const { h, a } = await withRows();
    const r = h.connect(true);
    h.ok(a, 'BEGIN IMMEDIATE');
    expect(h.errorOf(r, 'DELETE FROM t')).toMatchObject({ code: 'SQLITE_READONLY' });
    // SQLite makes a plain read transaction of it on a read-only database.
    h.ok(r, 'BEGIN IMMEDIATE', 'COMMIT');
    expect(h.rows(r, 'SELECT count(*) FROM t')).toEqual([[2n]]);
    expect(h.errorOf(r, 'CREATE TABLE x (a)')).toMatchObject({ code: 'SQLITE_READONLY' });
  });

  it('gives a consistent view over many pages while others write', async () => {
    const { h, a, b } = await withRows({ pageCacheBytes: 40 * 4096 });
    h.ok(
      a,
      'WITH RECURSIVE g(i) AS (SELECT 3 UNION ALL SELECT i+1 FROM g WHERE i<3000) INSERT INTO t SELECT i, 0 FROM g',
    );
    h.ok(b, 'BEGIN');
    const before = h.rows(b, 'SELECT count(*), sum(v) FROM t');
    for (let i = 0; i < 5; i += 1) h.ok(a, 'UPDATE t SET v = v + 1');
    // Old versions were evicted; they come from storage again, at the transaction's read point.
    expect(h.rows(b, 'SELECT count(*), sum(v) FROM t')).toEqual(before);
    h.ok(b, 'COMMIT');
    expect(h.rows(b, 'SELECT sum(v) FROM t')).toEqual([[(before[0]?.[1] as bigint) + 5n * 3000n]]);
  });
});

describe('the writer lock', () => {
  it('is given first come first served, and waits in the scheduler', async () => {
    const { h, a } = await withRows();
    h.ok(a, 'BEGIN IMMEDIATE', 'INSERT INTO t VALUES (100, 0)');
    const others = [h.connect(), h.connect(), h.connect()];
    const runs = others.map((c, i) => h.startSteps(c, `INSERT INTO t(v) VALUES (${i})`));
    h.turn();
    expect(runs.map((run) => h.isDone(run))).toEqual([false, false, false]);
    h.ok(a, 'COMMIT');
    h.turn();
    expect(runs.map((run) => h.isDone(run))).toEqual([true, true, true]);
    expect(h.rows(a, 'SELECT v FROM t WHERE id > 100 ORDER BY id')).toEqual([[0n], [1n], [2n]]);
  });

  it('a reader is not held up by it', async () => {
    const { h, a, b } = await withRows();
    h.ok(a, 'BEGIN IMMEDIATE', 'DELETE FROM t');
    expect(h.rows(b, 'SELECT count(*) FROM t')).toEqual([[2n]]);
  });

  it('ends in SQLITE_BUSY after the busy timeout, saying who and how long', async () => {
    const { h, a, b } = await withRows({ busyTimeoutMs: 700 });
    h.ok(a, 'BEGIN IMMEDIATE');
    const start = h.nowMs;
    const error = h.errorOf(b, 'DELETE FROM t');
    expect(error?.code).toBe('SQLITE_BUSY');
    expect(error?.message).toMatch(/database is locked.*open transaction of connection 1.*700 ms/);
    expect(h.nowMs - start).toBe(700);
    h.ok(a, 'COMMIT');
    h.ok(b, 'DELETE FROM t');
  });

  it('takes PRAGMA busy_timeout as the bound, up to the limit', async () => {
    const { h, a, b } = await withRows({ busyTimeoutMs: 700 });
    h.ok(a, 'BEGIN IMMEDIATE');
    expect(h.rows(b, 'PRAGMA busy_timeout = 50')).toEqual([['50']]);
    const start = h.nowMs;
    expect(h.errorOf(b, 'DELETE FROM t')?.code).toBe('SQLITE_BUSY');
    expect(h.nowMs - start).toBe(50);
    expect(h.rows(b, 'PRAGMA busy_timeout = 0')).toEqual([['0']]);
    expect(h.errorOf(b, 'DELETE FROM t')?.code).toBe('SQLITE_BUSY');
    expect(h.rows(b, 'PRAGMA busy_timeout = 99999')).toEqual([['700']]);
  });

  it('is let go when its holder disconnects, and left when a waiter does', async () => {
    const { h, a, b } = await withRows();
    h.ok(a, 'BEGIN IMMEDIATE', 'INSERT INTO t VALUES (100, 0)');
    const c = h.connect();
    const waiting = h.startSteps(b, 'INSERT INTO t VALUES (101, 0)');
    const next = h.startSteps(c, 'INSERT INTO t VALUES (102, 0)');
    h.turn();
    h.disconnect(b);
    expect(h.output(waiting).done).not.toBe(null);
    h.disconnect(a);
    h.turn();
    expect(h.isDone(next)).toBe(true);
    expect(h.rows(c, 'SELECT id FROM t WHERE id >= 100')).toEqual([[102n]]);
  });

  it('is not kept after a failed statement outside of a transaction', async () => {
    const { h, a, b } = await withRows();
    expect(h.errorOf(a, 'INSERT INTO t VALUES (1, 1)')?.code).toBe('SQLITE_CONSTRAINT');
    h.ok(b, 'DELETE FROM t');
  });

  it('waits for a volume that takes no writes, and fails with NO_QUORUM', async () => {
    const { h, a, b } = await withRows();
    h.writable = false;
    const run = h.startSteps(a, 'DELETE FROM t');
    h.turn();
    expect(h.isDone(run)).toBe(false);
    expect(h.newsWanted).toBe(true);
    expect(h.rows(b, 'SELECT count(*) FROM t')).toEqual([[2n]]);
    h.writable = true;
    h.core.accept({ kind: 'news' });
    h.turn();
    expect(h.isDone(run)).toBe(true);
    h.writable = false;
    expect(h.errorOf(a, 'DELETE FROM t')).toMatchObject({ code: 'NO_QUORUM' });
    // What is open may be committed: its MTR was counted on already.
    h.writable = true;
    h.ok(a, 'BEGIN', 'INSERT INTO t VALUES (5, 5)');
    h.writable = false;
    h.ok(a, 'COMMIT');
  });
});

describe('a volume that takes no writes', () => {
  it('is what every writer is told, not that another one is in its way', async () => {
    const { h, a, b } = await withRows({ busyTimeoutMs: 100 });
    h.writable = false;
    const runs = [h.startSteps(a, 'DELETE FROM t'), h.startSteps(b, 'DELETE FROM t')];
    for (const run of runs) h.finish(run);
    expect(runs.map((run) => resultsOf(h.output(run), 1)[0]?.error?.code)).toEqual([
      'NO_QUORUM',
      'NO_QUORUM',
    ]);
  });

  it('starts no write when it stops while one stands in line', async () => {
    const { h, a, b } = await withRows({ busyTimeoutMs: 100_000 });
    h.ok(a, 'BEGIN IMMEDIATE', 'INSERT INTO t VALUES (9, 9)');
    const run = h.startSteps(b, 'DELETE FROM t');
    h.turn();
    h.writable = false;
    h.ok(a, 'COMMIT');
    h.turn();
    expect(h.isDone(run)).toBe(false);
    h.writable = true;
    h.core.accept({ kind: 'news' });
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]).toMatchObject({ error: null, affectedRows: 3 });
  });
});

describe('a transaction that stays open too long', () => {
  it('is rolled back while idle; its statements are refused until it is ended', async () => {
    const { h, a, b } = await withRows({ transactionTimeoutMs: 5_000, busyTimeoutMs: 60_000 });
    h.ok(a, 'BEGIN', 'DELETE FROM t');
    const waiting = h.startSteps(b, 'INSERT INTO t VALUES (3, 30)');
    h.turn();
    expect(h.core.nextDeadlineMs).not.toBe(null);
    h.nowMs += 5_000;
    h.turn();
    expect(h.messages).toContainEqual({ kind: 'transaction-lost', connection: a });
    expect(h.isDone(waiting)).toBe(true);
    const [insert, commit] = h.run(a, 'INSERT INTO t VALUES (4, 40)', 'COMMIT');
    expect(insert?.error?.code).toBe('TRANSACTION_TIMEOUT');
    expect(commit?.error?.code).toBe('TRANSACTION_TIMEOUT');
    expect(h.rows(a, 'SELECT id FROM t')).toEqual([[1n], [2n], [3n]]);
  });

  it('a ROLLBACK is a success then, and a BEGIN starts over', async () => {
    const { h, a } = await withRows({ transactionTimeoutMs: 5_000 });
    h.ok(a, 'BEGIN', 'DELETE FROM t');
    h.nowMs += 5_000;
    h.turn();
    h.ok(a, 'ROLLBACK');
    h.ok(a, 'BEGIN', 'DELETE FROM t WHERE id = 1');
    h.nowMs += 5_000;
    h.turn();
    h.ok(a, 'BEGIN', 'DELETE FROM t WHERE id = 2', 'COMMIT');
    expect(h.rows(a, 'SELECT id FROM t')).toEqual([[1n]]);
  });

  it('is stopped in the middle of a statement', async () => {
    const { h, a } = await withRows({ transactionTimeoutMs: 5_000 });
    h.ok(a, 'BEGIN', 'DELETE FROM t WHERE id = 1');
    h.tickMs = 1;
    const error = h.errorOf(
      a,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g) SELECT max(i) FROM g',
    );
    h.tickMs = 0;
    expect(error?.code).toBe('TRANSACTION_TIMEOUT');
    expect(h.errorOf(a, 'SELECT 1')?.code).toBe('TRANSACTION_TIMEOUT');
    h.ok(a, 'ROLLBACK');
    expect(h.rows(a, 'SELECT count(*) FROM t')).toEqual([[2n]]);
  });
});
