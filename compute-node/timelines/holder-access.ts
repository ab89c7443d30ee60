/**
 * A volume that another compute node holds, through its administration interface: moments in the open run, of which only that one knows how far it is
 * durable (`GET /-/volumes/NAME/moment?at=WHEN`), and what only the holder can do.
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
  return (await exchange(path, null, authToken)) as ToldMoment;
}

/** Has the compute node that holds a volume do something with it. */
export function tellHolder(
  url: string,
  path: string,
  body: object,
  authToken: string | null,
): Promise<unknown> {
  return exchange(url + path, body, authToken);
}

async function exchange(path: string, body: object | null, authToken: string | null): Promise<unknown> {
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
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
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
