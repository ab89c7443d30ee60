/** `@libsql/client` as its users know it, over HTTP and over WebSocket; and the in-process client, which is to be the same to its users. */
import { type Client, createClient, type IntMode, type LibsqlError } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Client as InProcessClient } from '../../../client/types.ts';
import { type ClientTarget, startClientTarget } from '../../support/client-target.ts';

let target: ClientTarget;
let inProcess: InProcessClient;

beforeAll(async () => {
  target = await startClientTarget();
  inProcess = await target.inProcess();
  await inProcess.createVolume('dev-of-mine');
});

afterAll(async () => {
  await inProcess.close();
  await target.close();
});

type Way = 'http' | 'ws' | 'open';

/** `main`, `dev`: empty to begin with, of the way's own. */
function connect(way: Way, volume: string, intMode: IntMode = 'number'): Client {
  if (way === 'open') {
    const name = { main: 'mine', dev: 'dev-of-mine' }[volume] ?? volume;
    return inProcess.volume(name, { intMode });
  }
  const origin = way === 'http' ? target.httpUrl : target.wsUrl;
  // Over HTTP the client resolves its endpoints against the URL: without the last slash it would drop the volume's name.
  return createClient({ url: volume === 'main' ? origin : `${origin}/${volume}/`, intMode });
}

describe.each([
  ['@libsql/client over HTTP', 'http'],
  ['@libsql/client over WebSocket', 'ws'],
  ['the in-process client', 'open'],
] as const)('%s', (_, protocol) => {
  const table = `t_${protocol}`;
  let client: Client;

  beforeAll(async () => {
    client = connect(protocol, 'main');
    await client.execute(`create table ${table} (id integer primary key, name text unique, data blob)`);
  });

  afterAll(() => client.close());

  it('executes with positional and named arguments of every type', async () => {
    const inserted = await client.execute({
      sql: `insert into ${table} (name, data) values (?, ?)`,
      args: ['first', new Uint8Array([0, 1, 255])],
    });
    expect(inserted.rowsAffected).toBe(1);
    expect(inserted.lastInsertRowid).toBe(1n);
    const { rows, columns, columnTypes } = await client.execute({
      sql: `select id, name, data, :x as x, $y as y, @z as z, null as n, 2.5 as r from ${table} where name = 'first'`,
      args: { x: true, y: 'ключ "☃" \u0000', z: 9007199254740991n },
    });
    expect(columns).toEqual(['id', 'name', 'data', 'x', 'y', 'z', 'n', 'r']);
    expect(columnTypes.slice(0, 4)).toEqual(['INTEGER', 'TEXT', 'BLOB', '']);
    const row = rows[0]!;
    expect(row.id).toBe(1);
    expect(new Uint8Array(row.data as ArrayBuffer)).toEqual(new Uint8Array([0, 1, 255]));
    expect([row.x, row.y, row.z, row.n, row.r]).toEqual([1, 'ключ "☃" \u0000', 9007199254740991, null, 2.5]);
  });

  it('keeps 64-bit integers whole', async () => {
    const exact = connect(protocol, 'main', 'bigint');
    const value = -(2n ** 63n);
    const { rows } = await exact.execute({ sql: 'select ? as v, 9223372036854775807 as m', args: [value] });
    expect(rows[0]).toMatchObject({ v: value, m: 2n ** 63n - 1n });
    exact.close();
  });

  it('tells errors by code and message', async () => {
    const failure = async (sql: string) =>
      client.execute(sql).then(
        () => null,
        (error: unknown) => error as LibsqlError,
      );
    const unique = await failure(`insert into ${table} (name) values ('first')`);
    expect(unique).toBeInstanceOf(Error);
    expect(unique!.name).toBe('LibsqlError');
    expect(unique!.code).toBe('SQLITE_CONSTRAINT');
    expect(unique!.message).toContain(`UNIQUE constraint failed: ${table}.name`);
    expect((await failure('selec 1'))!.message).toContain('near "selec": syntax error');
    expect((await failure('select * from nowhere'))!.message).toContain('no such table: nowhere');
    expect((await failure(''))!.code).toMatch(/^SQL/);
  });

  it('runs batches as transactions', async () => {
    const results = await client.batch(
      [
        { sql: `insert into ${table} (name) values (?)`, args: ['batch-1'] },
        { sql: `insert into ${table} (name) values (?)`, args: ['batch-2'] },
        `select count(*) as n from ${table} where name like 'batch-%'`,
      ],
      'write',
    );
    expect(results[2]!.rows[0]!.n).toBe(2);
    const failing = client.batch([`delete from ${table} where name like 'batch-%'`, 'selec'], 'write');
    await expect(failing).rejects.toThrow(/syntax error/);
    const { rows } = await client
      .batch([`select count(*) as n from ${table} where name like 'batch-%'`], 'read')
      .then((r) => r[0]!);
    expect(rows[0]!.n).toBe(2);
  });

  it('commits and rolls back interactive transactions', async () => {
    const count = async () =>
      (await client.execute(`select count(*) as n from ${table} where name like 'tx-%'`)).rows[0]!.n;
    const rolledBack = await client.transaction('write');
    await rolledBack.execute(`insert into ${table} (name) values ('tx-1')`);
    expect(
      (await rolledBack.execute(`select count(*) as n from ${table} where name like 'tx-%'`)).rows[0]!.n,
    ).toBe(1);
    await rolledBack.rollback();
    expect(await count()).toBe(0);
    const committed = await client.transaction('deferred');
    await committed.batch([
      `insert into ${table} (name) values ('tx-2')`,
      `insert into ${table} (name) values ('tx-3')`,
    ]);
    await committed.executeMultiple(
      `insert into ${table} (name) values ('tx-4'); insert into ${table} (name) values ('tx-5');`,
    );
    await committed.commit();
    expect(await count()).toBe(4);
    expect(committed.closed).toBe(true);
    const reading = await client.transaction('read');
    await expect(reading.execute(`delete from ${table}`)).rejects.toThrow();
    reading.close();
    expect(await count()).toBe(4);
    const dropped = await client.transaction('write');
    await dropped.execute(`delete from ${table} where name like 'tx-%'`);
    dropped.close();
    expect(await count()).toBe(4);
  });

  it('makes writers wait for each other instead of failing', async () => {
    await client.execute(`create table counter_${protocol} (n integer)`);
    await client.execute(`insert into counter_${protocol} values (0)`);
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const tx = await client.transaction('write');
        const { rows } = await tx.execute(`select n from counter_${protocol}`);
        await tx.execute({ sql: `update counter_${protocol} set n = ?`, args: [(rows[0]!.n as number) + 1] });
        await tx.commit();
      }),
    );
    expect((await client.execute(`select n from counter_${protocol}`)).rows[0]!.n).toBe(20);
  });

  it('runs scripts and migrations', async () => {
    await client.executeMultiple(`
      create table script_${protocol} (a);
      insert into script_${protocol} values (1); -- a comment; with a semicolon
      create trigger tr_${protocol} after insert on script_${protocol} begin delete from script_${protocol} where a = 9; end;
    `);
    await client.migrate([
      `alter table script_${protocol} add column b`,
      `insert into script_${protocol} values (9, 2)`,
    ]);
    expect(
      (await client.execute(`select * from script_${protocol}`)).rows.map((row) => ({ ...row })),
    ).toEqual([{ a: 1, b: null }]);
  });

  it('carries large results', async () => {
    const { rows } = await client.execute(
      'with recursive c(n) as (select 1 union all select n+1 from c where n < 20000) select n, hex(randomblob(50)) as h from c',
    );
    expect(rows).toHaveLength(20_000);
    expect(rows[19_999]!.n).toBe(20_000);
  });

  it('serves many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 200 }, (_, i) => client.execute({ sql: 'select ? as i', args: [i] })),
    );
    expect(results.map((result) => result.rows[0]!.i)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  it('gives rows by index and by name, and says the same in JSON', async () => {
    const result = await client.execute(
      'select 1 as a, \'two\' as b, 3 as a, x\'04\' as "__proto__", 5 as length, null as "0"',
    );
    const row = result.rows[0]!;
    expect([row.length, row[0], row[1], row[2], row[4], row[5], row[6]]).toEqual([
      6,
      1,
      'two',
      3,
      5,
      null,
      undefined,
    ]);
    expect(Object.keys(row)).toEqual(['a', 'b', '__proto__']);
    expect(row.a).toBe(1);
    const plain = (await client.execute("select 1 as a, 'two' as b, x'0405' as c")).rows[0]!;
    expect(Object.keys(plain)).toEqual(['a', 'b', 'c']);
    expect(Array.from(plain as unknown as ArrayLike<unknown>).slice(0, 2)).toEqual([1, 'two']);
    expect(plain[2]).toEqual(plain.c);
    expect({ ...plain }).toEqual({ a: 1, b: 'two', c: new Uint8Array([4, 5]).buffer });
    const { rows, columns } = JSON.parse(JSON.stringify(result)) as { rows: unknown[][]; columns: string[] };
    expect(rows).toEqual([[1, 'two', 3, 'BA==', 5, null]]);
    expect(columns).toEqual(['a', 'b', 'a', '__proto__', 'length', '0']);
  });

  it('refuses what does not fit', async () => {
    await expect(client.execute('select 9007199254740993 as n')).rejects.toBeInstanceOf(RangeError);
    await expect(client.execute({ sql: 'select ?', args: [2n ** 63n] })).rejects.toBeInstanceOf(RangeError);
    await expect(client.execute({ sql: 'select ?', args: [Number.NaN] })).rejects.toBeInstanceOf(RangeError);
    await expect(client.transaction('writ' as 'write').then((tx) => tx.execute('select 1'))).rejects.toThrow(
      /Unknown transaction mode/,
    );
  });

  it('binds values as the same types', async () => {
    const { rows } = await client.execute({
      sql: 'select typeof(?) a, typeof(?) b, typeof(?) c, typeof(?) d, typeof(?) e, typeof(?) f, ? as g',
      args: [1, 1n, true, new Date(5), new ArrayBuffer(2), null, new Date(5)],
    });
    expect({ ...rows[0] }).toEqual({
      a: 'real',
      b: 'integer',
      c: 'integer',
      d: 'real',
      e: 'blob',
      f: 'null',
      g: 5,
    });
  });

  it('tells which statement of a batch failed, and that those after it did not run', async () => {
    const failing = client.batch(['select 1', 'select * from nowhere', 'select 3'], 'write');
    await expect(failing).rejects.toMatchObject({
      name: 'LibsqlBatchError',
      statementIndex: 1,
      code: 'SQLITE_ERROR',
    });
    const ended = client.batch(['commit', 'select 2'], 'write');
    // Over the protocol `@libsql/client` runs the second statement on its own and finds no transaction to commit then.
    await expect(ended).rejects.toMatchObject(
      protocol === 'open' ? { statementIndex: 1, code: 'TRANSACTION_CLOSED' } : { code: 'SQLITE_ERROR' },
    );
    const begun = client.batch(['begin'], 'write');
    await expect(begun).rejects.toMatchObject({ statementIndex: 0, code: 'SQLITE_ERROR' });
    expect(await client.batch([], 'read')).toEqual([]);
  });

  it('leaves nothing of one call to the next', async () => {
    await client.execute('begin immediate');
    await client.execute('create temp table only_there (a)').catch(() => {});
    await client.execute('pragma foreign_keys = off');
    const { rows } = await client.execute(`select count(*) as n from ${table} where 0`);
    expect(rows[0]!.n).toBe(0);
    await expect(client.execute('select * from only_there')).rejects.toThrow(/no such table/);
    expect((await client.execute('pragma foreign_keys')).rows[0]![0]).toBe(
      (await connect(protocol, 'main').execute('pragma foreign_keys')).rows[0]![0],
    );
    // Nobody holds the writer lock.
    await client.execute(`update ${table} set name = name where 0`);
  });

  it('takes nothing after its end', async () => {
    const other = connect(protocol, 'main');
    const tx = await other.transaction('write');
    await tx.execute(`delete from ${table}`);
    await tx.rollback();
    await tx.rollback();
    expect(tx.closed).toBe(true);
    await expect(tx.execute('select 1')).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' });
    await expect(tx.commit()).rejects.toMatchObject({ code: 'TRANSACTION_CLOSED' });
    other.close();
    expect(other.closed).toBe(true);
    const code = protocol === 'http' ? 'UNKNOWN' : 'CLIENT_CLOSED';
    await expect(other.execute('select 1')).rejects.toMatchObject({ code });
    await expect(other.batch(['select 1'])).rejects.toMatchObject({ code });
  });

  it('finds volumes by name', async () => {
    const dev = connect(protocol, 'dev');
    await dev.execute(`create table in_dev_${protocol} (a)`);
    const seen = await client.execute(
      `select count(*) as n from sqlite_master where name = 'in_dev_${protocol}'`,
    );
    expect(seen.rows[0]!.n).toBe(0);
    dev.close();
    const nowhere = connect(protocol, 'nowhere');
    await expect(nowhere.execute('select 1')).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' });
    nowhere.close();
  });
});
