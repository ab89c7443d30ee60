import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../storage-node/adapters/leveldb-files/crc32c.ts';

describe('CRC-32C', () => {
  it('gives the published values', () => {
    // RFC 3720, B.4.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a91_36aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8_ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd_794e);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe306_9283);
  });

  it('takes any part of the bytes', () => {
    const bytes = Buffer.from('xx123456789yyy');
    expect(crc32c(bytes, 2, 11)).toBe(0xe306_9283);
  });
});
