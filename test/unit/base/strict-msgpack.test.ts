import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { packStrict, unpackStrict } from '../../../src/base/strict-msgpack.ts';

const plain: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.nat(Number.MAX_SAFE_INTEGER),
    fc.nat(300),
    fc.string({ maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
  ),
})).value;

function codeOf(bytes: Uint8Array): string {
  try {
    unpackStrict(bytes);
    return 'ok';
  } catch (error) {
    return isTidemarkError(error) ? error.code : `threw ${String(error)}`;
  }
}

describe('strict MessagePack', () => {
  it('gives back what it was given', () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(unpackStrict(packStrict(value))).toEqual(value);
      }),
    );
  });

  it('keeps room in front for a header', () => {
    const packed = packStrict([1, 2], 5);
    expect([...packed.subarray(0, 5)]).toEqual([0, 0, 0, 0, 0]);
    expect(unpackStrict(packed.subarray(5))).toEqual([1, 2]);
  });

  it('refuses every truncation and every byte too many', () => {
    fc.assert(
      fc.property(plain, fc.nat(), (value, cut) => {
        const packed = packStrict(value);
        expect(codeOf(packed.subarray(0, cut % packed.length))).toBe('CORRUPT');
        const longer = new Uint8Array(packed.length + 1);
        longer.set(packed);
        expect(codeOf(longer)).toBe('CORRUPT');
      }),
    );
  });

  it('answers any bytes with a value or CORRUPT', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(['ok', 'CORRUPT']).toContain(codeOf(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ['an array that claims four billion elements', [0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ['a byte string longer than the input', [0xc6, 0x7f, 0xff, 0xff, 0xff, 0x00]],
    ['a string longer than the input', [0xd9, 0xff, 0x61]],
    ['arrays nested past any format of ours', new Array(40).fill(0x91).concat([0x01])],
    ['a map', [0x81, 0xa1, 0x61, 0x01]],
    ['an extension', [0xd4, 0x01, 0x00]],
    ['a timestamp', [0xd6, 0xff, 0, 0, 0, 0]],
    ['a 64-bit integer', [0xcf, 0, 0, 0, 0, 0, 0, 0, 1]],
    ['a negative integer', [0xff]],
    ['the unused type byte', [0xc1]],
    ['nothing at all', []],
  ])('refuses %s', (_what, bytes) => {
    expect(codeOf(Uint8Array.from(bytes))).toBe('CORRUPT');
  });

  it("refuses msgpackr's own records", () => {
    const records = new Packr({ useRecords: true });
    expect(codeOf(records.pack([{ a: 1 }, { a: 2 }]))).toBe('CORRUPT');
  });

  it('returns byte strings as plain views, leaves the input object as it is', () => {
    const packed = Buffer.from(packStrict([new Uint8Array([1, 2, 3])]));
    const [bytes] = unpackStrict(packed) as [Uint8Array];
    expect(Buffer.isBuffer(bytes)).toBe(false);
    expect(bytes.buffer).toBe(packed.buffer);
    expect(Object.keys(packed)).not.toContain('dataView');
  });
});
