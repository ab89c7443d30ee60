import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  chainsOf,
  concatBoxcars,
  firstRecord,
  followsOn,
  lastRecord,
  sliceBoxcar,
  splitBoxcar,
} from '../../../src/log/boxcar.ts';
import { recordSizeBytes } from '../../../src/log/codec.ts';
import { type VolumeId, toLsn, toPgIndex } from '../../../src/log/lsn.ts';
import { boxcars } from './fixtures.ts';

describe('boxcars', () => {
  it('split into pieces that follow each other, fit, and join to the whole', () => {
    fc.assert(
      fc.property(boxcars, fc.integer({ min: 1, max: 6000 }), (boxcar, maxBytes) => {
        const pieces = splitBoxcar(boxcar, maxBytes);
        for (const piece of pieces) {
          const bytes = piece.records.reduce((sum, record) => sum + recordSizeBytes(record), 0);
          expect(bytes <= maxBytes || piece.records.length === 1).toBe(true);
        }
        expect(pieces.reduce(concatBoxcars)).toEqual(boxcar);
      }),
    );
  });

  it('cut to an LSN range by the dumb rule: after < LSN ≤ through', () => {
    fc.assert(
      fc.property(boxcars, fc.nat(), fc.nat(), (boxcar, a, b) => {
        const lsns = [firstRecord(boxcar).prevLsn, ...boxcar.records.map((record) => record.lsn)];
        const pick = (n: number) => toLsn(Math.max(0, (lsns[n % lsns.length] ?? 0) + (n % 3) - 1));
        const [after, through] = [pick(a), pick(b)];
        const expected = boxcar.records.filter((record) => record.lsn > after && record.lsn <= through);
        expect(sliceBoxcar(boxcar, after, through)?.records ?? []).toEqual(expected);
      }),
    );
  });

  it('follow on only in the same chain and term, at the very next record', () => {
    fc.assert(
      fc.property(boxcars, (boxcar) => {
        const pieces = splitBoxcar(boxcar, 1);
        const [first, second, third] = pieces;
        if (first === undefined || second === undefined) return;
        expect(followsOn(first, second)).toBe(true);
        expect(followsOn(second, first)).toBe(false);
        if (third !== undefined) expect(followsOn(first, third)).toBe(false);
        const other = { number: boxcar.birthEpoch.number, writerId: 'x' };
        expect(followsOn(first, { ...second, birthEpoch: other })).toBe(false);
        expect(followsOn(first, { ...second, pg: toPgIndex(boxcar.pg + 1) })).toBe(false);
        expect(followsOn(first, { ...second, volume: 'other' as VolumeId })).toBe(false);
        expect(() => concatBoxcars(second, first)).toThrow(/do not follow/);
      }),
    );
  });

  it('are made anew from loose records, one per unbroken chain', () => {
    fc.assert(
      fc.property(boxcars, fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }), (boxcar, keep) => {
        const { records, ...head } = boxcar;
        const kept = records.filter((_, index) => keep[index]);
        const chains = chainsOf(head, kept);
        expect(chains.flatMap((chain) => chain.records)).toEqual(kept);
        for (const [index, chain] of chains.entries()) {
          for (const [at, record] of chain.records.entries()) {
            if (at > 0) expect(record.prevLsn).toBe(chain.records[at - 1]?.lsn);
          }
          const next = chains[index + 1];
          if (next !== undefined) expect(firstRecord(next).prevLsn).not.toBe(lastRecord(chain).lsn);
        }
      }),
    );
  });
});
