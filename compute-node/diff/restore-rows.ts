/**
 * Rows of the past brought back into the present: one mistake is undone, and the rest stays. Rows go by primary key (or rowid); what is not there any
 * more is inserted, what is there otherwise is only overwritten when that is asked for. One transaction, like any client's: triggers fire, so
 * that what follows from rows follows from these.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { type EngineConnection, SqlFailure } from '../engine/api.ts';
import type { Differences } from './differences.ts';
import { runQueries } from './engine-side.ts';
import { isSameValue, textOfRow } from './rows.ts';
import { type RestoreSelect, parseSelect, selectOf } from './restore-select.ts';
import { type TableShape, readSchema } from './schema.ts';
import { type DiffSide, type Query, type Row, queryOne, quoted } from './side.ts';

export interface RestoreRequest {
  /** NAME@WHEN. */
  readonly from: string;
  /** `SELECT * FROM table …`, as of then. */
  readonly select: string;
  /** Rows that are there otherwise take their old values again. */
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

export interface RestoreOutcome {
  readonly applied: boolean;
  readonly table: string;
  readonly keyColumns: readonly string[];
  /** Rows that the SELECT found. */
  readonly found: number;
  readonly inserted: number;
  readonly overwritten: number;
  readonly unchanged: number;
  /** Rows that are there with other values; their keys, the first thousand. */
  readonly different: number;
  readonly differentKeys: readonly Row[];
  readonly lsn: Lsn | null;
}

const MAX_ROWS = 100_000;
const MAX_BYTES = 128 * MIB;
const MAX_TOLD = 1_000;
const ROWS_PER_BATCH = 200;
const STRONG = { consistency: 'strong' } as const;

export async function restoreRows(
  differences: Differences,
  request: RestoreRequest,
): Promise<RestoreOutcome> {
  const { name, moment } = splitMoment(request.from);
  if (moment === null) {
    throw new TidemarkError('BAD_REQUEST', `'${request.from}' names no moment of the past`, {
      nextStep: `Say which, as in ${name}@-15m.`,
    });
  }
  const select = parseSelect(request.select);
  const { engine } = await differences.context.volume(name);
  const point = await differences.resolve(request.from);
  const { side, close } = await differences.openSide(point);
  try {
    const past = await tableOf(side, select.table, request.from);
    const connection = await engine.connect({ readonly: false });
    try {
      const present = await tableOf(presentSide(connection), select.table, name);
      const plan = planOf(past, present);
      const rows = await selectRows(side, plan, select);
      return await restore(connection, plan, rows, request);
    } finally {
      await connection.close();
    }
  } finally {
    await close();
  }
}

async function tableOf(side: DiffSide, name: string, where: string): Promise<TableShape> {
  const { tables } = await readSchema(side);
  const found = [...tables.values()].find((table) => table.name.toLowerCase() === name.toLowerCase());
  if (found !== undefined && !found.isShadow && !found.name.toLowerCase().startsWith('sqlite_')) return found;
  throw new TidemarkError('BAD_REQUEST', `there is no table '${name}' in ${where}`, {
    nextStep: found === undefined ? 'Name a table that is there then and now.' : 'Name a table of your own.',
  });
}

function presentSide(connection: EngineConnection): DiffSide {
  return {
    query: (statements) => runQueries(connection, statements),
    readPages: () => Promise.reject(new TidemarkError('INTERNAL', 'the present is read by SQL')),
  };
}

interface Plan {
  readonly table: TableShape;
  /** Those that were there then and are there now. */
  readonly columns: readonly string[];
  /** Rows go by these: the primary key, or the name of the rowid. */
  readonly keyColumns: readonly string[];
  /** Of what is selected and inserted: the key where it is no column, then the columns. */
  readonly values: readonly string[];
}

function planOf(past: TableShape, present: TableShape): Plan {
  const known = new Set(past.columns.map(({ name }) => name));
  const columns = present.columns.map(({ name }) => name).filter((name) => known.has(name));
  const hasKey = present.keyColumns.length > 0;
  const rowid = past.tree.kind === 'rowid' && present.tree.kind === 'rowid' ? present.tree.rowidName : null;
  const keyColumns = hasKey ? present.keyColumns : rowid === null ? [] : [rowid];
  const isSameKey = JSON.stringify(past.keyColumns) === JSON.stringify(present.keyColumns);
  if (!isSameKey || keyColumns.length === 0) {
    throw new TidemarkError(
      'UNSUPPORTED',
      `rows of table '${present.name}' are told apart in another way by now`,
      {
        nextStep: 'Select them from the past and insert them by hand.',
      },
    );
  }
  return { table: present, columns, keyColumns, values: hasKey ? columns : [...keyColumns, ...columns] };
}

async function selectRows(
  side: DiffSide,
  { values, table, keyColumns }: Plan,
  select: RestoreSelect,
): Promise<readonly Row[]> {
  const sql = selectOf(select, table.name, values);
  const bytes = values.map((name) => `coalesce(octet_length(${quoted(name)}), 0)`).join(' + ');
  const isKeyless = keyColumns.map((name) => `${quoted(name)} IS NULL`).join(' OR ');
  try {
    // Asked before they are fetched: they are all held in memory.
    const [size] = await queryOne(
      side,
      `SELECT count(*), total(${bytes}), total(${isKeyless}) FROM (${sql})`,
    );
    const [count, totalBytes, keyless] = (size ?? []).map(Number);
    if ((keyless ?? 0) > 0) {
      throw new TidemarkError(
        'UNSUPPORTED',
        `${keyless} of the rows have NULL in their key: they cannot be told apart`,
        {
          nextStep: 'Leave them out of the SELECT, and insert them by hand.',
        },
      );
    }
    if ((count ?? 0) <= MAX_ROWS && (totalBytes ?? 0) <= MAX_BYTES) return await queryOne(side, sql);
  } catch (error) {
    if (!(error instanceof SqlFailure)) throw error;
    throw new TidemarkError('BAD_REQUEST', `the SELECT failed: ${error.message}`, { cause: error });
  }
  throw new TidemarkError(
    'TOO_LARGE',
    `more than ${MAX_ROWS} rows, or ${MAX_BYTES / MIB} MiB of them, are to be brought back`,
    { nextStep: 'Bring them back in parts, or go back as a whole with `tidemark backtrack`.' },
  );
}

async function restore(
  connection: EngineConnection,
  plan: Plan,
  rows: readonly Row[],
  { overwrite, dryRun }: RestoreRequest,
): Promise<RestoreOutcome> {
  const counts = { inserted: 0, overwritten: 0, unchanged: 0, different: 0 };
  const differentKeys: Row[] = [];
  const places = plan.keyColumns.map((name) => plan.values.indexOf(name));
  const keyOf = (row: Row): Row => places.map((place) => row[place] ?? null);
  await connection.runScript('BEGIN IMMEDIATE', STRONG);
  let isOver = false;
  try {
    const wanted = distinct(rows, keyOf);
    for (let at = 0; at < wanted.length; at += ROWS_PER_BATCH) {
      const batch = wanted.slice(at, at + ROWS_PER_BATCH);
      const there = await runQueries(
        connection,
        batch.map((row) => readQuery(plan, keyOf(row))),
      );
      const writes: Query[] = [];
      for (const [index, row] of batch.entries()) {
        const present = there[index]?.[0];
        if (present === undefined) {
          counts.inserted += 1;
          writes.push(insertQuery(plan, row));
        } else if (row.every((value, place) => isSameValue(value, present[place] ?? null))) {
          counts.unchanged += 1;
        } else {
          counts.different += 1;
          if (differentKeys.length < MAX_TOLD) differentKeys.push(keyOf(row));
          if (!overwrite) continue;
          counts.overwritten += 1;
          writes.push(updateQuery(plan, row, keyOf(row)));
        }
      }
      await runQueries(connection, writes);
    }
    const isApplied = !dryRun && (overwrite || counts.different === 0);
    isOver = true;
    const { lsn } = await connection.runScript(isApplied ? 'COMMIT' : 'ROLLBACK', STRONG);
    const { table, keyColumns } = plan;
    return {
      applied: isApplied,
      table: table.name,
      keyColumns,
      found: wanted.length,
      ...counts,
      differentKeys,
      lsn: isApplied ? lsn : null,
    };
  } catch (error) {
    if (!isOver) await connection.runScript('ROLLBACK', STRONG).catch(() => {});
    if (!(error instanceof SqlFailure)) throw error;
    throw new TidemarkError(
      'MERGE_CONFLICT',
      `no row was brought back: ${error.message} (${error.error.code})`,
      {
        cause: error,
        nextStep: 'Settle that first, or select fewer rows.',
      },
    );
  }
}

/** A join finds a row more than once. */
function distinct(rows: readonly Row[], keyOf: (row: Row) => Row): readonly Row[] {
  const byKey = new Map(rows.map((row) => [textOfRow(keyOf(row)), row]));
  return [...byKey.values()];
}

function readQuery({ table, values, keyColumns }: Plan, key: Row): Query {
  const where = keyColumns.map((name, index) => `${quoted(name)} IS ?${index + 1}`).join(' AND ');
  return {
    sql: `SELECT ${values.map(quoted).join(', ')} FROM ${quoted(table.name)} WHERE ${where}`,
    args: key,
  };
}

/** ABORT: whatever the schema says of conflicts, no row that is there gives way to one that comes back. */
function insertQuery({ table, values }: Plan, row: Row): Query {
  const parameters = values.map((_, index) => `?${index + 1}`).join(', ');
  return {
    sql: `INSERT OR ABORT INTO ${quoted(table.name)} (${values.map(quoted).join(', ')}) VALUES (${parameters})`,
    args: row,
  };
}

function updateQuery({ table, columns, keyColumns, values }: Plan, row: Row, key: Row): Query {
  const set = columns.map((name, index) => `${quoted(name)} = ?${index + 1}`).join(', ');
  const where = keyColumns
    .map((name, index) => `${quoted(name)} IS ?${columns.length + index + 1}`)
    .join(' AND ');
  const args = [...columns.map((name) => row[values.indexOf(name)] ?? null), ...key];
  return { sql: `UPDATE OR ABORT ${quoted(table.name)} SET ${set} WHERE ${where}`, args };
}
