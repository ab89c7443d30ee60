/** Snappy's raw format (google/snappy, format_description.txt), reading only: LevelDB's blocks are compressed with it. */
import { ByteReader, formatFault } from './byte-reader.ts';

/** Throws CORRUPT. */
export function uncompressSnappy(bytes: Uint8Array): Uint8Array {
  const header = new ByteReader(bytes);
  const sizeBytes = header.varint();
  // A byte of input makes at most 64 bytes of output, save a few at the start.
  if (sizeBytes > bytes.length * 64 + 64) throw formatFault('an impossible uncompressed size');
  const out = new Uint8Array(sizeBytes);
  let from = header.at;
  let to = 0;
  const need = (count: number): void => {
    if (from + count > bytes.length) throw formatFault('compressed data ends too early');
  };
  while (from < bytes.length) {
    const tag = bytes[from++] as number;
    let length: number;
    let offset: number;
    switch (tag & 3) {
      case 0: {
        length = tag >>> 2;
        if (length >= 60) {
          const extra = length - 59;
          need(extra);
          length = 0;
          for (let i = extra - 1; i >= 0; i -= 1) length = length * 256 + (bytes[from + i] as number);
          from += extra;
        }
        length += 1;
        need(length);
        if (to + length > sizeBytes) throw formatFault('compressed data is too long');
        out.set(bytes.subarray(from, from + length), to);
        from += length;
        to += length;
        continue;
      }
      case 1:
        need(1);
        length = 4 + ((tag >>> 2) & 7);
        offset = ((tag >>> 5) << 8) | (bytes[from++] as number);
        break;
      case 2:
        need(2);
        length = (tag >>> 2) + 1;
        offset = (bytes[from] as number) | ((bytes[from + 1] as number) << 8);
        from += 2;
        break;
      default:
        need(4);
        length = (tag >>> 2) + 1;
        offset = new DataView(bytes.buffer, bytes.byteOffset).getUint32(from, true);
        from += 4;
    }
    if (offset === 0 || offset > to) throw formatFault('compressed data refers to before its start');
    if (to + length > sizeBytes) throw formatFault('compressed data is too long');
    if (offset >= length) {
      out.copyWithin(to, to - offset, to - offset + length);
      to += length;
    } else {
      // It may overlap what it makes.
      for (const end = to + length; to < end; to += 1) out[to] = out[to - offset] as number;
    }
  }
  if (to !== sizeBytes) throw formatFault('compressed data is too short');
  return out;
}
