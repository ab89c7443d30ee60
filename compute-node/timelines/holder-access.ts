/**
 * A volume that another compute node holds: moments in the open run, of which only that one knows how far it is durable, and what only the holder
 * can do. Compute nodes reach each other through their administration interface (`GET /-/volumes/NAME/moment?at=WHEN&ago-from=…`,
 * `POST /-/volumes/NAME/backtrack`).
 */
import { type ErrorCode, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../src/timeline/moment.ts';
import type { AgoFrom } from '../../src/timeline/resolve-moment.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { Backtracked } from './api.ts';

const RESOLVE_TIMEOUT_MS = 15_000;
/** Longer than the drain of a volume and a take-over take at most: who gave up earlier would not learn the bookmark. */
const BACKTRACK_TIMEOUT_MS = 60_000;

/** A read point as one compute node tells another. JSON carries it as it is. */
export interface ToldMoment extends ReadPoint {
  readonly committedAtMicros: number | null;
  readonly requiredScls: readonly Lsn[];
}

/** The compute node that is reached at `url`. Both reject with what it says, UNAVAILABLE when it says nothing. */
export interface HolderAccess {
  resolve(url: string, name: string, moment: Moment | null, agoFrom: AgoFrom): Promise<ToldMoment>;
  backtrack(url: string, name: string, to: Moment): Promise<Backtracked>;
}

/** `authToken`: shown to the other compute nodes. */
export function httpHolderAccess(authToken: string | null): HolderAccess {
  const pathOf = (url: string, name: string): string => `${url}/-/volumes/${encodeURIComponent(name)}`;
  return {
    async resolve(url, name, moment, agoFrom) {
      const at = moment === null ? '' : `?at=${encodeURIComponent(formatMoment(moment))}&ago-from=${agoFrom}`;
      return (await exchange(
        `${pathOf(url, name)}/moment${at}`,
        null,
        authToken,
        RESOLVE_TIMEOUT_MS,
      )) as ToldMoment;
    },
    async backtrack(url, name, to) {
      const path = `${pathOf(url, name)}/backtrack`;
      const answer = await exchange(path, { to: formatMoment(to) }, authToken, BACKTRACK_TIMEOUT_MS);
      return answer as Backtracked;
    },
  };
}

async function exchange(
  path: string,
  body: object | null,
  authToken: string | null,
  timeoutMs: number,
): Promise<unknown> {
  let response: Response;
  let answer: unknown;
  try {
    response = await fetch(path, {
      method: body === null ? 'GET' : 'POST',
      headers: {
        ...(body === null ? {} : { 'content-type': 'application/json' }),
        ...(authToken === null ? {} : { authorization: `Bearer ${authToken}` }),
      },
      ...(body === null ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    answer = await response.json();
  } catch (cause) {
    throw new TidemarkError(
      'UNAVAILABLE',
      `the compute node that holds the volume does not answer (${path})`,
      {
        cause,
        nextStep: 'Check that compute nodes reach each other at the addresses they advertise.',
      },
    );
  }
  if (response.ok) return answer;
  const { code, message, nextStep } = answer as { code: ErrorCode; message: string; nextStep: string | null };
  throw new TidemarkError(code, message, nextStep === null ? {} : { nextStep });
}
