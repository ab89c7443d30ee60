/**
 * The part of the administration interface that is about storage nodes and the members of volumes. Long operations answer with one JSON
 * object per line: what moves where, and at last `{"done": true, …}` or `{"error": …}`. Who hangs up ends only the watching: a change that a
 * volume's writer has begun goes on.
 */
import type { ServerResponse } from 'node:http';
import { TidemarkError } from '../src/base/errors.ts';
import { parseNodeId, parseNodeList } from '../src/base/node-list.ts';
import type { NodeId } from '../src/log/lsn.ts';
import { toPgIndex } from '../src/log/lsn.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { errorBody } from './admin-http.ts';
import type { MembersAccess } from './driver/segment-mover.ts';
import type { ComputeNode } from './node.ts';
import type { OperationProgress } from './node-operations.ts';
import type { ScrubProgress } from './scrub-operation.ts';

export async function addNode(node: ComputeNode, body: unknown): Promise<ClusterNode> {
  const text = field(body, 'node');
  if (typeof text !== 'string') throw bad('the body must be JSON: {"node": "NODE=AZ@HOST:PORT"}');
  const [added, ...more] = parseNodeList(text);
  if (added === undefined || more.length > 0) throw bad('one node is added at a time');
  await node.operations.add(added);
  return added;
}

export async function drainNode(
  node: ComputeNode,
  nodeId: string,
  body: unknown,
  response: ServerResponse,
): Promise<void> {
  const id = parseNodeId(nodeId);
  const { operations } = node;
  if (field(body, 'cancel') === true) return tell(response, () => once(operations.revert(id, null)));
  return tell(response, (isAbandoned) => operations.drain(id, isAbandoned));
}

export async function replaceNode(
  node: ComputeNode,
  nodeId: string,
  body: unknown,
  response: ServerResponse,
): Promise<void> {
  const by = field(body, 'by');
  if (typeof by !== 'string') throw bad('the body must be JSON: {"by": "NODE"}');
  const [leaving, taker] = [parseNodeId(nodeId), parseNodeId(by)];
  const { operations } = node;
  if (field(body, 'revert') === true) return tell(response, () => once(operations.revert(leaving, taker)));
  return tell(response, (isAbandoned) => operations.replace(leaving, taker, isAbandoned));
}

export async function scrub(node: ComputeNode, body: unknown, response: ServerResponse): Promise<void> {
  const [volume, nodeId] = [field(body, 'volume'), field(body, 'node')];
  if (volume !== undefined && typeof volume !== 'string') throw bad('volume must be a name');
  if (nodeId !== undefined && typeof nodeId !== 'string') throw bad('node must be the id of a storage node');
  const only = nodeId === undefined ? null : parseNodeId(nodeId);
  return tell(response, (isAbandoned) => node.scrub(volume ?? null, only, isAbandoned));
}

export async function readMembers(node: ComputeNode, volume: string): ReturnType<MembersAccess['read']> {
  const access = await node.members(volume);
  return access.read();
}

export async function changeMembers(
  node: ComputeNode,
  volume: string,
  body: unknown,
): ReturnType<MembersAccess['read']> {
  const access = await node.members(volume);
  const registers = field(body, 'registers');
  if (registers !== undefined) {
    await access.moveRegisters(nodeIds(registers));
    return access.read();
  }
  const pg = field(body, 'pg');
  if (typeof pg !== 'number' || !Number.isSafeInteger(pg) || pg < 0)
    throw bad('pg must be the number of a PG');
  if (field(body, 'revert') === true) await access.revert(toPgIndex(pg));
  else await access.propose(toPgIndex(pg), nodeIds(field(body, 'members')));
  return access.read();
}

/** Lines as they come. The first one decides between an error with a status and an error in a line. */
async function tell(
  response: ServerResponse,
  begin: (isAbandoned: () => boolean) => AsyncIterable<OperationProgress | ScrubProgress>,
): Promise<void> {
  const line = (value: unknown): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(`${JSON.stringify(value)}\n`);
  };
  try {
    for await (const progress of begin(() => response.destroyed)) {
      line('kind' in progress && progress.kind === 'end' ? { done: true, ...progress } : progress);
    }
  } catch (error) {
    if (!response.headersSent) throw error;
    line({ error: errorBody(error) });
  }
  response.end();
}

async function* once<T>(value: Promise<T>): AsyncGenerator<T> {
  yield await value;
}

function nodeIds(value: unknown): readonly NodeId[] {
  if (!Array.isArray(value) || !value.every((id) => typeof id === 'string')) {
    throw bad('members must be a list of node ids');
  }
  return value.map((id: string) => parseNodeId(id));
}

function field(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

function bad(message: string): TidemarkError {
  return new TidemarkError('BAD_REQUEST', message);
}
