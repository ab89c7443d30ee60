/** Reads a JSON request body, bounded. */
import type { IncomingMessage } from 'node:http';
import { SessionError } from '../session/errors.ts';
import { type JsonObject, parseJson } from './json-read.ts';
import { MalformedError } from './protocol-error.ts';

/** Throws TOO_LARGE, BAD_REQUEST, UNSUPPORTED. */
export async function readJsonBody(request: IncomingMessage, maxBytes: number): Promise<JsonObject> {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw new SessionError(
      'UNSUPPORTED',
      `request bodies in ${encoding} are not read`,
      'send the body uncompressed',
    );
  }
  return parseJson(await readBody(request, maxBytes));
}

/**
 * A body that is somewhat too large is read to its end and dropped, because most clients look for the answer only after they have sent
 * everything; one much larger than that is not.
 */
function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > 2 * maxBytes) return reject(tooLarge(maxBytes));
    let chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      chunks = [];
      if (bytes > 2 * maxBytes) {
        request.pause();
        reject(tooLarge(maxBytes));
      }
    });
    request.on('end', () => {
      if (bytes > maxBytes) reject(tooLarge(maxBytes));
      else resolve((chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString());
    });
    const onBroken = () => reject(new MalformedError('the request body ended early'));
    request.on('error', onBroken);
    request.on('aborted', onBroken);
  });
}

function tooLarge(maxBytes: number): SessionError {
  return new SessionError(
    'TOO_LARGE',
    `the request body is larger than ${maxBytes} bytes`,
    'send the statements in several requests',
  );
}
