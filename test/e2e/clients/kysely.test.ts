/** Kysely over `@libsql/kysely-libsql`, which brings an older `@libsql/client` of its own. */
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { type Generated, Kysely, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientTarget, startClientTarget } from '../../support/client-target.ts';

interface Database {
  person: { id: Generated<number>; name: string; age: number | null; photo: Uint8Array | null };
}

let target: ClientTarget;

beforeAll(async () => {
  target = await startClientTarget();
});

afterAll(() => target.close());

describe.each(['http', 'ws'] as const)('Kysely over %s', (protocol) => {
  let db: Kysely<Database>;

  beforeAll(async () => {
    db = new Kysely<Database>({
      dialect: new LibsqlDialect({ url: protocol === 'http' ? target.httpUrl : target.wsUrl }),
    });
    await db.schema.dropTable('person').ifExists().execute();
    await db.schema
      .createTable('person')
      .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .addColumn('age', 'integer')
      .addColumn('photo', 'blob')
      .execute();
  });

  afterAll(() => db.destroy());

  it('inserts, selects, updates and deletes', async () => {
    const { insertId, numInsertedOrUpdatedRows } = await db
      .insertInto('person')
      .values([
        { name: 'ada', age: 36, photo: new Uint8Array([1, 2]) },
        { name: 'bob', age: null },
      ])
      .executeTakeFirstOrThrow();
    expect([insertId, numInsertedOrUpdatedRows]).toEqual([2n, 2n]);
    const rows = await db.selectFrom('person').select(['name', 'age']).where('age', 'is not', null).execute();
    expect(rows.map((row) => ({ ...row }))).toEqual([{ name: 'ada', age: 36 }]);
    const updated = await db
      .updateTable('person')
      .set({ age: 1 })
      .where('name', '=', 'bob')
      .executeTakeFirstOrThrow();
    expect(updated.numUpdatedRows).toBe(1n);
    const deleted = await db.deleteFrom('person').where('age', '=', 1).returning('name').execute();
    expect(deleted.map((row) => ({ ...row }))).toEqual([{ name: 'bob' }]);
  });

  it('commits and rolls back transactions', async () => {
    await db.transaction().execute(async (trx) => {
      await trx.insertInto('person').values({ name: 'carol' }).execute();
    });
    await expect(
      db.transaction().execute(async (trx) => {
        await trx.deleteFrom('person').execute();
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    const { n } = await db
      .selectFrom('person')
      .select(sql<number>`count(*)`.as('n'))
      .executeTakeFirstOrThrow();
    expect(n).toBe(2);
  });

  it('reads the schema', async () => {
    const tables = await db.introspection.getTables();
    const person = tables.find(({ name }) => name === 'person')!;
    expect(
      person.columns.map(({ name, dataType, isNullable, isAutoIncrementing }) => [
        name,
        dataType,
        isNullable,
        isAutoIncrementing,
      ]),
    ).toEqual([
      ['id', 'INTEGER', true, true],
      ['name', 'TEXT', false, false],
      ['age', 'INTEGER', true, false],
      ['photo', 'BLOB', true, false],
    ]);
  });

  it('passes constraint errors on', async () => {
    await expect(db.insertInto('person').values({ name: 'ada' }).execute()).rejects.toThrow(
      'UNIQUE constraint failed: person.name',
    );
  });
});
