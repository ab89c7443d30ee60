/**
 * The envelope around every encoded value of ours that travels or is stored:
 *
 *     +---------+-------------+------------------------+
 *     | version | crc32       | payload (MessagePack)  |
 *     | 1 byte  | 4 bytes, BE | …                      |
 *     +---------+-------------+------------------------+
 *
 * The checksum covers the payload and is seeded with the version and a tag that says what kind of value it is, so that intact bytes of
 * one kind are never taken for another. An unknown version is refused (WRONG_FORMAT) before anything else is looked at.
 */
import { TidemarkError } from './errors.ts';
import { packStrict, unpackStrict } from './strict-msgpack.ts';

export const ENVELOPE_BYTES = 5;

type Checksum = (bytes: Uint8Array, seed?: number) => number;

/** What an envelope holds. `tag` is fixed for ever per kind of value; `version` rises with its layout. */
export interface Format {
  readonly what: string;
  readonly tag: number;
  readonly version: number;
}

export function sealEnvelope(format: Format, payload: unknown, checksum: Checksum): Uint8Array {
  const out = packStrict(payload, ENVELOPE_BYTES);
  const crc = checksum(out.subarray(ENVELOPE_BYTES), seedOf(format));
  out[0] = format.version;
  out[1] = crc >>> 24;
  out[2] = crc >>> 16;
  out[3] = crc >>> 8;
  out[4] = crc;
  return out;
}

export function openEnvelope(format: Format, bytes: Uint8Array, checksum: Checksum): unknown {
  if (bytes.length <= ENVELOPE_BYTES) {
    throw new TidemarkError('CORRUPT', `${format.what}: ${bytes.length} bytes are too few`);
  }
  if (bytes[0] !== format.version) {
    throw new TidemarkError('WRONG_FORMAT', `${format.what}: format version ${bytes[0]} is not known here`, {
      nextStep: `This build knows version ${format.version}; run the build that wrote the data.`,
    });
  }
  const stated =
    (((bytes[1] as number) << 24) |
      ((bytes[2] as number) << 16) |
      ((bytes[3] as number) << 8) |
      (bytes[4] as number)) >>>
    0;
  const payload = bytes.subarray(ENVELOPE_BYTES);
  if (checksum(payload, seedOf(format)) !== stated) {
    throw new TidemarkError('CORRUPT', `${format.what}: checksum does not match`);
  }
  return unpackStrict(payload);
}

function seedOf(format: Format): number {
  return (format.tag << 8) | format.version;
}
