/** `import { open } from 'tidemark'`: the package as its users get it, over storage nodes that it starts and over ones that run. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Client, OpenConfig } from '../../client/open.ts';
import { builtPackage } from '../support/client-target.ts';

const ROOT = resolve(import.meta.dirname, '../..');
let folder: string;
let directory: string;
let open: (config?: OpenConfig) => Promise<Client>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
  directory = join(folder, 'data');
  ({ open } = await builtPackage());
});

const running: Client[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((db) => db.close()));
});
async function opened(config: OpenConfig = {}): Promise<Client> {
  const db = await open({ directory, ...config });
  running.push(db);
  return db;
}

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program of a user's: where `tidemark` resolves as an installed package would. */
async function program(source: string): Promise<{ code: number | null; out: string; err: string }> {
  const path = join(folder, 'program.mjs');
  writeFileSync(path, source.replace("'tidemark'", JSON.stringify(join(ROOT, exportedPath()))));
  const child = spawn(process.execPath, [path, directory], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, out, err };
}

function exportedPath(): string {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    exports: { '.': { import: string; types: string } };
  };
  expect(readFileSync(join(ROOT, manifest.exports['.'].types), 'utf8')).toContain(
    'export declare function open',
  );
  return manifest.exports['.'].import;
}

describe('a volume in the process of its user', () => {
  it('runs a program to its end, and lets it end by itself', async () => {
    const { code, out, err } = await program(`
      import { open } from 'tidemark';
      const db = await open({ directory: process.argv[2] });
      await db.execute('CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT)');
      await db.batch([{ sql: 'INSERT INTO city (name) VALUES (?)', args: ['Lisbon'] }], 'write');
      console.log((await db.execute('SELECT name FROM city')).rows[0].name);
      await db.close();
    `);
    expect({ code, out, err }).toEqual({ code: 0, out: 'Lisbon\n', err: '' });
  });

  it('keeps what it wrote when the program ends without a word', async () => {
    const { code } = await program(`
      import { open } from 'tidemark';
      const db = await open({ directory: process.argv[2] });
      await db.execute("INSERT INTO city (name) VALUES ('Porto')");
      const tx = await db.transaction('write');
      await tx.execute("INSERT INTO city (name) VALUES ('Nowhere')");
      process.kill(process.pid, 'SIGKILL');
    `);
    expect(code).toBe(null);
    const db = await open({ directory });
    const { rows } = await db.execute('SELECT name FROM city ORDER BY id');
    expect(rows.map(({ name }) => name)).toEqual(['Lisbon', 'Porto']);
    await db.close();
  });

  it('refuses a directory that is in use, a volume there is not, and a volume that is held', async () => {
    const db = await open({ directory });
    await expect(open({ directory })).rejects.toMatchObject({ name: 'LibsqlError', code: 'IN_USE' });
    await expect(open({ directory, nodes: 'x' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(open({ nodes: 'x' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    const { nodes } = JSON.parse(readFileSync(join(directory, 'cluster.json'), 'utf8')) as {
      nodes: readonly { nodeId: string; az: string; port: number }[];
    };
    const running = nodes.map(({ nodeId, az, port }) => ({ nodeId, az, address: `127.0.0.1:${port}` }));
    await expect(open({ nodes: running })).rejects.toMatchObject({ code: 'VOLUME_HELD' });
    await expect(open({ nodes: running, volume: 'nowhere' })).rejects.toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    });
    const other = await open({ nodes: running, volume: 'other', create: true });
    await other.execute('CREATE TABLE t (a)');
    await expect(other.volume('main').execute('SELECT 1')).rejects.toMatchObject({ code: 'VOLUME_HELD' });
    await other.close();
    // Given back: whoever comes next need not wait until it is missed.
    expect((await db.volume('other').execute('SELECT count(*) AS n FROM t')).rows[0]!.n).toBe(0);
    await db.close();
  });

  it('closes, ends what is under way, and opens again', async () => {
    const db = await open({ directory, concurrency: 2 });
    const endless = db.execute(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n',
    );
    const waiting = [db.execute('SELECT 1'), db.execute('SELECT 2'), db.execute('SELECT 3')];
    const [ended, ...others] = [endless, ...waiting].map((call) =>
      call.then(
        () => 'done',
        ({ code }) => code,
      ),
    );
    await new Promise((done) => setTimeout(done, 200));
    await db.close();
    expect(await ended).toMatch(/STREAM_CLOSED|SQLITE_INTERRUPT|INTERRUPTED/);
    for (const other of others) expect(await other).toMatch(/done|CLIENT_CLOSED|STREAM_CLOSED/);
    await expect(db.execute('SELECT 1')).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
    db.reconnect();
    expect(db.closed).toBe(false);
    expect((await db.execute('SELECT count(*) AS n FROM city')).rows[0]!.n).toBe(2);
    await db.close();
  });

  it('reads at the level that was asked for, and the past', async () => {
    const db = await opened();
    await db.execute('CREATE TABLE level (a)');
    const session = db.volume('main', { consistency: 'session' });
    const snapshot = db.volume('main', { consistency: 'snapshot', intMode: 'bigint' });
    await session.execute('INSERT INTO level VALUES (1)');
    const count = 'SELECT count(*) AS n FROM level';
    expect((await session.execute(count)).rows[0]!.n).toBe(1);
    expect((await snapshot.execute(count)).rows[0]!.n).toBe(1n);
    await db.execute('CREATE SNAPSHOT one');
    const past = db.volume('main@one');
    await db.execute('DELETE FROM level');
    expect((await past.execute(count)).rows[0]!.n).toBe(1);
    await expect(past.execute('DELETE FROM level')).rejects.toMatchObject({ code: 'SQLITE_READONLY' });
  });

  it('goes back, and makes clones, by SQL', async () => {
    const db = await opened();
    await db.execute('CREATE TABLE rewound (a)');
    await db.execute('INSERT INTO rewound VALUES (1), (2), (3)');
    const count = async (client = db) =>
      (await client.execute('SELECT count(*) AS n FROM rewound')).rows[0]!.n;
    // Connections that are kept for the next call, and would still be the old engine's.
    await Promise.all(Array.from({ length: 8 }, () => count()));
    await db.execute('CREATE SNAPSHOT before');
    await db.execute('DELETE FROM rewound');
    await db.execute('CREATE CLONE copy');
    await db.execute("BACKTRACK TO 'before'");
    expect(await Promise.all(Array.from({ length: 8 }, () => count()))).toEqual(new Array(8).fill(3));
    expect(await count(db.volume('copy'))).toBe(0);
  });
});
