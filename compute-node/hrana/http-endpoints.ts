/** Which endpoint answers which request. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SessionError } from '../session/errors.ts';
import { handleCursor } from './http-cursor.ts';
import { handlePipeline } from './http-pipeline.ts';
import { replyText } from './http-reply.ts';
import { handleLegacy, handleV1 } from './http-stateless.ts';
import type { ServerContext } from './server-context.ts';

type Endpoint = (
  context: ServerContext,
  volume: string,
  request: IncomingMessage,
  response: ServerResponse,
) => Promise<void> | void;

const POST: Readonly<Record<string, Endpoint>> = {
  '': handleLegacy,
  'v1/execute': (context, ...rest) => handleV1(context, 'execute', ...rest),
  'v1/batch': (context, ...rest) => handleV1(context, 'batch', ...rest),
  'v2/pipeline': (context, ...rest) => handlePipeline(context, 2, ...rest),
  'v3/pipeline': (context, ...rest) => handlePipeline(context, 3, ...rest),
  'v3/cursor': handleCursor,
};

/**
 * How clients find out which versions are served. `v3-protobuf` is not among them: 404 there makes clients go on with JSON.
 */
const GET: Readonly<Record<string, Endpoint>> = {
  '': (_context, volume, _request, response) =>
    replyText(
      response,
      200,
      `This is the Tidemark volume ${volume}. Use a libSQL client with this address.\n`,
    ),
  v1: versionPage,
  v2: versionPage,
  v3: versionPage,
};

function versionPage(
  _context: ServerContext,
  _volume: string,
  _request: IncomingMessage,
  response: ServerResponse,
): void {
  replyText(response, 200, 'Hello, this is Hrana over HTTP\n');
}

export async function handleVolumeRequest(
  context: ServerContext,
  volume: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const method = request.method ?? 'GET';
  const table = method === 'POST' ? POST : method === 'GET' ? GET : null;
  const endpoint = table !== null && Object.hasOwn(table, path) ? table[path] : undefined;
  if (endpoint !== undefined) return endpoint(context, volume, request, response);
  const isElsewhere = Object.hasOwn(POST, path) || Object.hasOwn(GET, path);
  throw new NoSuchEndpoint(method, path, isElsewhere);
}

/** Its own class because its status is not its code's. */
export class NoSuchEndpoint extends SessionError {
  readonly status: 404 | 405;

  constructor(method: string, path: string, isElsewhere: boolean) {
    super(
      isElsewhere ? 'BAD_REQUEST' : 'UNSUPPORTED',
      isElsewhere ? `${method} is not a method of /${path}` : `there is nothing at /${path.slice(0, 80)}`,
      'see the list of endpoints in the documentation',
    );
    this.status = isElsewhere ? 405 : 404;
  }
}
