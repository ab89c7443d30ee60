/** The checksum port on node:zlib, whose CRC-32 uses the processor's carry-less multiplication. */
import { crc32 } from 'node:zlib';
import type { Crc32 } from '../env/env.ts';

export const nodeCrc32: Crc32 = (bytes, seed = 0) => crc32(bytes, seed);
