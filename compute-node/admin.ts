/**
 * The administration interface of a compute node, under `/-/` (no volume can have that name): what the `tidemark` command calls. JSON in and out;
 * an error is `{code, message, nextStep}` with a fitting status.
 *
 *   GET  /-/status                     the cluster as this compute node sees it
 *   GET  /-/volumes                    {volumes: [{name, volume}]}
 *   POST /-/volumes                    {name, pgPages?} → 201
 *   GET  /-/volumes/NAME/database      the whole database as a SQLite file; of NAME@WHEN as it was
 *   PUT  /-/volumes/NAME/database      a SQLite file into an empty volume (made when missing); progress as NDJSON lines
 *   GET  /-/volumes/NAME/members       {pgs, changes}: the nodes that keep it, and who is to follow
 *   POST /-/volumes/NAME/members       {pg, members} proposes six, {pg, revert: true} takes that back, {registers: […]} moves its registers
 *   GET  /-/volumes/NAME/moment?at=WHEN   {volume, run, lsn, …}: the read point, of a volume open here; asked by other compute nodes
 *   and what is about timelines (admin-timelines.ts)
 *   GET  /-/nodes                      {nodes: […]}
 *   POST /-/nodes                      {node: "NODE=AZ@HOST:PORT"} → 201
 *   POST /-/nodes/NODE/drain           {} or {cancel: true}; progress as NDJSON lines
 *   POST /-/nodes/NODE/replace         {by: "NODE", revert?: true}; progress as NDJSON lines
 *   POST /-/diff                       {from, to, table?, format?}: VOLUME or VOLUME@WHEN each; NDJSON lines, or a changeset
 *   POST /-/merge                      {from, into, policy?: "abort" | "ours" | "theirs", dryRun?}
 *   POST /-/restore-rows               {from: "VOLUME@WHEN", select, overwrite?, dryRun?}
 *   POST /-/scrub                      {volume?: "NAME", node?: "NODE"}; progress as NDJSON lines
 */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { nodeTimers } from '../src/adapters/timers.ts';
import { TidemarkError } from '../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../src/base/limits.ts';
import type { Lsn } from '../src/log/lsn.ts';
import { parseMoment, splitMoment } from '../src/timeline/moment.ts';
import { bringRowsBack, mergeVolumes, tellDiff } from './admin-diff.ts';
import { errorBody, readJson, sendJson, statusOf } from './admin-http.ts';
import { addNode, changeMembers, drainNode, readMembers, replaceNode, scrub } from './admin-nodes.ts';
import { answerTimelines, windowsOf } from './admin-timelines.ts';
import type { Engine } from './engine/api.ts';
import type { ComputeNode } from './node.ts';

export type AdminHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Who answers: stands at the head of every status. */
export interface Identity {
  readonly computeId: string;
  readonly version: string;
  readonly url: string;
  readonly uptimeMs: number;
}

export function adminHandler(node: ComputeNode, identity: Identity): AdminHandler {
  return async (request, response) => {
    try {
      await route(node, identity, request, response);
    } catch (error) {
      request.resume();
      if (response.headersSent) response.destroy(error instanceof Error ? error : undefined);
      else sendJson(response, statusOf(error), errorBody(error));
    }
  };
}

async function route(
  node: ComputeNode,
  identity: Identity,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const [, , what, name, part, ...rest] = pathname.split('/');
  if (await answerTimelines(node.timelines, request, response)) return;
  const call = `${request.method} ${what}${name === undefined ? '' : `/NAME/${part ?? ''}`}`;
  if (rest.length === 0) {
    switch (call) {
      case 'GET status':
        return sendJson(response, 200, { ...identity, ...(await statusOfNode(node)) });
      case 'GET volumes':
        return sendJson(response, 200, { volumes: await node.volumes() });
      case 'POST volumes':
        return sendJson(response, 201, await createVolume(node, await readJson(request)));
      case 'GET volumes/NAME/database':
        return exportDatabase(node, decodeURIComponent(name!), response);
      case 'PUT volumes/NAME/database':
        return importDatabase(node, decodeURIComponent(name!), request, response);
      case 'GET volumes/NAME/members':
        return sendJson(response, 200, await readMembers(node, decodeURIComponent(name!)));
      case 'POST volumes/NAME/members':
        return sendJson(
          response,
          200,
          await changeMembers(node, decodeURIComponent(name!), await readJson(request)),
        );
      case 'GET volumes/NAME/moment': {
        const at = searchParams.get('at');
        const moment = at === null ? null : parseMoment(at);
        const agoFrom = searchParams.get('ago-from') === 'second' ? 'second' : 'instant';
        const held = await node.timelines.resolveHeld(decodeURIComponent(name!), moment, agoFrom);
        return sendJson(response, 200, held);
      }
      case 'GET nodes':
        return sendJson(response, 200, { nodes: await node.operations.list() });
      case 'POST nodes':
        return sendJson(response, 201, await addNode(node, await readJson(request)));
      case 'POST diff':
        return tellDiff(node, await readJson(request), response);
      case 'POST merge':
        return sendJson(response, 200, await mergeVolumes(node, await readJson(request)));
      case 'POST restore-rows':
        return sendJson(response, 200, await bringRowsBack(node, await readJson(request)));
      case 'POST scrub':
        return scrub(node, await readJson(request), response);
      case 'POST nodes/NAME/drain':
        return drainNode(node, decodeURIComponent(name!), await readJson(request), response);
      case 'POST nodes/NAME/replace':
        return replaceNode(node, decodeURIComponent(name!), await readJson(request), response);
    }
  }
  throw new TidemarkError('BAD_REQUEST', `there is no ${request.method} ${pathname} here`, {
    nextStep: 'See `tidemark --help` for what can be administered.',
  });
}

async function statusOfNode(node: ComputeNode): Promise<object> {
  const names = node.opened().map(({ name }) => name);
  const [status, windows] = await Promise.all([node.status(), windowsOf(node.timelines, names, nodeTimers)]);
  return { ...status, windows };
}

async function createVolume(node: ComputeNode, body: unknown): Promise<{ name: string; volume: string }> {
  if (typeof body !== 'object' || body === null || !('name' in body) || typeof body.name !== 'string') {
    throw new TidemarkError('BAD_REQUEST', 'the body must be JSON: {"name": "…"}');
  }
  const pgPages = 'pgPages' in body ? body.pgPages : undefined;
  if (pgPages !== undefined && (typeof pgPages !== 'number' || !Number.isInteger(pgPages) || pgPages < 1)) {
    throw new TidemarkError('BAD_REQUEST', 'pgPages must be a whole number of pages, at least 1');
  }
  return node.createVolume(body.name, pgPages);
}

async function exportDatabase(node: ComputeNode, name: string, response: ServerResponse): Promise<void> {
  const { engine, lsn, release } = await exportSource(node, name);
  try {
    const stream = Readable.from(withHeaders(engine.exportDatabase(), lsn, response), {
      objectMode: true,
      highWaterMark: 4,
    });
    await pipeline(stream, response);
  } finally {
    release();
  }
}

async function exportSource(
  node: ComputeNode,
  text: string,
): Promise<{ readonly engine: Engine; readonly lsn: Lsn; readonly release: () => void }> {
  const { name, moment } = splitMoment(text);
  if (moment !== null) {
    const { engine, point, release } = await node.timelines.open(name, moment);
    return { engine, lsn: point.lsn, release };
  }
  const { engine, log } = await node.volume(name);
  return { engine, lsn: log.vdl, release: () => {} };
}

/** Headers go out with the first chunk: an export that fails before it still gets a proper error. */
async function* withHeaders(
  chunks: AsyncIterable<Uint8Array>,
  lsn: number,
  response: ServerResponse,
): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of chunks) {
    if (first) {
      response.writeHead(200, {
        'content-type': 'application/vnd.sqlite3',
        'content-length': databaseBytes(chunk),
        'tidemark-lsn': String(lsn),
      });
      first = false;
    }
    yield chunk;
  }
  if (first)
    response.writeHead(200, {
      'content-type': 'application/vnd.sqlite3',
      'content-length': 0,
      'tidemark-lsn': String(lsn),
    });
}

/** A database's size stands in its header, bytes 28 to 31, in pages. */
function databaseBytes(firstChunk: Uint8Array): number {
  return (
    new DataView(firstChunk.buffer, firstChunk.byteOffset, firstChunk.byteLength).getUint32(28) *
    PAGE_SIZE_BYTES
  );
}

/** The file is received whole before anything is written: what arrives broken leaves the volume as it was. */
async function importDatabase(
  node: ComputeNode,
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-import-'));
  try {
    const file = join(folder, 'upload.sqlite');
    await pipeline(request, createWriteStream(file));
    if (!(await node.volumes()).some((volume) => volume.name === name)) await node.createVolume(name);
    const { engine } = await node.volume(name);
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    const line = (value: unknown): void => void response.write(`${JSON.stringify(value)}\n`);
    try {
      const { pages, lsn } = await engine.importDatabase(file, line);
      line({ done: true, pages, lsn });
    } catch (error) {
      line({ error: errorBody(error) });
    }
    response.end();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
