/**
 * CRC-32 (ISO-HDLC, as in zlib) in plain JavaScript: for small values that carry their own checksum where no checksum port is at
 * hand (register values), and for tests. The way of a write uses the port (src/env/env.ts) with zlib's much faster one.
 */

const POLYNOMIAL = 0xedb88320;

const TABLE = new Uint32Array(256).map((_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value >>> 0;
});

export function softCrc32(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  for (let i = 0; i < bytes.length; i += 1) {
    crc = (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
