/**
 * The members of a volume, for who changes them: of one that is open here directly, of one that another compute node holds through that one's
 * administration interface (admin.ts). JSON carries them as they are.
 */
import { type ErrorCode, TidemarkError } from '../src/base/errors.ts';
import type { NodeId, PgIndex } from '../src/log/lsn.ts';
import type { MembersAccess } from './driver/segment-mover.ts';
import type { VolumeMembers } from './volume/open-volume.ts';

const REQUEST_TIMEOUT_MS = 15_000;

export function localMembers(members: () => VolumeMembers): MembersAccess {
  return {
    read: async () => ({ pgs: members().pgs, changes: members().changes }),
    propose: async (pg, six) => members().propose(pg, six),
    revert: async (pg) => members().revert(pg),
  };
}

export function remoteMembers(url: string, volume: string, authToken: string | null): MembersAccess {
  const path = `${url}/-/volumes/${encodeURIComponent(volume)}/members`;
  const send = (body: object | null) => exchange(path, body, authToken);
  return {
    read: async () => (await send(null)) as Awaited<ReturnType<MembersAccess['read']>>,
    propose: async (pg: PgIndex, members: readonly NodeId[]) => void (await send({ pg, members })),
    revert: async (pg: PgIndex) => void (await send({ pg, revert: true })),
  };
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
      },
    );
  }
  if (response.ok) return answer;
  const { code, message, nextStep } = answer as { code: ErrorCode; message: string; nextStep: string | null };
  throw new TidemarkError(code, message, nextStep === null ? {} : { nextStep });
}
