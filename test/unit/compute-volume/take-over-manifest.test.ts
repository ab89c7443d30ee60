import { describe, expect, it } from 'vitest';
import {
  type NewTerm,
  isNewerManifest,
  isOrigin,
  nextManifest,
  originManifest,
  tailsBeforeHead,
} from '../../../compute-node/volume/take-over-manifest.ts';
import { toLsn, toRunId } from '../../../src/log/lsn.ts';
import { decodeManifest, encodeManifest } from '../../../src/register/codec.ts';
import { NODE_IDS, VOLUME, epoch, manifestOf, run } from '../../support/takeover-fixtures.ts';

const LAL = 1_000;
const origin = originManifest({ volume: VOLUME, epoch: epoch(1), pgPages: 4, members: NODE_IDS });
const term = (number: number, rewindTo: NewTerm['rewindTo'] = null): NewTerm => ({
  epoch: epoch(number),
  lal: LAL,
  wallMicros: 5,
  rewindTo,
});
const nothing = { vdl: toLsn(0), tails: [toLsn(0)], lastCommitTimeMicros: 0 };

describe('a volume that nobody ever wrote to', () => {
  it('has an origin run, which is a manifest like any other to the register', () => {
    expect(decodeManifest(encodeManifest(origin))).toEqual(origin);
    expect(isOrigin(origin)).toBe(true);
  });

  it('is opened at LSN 1, by the first epoch that gets there', () => {
    const opened = nextManifest(origin, nothing, term(7));
    expect(opened.epoch).toEqual(epoch(7));
    expect(opened.runs).toEqual([
      { ...run(0, 1, null), epoch: epoch(7), openedAtMicros: 5, lastCommitTimeMicros: 5 },
    ]);
    expect(isOrigin(opened)).toBe(false);
    expect(decodeManifest(encodeManifest(opened))).toEqual(opened);
  });
});

describe('the next term', () => {
  const before = manifestOf([run(0, 1, 40, [38, 40]), run(1, 1_041, null)], 2);

  it('closes the head at the VDL with all tails, and opens a run beyond all that its writer may have given out', () => {
    const next = nextManifest(
      before,
      { vdl: toLsn(1_050), tails: [toLsn(1_050), toLsn(40)], lastCommitTimeMicros: 9 },
      term(5),
    );
    expect(next.runs.slice(0, 1)).toEqual(before.runs.slice(0, 1));
    expect(next.runs[1]).toEqual({ ...run(1, 1_041, 1_050, [1_050, 40]), lastCommitTimeMicros: 9 });
    expect(next.runs[2]).toEqual({
      ...run(2, 2_051, null),
      epoch: epoch(5),
      parent: { volume: VOLUME, run: 1, lsn: 1_050 },
      openedAtMicros: 10,
      lastCommitTimeMicros: 10,
    });
    expect(tailsBeforeHead(next)).toEqual([1_050, 40]);
    expect(decodeManifest(encodeManifest(next))).toEqual(next);
  });

  it('goes on from an older point when asked to, and only from one that exists', () => {
    const found = { vdl: toLsn(1_050), tails: [toLsn(1_050), toLsn(40)], lastCommitTimeMicros: 9 };
    const to = (runId: number, lsn: number) => term(5, { run: toRunId(runId), lsn: toLsn(lsn) });
    const next = nextManifest(before, found, to(0, 17));
    expect(next.runs[1]).toMatchObject({ lastLsn: 1_050, closingTails: [1_050, 40] });
    expect(next.runs[2]).toMatchObject({ firstLsn: 2_051, parent: { volume: VOLUME, run: 0, lsn: 17 } });
    expect(decodeManifest(encodeManifest(next))).toEqual(next);
    expect(nextManifest(before, found, to(1, 1_045)).runs[2]?.parent).toMatchObject({ run: 1, lsn: 1_045 });
    for (const [runId, lsn] of [
      [0, 41],
      [1, 1_051],
      [1, 1_039],
      [7, 17],
    ] as const) {
      expect(() => nextManifest(before, found, to(runId, lsn))).toThrow(/is not of run/);
    }
  });

  it('closes an idle head empty', () => {
    const next = nextManifest(
      before,
      { vdl: toLsn(1_040), tails: [toLsn(38), toLsn(40)], lastCommitTimeMicros: 0 },
      term(5),
    );
    expect(next.runs[1]).toMatchObject({ firstLsn: 1_041, lastLsn: 1_040, closingTails: [38, 40] });
    expect(decodeManifest(encodeManifest(next))).toEqual(next);
  });

  it('never closes below the head run, nor under an older epoch', () => {
    const found = { vdl: toLsn(1_039), tails: [toLsn(38), toLsn(40)], lastCommitTimeMicros: 0 };
    expect(() => nextManifest(before, found, term(5))).toThrow(/before the head run/);
    expect(() => nextManifest(before, { ...found, vdl: toLsn(1_040) }, term(2))).toThrow(
      /cannot be followed/,
    );
  });

  it('knows a PG that came after the last closing by an empty tail', () => {
    expect(tailsBeforeHead(manifestOf([run(0, 1, 40, [38]), run(1, 1_041, null)], 2))).toEqual([38, 0]);
    expect(tailsBeforeHead(manifestOf([run(0, 1, null)], 2))).toEqual([0, 0]);
  });
});

it('orders manifests by epoch, and within one term by what was added', () => {
  const first = manifestOf([run(0, 1, null)]);
  const grown = manifestOf([run(0, 1, null)], 2);
  const later = { ...first, epoch: epoch(2) };
  expect(isNewerManifest(grown, first)).toBe(true);
  expect(isNewerManifest(first, grown)).toBe(false);
  expect(isNewerManifest(first, first)).toBe(false);
  expect(isNewerManifest(later, grown)).toBe(true);
});
