/** The requests that HTTP and WebSocket share: decoded, performed on a stream, answered as JSON text. */
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import { assertNever } from '../../src/base/assert.ts';
import type { Statement, Step } from '../engine/api.ts';
import type { Consistency } from '../session/consistency.ts';
import type { ProgramRequest, SessionStream } from '../session/session-stream.ts';
import { ResultCollector } from './collect-result.ts';
import { type DecodeContext, decodeBatch, decodeSql, decodeStmt } from './decode-stmt.ts';
import { encodeDescription } from './encode-result.ts';
import type { JsonObject } from './json-read.ts';
import type { ResponseAccount } from './response-budget.ts';
import { requireVersion } from './version.ts';

export type StreamRequest =
  | { readonly kind: 'execute'; readonly statement: Statement }
  | { readonly kind: 'batch'; readonly steps: readonly Step[] }
  | { readonly kind: 'sequence'; readonly sql: string }
  | { readonly kind: 'describe'; readonly sql: string }
  | { readonly kind: 'get_autocommit' };

/** Null: `type` is none of these. */
export function decodeStreamRequest(
  type: unknown,
  object: JsonObject,
  context: DecodeContext,
): StreamRequest | null {
  switch (type) {
    case 'execute':
      return { kind: 'execute', statement: decodeStmt(object.stmt, context) };
    case 'batch':
      return { kind: 'batch', steps: decodeBatch(object.batch, context) };
    case 'sequence':
      requireVersion(context.version, 2, 'the request sequence');
      return { kind: 'sequence', sql: decodeSql(object, context) };
    case 'describe':
      requireVersion(context.version, 2, 'the request describe');
      return { kind: 'describe', sql: decodeSql(object, context) };
    case 'get_autocommit':
      requireVersion(context.version, 3, 'the request get_autocommit');
      return { kind: 'get_autocommit' };
    default:
      return null;
  }
}

export interface PerformContext {
  readonly consistency: Consistency;
  readonly account: ResponseAccount;
  readonly maxResponseBytes: number;
  readonly beforeStart?: ProgramRequest['beforeStart'];
}

export interface Performed {
  /** The response object, without its envelope. */
  readonly json: string;
  /** What the result depended on; NO_LSN when on nothing. */
  readonly lsn: Lsn;
}

export async function performStreamRequest(
  stream: SessionStream,
  request: StreamRequest,
  context: PerformContext,
): Promise<Performed> {
  switch (request.kind) {
    case 'execute':
      return performExecute(stream, request.statement, context);
    case 'batch':
      return performBatch(stream, request.steps, context);
    case 'sequence': {
      const { lsn } = await stream.runScript(request.sql, context.consistency);
      return { json: '{"type":"sequence"}', lsn };
    }
    case 'describe': {
      const description = await stream.describe(request.sql);
      return { json: `{"type":"describe","result":${encodeDescription(description)}}`, lsn: NO_LSN };
    }
    case 'get_autocommit': {
      const isAutocommit = await stream.isAutocommit();
      return { json: `{"type":"get_autocommit","is_autocommit":${isAutocommit}}`, lsn: NO_LSN };
    }
    default:
      return assertNever(request, 'stream request');
  }
}

async function performExecute(
  stream: SessionStream,
  statement: Statement,
  context: PerformContext,
): Promise<Performed> {
  const collector = new ResultCollector({
    account: context.account,
    maxBytes: context.maxResponseBytes,
    stop: () => stream.interrupt(),
  });
  try {
    const { lsn } = await stream.run({
      steps: [{ statement, condition: null }],
      onEvent: collector.onEvent,
      consistency: context.consistency,
      beforeStart: context.beforeStart,
    });
    return { json: `{"type":"execute","result":${collector.stmtResult()}}`, lsn };
  } catch (error) {
    throw collector.refusal ?? error;
  }
}

async function performBatch(
  stream: SessionStream,
  steps: readonly Step[],
  context: PerformContext,
): Promise<Performed> {
  const stopper = new AbortController();
  const collector = new ResultCollector({
    account: context.account,
    maxBytes: context.maxResponseBytes,
    stop: () => stopper.abort(),
  });
  try {
    const { lsn } = await stream.run({
      steps,
      onEvent: collector.onEvent,
      consistency: context.consistency,
      signal: stopper.signal,
      beforeStart: context.beforeStart,
    });
    return { json: `{"type":"batch","result":${collector.batchResult(steps.length)}}`, lsn };
  } catch (error) {
    throw collector.refusal ?? error;
  }
}
