/** Differences, merges and rows brought back, as text. */
import { describe, expect, test } from 'vitest';
import { DiffText, mergeText, restoreText, valueText } from '../../../cli/differences-report.ts';
import { PLAIN } from '../../../cli/terminal/style.ts';
import type { ToldMerge, ToldRestore } from '../../../compute-node/admin-diff.ts';
import type { Lsn } from '../../../src/log/lsn.ts';

describe('a diff as text', () => {
  test('shows rows by key, what changed in them, and counts', () => {
    const text = new DiffText(PLAIN);
    const lines = [
      text.linesOf({
        kind: 'schema',
        change: 'altered',
        type: 'table',
        name: 't',
        sql: 'CREATE TABLE t (id,\n  name)',
        before: 'CREATE TABLE t (id)',
      }),
      text.linesOf({ kind: 'table', table: 't', columns: ['id', 'name'], keyColumns: ['id'] }),
      text.linesOf({ kind: 'update', table: 't', key: [1], before: [1, "it's"], after: [1, null] }),
      text.linesOf({ kind: 'table', table: 'log', columns: ['line'], keyColumns: [] }),
      text.linesOf({ kind: 'delete', table: 'log', key: [7], before: ['gone'], after: null }),
      text.end(),
    ];
    expect(lines.join('')).toBe(`~ table t
    CREATE TABLE t (id)
    CREATE TABLE t (id, name)
t (id)
  ~ id 1: name 'it''s' → NULL
log (rowid)
  - rowid 7, line 'gone'
0 inserted, 1 changed, 1 deleted in 2 tables, 1 change of the schema
`);
  });

  test('says so when there is nothing', () => {
    expect(new DiffText(PLAIN).end()).toBe('No differences.\n');
  });

  test('cuts long values, and tells numbers that JSON cannot', () => {
    expect(valueText('x'.repeat(100))).toBe(`'${'x'.repeat(59)}…'`);
    expect(valueText({ blob: Buffer.alloc(100, 1).toString('base64') })).toMatch(/^x'01.*…' \(100 bytes\)$/);
    expect(valueText({ blob: 'AQI=' })).toBe("x'0102'");
    expect(valueText({ integer: '9223372036854775807' })).toBe('9223372036854775807');
  });
});

const MERGE: ToldMerge = {
  applied: false,
  policy: 'abort',
  base: { volume: 'main', lsn: 8 as Lsn },
  tables: [{ table: 't', inserts: 1, updates: 2, deletes: 0 }],
  schema: [],
  conflicts: [
    {
      kind: 'changed',
      table: 't',
      operation: 'update',
      keyColumns: ['id'],
      columns: ['id', 'name'],
      key: [5],
      ours: [5, 'a'],
      theirs: [5, 'b'],
    },
    {
      kind: 'gone',
      table: 't',
      operation: 'update',
      keyColumns: ['id'],
      columns: ['id', 'name'],
      key: [6],
      ours: null,
      theirs: [null, 'b'],
    },
  ],
  conflictCount: 3,
  unsettled: 3,
  lsn: null,
};

describe('a merge as text', () => {
  test('lists conflicts and what would settle them', () => {
    expect(mergeText(MERGE, 'dev', 'main', false, PLAIN)).toBe(`Changes in dev since LSN 8 of main:
  t  1 inserted, 2 changed, 0 deleted
Conflicts with main:
  t id 5  changed on both sides: name 'a' there, 'b' merged
  t id 6  deleted there
  … and 1 more
Nothing was merged: 3 conflicts.
  --policy theirs takes the rows of the merged volume, --policy ours keeps those of main.
`);
  });

  test('says what a dry run would have done', () => {
    const clean = { ...MERGE, conflicts: [], conflictCount: 0, unsettled: 0 };
    expect(mergeText(clean, 'dev', 'main', true, PLAIN)).toMatch(
      /Would be merged into main; nothing was changed/,
    );
    expect(mergeText({ ...clean, applied: true, lsn: 9 as Lsn }, 'dev', 'main', false, PLAIN)).toMatch(
      /Merged into main \(LSN 9\)/,
    );
  });
});

describe('rows brought back, as text', () => {
  const RESTORE: ToldRestore = {
    applied: false,
    table: 't',
    keyColumns: ['id'],
    found: 4,
    inserted: 2,
    overwritten: 0,
    unchanged: 1,
    different: 1,
    differentKeys: [[9]],
    lsn: null,
  };

  test('names rows that stand in the way', () => {
    expect(
      restoreText(RESTORE, false, PLAIN),
    ).toBe(`Nothing was brought back: 1 row of t has other values by now.
  id 9
  --overwrite gives them their old values.
`);
  });

  test('counts what was done', () => {
    const done = { ...RESTORE, applied: true, overwritten: 1, lsn: 12 as Lsn };
    expect(restoreText(done, false, PLAIN)).toBe(
      '2 rows inserted, 1 overwritten in t, 1 row there as it was (LSN 12).\n',
    );
    expect(restoreText({ ...RESTORE, found: 0 }, false, PLAIN)).toMatch(/found no row/);
  });
});
