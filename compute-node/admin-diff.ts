/**
 * The part of the administration interface that compares, merges, and brings rows back. A diff comes as one JSON object per line (diff/told.ts), the last
 * one `{"kind": "end", …}`; or, when asked for, as a changeset of SQLite's sessions.
 */
import type { ServerResponse } from 'node:http';
import { TidemarkError } from '../src/base/errors.ts';
import { errorBody } from './admin-http.ts';
import { ChangesetWriter } from './diff/changeset.ts';
import type { DiffWish } from './diff/differences.ts';
import type { MergeOutcome } from './diff/merge.ts';
import type { RestoreOutcome } from './diff/restore-rows.ts';
import { type ToldRow, toldDiffEvent, toldRow } from './diff/told.ts';
import type { ConflictPolicy } from './engine/api.ts';
import type { ComputeNode } from './node.ts';

const CHANGESET_TYPE = 'application/vnd.sqlite3.changeset';
const POLICIES: readonly ConflictPolicy[] = ['abort', 'ours', 'theirs'];

export interface ToldConflict extends Omit<MergeOutcome['conflicts'][number], 'key' | 'ours' | 'theirs'> {
  readonly key: ToldRow;
  readonly ours: ToldRow | null;
  readonly theirs: ToldRow | null;
}

export interface ToldMerge extends Omit<MergeOutcome, 'conflicts'> {
  readonly conflicts: readonly ToldConflict[];
}

export interface ToldRestore extends Omit<RestoreOutcome, 'differentKeys'> {
  readonly differentKeys: readonly ToldRow[];
}

export async function tellDiff(node: ComputeNode, body: unknown, response: ServerResponse): Promise<void> {
  const table = field(body, 'table');
  if (table !== undefined && typeof table !== 'string') throw bad('table must be the name of a table');
  const wish: DiffWish = { from: text(body, 'from'), to: text(body, 'to'), table: table ?? null };
  const format = field(body, 'format') ?? 'json';
  if (format === 'changeset') return tellChangeset(node, wish, response);
  if (format !== 'json') throw bad('format must be "json" or "changeset"');
  const line = async (value: unknown): Promise<void> => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    if (!response.write(`${JSON.stringify(value)}\n`)) await drained(response);
  };
  try {
    for await (const event of node.differences.compare(wish)) {
      if (response.destroyed) return;
      await line(toldDiffEvent(event));
    }
  } catch (error) {
    if (!response.headersSent) throw error;
    await line({ error: errorBody(error) });
  }
  response.end();
}

/** What no changeset can tell is counted in headers: changes of the schema, and of rows whose key is NULL in part. */
async function tellChangeset(node: ComputeNode, wish: DiffWish, response: ServerResponse): Promise<void> {
  const writer = new ChangesetWriter();
  let schemaChanges = 0;
  let rows = 0;
  for await (const event of node.differences.compare(wish)) {
    if (event.kind === 'schema') schemaChanges += 1;
    // Rows of a table that is gone go with it.
    if (event.kind !== 'row' || event.table.shapes[1] === null) continue;
    rows += 1;
    writer.add(event.table, event.change);
  }
  const bytes = writer.bytes();
  response.writeHead(200, {
    'content-type': CHANGESET_TYPE,
    'content-length': bytes.length,
    'tidemark-rows': rows - writer.leftOut,
    'tidemark-left-out': writer.leftOut,
    'tidemark-schema-changes': schemaChanges,
  });
  response.end(bytes);
}

export async function mergeVolumes(node: ComputeNode, body: unknown): Promise<ToldMerge> {
  const wanted = field(body, 'policy') ?? 'abort';
  const policy = POLICIES.find((known) => known === wanted);
  if (policy === undefined) throw bad(`policy must be one of ${POLICIES.join(', ')}`);
  const outcome = await node.differences.merge({
    from: text(body, 'from'),
    into: text(body, 'into'),
    policy,
    dryRun: field(body, 'dryRun') === true,
  });
  return {
    ...outcome,
    conflicts: outcome.conflicts.map((conflict) => ({
      ...conflict,
      key: toldRow(conflict.key),
      ours: conflict.ours && toldRow(conflict.ours),
      theirs: conflict.theirs && toldRow(conflict.theirs),
    })),
  };
}

export async function bringRowsBack(node: ComputeNode, body: unknown): Promise<ToldRestore> {
  const outcome = await node.differences.restoreRows({
    from: text(body, 'from'),
    select: text(body, 'select'),
    overwrite: field(body, 'overwrite') === true,
    dryRun: field(body, 'dryRun') === true,
  });
  return { ...outcome, differentKeys: outcome.differentKeys.map(toldRow) };
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
    // It may have been closed before anyone listened.
    if (response.destroyed) done();
  });
}

function text(body: unknown, name: string): string {
  const value = field(body, name);
  if (typeof value === 'string' && value !== '') return value;
  throw bad(`the body must be JSON, and '${name}' in it a text`);
}

function field(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

function bad(message: string): TidemarkError {
  return new TidemarkError('BAD_REQUEST', message);
}
