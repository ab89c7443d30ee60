import { describe, expect, it } from 'vitest';
import { softCrc32 } from '../../../src/base/crc32.ts';
import { type Format, openEnvelope, sealEnvelope } from '../../../src/base/envelope.ts';

const apple: Format = { what: 'apple', tag: 7, version: 1 };

describe('envelope', () => {
  const sealed = sealEnvelope(apple, ['red', 3], softCrc32);

  it('opens what it sealed', () => {
    expect(openEnvelope(apple, sealed, softCrc32)).toEqual(['red', 3]);
  });

  it('notices every flipped bit', () => {
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const bent = sealed.slice();
      bent[bit >>> 3] = (bent[bit >>> 3] as number) ^ (1 << (bit & 7));
      expect(() => openEnvelope(apple, bent, softCrc32), `bit ${bit}`).toThrow(
        expect.objectContaining({ code: bit < 8 ? 'WRONG_FORMAT' : 'CORRUPT' }),
      );
    }
  });

  it('does not take one kind of value for another', () => {
    expect(() => openEnvelope({ ...apple, what: 'pear', tag: 8 }, sealed, softCrc32)).toThrow(
      expect.objectContaining({ code: 'CORRUPT' }),
    );
  });

  it('refuses an unknown version and says what to do', () => {
    expect(() => openEnvelope({ ...apple, version: 2 }, sealed, softCrc32)).toThrow(
      expect.objectContaining({ code: 'WRONG_FORMAT', nextStep: expect.stringContaining('version 2') }),
    );
  });

  it('refuses what is too short to be one', () => {
    for (let length = 0; length <= 5; length += 1) {
      expect(() => openEnvelope(apple, sealed.subarray(0, length), softCrc32)).toThrow(
        expect.objectContaining({ code: 'CORRUPT' }),
      );
    }
  });
});
