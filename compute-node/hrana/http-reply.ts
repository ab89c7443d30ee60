/** Writing HTTP answers: JSON bodies, errors with their status, CORS. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorReport, reportError } from '../session/errors.ts';
import { encodeError } from './encode-result.ts';

/** Exactly this: with a charset behind it, clients do not read the error's code. */
export const JSON_TYPE = 'application/json';

const STATUS: Readonly<Record<string, number>> = {
  UNAUTHORIZED: 401,
  VOLUME_NOT_FOUND: 404,
  VOLUME_EXISTS: 409,
  VOLUME_HELD: 409,
  NOT_EMPTY: 409,
  IN_USE: 409,
  VOLUME_DROPPED: 410,
  TOO_LARGE: 413,
  OVERLOADED: 503,
  UNAVAILABLE: 503,
  DEPOSED: 503,
  NO_QUORUM: 503,
  OUTCOME_UNKNOWN: 503,
  DATA_AT_RISK: 503,
  QUARANTINED: 503,
  DISK_FULL: 507,
  TIMEOUT: 504,
  STREAM_EXPIRED: 400,
  INTERNAL: 500,
  CORRUPT: 500,
  IO_ERROR: 500,
  WRONG_CLUSTER: 500,
  WRONG_FORMAT: 500,
};

/** Errors that have no entry were caused by what the client sent, SQL errors among them. */
export function statusOf(report: ErrorReport): number {
  return STATUS[report.code] ?? 400;
}

export function replyJson(response: ServerResponse, status: number, body: string): void {
  reply(response, status, JSON_TYPE, body);
}

export function replyText(response: ServerResponse, status: number, body: string): void {
  reply(response, status, 'text/plain; charset=utf-8', body);
}

export function replyError(response: ServerResponse, error: unknown, forcedStatus?: number): void {
  if (response.headersSent) {
    // Half an answer cannot be taken back: the client must see that it is not whole.
    response.destroy();
    return;
  }
  const report = reportError(error);
  const status = forcedStatus ?? statusOf(report);
  if (status === 401) response.setHeader('www-authenticate', 'Bearer');
  replyJson(response, status, encodeError(report));
}

function reply(response: ServerResponse, status: number, contentType: string, body: string): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** Any page may use a volume that its user can reach; the administration is for the same origin only. */
export function allowAnyOrigin(response: ServerResponse): void {
  response.setHeader('access-control-allow-origin', '*');
  response.setHeader('access-control-expose-headers', 'tidemark-lsn');
}

export function replyPreflight(request: IncomingMessage, response: ServerResponse): void {
  const asked = request.headers['access-control-request-headers'];
  response.writeHead(204, {
    'access-control-allow-methods': 'GET, POST, OPTIONS',
    'access-control-allow-headers':
      asked !== undefined && /^[\w\-, ]+$/.test(asked) ? asked : 'authorization, content-type',
    'access-control-max-age': '86400',
  });
  response.end();
}
