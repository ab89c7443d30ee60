/**
 * `POST v2/pipeline` and `v3/pipeline`: requests of one stream, run in order, answered together. The whole body is decoded before any of
 * it runs, so that a malformed one has no effect. After an answer of status 400 or more the stream is gone.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import { reportError, SessionError } from '../session/errors.ts';
import { connector } from '../session/volume-sessions.ts';
import type { DecodeContext } from './decode-stmt.ts';
import { encodeError } from './encode-result.ts';
import { releaseWhenTaken } from './http-account.ts';
import { readJsonBody } from './http-body.ts';
import { consistencyOf } from './http-consistency.ts';
import { replyJson } from './http-reply.ts';
import type { HttpStream } from './http-streams.ts';
import { asArray, asInt32, asObject, asString, type JsonObject } from './json-read.ts';
import { MalformedError, ProtocolError } from './protocol-error.ts';
import { noteIfBug, type ServerContext } from './server-context.ts';
import { decodeStreamRequest, performStreamRequest, type StreamRequest } from './stream-request.ts';
import type { HranaVersion } from './version.ts';

type PipelineRequest =
  | { readonly kind: 'perform'; readonly request: StreamRequest }
  /** Needs no database; `json` is its response. */
  | { readonly kind: 'answered'; readonly json: string }
  | { readonly kind: 'refused'; readonly error: SessionError };

interface Pipeline {
  readonly requests: readonly PipelineRequest[];
  readonly closes: boolean;
}

export async function handlePipeline(
  context: ServerContext,
  version: HranaVersion,
  volume: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readJsonBody(request, context.limits.maxRequestBytes);
  const consistency = consistencyOf(request);
  const taken = await takeStream(context, volume, body);
  // Nobody else has the next baton: without its reader the stream is of no use to anyone.
  const onGone = () => {
    if (!response.writableFinished) context.httpStreams.end(taken).catch(() => undefined);
  };
  response.once('close', onGone);
  const account = context.budget.account();
  try {
    const decode = { version, sqls: taken.sqls, maxConditionDepth: context.limits.maxConditionDepth };
    const { requests, closes } = decodePipeline(body.requests, decode);
    let results = '';
    let lsn: Lsn = NO_LSN;
    for (const entry of requests) {
      let result: string;
      try {
        const performed = await performEntry(entry, taken, (asked) =>
          performStreamRequest(taken.stream, asked, {
            consistency,
            account,
            maxResponseBytes: context.limits.maxResponseBytes - results.length,
          }),
        );
        if (performed.lsn > lsn) lsn = performed.lsn;
        result = `{"type":"ok","response":${performed.json}}`;
      } catch (error) {
        noteIfBug(context, error, 'a pipeline request');
        result = `{"type":"error","error":${encodeError(reportError(error))}}`;
      }
      results += results === '' ? result : `,${result}`;
    }
    let baton = 'null';
    if (closes) {
      endQuietly(context, taken);
    } else {
      baton = `"${context.httpStreams.baton(taken)}"`;
      context.httpStreams.rest(taken);
    }
    if (lsn !== NO_LSN) response.setHeader('tidemark-lsn', lsn);
    releaseWhenTaken(context, response, account);
    replyJson(response, 200, `{"baton":${baton},"base_url":null,"results":[${results}],"lsn":${lsn}}`);
  } catch (error) {
    account.release();
    endQuietly(context, taken);
    throw error;
  }
}

/** The stream that `baton` names, or a new one whose volume is known to be there. */
export async function takeStream(
  context: ServerContext,
  volume: string,
  body: JsonObject,
): Promise<HttpStream> {
  if (body.baton != null) {
    const taken = context.httpStreams.take(volume, asString(body.baton, 'baton'));
    // The baton came with the last answer, so that answer was read.
    taken.stream.acknowledge();
    return taken;
  }
  const taken = context.httpStreams.open(volume, connector(context.resolveVolume, volume));
  try {
    await taken.stream.open();
  } catch (error) {
    endQuietly(context, taken);
    throw error;
  }
  return taken;
}

export function endQuietly(context: ServerContext, taken: HttpStream): void {
  context.httpStreams.end(taken).catch((error: unknown) => noteIfBug(context, error, 'closing a stream'));
}

async function performEntry(
  entry: PipelineRequest,
  taken: HttpStream,
  perform: (request: StreamRequest) => Promise<{ json: string; lsn: Lsn }>,
): Promise<{ json: string; lsn: Lsn }> {
  switch (entry.kind) {
    case 'answered':
      return { json: entry.json, lsn: NO_LSN };
    case 'refused':
      throw entry.error;
    case 'perform':
      if (!taken.stream.isOpen) throw new SessionError('STREAM_CLOSED', 'the client is gone');
      return perform(entry.request);
  }
}

function decodePipeline(json: unknown, context: DecodeContext): Pipeline {
  let closes = false;
  const requests = asArray(json, 'requests').map((entry, i): PipelineRequest => {
    if (closes) throw new MalformedError(`requests[${i}] follows the request that closes the stream`);
    const object = asObject(entry, `requests[${i}]`);
    if (object.type === 'close') {
      closes = true;
      return { kind: 'answered', json: '{"type":"close"}' };
    }
    try {
      return decodeEntry(object, context);
    } catch (error) {
      if (error instanceof MalformedError) {
        throw new MalformedError(`requests[${i}]: ${error.message}`, error.nextStep);
      }
      // Not malformed, only impossible (no such stored SQL…): this request alone is refused.
      if (error instanceof SessionError && !(error instanceof ProtocolError))
        return { kind: 'refused', error };
      throw error;
    }
  });
  return { requests, closes };
}

function decodeEntry(object: JsonObject, context: DecodeContext): PipelineRequest {
  switch (object.type) {
    case 'store_sql': {
      const id = asInt32(object.sql_id, 'sql_id');
      if (context.sqls.has(id)) throw new ProtocolError(`sql_id ${id} is in use already`);
      context.sqls.store(id, asString(object.sql, 'sql'));
      return { kind: 'answered', json: '{"type":"store_sql"}' };
    }
    case 'close_sql':
      context.sqls.close(asInt32(object.sql_id, 'sql_id'));
      return { kind: 'answered', json: '{"type":"close_sql"}' };
    default: {
      const request = decodeStreamRequest(object.type, object, context);
      if (request === null)
        throw new MalformedError(`${JSON.stringify(object.type)} is not a type of request`);
      return { kind: 'perform', request };
    }
  }
}
