/** The chain in memory against a dumb twin: a set of records and a walk along the backlinks. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Lsn } from '../../../src/log/lsn.ts';
import { HeldLog, type Piece, lastLsnOf } from '../../../storage-node/core/held-log.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const volume = new TestVolume('vol00000', { pgPages: 8 });
const records = volume.writeMany(60, 8);
const epoch = volume.epoch;

function piece(from: number, to: number): Piece {
  return { birthEpoch: epoch, records: records.slice(from, to).map(({ record }) => record) };
}

/** Largest LSN reachable from 0 along the backlinks of what is held. */
function walk(held: ReadonlySet<number>): number {
  let scl = 0;
  for (const { record } of records) if (held.has(record.lsn) && record.prevLsn === scl) scl = record.lsn;
  return scl;
}

const arrivals = fc.array(fc.tuple(fc.nat(59), fc.integer({ min: 1, max: 9 })), {
  minLength: 1,
  maxLength: 80,
});

describe('the log in memory', () => {
  test('in any order of arrival, with any duplicates, the SCL is where the chain of backlinks ends', () => {
    fc.assert(
      fc.property(arrivals, (pieces) => {
        const log = new HeldLog(0 as Lsn);
        const twin = new Set<number>();
        for (const [from, count] of pieces) {
          const wanted = piece(from, Math.min(60, from + count)).records;
          for (const record of wanted)
            expect(log.standing(record, epoch)).toBe(twin.has(record.lsn) ? 'known' : 'new');
          let fresh: (typeof wanted)[number][] = [];
          const flush = () => {
            if (fresh.length > 0) log.add({ birthEpoch: epoch, records: fresh });
            fresh = [];
          };
          for (const record of wanted) {
            if (twin.has(record.lsn)) flush();
            else fresh.push(record);
          }
          flush();
          for (const record of wanted) twin.add(record.lsn);
          expect(log.scl).toBe(walk(twin));
          const above = [...log.piecesAbove(0 as Lsn)].flatMap((held) =>
            held.records.map((record) => record.lsn),
          );
          expect(above).toEqual([...twin].sort((a, b) => a - b));
          expect(log.hasGap).toBe(twin.size > walk(twin));
        }
        for (let page = 1; page <= 8; page += 1) {
          const expected = records
            .filter(({ record }) => record.page === page && record.lsn <= log.scl)
            .map(({ record }) => record.lsn);
          expect(log.recordsOf(page as never).map((record) => record.lsn)).toEqual(expected);
        }
      }),
      { numRuns: 200 },
    );
  });

  test('release and cut leave exactly the rest', () => {
    fc.assert(
      fc.property(arrivals, fc.nat(60), fc.nat(60), (pieces, releaseAt, cutAt) => {
        const log = new HeldLog(0 as Lsn);
        for (let at = 0; at < 60; at += 5) log.add(piece(at, at + 5));
        const due = log.oldest(releaseAt as Lsn, 1_000, 1_000_000, () => 0);
        const last = due[due.length - 1];
        expect(last === undefined ? 0 : lastLsnOf(last)).toBe(Math.floor(releaseAt / 5) * 5);
        if (last !== undefined) log.release(lastLsnOf(last));
        const keepTo = Math.max(cutAt, log.baseLsn);
        const { removed, kept } = log.cut((lsn) => lsn <= keepTo);
        expect(log.scl).toBe(Math.min(60, keepTo));
        expect(removed.length - kept.length).toBe(log.scl % 5 === 0 ? removed.length : removed.length - 1);
        const left = [...log.piecesAbove(0 as Lsn)].flatMap((held) =>
          held.records.map((record) => record.lsn),
        );
        expect(left).toEqual(Array.from({ length: log.scl - log.baseLsn }, (_, i) => log.baseLsn + i + 1));
        expect(log.recordCount).toBe(left.length);
        void pieces;
      }),
      { numRuns: 100 },
    );
  });

  test('what contradicts the chain is a conflict: another record in place, a backlink that skips or is skipped', () => {
    const log = new HeldLog(0 as Lsn);
    log.add(piece(0, 10));
    log.add(piece(20, 30));
    const at = (index: number) => records[index]?.record as (typeof records)[number]['record'];
    expect(log.standing({ ...at(4), checksum: 1 }, epoch)).toBe('conflict');
    expect(log.standing(at(4), { number: 9, writerId: 'x' })).toBe('conflict');
    expect(log.standing({ ...at(25), checksum: 1 }, epoch)).toBe('conflict');
    expect(log.standing({ ...at(12), prevLsn: 8 as Lsn }, epoch)).toBe('conflict');
    expect(log.standing({ ...at(35), prevLsn: 25 as Lsn }, epoch)).toBe('conflict');
    expect(log.standing(at(12), epoch)).toBe('new');
    expect(log.standing(at(35), epoch)).toBe('new');
  });
});
