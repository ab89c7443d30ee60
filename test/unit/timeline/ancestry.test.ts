/** What paths of read points share: against looking at every record of each path. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Lsn, RunId, VolumeId } from '../../../src/log/lsn.ts';
import { commonPoint, leftBehind, seenOnlyBy } from '../../../src/timeline/ancestry.ts';
import type { ReadPoint, Run } from '../../../src/timeline/run.ts';
import { type VisibleStretch, visiblePathAcross } from '../../../src/timeline/visibility.ts';

const EPOCH = { number: 1, writerId: 'w' };

function run(id: number, firstLsn: number, lastLsn: number, parent: Run['parent'] = null): Run {
  return {
    id: id as RunId,
    epoch: EPOCH,
    firstLsn: firstLsn as Lsn,
    lastLsn: lastLsn as Lsn,
    parent,
    closingTails: [],
    openedAtMicros: 0,
    lastCommitTimeMicros: 0,
  };
}

function at(volume: string, id: number, lsn: number): ReadPoint {
  return { volume: volume as VolumeId, run: id as RunId, lsn: lsn as Lsn };
}

/** `main` was written to 100, taken back to 40, and goes on; `dev` and `work` are clones from before and after that. */
const RUNS: Readonly<Record<string, readonly Run[]>> = {
  main: [run(0, 1, 100), run(1, 200, 300, at('main', 0, 40))],
  dev: [run(0, 1, 0, at('main', 0, 60)), run(1, 50, 80, at('dev', 0, 0))],
  work: [run(0, 1, 0, at('main', 1, 250)), run(1, 10, 90, at('work', 0, 0))],
};

function pathOf(point: ReadPoint): readonly VisibleStretch[] {
  return visiblePathAcross((volume) => RUNS[volume] ?? null, point) ?? [];
}

function recordsOf(path: readonly VisibleStretch[]): Set<string> {
  const records = new Set<string>();
  for (const { volume, firstLsn, lastLsn } of path)
    for (let lsn = firstLsn as number; lsn <= lastLsn; lsn += 1) records.add(`${volume} ${lsn}`);
  return records;
}

const POINT = fc.oneof(
  fc.integer({ min: 0, max: 100 }).map((lsn) => at('main', 0, lsn)),
  fc.integer({ min: 199, max: 300 }).map((lsn) => at('main', 1, lsn)),
  fc.integer({ min: 49, max: 80 }).map((lsn) => at('dev', 1, lsn)),
  fc.integer({ min: 9, max: 90 }).map((lsn) => at('work', 1, lsn)),
);

describe('two read points', () => {
  test('see alone what only their own paths hold', () => {
    fc.assert(
      fc.property(POINT, POINT, (a, b) => {
        const [path, other] = [pathOf(a), pathOf(b)];
        const shared = recordsOf(other);
        const alone = [...recordsOf(path)].filter((record) => !shared.has(record));
        const told = seenOnlyBy(path, other).flatMap(({ volume, afterLsn, throughLsn }) =>
          Array.from({ length: throughLsn - afterLsn }, (_, i) => `${volume} ${afterLsn + 1 + i}`),
        );
        expect(told.sort()).toEqual(alone.sort());
      }),
    );
  });

  test('have in common what the newest common point sees', () => {
    fc.assert(
      fc.property(POINT, POINT, (a, b) => {
        const [path, other] = [pathOf(a), pathOf(b)];
        const mine = recordsOf(path);
        const shared = [...recordsOf(other)].filter((record) => mine.has(record));
        const common = commonPoint(path, other);
        expect([...(common === null ? [] : recordsOf(pathOf(common)))].sort()).toEqual(shared.sort());
      }),
    );
  });

  test('of a clone and its parent part at the branch point; of what was rewound, where it was taken back to', () => {
    expect(commonPoint(pathOf(at('dev', 1, 70)), pathOf(at('main', 1, 300)))).toEqual(at('main', 0, 40));
    expect(commonPoint(pathOf(at('dev', 1, 70)), pathOf(at('main', 0, 100)))).toEqual(at('main', 0, 60));
    expect(commonPoint(pathOf(at('work', 1, 90)), pathOf(at('main', 1, 300)))).toEqual(at('main', 1, 250));
    expect(commonPoint(pathOf(at('main', 0, 0)), pathOf(at('main', 1, 300)))).toBeNull();
  });
});

describe('what a volume that went back has left behind', () => {
  const MAIN = 'main' as VolumeId;
  const written = run(0, 1, 100);
  const open = (id: number, firstLsn: number, parent: Run['parent']): Run => ({
    ...run(id, firstLsn, 0, parent),
    lastLsn: null,
  });

  test('is the end of the run that was closed', () => {
    expect(leftBehind([written, open(1, 200, at('main', 0, 40))], MAIN)).toBe(100);
    expect(leftBehind([written, open(1, 200, at('main', 0, 100))], MAIN)).toBe(100);
  });

  test('is the same when it is asked for again, because the answer was lost', () => {
    const again = [written, run(1, 200, 199, at('main', 0, 40)), open(2, 300, at('main', 0, 40))];
    expect(leftBehind(again, MAIN)).toBe(100);
  });

  test('is the same when another writer came in between and wrote nothing', () => {
    const between = [
      written,
      run(1, 200, 199, at('main', 0, 40)),
      run(2, 300, 299, at('main', 1, 199)),
      open(3, 400, at('main', 0, 40)),
    ];
    expect(leftBehind(between, MAIN)).toBe(100);
  });

  test('is what it showed last, if that was something else, though nothing was written there', () => {
    const forwards = [written, run(1, 200, 199, at('main', 0, 40)), open(2, 300, at('main', 0, 100))];
    expect(leftBehind(forwards, MAIN)).toBe(199);
    const otherwise = [written, run(1, 200, 199, at('main', 0, 40)), open(2, 300, at('main', 0, 30))];
    expect(leftBehind(otherwise, MAIN)).toBe(199);
  });
});
