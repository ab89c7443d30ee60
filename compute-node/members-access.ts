/**
 * The members of a volume, for who changes them: of one that is open here directly, of one that another compute node holds through that one's
 * administration interface (admin.ts). JSON carries them as they are.
 */
import { type ErrorCode, TidemarkError } from '../src/base/errors.ts';
import type { NodeId, PgIndex } from '../src/log/lsn.ts';
import type { RegisterPlace } from '../src/register/place.ts';
import type { MembersAccess } from './driver/segment-mover.ts';
import type { VolumeMembers } from './volume/open-volume.ts';

const REQUEST_TIMEOUT_MS = 30_000;

/** `onRegistersMoved`: the volume's name is to lead there from now on. */
export function localMembers(
  members: () => VolumeMembers,
  onRegistersMoved: (place: RegisterPlace) => Promise<void>,
): MembersAccess {
  return {
    read: async () => {
      const { pgs, changes, registers } = members();
      return { pgs, changes, registers };
    },
    moveRegisters: async (six) => onRegistersMoved(await members().moveRegisters(six)),
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
    moveRegisters: async (members: readonly NodeId[]) => void (await send({ registers: members })),
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
