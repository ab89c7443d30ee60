/**
 * The port of chance on the operating system's generator. Writer ids and volume ids rest on it: two attempts that drew the same
 * id would share an epoch, so nothing weaker will do.
 */
import { randomFillSync } from 'node:crypto';
import type { Random } from '../env/env.ts';

const ALPHABET = '0123456789abcdefghijklmnopqrstuv';
/** One system call fills this much; drawn from until it is used up. */
const POOL_BYTES = 4096;

const pool = new Uint8Array(POOL_BYTES);
let used = POOL_BYTES;

function nextByte(): number {
  if (used === POOL_BYTES) {
    randomFillSync(pool);
    used = 0;
  }
  const byte = pool[used] as number;
  pool[used] = 0;
  used += 1;
  return byte;
}

export const nodeRandom: Random = {
  next() {
    let value = 0;
    for (let i = 0; i < 6; i += 1) value = value * 256 + nextByte();
    return value / 2 ** 48;
  },
  id(length) {
    let id = '';
    for (let i = 0; i < length; i += 1) id += ALPHABET[nextByte() & 31];
    return id;
  },
};
