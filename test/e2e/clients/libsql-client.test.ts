/** `@libsql/client` as its users know it, over HTTP and over WebSocket. */
import { type Client, createClient, LibsqlError } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientTarget, startClientTarget } from '../../support/client-target.ts';

let target: ClientTarget;

beforeAll(async () => {
  target = await startClientTarget();
});

afterAll(() => target.close());

describe.each(['http', 'ws'] as const)('@libsql/client over %s', (protocol) => {
  const table = `t_${protocol}`;
  let client: Client;

  beforeAll(async () => {
    client = createClient({ url: protocol === 'http' ? target.httpUrl : target.wsUrl });
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
    const exact = createClient({
      url: protocol === 'http' ? target.httpUrl : target.wsUrl,
      intMode: 'bigint',
    });
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
    expect(unique).toBeInstanceOf(LibsqlError);
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

  it('finds volumes by path', async () => {
    // Over HTTP the client resolves its endpoints against the URL: without the last slash it would drop the volume's name.
    const url = protocol === 'http' ? `${target.httpUrl}/dev/` : `${target.wsUrl}/dev`;
    const dev = createClient({ url });
    await dev.execute(`create table in_dev_${protocol} (a)`);
    const seen = await client.execute(
      `select count(*) as n from sqlite_master where name = 'in_dev_${protocol}'`,
    );
    expect(seen.rows[0]!.n).toBe(0);
    dev.close();
    const nowhere = createClient({ url: url.replace('/dev', '/nowhere') });
    await expect(nowhere.execute('select 1')).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND' });
    nowhere.close();
  });
});
