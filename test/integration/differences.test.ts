/** What moments differ in, and rows brought back, through real processes: the storage nodes' index of changes, engines at fixed points, administration. */
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PlainDatabase } from '../support/diff-database.ts';
import { RealCluster } from '../support/real-cluster.ts';
import { ChangesetApplier } from '../../compute-node/engine/worker/apply-changeset.ts';

const NUMBERS = 'with recursive n(value) as (select 1 union all select value + 1 from n where value < 2000)';

let cluster: RealCluster;
let main: Client;

beforeAll(async () => {
  cluster = await RealCluster.start({ pgPages: 16 });
  main = client('main');
  await main.batch([
    'create table city (id integer primary key, name text not null, notes text)',
    'create table tag (city integer, tag text, primary key (city, tag)) without rowid',
    `${NUMBERS} insert into city select value, 'city ' || value, printf('%.*c', value % 900, 'x') from n`,
    `${NUMBERS} insert into tag select value, 'tag ' || (value % 7) from n`,
  ]);
});

afterAll(() => cluster.destroy());

function client(path: string): Client {
  return createClient({ url: `${cluster.url()}/${path}/` });
}

async function post(path: string, body: object): Promise<Response> {
  return fetch(`${cluster.url()}/-/${path}`, { method: 'POST', body: JSON.stringify(body) });
}

/** The newest LSN of main that a client has seen. */
async function lsnNow(): Promise<number> {
  const response = await fetch(`${cluster.url()}/main/v2/pipeline`, {
    method: 'POST',
    body: JSON.stringify({ requests: [{ type: 'execute', stmt: { sql: 'select count(*) from city' } }] }),
  });
  await response.text();
  return Number(response.headers.get('tidemark-lsn'));
}

interface Line {
  readonly kind: string;
  readonly [name: string]: unknown;
}

async function diff(from: string, to: string, table?: string): Promise<readonly Line[]> {
  const response = await post('diff', { from, to, ...(table === undefined ? {} : { table }) });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

async function databaseAt(moment: string): Promise<PlainDatabase> {
  const past = client(`main@${moment}`);
  const database = await PlainDatabase.open();
  const { rows: schema } = await past.execute('select sql from sqlite_schema where sql is not null');
  for (const { sql } of schema) database.run(String(sql));
  for (const table of ['city', 'tag']) {
    const { rows, columns } = await past.execute(`select * from ${table}`);
    const places = columns.map((_, index) => `?${index + 1}`).join(', ');
    for (const row of rows)
      database.rows(
        `insert into ${table} values (${places})`,
        columns.map((name) => plain(row[name])),
      );
  }
  past.close();
  return database;
}

const plain = (value: unknown) => (typeof value === 'number' ? BigInt(value) : (value as string | null));

function contents(database: PlainDatabase): unknown {
  return [
    database.rows('select * from city order by id'),
    database.rows('select * from tag order by city, tag'),
  ];
}

describe('what two moments differ in', () => {
  let before: number;

  beforeAll(async () => {
    before = await lsnNow();
    await main.batch([
      "update city set name = 'changed ' || id where id in (7, 1007)",
      'delete from city where id = 1500',
      "insert into city values (5000, 'new', printf('%.*c', 9000, 'y'))",
      "insert into tag values (7, 'another')",
      'create index city_name on city (name)',
    ]);
  });

  it('is told row by row, and schema', async () => {
    const lines = await diff(`main@lsn:${before}`, 'main');
    const rows = lines.filter(({ kind }) => ['insert', 'update', 'delete'].includes(kind));
    expect(rows.map(({ kind, table, key }) => [kind, table, key])).toEqual(
      expect.arrayContaining([
        ['update', 'city', [7]],
        ['update', 'city', [1007]],
        ['delete', 'city', [1500]],
        ['insert', 'city', [5000]],
        ['insert', 'tag', [7, 'another']],
      ]),
    );
    expect(rows).toHaveLength(5);
    expect(lines[0]).toMatchObject({ kind: 'schema', change: 'created', type: 'index', name: 'city_name' });
    expect(lines.at(-1)).toMatchObject({ kind: 'end', comparedInFull: [] });
  });

  it('looks at few pages, and is the other way round the other way round', async () => {
    const lines = await diff('main', `main@lsn:${before}`, 'tag');
    expect(lines).toMatchObject([
      { kind: 'table', table: 'tag', keyColumns: ['city', 'tag'] },
      { kind: 'delete', key: [7, 'another'] },
      { kind: 'end' },
    ]);
    await main.execute("update city set notes = 'touched' where id = 3");
    const again = await diff(`main@lsn:${await lsnNow()}`, 'main');
    expect(again).toMatchObject([{ kind: 'end', changedPages: 0 }]);
  });

  it('is nothing between a moment and itself', async () => {
    expect(await diff(`main@lsn:${before}`, `main@lsn:${before}`)).toMatchObject([
      { kind: 'end', changedPages: 0 },
    ]);
  });

  it('comes as a changeset that SQLite applies', async () => {
    const response = await post('diff', { from: `main@lsn:${before}`, to: 'main', format: 'changeset' });
    expect(response.headers.get('tidemark-rows')).toBe('6');
    expect(response.headers.get('tidemark-schema-changes')).toBe('1');
    const changeset = new Uint8Array(await response.arrayBuffer());
    const database = await databaseAt(`lsn:${before}`);
    const { lib, db } = database;
    expect(new ChangesetApplier(lib).apply(db, changeset, 'abort')).toMatchObject({ code: 0, conflicts: [] });
    const now = await databaseAt(`lsn:${await lsnNow()}`);
    expect(contents(database)).toEqual(contents(now));
  });

  it('is refused in words for what is no moment', async () => {
    expect((await post('diff', { from: 'main@lsn:999999999', to: 'main' })).status).not.toBe(200);
    expect(await (await post('diff', { from: 'nobody', to: 'main' })).json()).toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    });
  });
});

describe('rows brought back', () => {
  it('are there again, and the rest is as it was', async () => {
    const before = await lsnNow();
    await main.batch([
      'delete from city where id between 100 and 199',
      "update city set name = 'other' where id = 200",
    ]);
    const select = 'SELECT * FROM city WHERE id BETWEEN 100 AND 199';
    const dry = await (
      await post('restore-rows', { from: `main@lsn:${before}`, select, dryRun: true })
    ).json();
    expect(dry).toMatchObject({ applied: false, found: 100, inserted: 100, different: 0 });
    expect(
      (await main.execute('select count(*) as n from city where id between 100 and 199')).rows[0]?.n,
    ).toBe(0);
    const done = await (await post('restore-rows', { from: `main@lsn:${before}`, select })).json();
    expect(done).toMatchObject({ applied: true, inserted: 100, unchanged: 0 });
    const left = (await diff(`main@lsn:${before}`, 'main')).filter(
      ({ kind }) => kind === 'update' || kind === 'insert' || kind === 'delete',
    );
    expect(left).toMatchObject([{ kind: 'update', key: [200] }]);
  });

  it('overwrite only when that is asked for', async () => {
    const before = await lsnNow();
    await main.execute("update city set name = 'wrong' where id in (300, 301)");
    const wish = {
      from: `main@lsn:${before}`,
      select: 'select * from city c where c.id < 303 and c.id >= 300;',
    };
    expect(await (await post('restore-rows', wish)).json()).toMatchObject({
      applied: false,
      different: 2,
      unchanged: 1,
      differentKeys: [[300], [301]],
    });
    expect(await (await post('restore-rows', { ...wish, overwrite: true })).json()).toMatchObject({
      applied: true,
      overwritten: 2,
    });
    expect(await diff(`main@lsn:${before}`, 'main')).toMatchObject([{ kind: 'end' }]);
  });

  it('come from one table, and from the past', async () => {
    const codeOf = async (body: object) =>
      ((await (await post('restore-rows', body)).json()) as { code: string }).code;
    const lsn = await lsnNow();
    expect(await codeOf({ from: 'main', select: 'select * from city' })).toBe('BAD_REQUEST');
    expect(await codeOf({ from: `main@lsn:${lsn}`, select: 'delete from city' })).toBe('BAD_REQUEST');
    expect(await codeOf({ from: `main@lsn:${lsn}`, select: 'select * from nothing' })).toBe('BAD_REQUEST');
    expect(await codeOf({ from: `main@lsn:${lsn}`, select: 'select * from city where nonsense' })).toBe(
      'BAD_REQUEST',
    );
  });
});
