/**
 * The difference of two states of a database, found by pages, against one found by comparing all rows: random statements of every kind that moves
 * rows about, between two states that lie a few statements or many apart.
 */
import { describe, expect, test } from 'vitest';
import { ChangesetWriter } from '../../../compute-node/diff/changeset.ts';
import { MAX_HELD_BYTES } from '../../../compute-node/diff/changed-keys.ts';
import { type DiffEvent, diff } from '../../../compute-node/diff/diff.ts';
import type { Row } from '../../../compute-node/diff/side.ts';
import { ChangesetApplier } from '../../../compute-node/engine/worker/apply-changeset.ts';
import { PlainDatabase, Snapshot, differingPages } from '../../support/diff-database.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const SEEDS = Number(process.env.TIDEMARK_DIFF_SEEDS ?? 12);
const FIRST_SEED = Number(process.env.TIDEMARK_DIFF_FIRST_SEED ?? 1);

interface Plan {
  readonly name: string;
  readonly create: string;
  /** An INSERT's columns and values. */
  readonly insert: (random: SeededRandom) => string;
  readonly update: (random: SeededRandom) => string;
  /** What names some rows. */
  readonly where: (random: SeededRandom) => string;
  readonly key: string;
}

const text = (random: SeededRandom, max: number) =>
  `'${'abcdefgh'.charAt(random.below(8)).repeat(random.below(max))}${random.below(1000)}'`;
const size = (random: SeededRandom) => (random.chance(0.1) ? 12_000 : random.chance(0.2) ? 1_500 : 40);

const PLANS: readonly Plan[] = [
  {
    name: 'plain',
    create: 'CREATE TABLE plain (id INTEGER PRIMARY KEY, k INTEGER, v TEXT)',
    insert: (random) =>
      `INSERT OR REPLACE INTO plain VALUES (${random.below(3_000)}, ${random.below(50)}, ${text(random, size(random))})`,
    update: (random) => `UPDATE plain SET v = ${text(random, size(random))}`,
    where: (random) => (random.chance(0.5) ? `id = ${random.below(3_000)}` : `k = ${random.below(50)}`),
    key: 'id',
  },
  {
    name: 'no_key',
    create: 'CREATE TABLE no_key (a TEXT, b REAL)',
    insert: (random) => `INSERT INTO no_key VALUES (${text(random, size(random))}, ${random.below(100) / 4})`,
    update: (random) => `UPDATE no_key SET b = ${random.below(100) / 4}`,
    where: (random) => `rowid % 97 = ${random.below(97)}`,
    key: 'rowid',
  },
  {
    name: 'by_text',
    create: 'CREATE TABLE by_text (t TEXT PRIMARY KEY NOT NULL, v BLOB, n INT)',
    insert: (random) =>
      `INSERT OR REPLACE INTO by_text VALUES ('key ${random.below(800)}', randomblob_(${random.below(size(random))}, ${random.below(250)}), ${random.below(9)})`,
    update: (random) => `UPDATE by_text SET n = ${random.below(1_000_000)}`,
    where: (random) => (random.chance(0.5) ? `t = 'key ${random.below(800)}'` : `n = ${random.below(9)}`),
    key: 't',
  },
  {
    name: 'without',
    create:
      'CREATE TABLE without (a TEXT COLLATE NOCASE, b INTEGER, v TEXT, PRIMARY KEY (b DESC, a)) WITHOUT ROWID',
    insert: (random) =>
      `INSERT OR REPLACE INTO without VALUES ('${random.pick(['x', 'X', 'y', 'Yy'])}${random.below(40)}', ${random.below(60)}, ${text(random, size(random))})`,
    update: (random) => `UPDATE without SET v = ${text(random, size(random))}`,
    where: (random) => `b = ${random.below(60)}`,
    key: 'b, a',
  },
  {
    name: 'long_key',
    create: 'CREATE TABLE long_key (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID',
    insert: (random) =>
      `INSERT OR REPLACE INTO long_key VALUES ('${'k'.repeat(random.below(3_000))}${random.below(300)}', ${text(random, 400)})`,
    update: (random) => `UPDATE long_key SET v = ${text(random, 2_000)}`,
    where: (random) => `length(k) % 31 = ${random.below(31)}`,
    key: 'k',
  },
];

/** The same statement without chance in it: what `randomblob_(n, seed)` stands for. */
const spelled = (sql: string) =>
  sql.replaceAll(
    /randomblob_\((\d+), (\d+)\)/g,
    (_, n, seed) =>
      `CAST(substr(replace(hex(zeroblob(${n})), '00', char(${Number(seed) + 1})), 1, ${n}) AS BLOB)`,
  );

function statements(random: SeededRandom): string[] {
  const plan = random.pick(PLANS);
  const kind = random.below(100);
  const many = (count: number) => Array.from({ length: count }, () => spelled(plan.insert(random)));
  if (kind < 35) return many(1 + random.below(20));
  if (kind < 45) return many(200);
  if (kind < 65) return [`${spelled(plan.update(random))} WHERE ${plan.where(random)}`];
  if (kind < 78) return [`DELETE FROM ${plan.name} WHERE ${plan.where(random)}`];
  if (kind < 81) return [`DELETE FROM ${plan.name}`];
  if (kind < 84) return ['VACUUM'];
  if (kind < 87) return [`DROP TABLE ${plan.name}`, plan.create];
  if (kind < 90)
    return [
      `CREATE INDEX IF NOT EXISTS i_${plan.name} ON ${plan.name} (${plan.key === 'rowid' ? 'a' : plan.key})`,
    ];
  if (kind < 92) return [`DROP INDEX IF EXISTS i_${plan.name}`];
  if (kind < 95)
    return [
      'CREATE TABLE IF NOT EXISTS extra (x)',
      `INSERT INTO extra VALUES (${text(random, size(random))})`,
    ];
  if (kind < 97) return ['DROP TABLE IF EXISTS extra'];
  // The same length, other bytes at the end only: SQLite writes just the overflow page that differs.
  return [
    `UPDATE plain SET v = substr(v, 1, length(v) - 3) || '${100 + random.below(900)}' WHERE length(v) > 8000 AND id % 7 = ${random.below(7)}`,
    `UPDATE by_text SET v = CAST(substr(v, 1, length(v) - 1) || '${random.below(10)}' AS BLOB) WHERE length(v) > 5000`,
  ];
}

function rowText(row: Row): string {
  return row
    .map((value) =>
      value instanceof Uint8Array ? `x${Buffer.from(value).toString('hex')}` : `${typeof value}:${value}`,
    )
    .join('|');
}

/** Rows of all tables: "table key" → row. */
function allRows(snapshot: Snapshot): Map<string, string> {
  const rows = new Map<string, string>();
  const tables = snapshot.database.rows(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
  );
  for (const [name] of tables) {
    const key = PLANS.find((plan) => plan.name === name)?.key ?? 'rowid';
    const keys = key.split(', ').length;
    for (const row of snapshot.database.rows(`SELECT ${key}, * FROM "${name}"`))
      rows.set(`${name} ${rowText(row.slice(0, keys))}`, rowText(row.slice(keys)));
  }
  return rows;
}

function plainDiff(before: Snapshot, after: Snapshot): string[] {
  const old = allRows(before);
  const now = allRows(after);
  const changes: string[] = [];
  for (const [key, row] of old) if (!now.has(key)) changes.push(`delete ${key} ${row}`);
  for (const [key, row] of now) {
    const was = old.get(key);
    if (was === undefined) changes.push(`insert ${key} ${row}`);
    else if (was !== row) changes.push(`update ${key} ${was} → ${row}`);
  }
  return changes.sort();
}

async function diffText(events: AsyncIterable<DiffEvent>): Promise<string[]> {
  const changes: string[] = [];
  for await (const event of events) {
    if (event.kind !== 'row') continue;
    const { kind, key, before, after } = event.change;
    const values = [before, after].flatMap((row) => (row === null ? [] : [rowText(row)])).join(' → ');
    changes.push(`${kind} ${event.table.name} ${rowText(key)} ${values}`);
  }
  return changes.sort();
}

/** The left state with the changes applied as a changeset, in the words of its rows; null when the schema changed, which no changeset tells. */
async function applied(
  left: Snapshot,
  events: AsyncIterable<DiffEvent>,
): Promise<Map<string, string> | null> {
  const writer = new ChangesetWriter();
  for await (const event of events) {
    if (event.kind === 'schema') return null;
    if (event.kind === 'row') writer.add(event.table, event.change);
  }
  const copy = await Snapshot.of(left.bytes);
  const { lib, db } = copy.database;
  const { code, conflicts } = new ChangesetApplier(lib).apply(db, writer.bytes(), 'abort');
  expect({ code, conflicts }).toEqual({ code: 0, conflicts: [] });
  const rows = allRows(copy);
  copy.database.close();
  return rows;
}

describe('the difference of two states', () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    test(`is what comparing all rows finds (seed ${seed})`, async () => {
      const random = new SeededRandom(seed);
      const database = await PlainDatabase.open();
      if (random.chance(0.2)) database.run('PRAGMA auto_vacuum = FULL');
      for (const { create } of PLANS) database.run(create);
      for (let i = 0; i < 40; i += 1) for (const sql of statements(random)) database.run(sql);
      for (let round = 0; round < 12; round += 1) {
        const before = await database.snapshot();
        const count = 1 + random.below(random.chance(0.3) ? 15 : 3);
        const done: string[] = [];
        for (let i = 0; i < count; i += 1) {
          for (const sql of statements(random)) {
            database.run(sql);
            done.push(sql.slice(0, 120));
          }
        }
        const after = await database.snapshot();
        const changedPages = differingPages(before.bytes, after.bytes);
        // Pages that did not change may be named, too.
        if (random.chance(0.3)) changedPages.add(1 + random.below(50));
        for (const [left, right] of [
          [before, after],
          [after, before],
        ] as const) {
          const maxKeys = random.chance(0.3) ? random.below(8) : 100_000;
          const maxHeldBytes = random.chance(0.3) ? random.below(100_000) : MAX_HELD_BYTES;
          const request = { sides: [left, right] as const, changedPages, table: null, maxKeys, maxHeldBytes };
          const found = await diffText(diff(request));
          expect(found, `round ${round}: ${done.join('; ')}`).toEqual(plainDiff(left, right));
          const result = await applied(left, diff({ sides: [left, right], changedPages, table: null }));
          if (result !== null) expect(result).toEqual(allRows(right));
        }
        before.database.close();
        after.database.close();
      }
      database.close();
    }, 60_000);
  }
});
