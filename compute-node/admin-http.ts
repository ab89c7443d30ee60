/** What every part of the administration interface needs of HTTP: JSON in, JSON out, errors with a fitting status. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorCode, isTidemarkError, TidemarkError } from '../src/base/errors.ts';

const MAX_JSON_BYTES = 64 * 1024;

export async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > MAX_JSON_BYTES)
      throw new TidemarkError('TOO_LARGE', `the body is larger than ${MAX_JSON_BYTES} bytes`);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TidemarkError('BAD_REQUEST', 'the body is not valid JSON', { cause });
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(
    `${JSON.stringify(body, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}\n`,
  );
}

export function errorBody(error: unknown): { code: string; message: string; nextStep: string | null } {
  if (isTidemarkError(error))
    return { code: error.code, message: error.message, nextStep: error.nextStep ?? null };
  return {
    code: 'INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    nextStep: null,
  };
}

const STATUS_OF_CODE: Partial<Record<ErrorCode, number>> = {
  BAD_REQUEST: 400,
  BAD_NAME: 400,
  NOT_A_DATABASE: 400,
  UNAUTHORIZED: 401,
  VOLUME_NOT_FOUND: 404,
  VOLUME_EXISTS: 409,
  NOT_EMPTY: 409,
  VOLUME_HELD: 409,
  IN_FUTURE: 400,
  BEFORE_CREATION: 400,
  CYCLE: 400,
  SNAPSHOT_NOT_FOUND: 404,
  SNAPSHOT_EXISTS: 409,
  IN_USE: 409,
  MERGE_CONFLICT: 409,
  CUT: 404,
  GONE: 410,
  VOLUME_DROPPED: 410,
  NODE_NOT_FOUND: 404,
  NO_PLACE: 409,
  CHANGE_UNDER_WAY: 409,
  TOO_LARGE: 413,
  NO_QUORUM: 503,
  OVERLOADED: 503,
  UNAVAILABLE: 503,
};

export function statusOf(error: unknown): number {
  return (isTidemarkError(error) ? STATUS_OF_CODE[error.code] : undefined) ?? 500;
}
