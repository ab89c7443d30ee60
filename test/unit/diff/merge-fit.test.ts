/** What a changeset would be passed over for, or settled by SQLite itself, is refused before anything is applied. */
import { describe, expect, test } from 'vitest';
import { refuseMisfits } from '../../../compute-node/diff/merge-fit.ts';
import { type TableShape, readSchema } from '../../../compute-node/diff/schema.ts';
import type { ComparedTable } from '../../../compute-node/diff/rows.ts';
import { PlainDatabase } from '../../support/diff-database.ts';

const known = new Map<string, Promise<ReadonlyMap<string, TableShape>>>();

function tablesOf(sql: string): Promise<ReadonlyMap<string, TableShape>> {
  const tables = known.get(sql) ?? readTables(sql);
  known.set(sql, tables);
  return tables;
}

async function readTables(sql: string): Promise<ReadonlyMap<string, TableShape>> {
  const database = await PlainDatabase.open();
  database.run(sql);
  const snapshot = await database.snapshot();
  const { tables } = await readSchema(snapshot);
  snapshot.database.close();
  database.close();
  return tables;
}

function changed(shape: TableShape): ComparedTable {
  const columns = shape.columns.map(({ name }) => name);
  return {
    name: shape.name,
    shapes: [shape, shape],
    columns,
    keyColumns: shape.keyColumns,
    defaults: new Map(),
  };
}

/** Merges changes of `theirs` into `ours`, as far as their schemas go. */
async function merged(theirs: string, ours: string, made: readonly string[] = []): Promise<void> {
  const tables = [...(await tablesOf(theirs)).values()].map(changed);
  refuseMisfits(tables, await tablesOf(ours), new Set(made), 'main');
}

const conflict = { code: 'MERGE_CONFLICT' };
const unsupported = { code: 'UNSUPPORTED' };

describe('a table that changed', () => {
  test('fits one with the same columns and key, and with more columns behind them', async () => {
    await merged('CREATE TABLE t (a PRIMARY KEY, b)', 'CREATE TABLE t (a PRIMARY KEY, b, c)');
    await merged('CREATE TABLE t (a, b)', 'CREATE TABLE t (a, b)');
  });

  test('does not fit one that is gone, or has other columns', async () => {
    await expect(merged('CREATE TABLE t (a PRIMARY KEY, b)', 'CREATE TABLE u (a)')).rejects.toMatchObject(
      conflict,
    );
    await expect(
      merged('CREATE TABLE t (a PRIMARY KEY, b)', 'CREATE TABLE t (a PRIMARY KEY, c)'),
    ).rejects.toMatchObject(conflict);
  });

  test('does not fit one whose rows go by another key: SQLite would pass over all of them', async () => {
    const keys = ['a, b', 'a PRIMARY KEY, b', 'a, b PRIMARY KEY', 'a, b, PRIMARY KEY (a, b)'];
    keys.push('a, b, PRIMARY KEY (b, a)');
    for (const theirs of keys)
      for (const ours of keys) {
        const fitting = merged(`CREATE TABLE t (${theirs})`, `CREATE TABLE t (${ours})`);
        if (theirs === ours) await fitting;
        else await expect(fitting, `${theirs} into ${ours}`).rejects.toMatchObject(conflict);
      }
  });

  test('does not fit one whose column hides the rowid that it would go by', async () => {
    await expect(merged('CREATE TABLE t (a)', 'CREATE TABLE t (a, _RowId_)')).rejects.toMatchObject(conflict);
    await merged('CREATE TABLE t (a PRIMARY KEY)', 'CREATE TABLE t (a PRIMARY KEY, _rowid_)');
  });

  test('is not merged where SQLite would replace or ignore rows by itself, but into a table made just now', async () => {
    for (const table of [
      'CREATE TABLE t (a INTEGER PRIMARY KEY ON CONFLICT REPLACE, b)',
      'CREATE TABLE t (a PRIMARY KEY, b UNIQUE /* or not */ ON\n conflict Ignore)',
      'CREATE TABLE t (a, b NOT NULL ON CONFLICT ROLLBACK)',
    ]) {
      await expect(merged(table, table), table).rejects.toMatchObject(unsupported);
      await merged(table, table, ['t']);
    }
    const harmless =
      'CREATE TABLE t (a PRIMARY KEY ON CONFLICT ABORT, b DEFAULT \'ON CONFLICT REPLACE\', "on" conflict)';
    await merged(harmless, harmless);
  });
});
