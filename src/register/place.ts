/**
 * Where a volume's registers are kept, and how one moves to other nodes (design section 6): its last value at the old six says "this was the
 * value, go on there", and stays as a tombstone. Whoever learns that goes on at the new six, from that value.
 *
 * Old and new six may share nodes, so a register that has moved has another key: each generation is a register of its own, and none of its
 * acceptors confuses the two. Whoever writes to the new one has learned the tombstone first, or follows somebody who had.
 */
import { softCrc32 } from '../base/crc32.ts';
import { type Format, openEnvelope, sealEnvelope } from '../base/envelope.ts';
import { isTidemarkError, TidemarkError } from '../base/errors.ts';
import { FieldReader } from '../base/field-reader.ts';
import type { NodeId, VolumeId } from '../log/lsn.ts';
import { COPIES } from '../quorum/quorum.ts';
import { type NameValue, REGISTER_FORMAT } from './values.ts';

const MOVED: Format = { what: 'moved register', tag: 0x14, version: REGISTER_FORMAT };
const MAX_ID_CHARS = 64;

export type VolumeRegister = 'manifest' | 'retention';

export interface RegisterPlace {
  readonly members: readonly NodeId[];
  /** How often it has moved. */
  readonly generation: number;
}

export interface MovedRegister {
  /** The last before the move, and the first at the new place. */
  readonly value: Uint8Array;
  readonly place: RegisterPlace;
}

export function registerKey(
  register: VolumeRegister,
  volume: VolumeId,
  { generation }: RegisterPlace,
): string {
  return generation === 0 ? `${register}/${volume}` : `${register}/${volume}-${generation}`;
}

export function placeOf({ registerMembers, registerGeneration }: NameValue): RegisterPlace {
  return { members: registerMembers, generation: registerGeneration };
}

export function encodeMoved({ value, place }: MovedRegister): Uint8Array {
  return sealEnvelope(MOVED, [value, place.members, place.generation], softCrc32);
}

/** Where the register that is looked for at `place` has moved; null: it is there. Every move leads to a later generation. */
export function movedFrom(place: RegisterPlace, value: Uint8Array | null): MovedRegister | null {
  const moved = decodeMoved(value);
  if (moved === null || moved.place.generation > place.generation) return moved;
  throw new TidemarkError(
    'CORRUPT',
    `a register of generation ${place.generation} moved to ${moved.place.generation}`,
  );
}

/** null: the value is not a tombstone. */
export function decodeMoved(bytes: Uint8Array | null): MovedRegister | null {
  if (bytes === null) return null;
  let payload: unknown;
  try {
    payload = openEnvelope(MOVED, bytes, softCrc32);
  } catch (error) {
    // The checksum is seeded with the kind of value: any other kind fails it, and is read by whoever knows that kind.
    if (isTidemarkError(error, 'CORRUPT') || isTidemarkError(error, 'WRONG_FORMAT')) return null;
    throw error;
  }
  const fields = new FieldReader(MOVED.what, payload);
  const value = new Uint8Array(fields.bytes('value'));
  const members = fields.list('member', (element, what) =>
    new FieldReader(what, [element]).string('id', MAX_ID_CHARS),
  ) as NodeId[];
  const generation = fields.int('generation', 1);
  fields.end();
  fields.check(new Set(members).size === COPIES && members.length === COPIES, `not ${COPIES} members`);
  return { value, place: { members, generation } };
}
