/** Reads LevelDB's little-endian and variable-length numbers. Whatever does not fit throws CORRUPT. */
import { TidemarkError } from '../../../src/base/errors.ts';

const TWO_32 = 2 ** 32;

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = start;
    this.#end = end;
  }

  get at(): number {
    return this.#at;
  }
  get isAtEnd(): boolean {
    return this.#at >= this.#end;
  }

  byte(): number {
    this.#need(1);
    return this.#bytes[this.#at++] as number;
  }

  fixed32(): number {
    this.#need(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  /** Below 2^53. */
  fixed64(): number {
    const low = this.fixed32();
    return checked(this.fixed32() * TWO_32 + low);
  }

  /** Below 2^53. */
  varint(): number {
    let value = 0;
    for (let factor = 1; factor <= 2 ** 56; factor *= 128) {
      const byte = this.byte();
      value += (byte & 127) * factor;
      if (byte < 128) return checked(value);
    }
    throw formatFault('a number is too long');
  }

  /** A view of the bytes, not a copy. */
  take(lengthBytes: number): Uint8Array {
    this.#need(lengthBytes);
    this.#at += lengthBytes;
    return this.#bytes.subarray(this.#at - lengthBytes, this.#at);
  }

  /** Bytes with their length before them. */
  string(): Uint8Array {
    return this.take(this.varint());
  }

  #need(lengthBytes: number): void {
    if (this.#at + lengthBytes > this.#end) throw formatFault('it ends too early');
  }
}

export function formatFault(what: string): TidemarkError {
  return new TidemarkError('CORRUPT', what);
}

function checked(value: number): number {
  if (!Number.isSafeInteger(value)) throw formatFault('a number is too large');
  return value;
}
