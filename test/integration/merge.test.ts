/** Clones merged into what they were made from: three-way, in one transaction, through changesets; real processes. */
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealCluster } from '../support/real-cluster.ts';

const NUMBERS = 'with recursive n(value) as (select 1 union all select value + 1 from n where value < 1000)';

let cluster: RealCluster;
let main: Client;

beforeAll(async () => {
  cluster = await RealCluster.start({ pgPages: 16 });
  main = client('main');
  await main.batch([
    'create table city (id integer primary key, name text not null, notes text)',
    `${NUMBERS} insert into city select value, 'city ' || value, printf('%.*c', value % 400, 'x') from n`,
  ]);
});

afterAll(() => cluster.destroy());

function client(path: string): Client {
  return createClient({ url: `${cluster.url()}/${path}/` });
}

async function merge(body: object): Promise<Record<string, unknown>> {
  const response = await fetch(`${cluster.url()}/-/merge`, { method: 'POST', body: JSON.stringify(body) });
  return (await response.json()) as Record<string, unknown>;
}

/** The newest LSN of the volume that a client has seen. */
async function lsnOf(volume: string): Promise<number> {
  const body = JSON.stringify({
    requests: [{ type: 'execute', stmt: { sql: 'select count(*) from city' } }],
  });
  const response = await fetch(`${cluster.url()}/${volume}/v2/pipeline`, { method: 'POST', body });
  await response.text();
  return Number(response.headers.get('tidemark-lsn'));
}

interface Told {
  readonly kind: string;
  readonly key: unknown;
}

/** Rows alone. */
async function differing(from: string, to: string): Promise<readonly Told[]> {
  const body = JSON.stringify({ from, to, table: 'city' });
  const response = await fetch(`${cluster.url()}/-/diff`, { method: 'POST', body });
  const lines = (await response.text()).trim().split('\n');
  const told = lines.map((line) => JSON.parse(line) as Told);
  return told.filter(({ kind }) => kind === 'insert' || kind === 'update' || kind === 'delete');
}

async function rowsOf(from: Client, sql: string): Promise<unknown[][]> {
  const { rows, columns } = await from.execute(sql);
  return rows.map((row) => columns.map((name) => row[name]));
}

describe('a clone merged into what it was made from', () => {
  it('brings its changes over, those of one row that do not meet too', async () => {
    await main.execute('create clone dev from main');
    const dev = client('dev');
    await dev.batch([
      "update city set name = 'in dev' where id = 400",
      'delete from city where id = 401',
      "insert into city values (6000, 'from dev', null)",
      'create table note (text)',
      "insert into note values ('made in dev')",
    ]);
    await main.batch([
      "update city set notes = 'in main' where id = 400",
      "update city set name = 'main' where id = 402",
    ]);
    const dry = await merge({ from: 'dev', into: 'main', dryRun: true });
    expect(dry).toMatchObject({ applied: false, conflictCount: 0, unsettled: 0 });
    expect(await rowsOf(main, 'select id from city where id in (401, 6000)')).toEqual([[401]]);
    const merged = await merge({ from: 'dev', into: 'main' });
    expect(merged).toMatchObject({
      applied: true,
      tables: [
        { table: 'city', inserts: 1, updates: 1, deletes: 1 },
        { table: 'note', inserts: 1, updates: 0, deletes: 0 },
      ],
      schema: [{ kind: 'created', type: 'table', name: 'note' }],
    });
    expect(
      await rowsOf(main, 'select id, name, notes from city where id in (400, 401, 402, 6000)'),
    ).toMatchObject([
      [400, 'in dev', 'in main'],
      [402, 'main', 'xx'],
      [6000, 'from dev', null],
    ]);
    expect(await rowsOf(main, 'select text from note')).toEqual([['made in dev']]);
    expect(await merge({ from: 'dev', into: 'main' })).toMatchObject({ applied: true, conflictCount: 0 });
    dev.close();
  });

  it('stops at what both changed, unless told whose word counts', async () => {
    await main.execute('create clone work from main');
    const work = client('work');
    await work.batch([
      "update city set name = 'work' where id in (500, 501)",
      'delete from city where id = 502',
      "insert into city values (7000, 'work', null)",
      "update city set name = 'fine' where id = 503",
    ]);
    await main.batch([
      "update city set name = 'main' where id in (500, 502)",
      'delete from city where id = 501',
      "insert into city values (7000, 'main', null)",
    ]);
    const contents = () =>
      rowsOf(main, 'select id, name from city where id in (500, 501, 502, 503, 7000) order by id');
    const before = await contents();
    const refused = await merge({ from: 'work', into: 'main' });
    expect(refused).toMatchObject({ applied: false, conflictCount: 4, unsettled: 4, lsn: null });
    expect(
      (refused.conflicts as { kind: string; key: unknown }[]).map(({ kind, key }) => [kind, key]),
    ).toEqual(
      expect.arrayContaining([
        ['changed', [500]],
        ['gone', [501]],
        ['changed', [502]],
        ['exists', [7000]],
      ]),
    );
    expect(await contents()).toEqual(before);
    await main.execute('create clone mine from main');
    const mine = client('mine');
    expect(await merge({ from: 'work', into: 'mine', policy: 'ours' })).toMatchObject({ applied: true });
    expect(
      await rowsOf(mine, 'select id, name from city where id in (500, 501, 502, 503, 7000) order by id'),
    ).toEqual([
      [500, 'main'],
      [502, 'main'],
      [503, 'fine'],
      [7000, 'main'],
    ]);
    expect(await merge({ from: 'work', into: 'main', policy: 'theirs' })).toMatchObject({ applied: true });
    expect(await contents()).toEqual([
      [500, 'work'],
      [501, 'work'],
      [503, 'fine'],
      [7000, 'work'],
    ]);
    mine.close();
    work.close();
  });

  it('does not fire triggers again, nor leave references without their row', async () => {
    await main.batch([
      'create table parent (id integer primary key)',
      'create table child (id integer primary key, parent integer references parent on delete cascade)',
      'create table log (what text)',
      "create trigger noted after insert on child begin insert into log values ('child ' || new.id); end",
      'insert into parent values (1), (2)',
    ]);
    await main.execute('create clone family from main');
    const family = client('family');
    await family.execute('insert into child values (10, 1), (20, 2)');
    expect(await merge({ from: 'family', into: 'main' })).toMatchObject({ applied: true });
    expect(await rowsOf(main, 'select what from log')).toEqual([['child 10'], ['child 20']]);
    await family.execute('insert into child values (30, 2)');
    await main.batch(['delete from child where parent = 2', 'delete from parent where id = 2']);
    const refused = await merge({ from: 'family', into: 'main', policy: 'ours' });
    expect(refused).toMatchObject({
      applied: false,
      conflicts: expect.arrayContaining([expect.objectContaining({ kind: 'foreign-key' })]),
    });
    expect(await rowsOf(main, 'select id from child')).toEqual([[10]]);
    family.close();
  });

  it('refuses what cannot be merged, in words', async () => {
    const codeOf = async (body: object) => (await merge(body)).code;
    expect(await codeOf({ from: 'dev', into: 'main@-1s' })).toBe('BAD_REQUEST');
    expect(await codeOf({ from: 'dev', into: 'main', policy: 'mine' })).toBe('BAD_REQUEST');
    expect(await codeOf({ from: 'nobody', into: 'main' })).toBe('VOLUME_NOT_FOUND');
    const dev = client('dev');
    await dev.execute('alter table note add column more text');
    dev.close();
    expect(await codeOf({ from: 'dev', into: 'main' })).toBe('MERGE_CONFLICT');
  });

  it('works between clones whose parent is gone, and tells what they differ in', async () => {
    await main.execute('create clone parent from main');
    const parent = client('parent');
    await parent.execute('create clone left from parent');
    await parent.execute('create clone right from parent');
    const [left, right] = [client('left'), client('right')];
    await left.execute("update city set name = 'left' where id = 600");
    await right.execute("update city set name = 'right' where id in (601, 602)");
    parent.close();
    await main.execute('drop volume parent');
    const told = await differing('left', 'right');
    expect(told.map(({ kind, key }) => [kind, key])).toEqual([
      ['update', [600]],
      ['update', [601]],
      ['update', [602]],
    ]);
    expect(await merge({ from: 'left', into: 'right' })).toMatchObject({ applied: true, conflictCount: 0 });
    expect((await differing('left', 'right')).map(({ key }) => key)).toEqual([[601], [602]]);
    left.close();
    right.close();
  });

  it('takes rows without a primary key by their rowid, and a full-text index along', async () => {
    await main.batch([
      'create table line (text)',
      "insert into line values ('one'), ('two'), ('three')",
      'create virtual table doc using fts5(body)',
      "insert into doc values ('the quick fox')",
    ]);
    await main.execute('create clone lines from main');
    const lines = client('lines');
    await lines.batch([
      "update line set text = 'zwei' where text = 'two'",
      "insert into line values ('four')",
      "insert into doc values ('the lazy dog')",
    ]);
    await main.execute("delete from line where text = 'one'");
    expect(await merge({ from: 'lines', into: 'main' })).toMatchObject({ applied: true, conflictCount: 0 });
    expect(await rowsOf(main, 'select text from line')).toEqual([['zwei'], ['three'], ['four']]);
    expect(await rowsOf(main, "select body from doc where doc match 'lazy'")).toEqual([['the lazy dog']]);
    await main.execute("insert into doc(doc) values ('integrity-check')");
    await lines.execute("insert into doc values ('more of it')");
    await main.execute("insert into doc values ('and here')");
    expect(await merge({ from: 'lines', into: 'main' })).toMatchObject({ code: 'MERGE_CONFLICT' });
    lines.close();
  });

  it('goes by what is there after a backtrack, and by what was rewound', async () => {
    await main.execute('create clone again from main');
    const again = client('again');
    await again.execute("update city set name = 'first' where id = 700");
    const kept = await lsnOf('again');
    await again.execute("update city set name = 'rewound' where id = 702");
    const rewound = await lsnOf('again');
    await again.execute(`backtrack again to 'lsn:${kept}'`);
    await again.execute("update city set name = 'second' where id = 701");
    const keys = async (from: string, to: string) => (await differing(from, to)).map(({ key }) => key);
    expect(await keys('main', 'again')).toEqual([[700], [701]]);
    expect(await keys(`again@lsn:${rewound}`, 'again')).toEqual([[701], [702]]);
    expect(await keys(`again@lsn:${rewound}`, `again@lsn:${kept}`)).toEqual([[702]]);
    expect(await merge({ from: `again@lsn:${rewound}`, into: 'again' })).toMatchObject({
      applied: true,
      tables: [{ table: 'city', inserts: 0, updates: 1, deletes: 0 }],
    });
    expect(await keys('main', 'again')).toEqual([[700], [701], [702]]);
    again.close();
  });
});
