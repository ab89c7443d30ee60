import { newestSameLsn } from '../../../src/timeline/kept.ts';
import { describe, expect, test } from 'vitest';
import type { Lsn, PgIndex, RunId } from '../../../src/log/lsn.ts';
import type { ManifestValue } from '../../../src/register/values.ts';
import {
  clampToRuns,
  compareManifests,
  provenBy,
  whyNotExtends,
} from '../../../storage-node/core/manifests.ts';
import { TestVolume } from '../../support/storage-volume.ts';

const at = (vdl: number, coalesced = vdl) => ({ vdl: vdl as Lsn, coalesced: coalesced as Lsn });

/** Ten records, the first run closed at 8, five more in the second (from 109). */
function twoRuns() {
  const volume = new TestVolume();
  volume.writeMany(10, 4);
  const first = volume.manifest();
  volume.takeOver('w2', 8 as Lsn);
  volume.writeMany(5, 4);
  return { volume, first, second: volume.manifest() };
}

describe('a manifest extends another', () => {
  test('when it closes the head and adds runs, and cuts nothing durable', () => {
    const { first, second } = twoRuns();
    expect(whyNotExtends(first, second, at(8))).toBeNull();
    expect(whyNotExtends(first, second, at(0))).toBeNull();
    // A VDL right before the new run is what every take-over ends with.
    expect(whyNotExtends(first, second, at(108, 8))).toBeNull();
    expect(whyNotExtends(first, second, at(9, 8))).toMatch(/durable LSN 9/);
    expect(whyNotExtends(first, second, at(108, 10))).toMatch(/coalesced record 10/);
    expect(compareManifests(second, first)).toBeGreaterThan(0);
  });

  test('not when it changes the past', () => {
    const { second } = twoRuns();
    const altered = (change: Partial<ManifestValue['runs'][number]>): ManifestValue => ({
      ...second,
      runs: second.runs.map((run, index) => (index === 0 ? { ...run, ...change } : run)),
    });
    expect(whyNotExtends(second, second, at(8))).toBeNull();
    expect(whyNotExtends(second, altered({ lastLsn: 10 as Lsn }), at(8))).toMatch(/closed elsewhere/);
    expect(whyNotExtends(second, altered({ lastLsn: null }), at(8))).toMatch(/closed elsewhere/);
    expect(whyNotExtends(second, altered({ epoch: { number: 1, writerId: 'other' } }), at(8))).toMatch(
      /another/,
    );
    expect(whyNotExtends(second, { ...second, runs: second.runs.slice(0, 1) }, at(8))).toMatch(/lacks run/);
    expect(whyNotExtends(second, { ...second, pgs: [] }, at(8))).toMatch(/fewer/);
    expect(whyNotExtends(second, { ...second, pgPages: 9 }, at(8))).toMatch(/layout/);
  });
});

describe('what a manifest says of LSNs', () => {
  const { volume, second } = twoRuns();
  const pg = 0 as PgIndex;

  test('what it proves durable', () => {
    expect(provenBy(second, pg)).toEqual({ vdl: 108, tail: 8 });
  });

  test('what is left of an LSN that was acknowledged once', () => {
    const clamped = (lsn: number) => clampToRuns(second.runs, pg, lsn as Lsn);
    expect([0, 5, 8, 9, 10, 109, 112].map(clamped)).toEqual([0, 5, 8, 8, 8, 109, 112]);
  });

  test('up to where a read point sees the same', () => {
    expect(newestSameLsn(second.runs, 0 as RunId, 8 as Lsn)).toBe(108);
    expect(newestSameLsn(second.runs, 0 as RunId, 7 as Lsn)).toBe(7);
    expect(newestSameLsn(second.runs, 1 as RunId, 110 as Lsn)).toBe(110);
    volume.takeOver('w3', 113 as Lsn);
    volume.takeOver('w4', volume.lastLsn);
    // Two closings in a row, the second of an empty run.
    expect(newestSameLsn(volume.runs, 1 as RunId, 113 as Lsn)).toBe(volume.lastLsn);
  });
});
