/** Whole database files in and out. What comes out is judged by the stock sqlite3 tool where there is one. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Engine, EngineConnection, TransferProgress } from '../../../compute-node/engine/api.ts';
import { openEngine } from '../../../compute-node/engine/engine.ts';
import { stepOf, testLimits } from '../../support/core-harness.ts';
import { engineWorkerUrl } from '../../support/engine-worker.ts';
import { MemoryVolume } from '../../support/memory-volume.ts';
import { hasStockSqlite, stockQuery } from '../../support/stock-sqlite.ts';

const opened: Engine[] = [];
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-transfer-'));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((engine) => engine.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function open(volume = new MemoryVolume()) {
  const engine = await openEngine({ volume, workerUrl: engineWorkerUrl, limits: testLimits });
  opened.push(engine);
  return { volume, engine, connection: await engine.connect({ readonly: false }) };
}

async function rows(connection: EngineConnection, sql: string): Promise<unknown[]> {
  const result: unknown[] = [];
  await connection.run([stepOf(sql)], {
    consistency: 'strong',
    onEvent: (event) => {
      if (event.kind === 'step-error') throw new Error(`${event.error.code}: ${event.error.message}`);
      if (event.kind === 'rows') result.push(...event.rows);
    },
  });
  return result;
}

async function exported(engine: Engine): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of engine.exportDatabase()) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

/** A database file made by the stock tool. */
function stockFile(name: string, ...sql: readonly string[]): string {
  const path = join(folder, name);
  const { status, stderr } = spawnSync('sqlite3', [path, ...sql], { encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  return path;
}

const FILL =
  'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX tv ON t(v); INSERT INTO t SELECT value, hex(randomblob(100)) FROM generate_series(1, 5000);';
const SUMMARY = 'SELECT count(*), sum(id), max(v), group_concat(substr(v, 1, 2)) FROM t WHERE id % 50 = 0';

/** The file becomes shorter as soon as the import's first MTR is handed over. */
function failHalfWay(volume: MemoryVolume, path: string): { submitted(): number } {
  const before = volume.mtrs.length;
  const submit = volume.submit.bind(volume);
  volume.submit = (mtr) => {
    if (mtr.changes.length > 200) truncateSync(path, 4096 * 10);
    return submit(mtr);
  };
  return { submitted: () => volume.mtrs.length - before };
}

describe('export', () => {
  it('gives the database at one read point, whatever is written meanwhile', async () => {
    const { engine, connection } = await open();
    expect((await exported(engine)).length).toBe(0);
    await rows(connection, 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)');
    await rows(
      connection,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<20000) INSERT INTO t SELECT i, hex(zeroblob(50)) FROM g',
    );
    const progress: TransferProgress[] = [];
    const chunks: Uint8Array[] = [];
    for await (const chunk of engine.exportDatabase((p) => progress.push(p))) {
      chunks.push(chunk);
      await rows(connection, 'UPDATE t SET v = v || 1 WHERE id % 100 = 0');
    }
    const file = new Uint8Array(Buffer.concat(chunks));
    expect(progress.at(-1)).toEqual({ doneBytes: file.length, totalBytes: file.length });
    if (!hasStockSqlite) return;
    expect(
      stockQuery(file, 'PRAGMA integrity_check; PRAGMA journal_mode; SELECT count(*), max(length(v)) FROM t'),
    ).toBe('ok\ndelete\n20000|100');
  });

  it('gives only what is durable', async () => {
    const { engine, connection, volume } = await open();
    await rows(connection, 'CREATE TABLE t (x)');
    volume.hold();
    connection
      .run([stepOf('CREATE TABLE u (x)')], { consistency: 'strong', onEvent: () => {} })
      .catch(() => {});
    while (volume.mtrs.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    const file = await exported(engine);
    if (hasStockSqlite) expect(stockQuery(file, '.tables')).toBe('t');
    volume.release();
  });
});

describe.runIf(hasStockSqlite)('import', () => {
  it('takes a file over page by page, and gives it back', async () => {
    const path = stockFile('a.sqlite', FILL);
    const { engine, connection, volume } = await open();
    const progress: TransferProgress[] = [];
    const { pages, lsn } = await engine.importDatabase(path, (p) => progress.push(p));
    expect(lsn).toBe(volume.headLsn);
    expect(progress.at(-1)?.doneBytes).toBe(pages * 4096);
    const here = (await rows(connection, SUMMARY))[0] as unknown[];
    expect(here.join('|')).toBe(stockQuery(readFileSync(path), SUMMARY));
    expect(await rows(connection, 'PRAGMA integrity_check')).toEqual([['ok']]);
    await rows(connection, "UPDATE t SET v = 'changed' WHERE id = 7");
    const file = await exported(engine);
    expect(
      stockQuery(file, 'PRAGMA integrity_check; SELECT v FROM t WHERE id = 7; SELECT count(*) FROM t'),
    ).toBe('ok\nchanged\n5000');
    // Page 1 is in the very last MTR of the import and in no other.
    const importing = volume.mtrs.filter(({ cpl }) => cpl <= lsn);
    expect(importing.length).toBeGreaterThan(1);
    expect(importing.map(({ mtr }) => mtr.changes.some((c) => c.page === 1))).toEqual(
      importing.map((_, i) => i === importing.length - 1),
    );
  });

  it('shows nothing before its end, and nothing if it fails half-way', async () => {
    const path = stockFile('a.sqlite', FILL);
    const { engine, connection, volume } = await open();
    const failing = failHalfWay(volume, path);
    await expect(engine.importDatabase(path)).rejects.toMatchObject({ code: 'IO_ERROR' });
    expect(failing.submitted()).toBeGreaterThanOrEqual(1);
    expect(await rows(connection, 'SELECT count(*) FROM sqlite_schema')).toEqual([[0n]]);
    expect((await exported(engine)).length).toBe(0);
    await rows(connection, 'CREATE TABLE mine (x)');
    expect(await rows(connection, 'PRAGMA integrity_check')).toEqual([['ok']]);
    expect(stockQuery(await exported(engine), 'PRAGMA integrity_check')).toBe('ok');
  });

  it('writes over nothing that the volume still has, should it fail half-way', async () => {
    const path = stockFile('a.sqlite', FILL);
    const { engine, connection, volume } = await open();
    // The list of free pages begins where the import writes first.
    for (const table of ['a', 'b']) {
      await rows(connection, `CREATE TABLE ${table} (x)`);
      await rows(connection, `INSERT INTO ${table} VALUES (zeroblob(1500000))`);
    }
    await rows(connection, 'DROP TABLE b');
    await rows(connection, 'DROP TABLE a');
    failHalfWay(volume, path);
    await expect(engine.importDatabase(path)).rejects.toMatchObject({ code: 'IO_ERROR' });
    // Anew, with nothing in any cache.
    await engine.close();
    const again = await open(volume);
    await rows(again.connection, 'CREATE TABLE mine (x)');
    await rows(again.connection, 'INSERT INTO mine VALUES (zeroblob(2500000))');
    expect(await rows(again.connection, 'PRAGMA integrity_check')).toEqual([['ok']]);
    expect(stockQuery(await exported(again.engine), 'PRAGMA integrity_check')).toBe('ok');
  });

  it('holds writers off, and every connection sees the new database after', async () => {
    const path = stockFile('a.sqlite', FILL);
    const { engine, connection, volume } = await open();
    // The same schema cookie and change counter as the file's, by chance or not.
    await rows(connection, 'CREATE TABLE old (x)');
    await rows(connection, 'CREATE INDEX oldx ON old(x)');
    await rows(connection, 'INSERT INTO old VALUES (zeroblob(100000))');
    await rows(connection, 'PRAGMA user_version = 5');
    await rows(connection, 'DROP TABLE old');
    const other = await engine.connect({ readonly: false });
    expect(await rows(other, 'SELECT count(*) FROM sqlite_schema')).toEqual([[0n]]);
    let writing: Promise<unknown> | null = null;
    await engine.importDatabase(path, () => {
      writing ??= rows(other, 'CREATE TABLE late (x)');
    });
    await writing;
    for (const c of [connection, other, await engine.connect({ readonly: true })]) {
      expect(await rows(c, 'SELECT name FROM sqlite_schema ORDER BY name')).toEqual([
        ['late'],
        ['t'],
        ['tv'],
      ]);
      expect(await rows(c, 'SELECT count(*) FROM t')).toEqual([[5000n]]);
      expect(await rows(c, 'PRAGMA integrity_check')).toEqual([['ok']]);
    }
    expect(stockQuery(volume.replay(), 'PRAGMA integrity_check')).toBe('ok');
  });

  it('is seen even where all that SQLite compares is the same', async () => {
    const { engine, connection } = await open();
    await rows(connection, 'PRAGMA user_version = 5');
    expect(await rows(connection, 'PRAGMA user_version')).toEqual([[5n]]);
    // One page, one transaction: change counter, size and free list are those of the volume.
    await engine.importDatabase(stockFile('one.sqlite', 'PRAGMA user_version = 7'));
    expect(await rows(connection, 'PRAGMA user_version')).toEqual([[7n]]);
  });

  it('refuses a volume with tables', async () => {
    const path = stockFile('a.sqlite', FILL);
    const { engine, connection } = await open();
    await rows(connection, 'CREATE TABLE t (x)');
    await expect(engine.importDatabase(path)).rejects.toMatchObject({ code: 'NOT_EMPTY' });
    // And lets the lock go.
    await rows(connection, 'INSERT INTO t VALUES (1)');
  });

  it('brings other page sizes, reserved bytes and write-ahead-log mode to ours', async () => {
    const files = [
      stockFile('small.sqlite', 'PRAGMA page_size = 512', FILL),
      stockFile('large.sqlite', 'PRAGMA page_size = 65536', FILL),
      stockFile('reserved.sqlite', '.filectrl reserve_bytes 32', FILL),
      stockFile(
        'wal.sqlite',
        'PRAGMA page_size = 4096',
        'PRAGMA journal_mode = WAL',
        FILL,
        'PRAGMA wal_checkpoint(TRUNCATE)',
      ),
      stockFile(
        'walsmall.sqlite',
        'PRAGMA page_size = 1024',
        'PRAGMA journal_mode = WAL',
        FILL,
        'PRAGMA wal_checkpoint(TRUNCATE)',
      ),
      stockFile('vacuum.sqlite', 'PRAGMA auto_vacuum = FULL', FILL, 'DELETE FROM t WHERE id > 3000'),
    ];
    for (const path of files) {
      const expected = stockQuery(readFileSync(path), SUMMARY);
      const { engine, connection } = await open();
      await engine.importDatabase(path);
      expect(((await rows(connection, SUMMARY))[0] as unknown[]).join('|'), path).toBe(expected);
      await rows(connection, "INSERT INTO t(v) VALUES ('more')");
      const file = await exported(engine);
      expect(stockQuery(file, 'PRAGMA integrity_check; PRAGMA page_size; PRAGMA journal_mode'), path).toBe(
        'ok\n4096\ndelete',
      );
      expect(file[20], path).toBe(0);
    }
  }, 120_000);

  it('says what is wrong with a file, and what to do', async () => {
    const good = stockFile('good.sqlite', FILL);
    const bad = (name: string, change: (bytes: Buffer) => Buffer | undefined): string => {
      const path = join(folder, name);
      const bytes = readFileSync(good);
      writeFileSync(path, change(bytes) ?? bytes);
      return path;
    };
    const cases: [string, string, string][] = [
      [join(folder, 'nowhere.sqlite'), 'IO_ERROR', 'cannot be read'],
      [folder, 'NOT_A_DATABASE', 'regular file'],
      [
        bad('text.sqlite', () => Buffer.from('CREATE TABLE t (x);\n'.repeat(50))),
        'NOT_A_DATABASE',
        'does not begin',
      ],
      [bad('empty.sqlite', () => Buffer.alloc(0)), 'NOT_A_DATABASE', 'shorter'],
      [bad('odd.sqlite', (b) => b.subarray(0, b.length - 100)), 'CORRUPT', 'no whole number'],
      [bad('cut.sqlite', (b) => b.subarray(0, 4096 * 5)), 'CORRUPT', 'cut off'],
      [
        bad('pagesize.sqlite', (b) => {
          b.writeUInt16BE(777, 16);
          return b;
        }),
        'CORRUPT',
        'page size',
      ],
      [
        bad('freelist.sqlite', (b) => {
          b.writeUInt32BE(99_999_999, 36);
          return b;
        }),
        'CORRUPT',
        'free pages',
      ],
      [
        bad('inside.sqlite', (b) => {
          b.fill(0xff, 4096 * 3, 4096 * 4);
          return b;
        }),
        'CORRUPT',
        'check',
      ],
      [
        bad('schema.sqlite', (b) => {
          b.fill(0xff, 100, 200);
          return b;
        }),
        'CORRUPT',
        '',
      ],
    ];
    const { engine, connection, volume } = await open();
    for (const [path, code, text] of cases) {
      const error = await engine.importDatabase(path).then(
        () => null,
        (e) => e,
      );
      expect(error, path).toMatchObject({ code, message: expect.stringContaining(text) });
      expect(error.nextStep, path).toBeTruthy();
    }
    const wal = bad('withwal.sqlite', () => undefined);
    writeFileSync(`${wal}-wal`, 'x');
    await expect(engine.importDatabase(wal)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('-wal'),
    });
    const hot = bad('hot.sqlite', () => undefined);
    writeFileSync(`${hot}-journal`, Buffer.from('d9d505f920a163d70000', 'hex'));
    await expect(engine.importDatabase(hot)).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      message: expect.stringContaining('-journal'),
    });
    // A journal that was committed by zeroing its header is cold.
    writeFileSync(`${hot}-journal`, Buffer.alloc(600));
    expect(volume.mtrs.length).toBe(0);
    await engine.importDatabase(hot);
    expect(await rows(connection, 'SELECT count(*) FROM t')).toEqual([[5000n]]);
    copyFileSync(good, join(folder, 'again.sqlite'));
    await expect(engine.importDatabase(join(folder, 'again.sqlite'))).rejects.toMatchObject({
      code: 'NOT_EMPTY',
    });
  }, 120_000);
});
