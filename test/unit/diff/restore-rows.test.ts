/** Rows brought back: never more than was asked for, never another in their place, never in other words. */
import { describe, expect, test } from 'vitest';
import type { Differences } from '../../../compute-node/diff/differences.ts';
import {
  type RestoreOutcome,
  type RestoreRequest,
  restoreRows,
} from '../../../compute-node/diff/restore-rows.ts';
import type { DiffSide, Row } from '../../../compute-node/diff/side.ts';
import { type EngineConnection, SqlFailure } from '../../../compute-node/engine/api.ts';
import { NO_LSN } from '../../../src/log/lsn.ts';
import { PlainDatabase, type Snapshot } from '../../support/diff-database.ts';

function failing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new SqlFailure({ code: 'SQLITE_ERROR', message: String(error), extendedCode: null, offset: null });
  }
}

function sideOf(snapshot: Snapshot): DiffSide {
  return {
    readPages: (pages) => snapshot.readPages(pages),
    query: async (statements) =>
      statements.map(({ sql, args }) => failing(() => snapshot.database.rows(sql, args))),
  };
}

/** As much of a connection as bringing rows back asks for. */
function connectionOf(database: PlainDatabase): Pick<EngineConnection, 'run' | 'runScript' | 'close'> {
  const result = { lsn: NO_LSN, isAutocommit: true };
  return {
    close: async () => {},
    runScript: async (sql) => {
      failing(() => database.run(sql));
      return result;
    },
    run: async (steps, { onEvent }) => {
      for (const [step, { statement }] of steps.entries()) {
        await onEvent({ kind: 'step-begin', step, columns: [] });
        const rows = failing(() => database.rows(statement.sql, statement.args));
        await onEvent({ kind: 'rows', rows });
      }
      return result;
    },
  };
}

async function restored(
  before: string,
  after: string,
  select: string,
  options: Partial<RestoreRequest> = {},
): Promise<{ readonly outcome: RestoreOutcome; readonly rows: readonly Row[] }> {
  const database = await PlainDatabase.open();
  try {
    database.run(before);
    const past = await database.snapshot();
    database.run(after);
    const differences = {
      context: { volume: async () => ({ engine: { connect: async () => connectionOf(database) } }) },
      resolve: async () => ({}),
      openSide: async () => ({ side: sideOf(past), close: async () => past.database.close() }),
    } as unknown as Differences;
    const request = { from: 'main@-5m', select, overwrite: false, dryRun: false, ...options };
    const outcome = await restoreRows(differences, request).catch((error: unknown) => {
      throw Object.assign(error as Error, { rows: database.rows('SELECT * FROM t ORDER BY 1') });
    });
    return { outcome, rows: database.rows('SELECT * FROM t ORDER BY 1') };
  } finally {
    database.close();
  }
}

describe('rows brought back', () => {
  const BEFORE =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')";

  test('are those that the SELECT names, whatever comment it ends in', async () => {
    const { outcome, rows } = await restored(
      BEFORE,
      "DELETE FROM t WHERE id < 3; UPDATE t SET v = 'now' WHERE id = 3",
      'SELECT * FROM t AS x WHERE x.id IN (SELECT 1 UNION SELECT 2) -- the first two',
    );
    expect(outcome).toMatchObject({ applied: true, inserted: 2, different: 0 });
    expect(rows).toEqual([
      [1n, 'a'],
      [2n, 'b'],
      [3n, 'now'],
    ]);
  });

  test('take no place of a row that is there, though the table is declared so', async () => {
    const table =
      "CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE ON CONFLICT REPLACE); INSERT INTO t VALUES (1, 'a')";
    const meanwhile = "DELETE FROM t; INSERT INTO t VALUES (7, 'a')";
    await expect(restored(table, meanwhile, 'SELECT * FROM t')).rejects.toMatchObject({
      code: 'MERGE_CONFLICT',
      rows: [[7n, 'a']],
    });
    const changed = "UPDATE t SET v = 'b' WHERE id = 1; INSERT INTO t VALUES (7, 'a')";
    await expect(restored(table, changed, 'SELECT * FROM t', { overwrite: true })).rejects.toMatchObject({
      code: 'MERGE_CONFLICT',
      rows: [
        [1n, 'b'],
        [7n, 'a'],
      ],
    });
  });

  test('are refused when they have no whole key: one would stand for all of them', async () => {
    const table =
      "CREATE TABLE t (a, b, v, PRIMARY KEY (a, b)); INSERT INTO t VALUES (NULL, 1, 'x'), (NULL, 1, 'y')";
    await expect(restored(table, 'DELETE FROM t', 'SELECT * FROM t')).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      rows: [],
    });
    const joined = `${BEFORE}; CREATE TABLE u (id); INSERT INTO u VALUES (1), (9)`;
    const right = 'SELECT * FROM t RIGHT JOIN u ON t.id = u.id';
    await expect(restored(joined, 'DELETE FROM t', right)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  test('are rows of the table alone', async () => {
    const more = "CREATE TABLE u (v, id); INSERT INTO u VALUES ('no', 'row of t')";
    for (const select of [
      'SELECT * FROM t UNION SELECT * FROM u',
      'SELECT * FROM t WHERE id = 1 union all SELECT * FROM u',
      'SELECT * FROM t) UNION SELECT * FROM (SELECT * FROM u',
    ]) {
      await expect(restored(`${BEFORE}; ${more}`, 'DELETE FROM t', select), select).rejects.toMatchObject({
        code: 'BAD_REQUEST',
        rows: [],
      });
    }
  });

  test('are refused when memory is not meant for so many bytes', async () => {
    const large = `${BEFORE}; UPDATE t SET v = zeroblob(50000000)`;
    await expect(restored(large, 'DELETE FROM t', 'SELECT * FROM t')).rejects.toMatchObject({
      code: 'TOO_LARGE',
    });
  });
});
