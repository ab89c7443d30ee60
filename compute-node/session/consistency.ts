/** How fresh a result must be (design section 4), per request or per connection, and the LSN token that `session` is about. */
import { type Lsn, NO_LSN, toLsn } from '../../src/log/lsn.ts';
import type { RunOptions } from '../engine/api.ts';
import { SessionError } from './errors.ts';

export interface Consistency {
  readonly level: RunOptions['consistency'];
  /** `session`: at least this; NO_LSN: whatever this stream has seen. */
  readonly minLsn: Lsn;
}

export const STRONG: Consistency = { level: 'strong', minLsn: NO_LSN };

/** From a client's words; null or undefined means not given. */
export function parseConsistency(level: unknown, minLsn: unknown): Consistency {
  if (level == null && minLsn == null) return STRONG;
  if (level != null && level !== 'strong' && level !== 'session' && level !== 'snapshot') {
    throw new SessionError(
      'BAD_REQUEST',
      `${JSON.stringify(level)} is not a consistency level`,
      'use strong, session or snapshot',
    );
  }
  return { level: level ?? 'strong', minLsn: minLsn == null ? NO_LSN : parseLsn(minLsn) };
}

function parseLsn(value: unknown): Lsn {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0) {
    throw new SessionError(
      'BAD_REQUEST',
      `${JSON.stringify(value)} is not an LSN`,
      'use the LSN that came with an earlier result, as digits',
    );
  }
  return toLsn(number);
}
