/**
 * Moments in the open run of a volume that another compute node holds: only that one knows how far it is durable. Asked through its
 * administration interface, `GET /-/volumes/NAME/moment?at=WHEN`.
 */
import { type ErrorCode, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../src/timeline/moment.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';

const REQUEST_TIMEOUT_MS = 15_000;

/** A read point as one compute node tells another. JSON carries it as it is. */
export interface ToldMoment extends ReadPoint {
  readonly committedAtMicros: number | null;
  readonly requiredScls: readonly Lsn[];
}

export async function askHolder(
  url: string,
  name: string,
  moment: Moment | null,
  authToken: string | null,
): Promise<ToldMoment> {
  const at = moment === null ? '' : `?at=${encodeURIComponent(formatMoment(moment))}`;
  const path = `${url}/-/volumes/${encodeURIComponent(name)}/moment${at}`;
  let response: Response;
  let answer: unknown;
  try {
    response = await fetch(path, {
      headers: authToken === null ? {} : { authorization: `Bearer ${authToken}` },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    answer = await response.json();
  } catch (cause) {
    throw new TidemarkError(
      'UNAVAILABLE',
      `the compute node that holds volume '${name}' does not answer (${path})`,
      {
        cause,
        nextStep: 'Check that compute nodes reach each other at the addresses they advertise.',
      },
    );
  }
  if (response.ok) return answer as ToldMoment;
  const { code, message, nextStep } = answer as { code: ErrorCode; message: string; nextStep: string | null };
  throw new TidemarkError(code, message, nextStep === null ? {} : { nextStep });
}
