/** What a diff says of tables whose schema changed, and of rows that are told apart in unusual ways. */
import { describe, expect, test } from 'vitest';
import { ChangesetWriter } from '../../../compute-node/diff/changeset.ts';
import { type DiffEvent, diff } from '../../../compute-node/diff/diff.ts';
import type { DiffSide, Row } from '../../../compute-node/diff/side.ts';
import { ChangesetApplier } from '../../../compute-node/engine/worker/apply-changeset.ts';
import { PlainDatabase, differingPages } from '../../support/diff-database.ts';

async function eventsOf(before: string, after: string): Promise<readonly DiffEvent[]> {
  const database = await PlainDatabase.open();
  database.run(before);
  const left = await database.snapshot();
  database.run(after);
  const right = await database.snapshot();
  const changedPages = differingPages(left.bytes, right.bytes);
  const events: DiffEvent[] = [];
  for await (const event of diff({ sides: [left, right], changedPages, table: null })) events.push(event);
  for (const { database: copy } of [left, right]) copy.close();
  database.close();
  return events;
}

type Told = readonly [string, string, Row, Row | null, Row | null];

function rowsOf(events: readonly DiffEvent[]): readonly Told[] {
  return events.flatMap((event): Told[] => {
    if (event.kind !== 'row') return [];
    const { kind, key, before, after } = event.change;
    return [[kind, event.table.name, key, before, after]];
  });
}

function schemaOf(events: readonly DiffEvent[]): readonly string[] {
  return events.flatMap((event) =>
    event.kind === 'schema' ? [`${event.change.kind} ${event.change.object.name}`] : [],
  );
}

describe('a table that was altered', () => {
  const BEFORE = `CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT);
    INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);`;

  test('has rows that changed in its new columns only where those are not their defaults', async () => {
    const events = await eventsOf(
      BEFORE,
      `ALTER TABLE t ADD COLUMN c TEXT DEFAULT 5; ALTER TABLE t ADD COLUMN d REAL DEFAULT 2; ALTER TABLE t ADD COLUMN e;
       UPDATE t SET a = 'uno' WHERE id = 1; UPDATE t SET c = 'six' WHERE id = 2; UPDATE t SET c = '5', d = 2.0 WHERE id = 3`,
    );
    expect(schemaOf(events)).toEqual(['altered t']);
    expect(rowsOf(events)).toEqual([
      ['update', 't', [1n], [1n, 'one', 1n, '5', 2, null], [1n, 'uno', 1n, '5', 2, null]],
      ['update', 't', [2n], [2n, 'two', 2n, '5', 2, null], [2n, 'two', 2n, 'six', 2, null]],
    ]);
  });

  test('knows defaults that are bare words, or end in a comment', async () => {
    const events = await eventsOf(
      BEFORE,
      `ALTER TABLE t ADD COLUMN c DEFAULT active; ALTER TABLE t ADD COLUMN d DEFAULT true;
       ALTER TABLE t ADD COLUMN e DEFAULT (7 -- seven
       ); UPDATE t SET a = 'uno' WHERE id = 1`,
    );
    expect(rowsOf(events)).toEqual([
      ['update', 't', [1n], [1n, 'one', 1n, 'active', 1n, 7n], [1n, 'uno', 1n, 'active', 1n, 7n]],
    ]);
  });

  test('is compared in the columns that are left', async () => {
    const events = await eventsOf(BEFORE, "ALTER TABLE t DROP COLUMN b; UPDATE t SET a = 'dos' WHERE id = 2");
    expect(rowsOf(events)).toEqual([['update', 't', [2n], [2n, 'two'], [2n, 'dos']]]);
  });

  test('under another name, went and came', async () => {
    const events = await eventsOf(BEFORE, 'ALTER TABLE t RENAME TO u; DELETE FROM u WHERE id > 1');
    expect(schemaOf(events)).toEqual(['dropped t', 'created u']);
    expect(rowsOf(events).map(([kind, name, key]) => [kind, name, key])).toEqual([
      ['delete', 't', [1n]],
      ['delete', 't', [2n]],
      ['delete', 't', [3n]],
      ['insert', 'u', [1n]],
    ]);
  });

  test('with another key, went and came', async () => {
    const events = await eventsOf(
      BEFORE,
      "DROP TABLE t; CREATE TABLE t (id INTEGER, a TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES (1, 'one')",
    );
    expect(rowsOf(events).map(([kind, , key]) => [kind, key])).toEqual([
      ['delete', [1n]],
      ['delete', [2n]],
      ['delete', [3n]],
      ['insert', ['one']],
    ]);
  });
});

describe('rows', () => {
  test('that only moved to another rowid have not changed', async () => {
    const events = await eventsOf(
      "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)",
      "DELETE FROM t WHERE k = 'a'; INSERT INTO t VALUES ('a', 1); UPDATE t SET rowid = 77 WHERE k = 'b'; UPDATE t SET rowid = 78, v = 4 WHERE k = 'c'",
    );
    expect(rowsOf(events)).toEqual([['update', 't', ['c'], ['c', 3n], ['c', 4n]]]);
  });

  test('with NULL in their key are told by rowid, and left out of changesets', async () => {
    const events = await eventsOf(
      "CREATE TABLE t (a, b, v, PRIMARY KEY (a, b)); INSERT INTO t VALUES (NULL, 1, 'x'), (NULL, 1, 'y'), (2, 2, 'z')",
      "UPDATE t SET v = v || '!'",
    );
    expect(
      rowsOf(events).map(([kind, , key, before, after]) => [kind, key, before?.[2], after?.[2]]),
    ).toEqual([
      ['update', [null, 1n], 'x', 'x!'],
      ['update', [null, 1n], 'y', 'y!'],
      ['update', [2n, 2n], 'z', 'z!'],
    ]);
    const writer = new ChangesetWriter();
    for (const event of events) if (event.kind === 'row') writer.add(event.table, event.change);
    expect(writer.leftOut).toBe(2);
  });

  test('have no generated columns, and keep integers, reals and texts apart', async () => {
    const events = await eventsOf(
      'CREATE TABLE t (id INTEGER PRIMARY KEY, v, g AS (v || 1) STORED); INSERT INTO t(id, v) VALUES (1, 1), (2, 9223372036854775807), (3, 1)',
      "UPDATE t SET v = 1.0 WHERE id = 1; UPDATE t SET v = -9223372036854775808 WHERE id = 2; UPDATE t SET v = '1' WHERE id = 3",
    );
    expect(rowsOf(events)).toEqual([
      ['update', 't', [1n], [1n, 1n], [1n, 1]],
      ['update', 't', [2n], [2n, 9223372036854775807n], [2n, -9223372036854775808n]],
      ['update', 't', [3n], [3n, 1n], [3n, '1']],
    ]);
  });

  test('whose table hides the rowid are found by its other names, and refused when there is none', async () => {
    const events = await eventsOf(
      'CREATE TABLE t (rowid TEXT, oid TEXT); INSERT INTO t VALUES (1, 1)',
      'UPDATE t SET rowid = 2',
    );
    expect(rowsOf(events)).toEqual([['update', 't', [1n], ['1', '1'], ['2', '1']]]);
    const hidden = 'CREATE TABLE t (rowid TEXT, oid TEXT, _rowid_ TEXT); INSERT INTO t VALUES (1, 1, 1)';
    await expect(eventsOf(hidden, 'UPDATE t SET oid = 2')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(rowsOf(await eventsOf(`${hidden}; CREATE TABLE u (v)`, 'INSERT INTO u VALUES (1)'))).toHaveLength(
      1,
    );
  });

  test('of many tables are told apart by what hangs where', async () => {
    const tables = Array.from({ length: 60 }, (_, i) => i);
    const filler =
      'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300) INSERT INTO';
    const events = await eventsOf(
      tables
        .map(
          (i) =>
            `CREATE TABLE t${i} (id INTEGER PRIMARY KEY, v); ${filler} t${i} SELECT x, 'value ' || x FROM n;`,
        )
        .join(''),
      tables.map((i) => `UPDATE t${i} SET v = 'new' WHERE id = ${i + 1};`).join(''),
    );
    expect(
      rowsOf(events)
        .map(([, name, key]) => `${name} ${key[0]}`)
        .sort(),
    ).toEqual(tables.map((i) => `t${i} ${i + 1}`).sort());
    expect(events.at(-1)).toMatchObject({ kind: 'end', comparedInFull: [] });
  });
});

describe('of a table whose rows all differ, no row is held once it is told', () => {
  const rows = (id: string) =>
    `CREATE TABLE t (${id}, v); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 900) INSERT INTO t SELECT x, 'v' FROM n`;

  /** Rows told before the last one was asked for, at the first change. */
  async function firstChangeAfter(id: string): Promise<number> {
    const database = await PlainDatabase.open();
    database.run(rows(id));
    const left = await database.snapshot();
    database.run("UPDATE t SET v = 'w'");
    const right = await database.snapshot();
    let asked = 0;
    const counting: DiffSide = {
      readPages: (pages) => right.readPages(pages),
      query: async (statements) => {
        const answers = await right.query(statements);
        if (statements[0]?.sql.includes('ORDER BY') && statements[0].sql.includes('FROM "t"'))
          asked += answers[0]?.length ?? 0;
        return answers;
      },
    };
    const changedPages = differingPages(left.bytes, right.bytes);
    let first = -1;
    let told = 0;
    for await (const event of diff({ sides: [left, counting], changedPages, table: null, maxKeys: 10 })) {
      if (event.kind !== 'row') continue;
      if (told === 0) first = asked;
      told += 1;
    }
    expect(told).toBe(900);
    for (const { database: copy } of [left, right]) copy.close();
    database.close();
    return first;
  }

  for (const id of ['id INTEGER PRIMARY KEY', 'id TEXT PRIMARY KEY', 'id'])
    test(`by ${id}`, async () => {
      expect(await firstChangeAfter(id)).toBeLessThan(100);
    });
});

describe('a changeset', () => {
  /** Applied to `other` instead of the left side. */
  async function applied(before: string, after: string, other: string, policy: 'abort' | 'ours' | 'theirs') {
    const writer = new ChangesetWriter();
    for (const event of await eventsOf(before, after))
      if (event.kind === 'row') writer.add(event.table, event.change);
    const database = await PlainDatabase.open();
    database.run(before);
    database.run(other);
    const { lib, db } = database;
    const outcome = new ChangesetApplier(lib).apply(db, writer.bytes(), policy);
    const rows = database.rows('SELECT * FROM t ORDER BY 1');
    database.close();
    return { ...outcome, rows };
  }

  const BEFORE =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b UNIQUE); INSERT INTO t VALUES (1, 'a', 'b'), (2, 'c', 'd')";

  test('leaves out what SQLite would pass over: rows without a key beside a column named _rowid_', async () => {
    const events = await eventsOf(
      "CREATE TABLE t (a, _rowid_); INSERT INTO t VALUES (1, 'x')",
      "UPDATE t SET a = 2; INSERT INTO t VALUES (3, 'y')",
    );
    const writer = new ChangesetWriter();
    for (const event of events) if (event.kind === 'row') writer.add(event.table, event.change);
    expect(writer.leftOut).toBe(2);
    expect(writer.firstLeftOut).toMatchObject({ table: 't' });
    expect(writer.bytes()).toHaveLength(0);
  });

  test('of values larger than what it is gathered in is whole', async () => {
    const { code, rows } = await applied(
      BEFORE,
      "UPDATE t SET a = zeroblob(600000) WHERE id = 1; INSERT INTO t VALUES (3, zeroblob(300000), 'f')",
      '',
      'abort',
    );
    expect(code).toBe(0);
    const sizes = rows.map(([id, a]) => [id, a instanceof Uint8Array ? a.length : a]);
    expect(sizes).toEqual([
      [1n, 600_000],
      [2n, 'c'],
      [3n, 300_000],
    ]);
  });

  test('finds nothing wrong with what is there already', async () => {
    const change =
      "UPDATE t SET a = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 'e', 'f')";
    const { code, conflictCount } = await applied(BEFORE, change, change, 'abort');
    expect({ code, conflictCount }).toEqual({ code: 0, conflictCount: 0 });
  });

  test('tells what stands against it, in whose words', async () => {
    const change = "UPDATE t SET a = 'x' WHERE id = 1; UPDATE t SET b = 'taken' WHERE id = 2";
    const other = "UPDATE t SET a = 'y' WHERE id = 1; INSERT INTO t VALUES (9, 'z', 'taken')";
    const { conflicts, rows } = await applied(BEFORE, change, other, 'theirs');
    expect(conflicts).toMatchObject([
      {
        kind: 'changed',
        table: 't',
        operation: 'update',
        key: [1n],
        ours: [1n, 'y', 'b'],
        theirs: [1n, 'x', 'b'],
      },
      { kind: 'constraint', table: 't', operation: 'update', key: [2n], ours: null },
    ]);
    expect(rows).toEqual([
      [1n, 'x', 'b'],
      [2n, 'c', 'd'],
      [9n, 'z', 'taken'],
    ]);
  });

  test('fires no trigger', async () => {
    const trigger =
      "CREATE TRIGGER again AFTER INSERT ON t WHEN new.a <> 'again' BEGIN INSERT INTO t(a) VALUES ('again'); END";
    const { rows } = await applied(
      `${BEFORE}; ${trigger}`,
      "INSERT INTO t VALUES (5, 'e', 'f')",
      '',
      'abort',
    );
    expect(rows.map(([id]) => id)).toEqual([1n, 2n, 5n, 6n]);
  });
});
