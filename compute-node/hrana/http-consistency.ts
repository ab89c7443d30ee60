/** Consistency from request headers. */
import type { IncomingMessage } from 'node:http';
import { type Consistency, parseConsistency } from '../session/consistency.ts';

export function consistencyOf(request: IncomingMessage): Consistency {
  return parseConsistency(request.headers['tidemark-consistency'], request.headers['tidemark-min-lsn']);
}
