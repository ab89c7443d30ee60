/**
 * Merging: what changed in one volume since it and another parted is applied to the other, in one transaction, through a changeset of SQLite's
 * sessions. What both changed is a conflict, unless both changed it to the same; the policy says what becomes of conflicts.
 *
 * Invariants
 * 1. All of it is applied, or nothing is: a merge that is not applied rolls its transaction back.
 * 2. Nothing is applied that the schema there does not fit (merge-fit.ts), nor to a virtual table's own tables that both changed.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { commonPoint } from '../../src/timeline/ancestry.ts';
import {
  type ChangesetConflict,
  type ConflictPolicy,
  type MergeConnection,
  SqlFailure,
} from '../engine/api.ts';
import type { ResolvedPoint } from '../timelines/moment-resolver.ts';
import { ChangesetWriter, changesetColumns } from './changeset.ts';
import type { Differences } from './differences.ts';
import { runQueries } from './engine-side.ts';
import { Lineage } from './lineage.ts';
import { refuseMisfits } from './merge-fit.ts';
import { type ComparedTable, type RowChange, sizeOfRow, textOfRow } from './rows.ts';
import { type Schema, type SchemaChange, readSchema } from './schema.ts';
import type { DiffSide, Row } from './side.ts';

export interface MergeRequest {
  /** NAME or NAME@WHEN: what changed there since it and `into` parted. */
  readonly from: string;
  readonly into: string;
  readonly policy: ConflictPolicy;
  /** Find out what would happen, and roll it back. */
  readonly dryRun: boolean;
}

export interface TableCounts {
  readonly table: string;
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
}

export interface MergeConflict extends ChangesetConflict {
  /** Of `key`, `ours` and `theirs`; empty where there is no row. */
  readonly keyColumns: readonly string[];
  readonly columns: readonly string[];
}

export interface MergeOutcome {
  /** Committed: false after a dry run, and when conflicts stand against it. */
  readonly applied: boolean;
  readonly policy: ConflictPolicy;
  /** The LSN at which they parted, and in which volume. */
  readonly base: { readonly volume: string; readonly lsn: Lsn };
  /** What changed in `from` since. */
  readonly tables: readonly TableCounts[];
  readonly schema: readonly { readonly kind: string; readonly type: string; readonly name: string }[];
  /** The first thousand. */
  readonly conflicts: readonly MergeConflict[];
  readonly conflictCount: number;
  /** Conflicts that the policy cannot settle: then nothing is applied. */
  readonly unsettled: number;
  /** Of the merge's commit; null when there is none. */
  readonly lsn: Lsn | null;
}

interface Changes {
  readonly writer: ChangesetWriter;
  readonly schema: readonly SchemaChange[];
  readonly tables: ReadonlyMap<ComparedTable, { inserts: number; updates: number; deletes: number }>;
  /** Rows as `from` has them, for updates of rows that are gone by now. */
  readonly updated: ReadonlyMap<string, { readonly table: ComparedTable; readonly change: RowChange }>;
}

export async function merge(differences: Differences, request: MergeRequest): Promise<MergeOutcome> {
  const { into, policy } = request;
  if (into.includes('@')) {
    throw new TidemarkError(
      'BAD_REQUEST',
      `'${into}' is a moment of the past; a merge needs a volume to write to`,
      {
        nextStep: 'Name the volume alone, or clone that moment and merge into the clone.',
      },
    );
  }
  // Taken over before anything is read: whoever cannot write it is told so at once.
  const { engine } = await differences.context.volume(into);
  const [theirs, ours] = await Promise.all([differences.resolve(request.from), differences.resolve(into)]);
  const lineage = new Lineage(differences.context);
  const base = await baseOf(lineage, theirs, ours);
  const changes = await changesBetween(differences, lineage, base, theirs, policy);
  const connection = await engine.connectToMerge();
  try {
    const outcome = await apply(connection, changes, request, () =>
      refuseVirtual(differences, lineage, base, changes, into),
    );
    return { ...outcome, policy, base: { volume: base.name, lsn: base.point.lsn } };
  } finally {
    await connection.close();
  }
}

async function baseOf(lineage: Lineage, theirs: ResolvedPoint, ours: ResolvedPoint): Promise<ResolvedPoint> {
  const point = commonPoint(await lineage.pathOf(theirs), await lineage.pathOf(ours));
  if (point !== null) return (await lineage.asBranchOf([theirs, ours], point)) ?? lineage.resolve(point);
  throw new TidemarkError(
    'BAD_REQUEST',
    `'${theirs.name}' and '${ours.name}' have no common past to merge from`,
    {
      nextStep: 'Merge clones with what they were cloned from, or with each other.',
    },
  );
}

/** Rows as they are, of which the changeset has only what changed in them. */
const MAX_UPDATED_BYTES = 256 * MIB;

function tooManyUpdates(): TidemarkError {
  const size = `${MAX_UPDATED_BYTES / MIB} MiB`;
  return new TidemarkError('TOO_LARGE', `the rows that were updated take more than ${size}`, {
    nextStep: 'Merge an earlier moment first, or with --policy abort or ours.',
  });
}

async function changesBetween(
  differences: Differences,
  lineage: Lineage,
  base: ResolvedPoint,
  theirs: ResolvedPoint,
  policy: ConflictPolicy,
): Promise<Changes> {
  const writer = new ChangesetWriter();
  const schema: SchemaChange[] = [];
  const tables = new Map<ComparedTable, { inserts: number; updates: number; deletes: number }>();
  const updated = new Map<string, { table: ComparedTable; change: RowChange }>();
  let updatedBytes = 0;
  for await (const event of differences.comparePoints(lineage, base, theirs, null)) {
    if (event.kind === 'schema') schema.push(event.change);
    if (event.kind !== 'row') continue;
    const { table, change } = event;
    // Rows of a table that was dropped go with it.
    if (table.shapes[1] === null) continue;
    writer.add(table, change);
    const counts = tables.get(table) ?? { inserts: 0, updates: 0, deletes: 0 };
    tables.set(table, counts);
    counts[`${change.kind}s`] += 1;
    if (policy !== 'theirs' || change.kind !== 'update' || change.after === null) continue;
    updated.set(rowName(table.name, change.key), { table, change: { ...change, before: null } });
    updatedBytes += sizeOfRow(change.after);
    if (updatedBytes > MAX_UPDATED_BYTES) throw tooManyUpdates();
  }
  const { firstLeftOut } = writer;
  if (firstLeftOut !== null) {
    throw new TidemarkError(
      'UNSUPPORTED',
      `a row of table '${firstLeftOut.table}' changed ${firstLeftOut.because}`,
      {
        nextStep: 'Give such rows a key, or bring them over by hand.',
      },
    );
  }
  return { writer, schema, tables, updated };
}

/**
 * Tables that a virtual table keeps mean nothing row by row: they are taken over as they are, or not at all. Looked at while nobody else can write to
 * `into`.
 */
async function refuseVirtual(
  differences: Differences,
  lineage: Lineage,
  base: ResolvedPoint,
  { tables, schema }: Changes,
  into: string,
): Promise<void> {
  const made = schema.find(({ object }) => /^create\s+virtual\b/i.test(object.sql));
  if (made !== undefined) {
    throw new TidemarkError('UNSUPPORTED', `virtual table '${made.object.name}' was ${made.kind}`, {
      nextStep: 'Create or drop it there by hand, and merge then.',
    });
  }
  const shadows = [...tables.keys()].filter(({ shapes }) => shapes[1]?.isShadow === true);
  if (shadows.length === 0) return;
  const ours = await differences.resolve(into);
  for (const { name } of shadows) {
    for await (const event of differences.comparePoints(lineage, base, ours, name)) {
      if (event.kind !== 'row') continue;
      throw new TidemarkError(
        'MERGE_CONFLICT',
        `table '${name}', which a virtual table keeps, changed on both sides`,
        { nextStep: 'Bring the rows over by hand, so that the virtual table is kept by its own means.' },
      );
    }
  }
}

type Applied = Omit<MergeOutcome, 'policy' | 'base'>;

async function apply(
  connection: MergeConnection,
  changes: Changes,
  { policy, dryRun, into }: MergeRequest,
  refuseAlone: () => Promise<void>,
): Promise<Applied> {
  // References are checked whatever clients do: a merge must not leave rows without those they refer to.
  await connection.runScript('PRAGMA foreign_keys = ON', STRONG);
  await connection.runScript('BEGIN IMMEDIATE', STRONG);
  let isOver = false;
  try {
    await refuseAlone();
    const side = sideOf(connection);
    const schema = await readSchema(side);
    const wanted = neededSchema(changes.schema, schema, into);
    for (const { object } of wanted) await connection.runScript(object.sql, STRONG);
    const { tables: there } = wanted.length === 0 ? schema : await readSchema(side);
    const made = new Set(wanted.flatMap(({ object: { type, name } }) => (type === 'table' ? [name] : [])));
    refuseMisfits(changes.tables.keys(), there, made, into);
    const { conflicts, conflictCount, unsettled } = await applyChanges(connection, changes, policy);
    const isApplied = !dryRun && unsettled === 0;
    isOver = true;
    const { lsn } = await connection.runScript(isApplied ? 'COMMIT' : 'ROLLBACK', STRONG);
    return {
      applied: isApplied,
      tables: [...changes.tables].map(([{ name }, counts]) => ({ table: name, ...counts })),
      schema: wanted.map(({ kind, object: { type, name } }) => ({ kind, type, name })),
      conflicts,
      conflictCount,
      unsettled,
      lsn: isApplied ? lsn : null,
    };
  } catch (error) {
    if (!isOver) await connection.runScript('ROLLBACK', STRONG).catch(() => {});
    throw error instanceof SqlFailure ? asRefusal(error, into) : error;
  }
}

const STRONG = { consistency: 'strong' } as const;

function sideOf(connection: MergeConnection): DiffSide {
  return {
    query: (statements) => runQueries(connection, statements),
    readPages: () => Promise.reject(new TidemarkError('INTERNAL', 'an open transaction has no pages yet')),
  };
}

/** What is to be made there. Throws for what cannot be merged without a decision. */
function neededSchema(
  changes: readonly SchemaChange[],
  { objects }: Schema,
  into: string,
): readonly SchemaChange[] {
  return changes.filter((change) => {
    const { object } = change;
    const there = objects.find(
      ({ type, name }) => type === object.type && name.toLowerCase() === object.name.toLowerCase(),
    );
    if (change.kind === 'dropped' ? there === undefined : there?.sql === object.sql) return false;
    if (change.kind === 'created' && there === undefined) return true;
    throw new TidemarkError('MERGE_CONFLICT', `${object.type} '${object.name}' was ${change.kind}`, {
      nextStep: `Change the schema of '${into}' the same way first, and merge then.`,
    });
  });
}

async function applyChanges(
  connection: MergeConnection,
  { writer, tables, updated }: Changes,
  policy: ConflictPolicy,
): Promise<Pick<MergeOutcome, 'conflicts' | 'conflictCount' | 'unsettled'>> {
  if (writer.sizeBytes === 0) return { conflicts: [], conflictCount: 0, unsettled: 0 };
  const told = await connection.applyChangeset(writer.bytes(), policy);
  const byName = new Map([...tables.keys()].map((table) => [table.name, table]));
  let { conflictCount } = told;
  let unsettled = policy === 'abort' ? conflictCount : count(told.conflicts, UNSETTLED[policy]);
  // Past what is told nobody knows what they are.
  if (policy !== 'abort' && conflictCount > told.conflicts.length) unsettled = conflictCount;
  if (policy === 'theirs' && unsettled === 0) {
    const again = new ChangesetWriter();
    for (const conflict of told.conflicts) {
      if (conflict.kind !== 'gone' || conflict.table === null) continue;
      const row = updated.get(rowName(conflict.table, conflict.key));
      if (row !== undefined) again.add(row.table, { ...row.change, kind: 'insert', before: null });
    }
    if (again.sizeBytes > 0) {
      const more = await connection.applyChangeset(again.bytes(), 'abort');
      conflictCount += more.conflictCount;
      unsettled += more.conflictCount;
    }
  }
  const conflicts = told.conflicts.map((conflict): MergeConflict => {
    const table = conflict.table === null ? undefined : byName.get(conflict.table);
    if (table === undefined) return { ...conflict, keyColumns: [], columns: [] };
    const columns = changesetColumns(table);
    const keyColumns =
      table.keyColumns.length === 0
        ? columns.slice(0, 1)
        : columns.filter((name) => table.keyColumns.includes(name));
    return { ...conflict, keyColumns, columns };
  });
  return { conflicts, conflictCount, unsettled };
}

/** What each policy leaves without an answer. */
const UNSETTLED: Readonly<Record<'ours' | 'theirs', readonly ChangesetConflict['kind'][]>> = {
  ours: ['foreign-key'],
  theirs: ['constraint', 'foreign-key'],
};

function count(conflicts: readonly ChangesetConflict[], kinds: readonly ChangesetConflict['kind'][]): number {
  return conflicts.filter(({ kind }) => kinds.includes(kind)).length;
}

function rowName(table: string, key: Row): string {
  return `${table} ${textOfRow(key)}`;
}

function asRefusal({ error }: SqlFailure, into: string): TidemarkError {
  return new TidemarkError(
    'MERGE_CONFLICT',
    `nothing was merged into '${into}': ${error.message} (${error.code})`,
    {
      nextStep: 'Settle that there first, and merge then.',
    },
  );
}
