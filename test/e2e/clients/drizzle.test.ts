/** Drizzle ORM over `@libsql/client`. */
import { createClient } from '@libsql/client';
import { count, eq, gt, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/libsql';
import { blob, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ClientTarget, startClientTarget } from '../../support/client-target.ts';

const users = sqliteTable('users', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  name: text('name').notNull().unique(),
  isAdmin: integer('is_admin', { mode: 'boolean' }).notNull().default(false),
  joined: integer('joined', { mode: 'timestamp_ms' }),
  settings: text('settings', { mode: 'json' }).$type<{ theme: string }>(),
  big: blob('big', { mode: 'bigint' }),
});
const posts = sqliteTable('posts', {
  id: integer('id').primaryKey(),
  author: integer('author').references(() => users.id),
  score: real('score'),
});

let target: ClientTarget;

beforeAll(async () => {
  target = await startClientTarget();
});

afterAll(() => target.close());

describe.each(['http', 'ws'] as const)('Drizzle over %s', (protocol) => {
  const open = () => createClient({ url: protocol === 'http' ? target.httpUrl : target.wsUrl });
  const client = () => shared;
  let shared: ReturnType<typeof open>;
  let db: ReturnType<typeof drizzle>;

  beforeAll(async () => {
    shared = open();
    db = drizzle(client());
    await db.run(sql`drop table if exists posts`);
    await db.run(sql`drop table if exists users`);
    await db.run(sql`create table users (id integer primary key autoincrement, name text not null unique,
      is_admin integer not null default 0, joined integer, settings text, big blob)`);
    await db.run(
      sql`create table posts (id integer primary key, author integer references users(id), score real)`,
    );
  });

  afterAll(() => shared.close());

  it('inserts, returns, selects, joins, updates and deletes', async () => {
    const joined = new Date(1_700_000_000_123);
    const inserted = await db
      .insert(users)
      .values([
        { name: 'ada', isAdmin: true, joined, settings: { theme: 'dark' }, big: 2n ** 70n },
        { name: 'bob' },
      ])
      .returning();
    expect(inserted).toEqual([
      { id: 1, name: 'ada', isAdmin: true, joined, settings: { theme: 'dark' }, big: 2n ** 70n },
      { id: 2, name: 'bob', isAdmin: false, joined: null, settings: null, big: null },
    ]);
    await db.insert(posts).values([
      { author: 1, score: 0.5 },
      { author: 1, score: 2 },
      { author: 2, score: 1 },
    ]);
    const best = await db
      .select({ name: users.name, posts: count(posts.id) })
      .from(users)
      .leftJoin(posts, eq(posts.author, users.id))
      .groupBy(users.id)
      .orderBy(users.id);
    expect(best).toEqual([
      { name: 'ada', posts: 2 },
      { name: 'bob', posts: 1 },
    ]);
    const updated = await db.update(posts).set({ score: 9 }).where(gt(posts.score, 0.9));
    expect(updated.rowsAffected).toBe(2);
    expect((await db.delete(posts).where(eq(posts.score, 9))).rowsAffected).toBe(2);
  });

  it('upserts', async () => {
    await db
      .insert(users)
      .values({ name: 'bob', isAdmin: true })
      .onConflictDoUpdate({ target: users.name, set: { isAdmin: true } });
    expect(await db.select({ isAdmin: users.isAdmin }).from(users).where(eq(users.name, 'bob'))).toEqual([
      { isAdmin: true },
    ]);
  });

  it('commits and rolls back transactions, nested ones too', async () => {
    await db.transaction(async (tx) => {
      await tx.insert(users).values({ name: 'carol' });
      await tx
        .transaction(async (inner) => {
          await inner.insert(users).values({ name: 'dave' });
          inner.rollback();
        })
        .catch(() => undefined);
    });
    await expect(
      db.transaction(async (tx) => {
        await tx.delete(users);
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind');
    const names = await db.select({ name: users.name }).from(users).orderBy(users.id);
    expect(names.map(({ name }) => name)).toEqual(['ada', 'bob', 'carol']);
  });

  it('runs batches', async () => {
    const [, rows] = await db.batch([
      db.insert(posts).values({ id: 77, author: 1 }),
      db.select().from(posts).where(eq(posts.id, 77)),
    ]);
    expect(rows).toEqual([{ id: 77, author: 1, score: null }]);
  });

  it('passes constraint errors on', async () => {
    const error = await db
      .insert(users)
      .values({ name: 'ada' })
      .then(
        () => null,
        (caught: unknown) => caught as Error,
      );
    expect(`${error!.message} ${(error!.cause as Error | undefined)?.message}`).toContain(
      'UNIQUE constraint failed: users.name',
    );
  });
});
