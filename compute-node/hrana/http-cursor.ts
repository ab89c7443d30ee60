/**
 * `POST v3/cursor`: runs a batch and streams its entries, one JSON text a line, as they come out of the engine. A client that reads slowly
 * slows the program down; one that does not read at all is cut off, soon when it holds the writer lock.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ProgramEvent, Step } from '../engine/api.ts';
import type { Consistency } from '../session/consistency.ts';
import { reportError } from '../session/errors.ts';
import type { SessionStream } from '../session/session-stream.ts';
import { decodeBatch } from './decode-stmt.ts';
import { encodeCursorEntries, encodeError } from './encode-result.ts';
import { readJsonBody } from './http-body.ts';
import { consistencyOf } from './http-consistency.ts';
import { endQuietly, takeStream } from './http-pipeline.ts';
import { noteIfBug, type ServerContext } from './server-context.ts';

export async function handleCursor(
  context: ServerContext,
  volume: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readJsonBody(request, context.limits.maxRequestBytes);
  const consistency = consistencyOf(request);
  const taken = await takeStream(context, volume, body);
  let steps: readonly Step[];
  try {
    steps = decodeBatch(body.batch, {
      version: 3,
      sqls: taken.sqls,
      maxConditionDepth: context.limits.maxConditionDepth,
    });
  } catch (error) {
    endQuietly(context, taken);
    throw error;
  }
  const baton = context.httpStreams.baton(taken);
  // The program takes its place in the stream's order first, then the stream may be taken by the next baton.
  const done = streamProgram(context, taken.stream, steps, consistency, response);
  context.httpStreams.rest(taken);
  response.writeHead(200, { 'content-type': 'application/x-ndjson', trailer: 'tidemark-lsn' });
  response.write(`{"baton":"${baton}","base_url":null}\n`);
  await done;
}

async function streamProgram(
  context: ServerContext,
  stream: SessionStream,
  steps: readonly Step[],
  consistency: Consistency,
  response: ServerResponse,
): Promise<void> {
  const stopper = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) stopper.abort();
  });
  const onEvent = (event: ProgramEvent): void | Promise<void> => {
    if (response.destroyed) return;
    let lines = '';
    encodeCursorEntries(event, (entry) => {
      lines += `${entry}\n`;
    });
    if (lines !== '' && !response.write(lines)) return drained(context, stream, response);
  };
  try {
    const { lsn } = await stream.run({ steps, onEvent, consistency, signal: stopper.signal });
    response.addTrailers({ 'tidemark-lsn': `${lsn}` });
  } catch (error) {
    noteIfBug(context, error, 'a cursor');
    response.write(`{"type":"error","error":${encodeError(reportError(error))}}\n`);
  }
  response.end();
}

/** Resolves when the client has taken enough, or is gone. */
function drained(context: ServerContext, stream: SessionStream, response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const stall = context.sessions.scheduler.after(stream.stallLimitMs, () => response.destroy());
    const go = () => {
      stall.cancel();
      response.off('drain', go);
      response.off('close', go);
      resolve();
    };
    response.once('drain', go);
    response.once('close', go);
  });
}
