/** Programs: batches with conditions, scripts, descriptions, arguments, values, errors, interrupts. */
import { describe, expect, it } from 'vitest';
import type { Condition, Step } from '../../../compute-node/engine/api.ts';
import { CoreHarness, resultsOf, stepOf } from '../../support/core-harness.ts';

const ENDLESS = 'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g) SELECT max(i) FROM g';

async function withTable(limits = {}) {
  const h = await CoreHarness.create({ limits });
  const c = h.connect();
  h.ok(c, 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL, n NUMERIC(10, 2))');
  return { h, c };
}

function runSteps(h: CoreHarness, c: number, steps: readonly Step[]) {
  const run = h.start(c, { kind: 'steps', steps });
  h.finish(run);
  return { results: resultsOf(h.output(run), steps.length), output: h.output(run) };
}

describe('steps', () => {
  it('run under conditions over earlier ones, as Hrana has them', async () => {
    const { h, c } = await withTable();
    const when = (sql: string, condition: Condition | null): Step => ({ ...stepOf(sql), condition });
    const { results } = runSteps(h, c, [
      when('BEGIN', null),
      when("INSERT INTO t VALUES (1, 'a', 1)", { kind: 'ok', step: 0 }),
      when('INSERT INTO t VALUES (1, NULL, 1)', { kind: 'ok', step: 1 }),
      when('COMMIT', { kind: 'ok', step: 2 }),
      when('ROLLBACK', {
        kind: 'and',
        conds: [
          { kind: 'error', step: 2 },
          { kind: 'not', cond: { kind: 'is-autocommit' } },
        ],
      }),
      when('SELECT 1', {
        kind: 'or',
        conds: [
          { kind: 'ok', step: 3 },
          { kind: 'error', step: 3 },
        ],
      }),
      when('SELECT 2', { kind: 'not', cond: { kind: 'ok', step: 3 } }),
    ]);
    expect(results.map((r) => (r.skipped ? 'skipped' : r.error === null ? 'ok' : 'error'))).toEqual([
      'ok',
      'ok',
      'error',
      'skipped',
      'ok',
      'skipped',
      'ok',
    ]);
    expect(h.rows(c, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('report rows, columns with declared types, affected rows and rowids', async () => {
    const { h, c } = await withTable();
    const run = h.startSteps(
      c,
      "INSERT INTO t VALUES (5, 'a', 1), (6, 'b', 2.5)",
      'SELECT id, v, n, n + 1 AS m FROM t',
      'CREATE TABLE u (x)',
    );
    h.finish(run);
    const { events } = h.output(run);
    expect(events).toContainEqual(
      expect.objectContaining({
        kind: 'step-end',
        step: 0,
        affectedRows: 2,
        lastInsertRowid: 6n,
        rowsWritten: 2,
      }),
    );
    expect(events).toContainEqual({
      kind: 'step-begin',
      step: 1,
      columns: [
        { name: 'id', declaredType: 'INTEGER' },
        { name: 'v', declaredType: 'TEXT' },
        { name: 'n', declaredType: 'NUMERIC(10, 2)' },
        { name: 'm', declaredType: null },
      ],
    });
    expect(events).toContainEqual(
      expect.objectContaining({ kind: 'step-end', step: 1, affectedRows: 0, rowsRead: 2 }),
    );
    expect(events).toContainEqual(expect.objectContaining({ kind: 'step-end', step: 2, affectedRows: 0 }));
  });

  it('see a changed schema in statements they ran before', async () => {
    const { h, c } = await withTable();
    h.ok(c, "INSERT INTO t VALUES (1, 'a', 1)");
    expect(h.run(c, 'SELECT * FROM t')[0]?.columns).toEqual(['id', 'v', 'n']);
    h.ok(h.connect(), 'ALTER TABLE t ADD COLUMN more DEFAULT 7');
    const [result] = h.run(c, 'SELECT * FROM t');
    expect(result?.columns).toEqual(['id', 'v', 'n', 'more']);
    expect(result?.rows).toEqual([[1n, 'a', 1n, 7n]]);
  });

  it('post what RETURNING gives after the commit, in one covered piece', async () => {
    const { h, c } = await withTable();
    const run = h.startSteps(c, [
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<3000) INSERT INTO t SELECT i, hex(zeroblob(50)), i FROM g RETURNING *',
    ]);
    h.finish(run);
    expect(h.output(run).needsConfirmation).toEqual([false]);
    expect(resultsOf(h.output(run), 1)[0]?.rows.length).toBe(3000);
  });

  it('stream a large result in pieces, and wait for a slow client', async () => {
    const { h, c } = await withTable();
    h.ok(
      c,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<20000) INSERT INTO t SELECT i, hex(zeroblob(50)), i FROM g',
    );
    const run = h.startSteps(c, 'SELECT * FROM t');
    h.turn();
    const pieces = h.output(run).needsConfirmation.length;
    expect(pieces).toBeGreaterThan(3);
    expect(pieces).toBeLessThan(12);
    expect(h.isDone(run)).toBe(false);
    // Others are served meanwhile.
    expect(h.rows(h.connect(), 'SELECT count(*) FROM t')).toEqual([[20000n]]);
    for (let i = 0; i < 200 && !h.isDone(run); i += 1) {
      h.core.accept({ kind: 'credit', connection: c, run, bytes: 256 * 1024 });
      h.turn();
    }
    expect(h.isDone(run)).toBe(true);
    expect(resultsOf(h.output(run), 1)[0]?.rows.length).toBe(20000);
    expect(h.output(run).needsConfirmation.every((needs) => needs)).toBe(true);
  });

  it('take turns: a long result does not hold up others', async () => {
    const { h, c } = await withTable();
    h.tickMs = 0.5;
    const other = h.connect();
    const long = h.startSteps(
      c,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<5000) SELECT i FROM g',
    );
    const short = h.startSteps(other, 'SELECT 1');
    h.core.turn(5);
    h.core.turn(5);
    expect(h.isDone(short)).toBe(true);
    expect(h.isDone(long)).toBe(false);
    h.tickMs = 0;
    h.finish(long);
    expect(h.isDone(long)).toBe(true);
  });

  it('need confirmation exactly when no MTR of their own covers them', async () => {
    const { h, c } = await withTable();
    const confirmation = (...sql: string[]): boolean[] => {
      const run = h.startSteps(c, ...sql);
      h.finish(run);
      return h.output(run).needsConfirmation;
    };
    expect(confirmation("INSERT INTO t VALUES (1, 'a', 1)")).toEqual([false]);
    expect(confirmation('SELECT * FROM t')).toEqual([true]);
    expect(confirmation("UPDATE t SET v = 'b' WHERE id = 99")).toEqual([true]);
    expect(confirmation("UPDATE t SET v = 'a' WHERE id = 1", 'SELECT 1')).toEqual([true]);
    expect(confirmation('BEGIN', 'SELECT * FROM t', "UPDATE t SET v = 'c'", 'COMMIT')).toEqual([false]);
    expect(confirmation('BEGIN', "UPDATE t SET v = 'd'", 'SELECT * FROM t')).toEqual([true]);
    expect(confirmation('COMMIT')).toEqual([false]);
    expect(confirmation('BEGIN IMMEDIATE', 'COMMIT')).toEqual([true]);
    expect(confirmation('SELECT * FROM nowhere')).toEqual([true]);
    expect(confirmation("INSERT INTO t VALUES (2, 'b', 2)", "INSERT INTO t VALUES (2, 'b', 2)")).toEqual([
      true,
    ]);
    const script = (sql: string): boolean[] => {
      const run = h.start(c, { kind: 'script', sql });
      h.finish(run);
      return h.output(run).needsConfirmation;
    };
    expect(script("INSERT INTO t VALUES (7, 'b', 2); SELECT 1")).toEqual([true]);
    expect(script("SELECT 1; INSERT INTO t VALUES (8, 'b', 2);")).toEqual([false]);
    expect(script('SELECT * FROM nowhere')).toEqual([true]);
  });
});

describe('arguments and values', () => {
  it('round-trip through every type', async () => {
    const { h, c } = await withTable();
    const values = [
      null,
      0n,
      -1n,
      2n ** 63n - 1n,
      -(2n ** 63n),
      1.5,
      -0.0,
      1e308,
      '',
      'a\u0000b',
      'naïve 🐟',
      'x'.repeat(100_000),
      new Uint8Array(0),
      new Uint8Array(100_000).fill(7),
    ];
    for (const value of values) expect(h.rows(c, 'SELECT ?', value)).toEqual([[value]]);
    expect(h.rows(c, 'SELECT typeof(?)', 3)).toEqual([['real']]);
    expect(h.rows(c, 'SELECT ?', Number.NaN)).toEqual([[null]]);
    expect(h.rows(c, 'SELECT ?', Number.POSITIVE_INFINITY)).toEqual([[Number.POSITIVE_INFINITY]]);
    expect(h.rows(c, "SELECT CAST(x'ff41' AS TEXT)")).toEqual([['\ufffdA']]);
  });

  it('bind by name, with or without its prefix, and by position', async () => {
    const { h, c } = await withTable();
    const bound = (sql: string, args: Step['statement']['args'], namedArgs: Step['statement']['namedArgs']) =>
      runSteps(h, c, [{ statement: { sql, args, namedArgs, wantRows: true }, condition: null }]).results[0];
    expect(
      bound(
        'SELECT :a, @b, $c',
        [],
        [
          { name: 'a', value: 1n },
          { name: '@b', value: 2n },
          { name: '$c', value: 3n },
        ],
      )?.rows,
    ).toEqual([[1n, 2n, 3n]]);
    expect(bound('SELECT ?2, ?1', ['one', 'two'], [])?.rows).toEqual([['two', 'one']]);
    expect(bound('SELECT :a, ?', [8n, 9n], [])?.rows).toEqual([[8n, 9n]]);
    expect(bound('SELECT ?, ?', [1n], [])?.error?.code).toBe('ARGS_INVALID');
    expect(bound('SELECT :missing', [], [])?.error).toMatchObject({
      code: 'ARGS_INVALID',
      message: 'no value for parameter :missing',
    });
    expect(bound('SELECT ?', [1n, 2n], [])?.error?.code).toBe('ARGS_INVALID');
    expect(bound('SELECT ?', [2n ** 63n], [])?.error?.code).toBe('ARGS_INVALID');
  });

  it('wantRows false runs the statement and gives no rows', async () => {
    const { h, c } = await withTable();
    const { results } = runSteps(h, c, [
      {
        statement: {
          sql: "INSERT INTO t VALUES (1, 'a', 1) RETURNING id",
          args: [],
          namedArgs: [],
          wantRows: false,
        },
        condition: null,
      },
    ]);
    expect(results[0]).toMatchObject({ rows: [], affectedRows: 1, error: null });
  });
});

describe('errors', () => {
  it("carry SQLite's names, and point at the place", async () => {
    const { h, c } = await withTable();
    expect(h.errorOf(c, 'SELECT * FORM t')).toEqual({
      code: 'SQLITE_ERROR',
      extendedCode: null,
      message: 'near "FORM": syntax error',
      offset: 9,
    });
    expect(h.errorOf(c, "SELECT 'é', nope FROM t")).toMatchObject({
      message: 'no such column: nope',
      offset: 13,
    });
    expect(h.errorOf(c, 'INSERT INTO t VALUES (1, NULL, 1)')).toMatchObject({
      code: 'SQLITE_CONSTRAINT',
      extendedCode: 'SQLITE_CONSTRAINT_NOTNULL',
      message: 'NOT NULL constraint failed: t.v',
    });
    expect(h.errorOf(c, 'SELECT 1; SELECT 2')?.code).toBe('SQL_MANY_STATEMENTS');
    expect(h.errorOf(c, ' -- nothing\n ')?.code).toBe('SQL_NO_STATEMENT');
    expect(h.errorOf(c, '')?.code).toBe('SQL_NO_STATEMENT');
    expect(h.rows(c, 'SELECT 1; -- and no more\n /* really */ ;')).toEqual([[1n]]);
    expect(h.errorOf(c, 'COMMIT')).toMatchObject({
      code: 'SQLITE_ERROR',
      message: 'cannot commit - no transaction is active',
    });
  });

  it('of storage say why, and leave the connection usable', async () => {
    const { h, c } = await withTable({ pageCacheBytes: 4096 });
    h.ok(c, "INSERT INTO t VALUES (1, 'a', 1)");
    h.pageError = { code: 'NO_QUORUM', message: 'no segment could serve page 2' };
    const other = h.connect();
    expect(h.errorOf(other, 'SELECT * FROM t')).toMatchObject({
      code: 'NO_QUORUM',
      extendedCode: expect.stringContaining('SQLITE_IOERR'),
      message: 'no segment could serve page 2',
    });
    h.pageError = null;
    expect(h.rows(other, 'SELECT id FROM t')).toEqual([[1n]]);
  });

  it('of storage in the middle of a write roll it back', async () => {
    const { h, c } = await withTable({ pageCacheBytes: 4096 });
    h.ok(
      c,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<5000) INSERT INTO t SELECT i, hex(zeroblob(50)), i FROM g',
    );
    const mtrs = h.volume.mtrs.length;
    h.pageError = { code: 'GONE', message: 'below the floor' };
    expect(h.errorOf(c, "UPDATE t SET v = 'z'")).toMatchObject({ code: 'GONE' });
    h.pageError = null;
    expect(h.volume.mtrs.length).toBe(mtrs);
    expect(h.rows(c, "SELECT count(*) FROM t WHERE v = 'z'")).toEqual([[0n]]);
    expect(h.rows(c, 'PRAGMA integrity_check')).toEqual([['ok']]);
  });
});

describe('scripts and descriptions', () => {
  it('a script stops at its first error and keeps what was done', async () => {
    const { h, c } = await withTable();
    expect(h.script(c, "INSERT INTO t VALUES (1, 'a', 1); -- one\n INSERT INTO t VALUES (2, 'b', 2);")).toBe(
      null,
    );
    expect(
      h.script(
        c,
        "INSERT INTO t VALUES (3, 'c', 3); INSERT INTO t VALUES (3, 'd', 4); INSERT INTO t VALUES (5, 'e', 5)",
      ),
    ).toMatchObject({ code: 'SQLITE_CONSTRAINT' });
    expect(h.script(c, '')).toBe(null);
    expect(h.script(c, ';;; /* */')).toBe(null);
    expect(h.rows(c, 'SELECT id FROM t')).toEqual([[1n], [2n], [3n]]);
    expect(
      h.script(
        c,
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET v = 'x;y'; SELECT 1; END; INSERT INTO t VALUES (9, 'z', 0)",
      ),
    ).toBe(null);
    expect(h.rows(c, 'SELECT DISTINCT v FROM t')).toEqual([['x;y']]);
  });

  it('a description names parameters and columns and runs nothing', async () => {
    const { h, c } = await withTable();
    const described = (sql: string) => {
      const run = h.start(c, { kind: 'describe', sql });
      h.finish(run);
      return h.output(run).done;
    };
    expect(described('SELECT id, v AS name FROM t WHERE id = :id AND n > ?')?.description).toEqual({
      parameters: [{ name: ':id' }, { name: null }],
      columns: [
        { name: 'id', declaredType: 'INTEGER' },
        { name: 'name', declaredType: 'TEXT' },
      ],
      isExplain: false,
      isReadonly: true,
    });
    expect(described('DELETE FROM t')?.description).toMatchObject({ isReadonly: false });
    expect(described('EXPLAIN SELECT 1')?.description).toMatchObject({ isExplain: true });
    expect(described('SELECT * FROM nowhere')?.error).toMatchObject({ code: 'SQLITE_ERROR' });
  });
});

describe('interrupts and limits', () => {
  it('an interrupt stops a running statement; what follows in the program does not run', async () => {
    const { h, c } = await withTable();
    const run = h.startSteps(c, ENDLESS, "INSERT INTO t VALUES (1, 'a', 1)");
    h.interrupted.set(c, run);
    h.finish(run);
    const [endless, insert] = resultsOf(h.output(run), 2);
    expect(endless?.error).toMatchObject({ code: 'SQLITE_INTERRUPT' });
    expect(insert?.error).toMatchObject({ code: 'SQLITE_INTERRUPT' });
    expect(h.rows(c, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('an interrupted transaction can still be rolled back by the same program', async () => {
    const { h, c } = await withTable();
    h.ok(c, 'BEGIN IMMEDIATE');
    const run = h.startSteps(c, ENDLESS, 'ROLLBACK');
    h.interrupted.set(c, run);
    h.finish(run);
    expect(resultsOf(h.output(run), 2)[1]?.error).toBe(null);
    h.ok(h.connect(), "INSERT INTO t VALUES (1, 'a', 1)");
  });

  it('a cancelled program that waits for the lock leaves the queue', async () => {
    const { h, c } = await withTable();
    const other = h.connect();
    h.ok(other, 'BEGIN IMMEDIATE');
    const run = h.startSteps(c, "INSERT INTO t VALUES (1, 'a', 1)");
    const queued = h.startSteps(c, "INSERT INTO t VALUES (2, 'a', 1)");
    h.turn();
    h.core.accept({ kind: 'cancel', connection: c, run: queued });
    h.core.accept({ kind: 'cancel', connection: c, run });
    h.turn();
    expect(resultsOf(h.output(run), 1)[0]?.error?.code).toBe('SQLITE_INTERRUPT');
    expect(h.isDone(queued)).toBe(true);
    h.ok(other, 'COMMIT');
    expect(h.rows(c, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('a statement past its time limit is stopped', async () => {
    const { h, c } = await withTable({ statementTimeoutMs: 1_000 });
    h.tickMs = 1;
    const error = h.errorOf(c, ENDLESS);
    h.tickMs = 0;
    expect(error).toMatchObject({ code: 'SQLITE_INTERRUPT', message: expect.stringContaining('time limit') });
  });

  it('waiting for the writer lock does not count as running', async () => {
    const { h, c } = await withTable({ statementTimeoutMs: 100, busyTimeoutMs: 10_000 });
    const other = h.connect();
    h.ok(other, 'BEGIN IMMEDIATE');
    const run = h.startSteps(c, "INSERT INTO t VALUES (1, 'a', 1)");
    h.turn();
    h.nowMs += 5_000;
    h.turn();
    h.ok(other, 'COMMIT');
    h.finish(run);
    expect(resultsOf(h.output(run), 1)[0]?.error).toBe(null);
  });

  it('SQL text and values past their limits are refused', async () => {
    const { h, c } = await withTable({ maxSqlBytes: 1_000, maxRowBytes: 2_000 });
    expect(h.errorOf(c, `SELECT '${'x'.repeat(1_000)}'`)).toMatchObject({ code: 'SQLITE_TOOBIG' });
    expect(h.errorOf(c, 'SELECT zeroblob(5000)')).toMatchObject({ code: 'SQLITE_TOOBIG' });
    expect(h.errorOf(c, 'SELECT ?', 'x'.repeat(5_000))).toMatchObject({ code: 'SQLITE_TOOBIG' });
    expect(h.errorOf(c, 'SELECT ?', 'x'.repeat(50_000))).toMatchObject({ code: 'SQLITE_TOOBIG' });
  });
});

describe('many connections', () => {
  it('share a bounded number of SQLite handles, and keep what is theirs', async () => {
    const { h } = await withTable();
    const temporary = h.connect();
    h.ok(temporary, 'CREATE TEMP TABLE mine (x)', 'INSERT INTO mine VALUES (42)');
    const open = h.connect();
    h.ok(open, 'BEGIN', "INSERT INTO t VALUES (100000, 'open', 0)");
    const all = Array.from({ length: 600 }, () => h.connect());
    for (const c of all) h.ok(c, 'SELECT 1');
    h.ok(open, 'COMMIT');
    for (const [i, c] of all.entries()) h.ok(c, ["INSERT INTO t VALUES (?, 'a', 0)", BigInt(i + 1)]);
    expect(h.core.handles).toBeLessThanOrEqual(256);
    for (const [i, c] of all.entries())
      expect(h.rows(c, 'SELECT last_insert_rowid()')).toEqual([[BigInt(i + 1)]]);
    expect(h.rows(temporary, 'SELECT x FROM mine')).toEqual([[42n]]);
    // What a client has seen, it goes on to see, with another handle too.
    const writer = all[0] as number;
    h.volume.hold();
    h.ok(writer, "UPDATE t SET v = 'new' WHERE id = 1");
    for (const c of all.slice(1)) h.ok(c, 'SELECT 1');
    expect(h.rows(writer, 'SELECT v FROM t WHERE id = 1')).toEqual([['new']]);
    expect(h.rows(all[1] as number, 'SELECT v FROM t WHERE id = 1')).toEqual([['a']]);
  });

  it('cannot take more memory than there is for them', async () => {
    const { h, c } = await withTable({ maxTransactionBytes: 1024 * 1024 });
    h.ok(c, 'CREATE TEMP TABLE hog (x)');
    const error = h.errorOf(
      c,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<40) INSERT INTO hog SELECT zeroblob(10000000) FROM g',
    );
    expect(error?.code).toBe('SQLITE_NOMEM');
    h.ok(c, "INSERT INTO t VALUES (1, 'a', 1)");
    expect(h.rows(h.connect(), 'SELECT id FROM t')).toEqual([[1n]]);
  }, 120_000);
});

describe('the page cache', () => {
  it('stays within its limit in the middle of a statement, also of the first one', async () => {
    const filled = await withTable();
    filled.h.ok(
      filled.c,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<5000) INSERT INTO t SELECT i, hex(zeroblob(200)), i FROM g',
    );
    const { volume } = filled.h;
    const pageCacheBytes = 100 * 4096;
    const h = await CoreHarness.create({ limits: { pageCacheBytes }, volume });
    let most = 0;
    h.onFetch = () => {
      most = Math.max(most, h.core.statistics.cacheBytes);
    };
    expect(h.rows(h.connect(), 'SELECT count(v) FROM t')).toEqual([[5000n]]);
    expect(volume.pagesRead).toBeGreaterThan(400);
    expect(most).toBeLessThanOrEqual(pageCacheBytes);
  });
});

describe('policy', () => {
  it('refuses what reaches outside or breaks the database', async () => {
    const { h, c } = await withTable();
    for (const sql of [
      "ATTACH ':memory:' AS x",
      "ATTACH '' AS x",
      'ATTACH ?1 AS x',
      'DETACH main',
      "VACUUM INTO '/tmp/x'",
      'PRAGMA writable_schema = ON',
      'PRAGMA hard_heap_limit = 1000',
      "PRAGMA temp_store_directory = '/tmp'",
    ]) {
      const error = h.run(c, sql.includes('?') ? [sql, 'x'] : sql)[0]?.error;
      expect(error?.code, sql).toBe('SQLITE_AUTH');
      expect(error?.message, sql).toContain('not available');
    }
    expect(h.errorOf(c, "SELECT load_extension('x')")).not.toBe(null);
    expect(h.errorOf(c, "UPDATE sqlite_schema SET sql = 'x'")).not.toBe(null);
    expect(h.errorOf(c, 'UPDATE sqlite_dbpage SET data = zeroblob(4096) WHERE pgno = 1')).not.toBe(null);
  });

  it('answers PRAGMAs about files with the one value there is', async () => {
    const { h, c } = await withTable();
    const answer = (sql: string) => h.rows(c, sql)[0]?.[0];
    expect(answer('PRAGMA journal_mode = WAL')).toBe('memory');
    expect(answer('PRAGMA journal_mode = OFF')).toBe('memory');
    expect(answer('PRAGMA journal_mode')).toBe('memory');
    expect(answer('PRAGMA locking_mode = EXCLUSIVE')).toBe('normal');
    expect(answer('PRAGMA mmap_size = 1000000')).toBe('0');
    expect(answer('PRAGMA synchronous = OFF')).toBe(undefined);
    expect(answer('PRAGMA synchronous')).toBe('2');
    expect(answer('PRAGMA cache_size = 100000')).toBe(undefined);
    expect(h.errorOf(c, 'PRAGMA page_size = 1024')?.message).toContain('page_size is always 4096');
    expect(answer('PRAGMA page_size')).toBe(4096n);
    h.ok(c, 'PRAGMA foreign_keys = ON');
    expect(answer('PRAGMA foreign_keys')).toBe(1n);
    expect(h.rows(h.connect(), 'PRAGMA foreign_keys')).toEqual([[0n]]);
  });

  it('hands no connection on with traces of its last client', async () => {
    const { h, c } = await withTable();
    h.ok(c, 'PRAGMA foreign_keys = ON', 'CREATE TEMP TABLE secret (x)', "INSERT INTO t VALUES (77, 'a', 1)");
    h.disconnect(c);
    const d = h.connect();
    expect(h.rows(d, 'SELECT count(*) FROM sqlite_temp_schema')).toEqual([[0n]]);
    expect(h.rows(d, 'PRAGMA foreign_keys')).toEqual([[0n]]);
    h.ok(d, 'BEGIN', "INSERT INTO t VALUES (78, 'a', 1)");
    h.disconnect(d);
    const e = h.connect();
    expect(h.rows(e, 'SELECT last_insert_rowid(), count(*) FROM t')).toEqual([[0n, 1n]]);
  });

  it('has full-text search, R-trees, JSON and mathematics', async () => {
    const { h, c } = await withTable();
    h.ok(
      c,
      'CREATE VIRTUAL TABLE f USING fts5(body)',
      "INSERT INTO f VALUES ('quick brown fox'), ('lazy dog')",
    );
    expect(h.rows(c, "SELECT body FROM f WHERE f MATCH 'fox'")).toEqual([['quick brown fox']]);
    h.ok(c, 'CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)', 'INSERT INTO r VALUES (1, 0, 10)');
    expect(h.rows(c, 'SELECT id FROM r WHERE x1 > 5')).toEqual([[1n]]);
    expect(h.rows(c, `SELECT json_extract('{"a":[1,2]}', '$.a[1]'), floor(pi()), "quoted"`)).toEqual([
      [2n, 3, 'quoted'],
    ]);
  });
});
