import fc from 'fast-check';
import { expect, it } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { softCrc32 } from '../../../src/base/crc32.ts';

it('the plain JavaScript CRC-32 equals zlib for any bytes and seed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(0xffff_ffff), (bytes, seed) => {
      expect(softCrc32(bytes, seed)).toBe(nodeCrc32(bytes, seed));
    }),
  );
});
