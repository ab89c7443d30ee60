/** Prisma's libSQL driver adapter, driven as Prisma's engine drives it. (The engine itself would be downloaded at install.) */
import { PrismaLibSql } from '@prisma/adapter-libsql';
import { ColumnTypeEnum } from '@prisma/driver-adapter-utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientTarget, startClientTarget } from '../../support/client-target.ts';

let target: ClientTarget;

beforeAll(async () => {
  target = await startClientTarget();
});

afterAll(() => target.close());

describe.each(['http', 'ws'] as const)("Prisma's adapter over %s", (protocol) => {
  type Adapter = Awaited<ReturnType<PrismaLibSql['connect']>>;
  type Queryable = Pick<Adapter, 'queryRaw' | 'executeRaw'>;
  type Query = Parameters<Adapter['queryRaw']>[0];
  let adapter: Adapter;
  const query = (sql: string, args: unknown[] = [], scalarTypes: string[] = []): Query => ({
    sql,
    args,
    argTypes: args.map((_, i) => ({
      arity: 'scalar',
      scalarType: scalarTypes[i] ?? 'string',
    })) as Query['argTypes'],
  });
  const count = async (on: Queryable) =>
    (await on.queryRaw(query('select count(*) from "User"'))).rows[0]![0];

  beforeAll(async () => {
    adapter = await new PrismaLibSql({ url: protocol === 'http' ? target.httpUrl : target.wsUrl }).connect();
    await adapter.executeScript(`
      drop table if exists "User";
      CREATE TABLE "User" (
        "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        "email" TEXT NOT NULL,
        "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
        "balance" DECIMAL, "ratio" REAL, "views" BIGINT, "active" BOOLEAN, "avatar" BLOB
      );
      CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
    `);
  });

  afterAll(() => adapter.dispose());

  it('maps columns by their declared types, without any row', async () => {
    const { columnNames, columnTypes } = await adapter.queryRaw(query('select * from "User"'));
    expect(columnNames).toEqual([
      'id',
      'email',
      'createdAt',
      'balance',
      'ratio',
      'views',
      'active',
      'avatar',
    ]);
    expect(columnTypes).toEqual([
      ColumnTypeEnum.Int32,
      ColumnTypeEnum.Text,
      ColumnTypeEnum.DateTime,
      ColumnTypeEnum.Numeric,
      ColumnTypeEnum.Double,
      ColumnTypeEnum.Int64,
      ColumnTypeEnum.Boolean,
      ColumnTypeEnum.Bytes,
    ]);
  });

  it('writes and reads values of every type', async () => {
    const affected = await adapter.executeRaw(
      query(
        'insert into "User" (email, createdAt, balance, ratio, views, active, avatar) values (?, ?, ?, ?, ?, ?, ?)',
        [
          'a@b.c',
          '2026-11-21T10:00:00.000Z',
          '12.5',
          0.25,
          '9007199254740993',
          true,
          Buffer.from([7, 8]).toString('base64'),
        ],
        ['string', 'datetime', 'decimal', 'float', 'bigint', 'boolean', 'bytes'],
      ),
    );
    expect(affected).toBe(1);
    const { rows } = await adapter.queryRaw(
      query('select email, createdAt, balance, ratio, active, avatar from "User"'),
    );
    expect(rows[0]!.slice(0, 5)).toEqual(['a@b.c', '2026-11-21T10:00:00.000+00:00', 12.5, 0.25, 1]);
    expect(Array.from(rows[0]![5] as Uint8Array)).toEqual([7, 8]);
  });

  it('returns rows from inserts', async () => {
    const { rows } = await adapter.queryRaw(
      query('insert into "User" (email) values (?) returning id, email', ['r@b.c']),
    );
    expect(rows[0]![1]).toBe('r@b.c');
  });

  it('commits, rolls back and nests transactions', async () => {
    const before = Number(await count(adapter));
    const lost = await adapter.startTransaction();
    await lost.executeRaw(query('delete from "User"'));
    await lost.rollback();
    expect(await count(adapter)).toBe(before);
    const kept = await adapter.startTransaction('SERIALIZABLE');
    await kept.executeRaw(query('insert into "User" (email) values (?)', ['t1']));
    await kept.createSavepoint?.('s1');
    await kept.executeRaw(query('insert into "User" (email) values (?)', ['t2']));
    await kept.rollbackToSavepoint?.('s1');
    await kept.releaseSavepoint?.('s1');
    await kept.commit();
    expect(await count(adapter)).toBe(before + 1);
  });

  it('tells errors', async () => {
    await expect(adapter.queryRaw(query('select * from nowhere'))).rejects.toThrow();
    await expect(
      adapter.executeRaw(query('insert into "User" (email) values (?)', ['a@b.c'])),
    ).rejects.toMatchObject({
      cause: { originalMessage: expect.stringContaining('UNIQUE constraint failed: User.email') },
    });
  });
});
