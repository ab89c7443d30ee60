/** Endpoints whose every request has a stream of its own: `POST v1/execute`, `POST v1/batch`, and the legacy `POST /`. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { NO_LSN } from '../../src/log/lsn.ts';
import { SessionError } from '../session/errors.ts';
import type { SessionStream } from '../session/session-stream.ts';
import { StoredSql } from '../session/stored-sql.ts';
import { connector } from '../session/volume-sessions.ts';
import { decodeBatch, decodeStmt } from './decode-stmt.ts';
import { releaseWhenTaken } from './http-account.ts';
import { readJsonBody } from './http-body.ts';
import { consistencyOf } from './http-consistency.ts';
import { replyJson } from './http-reply.ts';
import { decodeLegacyStatements, LegacyCollector, legacySteps } from './legacy.ts';
import { noteIfBug, type ServerContext } from './server-context.ts';
import { performStreamRequest, type StreamRequest } from './stream-request.ts';

export async function handleV1(
  context: ServerContext,
  endpoint: 'execute' | 'batch',
  volume: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readJsonBody(request, context.limits.maxRequestBytes);
  const consistency = consistencyOf(request);
  const decode = {
    version: 1 as const,
    sqls: new StoredSql(context.sessions.limits),
    maxConditionDepth: context.limits.maxConditionDepth,
  };
  const asked: StreamRequest =
    endpoint === 'execute'
      ? { kind: 'execute', statement: decodeStmt(body.stmt, decode) }
      : { kind: 'batch', steps: decodeBatch(body.batch, decode) };
  const account = context.budget.account();
  try {
    const { json, lsn } = await onFreshStream(context, volume, response, (stream) =>
      performStreamRequest(stream, asked, {
        consistency,
        account,
        maxResponseBytes: context.limits.maxResponseBytes,
      }),
    );
    if (lsn !== NO_LSN) response.setHeader('tidemark-lsn', lsn);
    releaseWhenTaken(context, response, account);
    replyJson(response, 200, json.replace(/^\{"type":"\w+",/, '{'));
  } catch (error) {
    account.release();
    throw error;
  }
}

export async function handleLegacy(
  context: ServerContext,
  volume: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readJsonBody(request, context.limits.maxRequestBytes);
  const consistency = consistencyOf(request);
  const statements = decodeLegacyStatements(body.statements);
  if (statements.length === 0) return replyJson(response, 200, '[]');
  const account = context.budget.account();
  const stopper = new AbortController();
  const collector = new LegacyCollector({
    account,
    maxBytes: context.limits.maxResponseBytes,
    stop: () => stopper.abort(),
  });
  try {
    const lsn = await onFreshStream(context, volume, response, async (stream) => {
      const result = await stream.run({
        steps: legacySteps(statements),
        onEvent: collector.onEvent,
        consistency,
        signal: stopper.signal,
      });
      if (!result.isAutocommit) {
        throw new SessionError(
          'BAD_REQUEST',
          'the statements begin a transaction and do not end it; nothing of it was kept',
          'end it with COMMIT in the same request, or use /v2/pipeline for interactive transactions',
        );
      }
      return result.lsn;
    });
    if (lsn !== NO_LSN) response.setHeader('tidemark-lsn', lsn);
    releaseWhenTaken(context, response, account);
    replyJson(response, 200, collector.body(statements.length));
  } catch (error) {
    account.release();
    throw collector.refusal ?? error;
  }
}

async function onFreshStream<T>(
  context: ServerContext,
  volume: string,
  response: ServerResponse,
  work: (stream: SessionStream) => Promise<T>,
): Promise<T> {
  const stream = context.sessions.open(connector(context.resolveVolume, volume));
  const close = () => {
    stream.close().catch((error: unknown) => noteIfBug(context, error, 'closing a stream'));
  };
  const onGone = () => {
    if (!response.writableFinished) close();
  };
  response.once('close', onGone);
  try {
    return await work(stream);
  } finally {
    response.off('close', onGone);
    close();
  }
}
