import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Epoch } from '../../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type RunId,
  type VolumeId,
  toLsn,
  toPgIndex,
  toRunId,
} from '../../../src/log/lsn.ts';
import type { Run, RunParent } from '../../../src/timeline/run.ts';
import {
  admits,
  closingTail,
  headRun,
  isVisible,
  newestVisibleLsn,
  runById,
  runOf,
  visiblePath,
  visiblePathAcross,
} from '../../../src/timeline/visibility.ts';

const V = 'volume0000000000' as VolumeId;
const CLONE = 'clone00000000000' as VolumeId;
const epoch = (number: number): Epoch => ({ number, writerId: `writer-${number}` });

function run(id: number, firstLsn: number, lastLsn: number | null, parent: RunParent | null = null): Run {
  return {
    id: toRunId(id),
    epoch: epoch(id + 1),
    firstLsn: toLsn(firstLsn),
    lastLsn: lastLsn === null ? null : toLsn(lastLsn),
    parent,
    closingTails: lastLsn === null ? null : [toLsn(Math.max(0, lastLsn))],
    openedAtMicros: 0,
    lastCommitTimeMicros: 0,
  };
}

function parentAt(runId: number, lsn: number, volume = V): RunParent {
  return { volume, run: toRunId(runId), lsn: toLsn(lsn) };
}

function path(runs: readonly Run[], runId: number, lsn: number): [number, number, number][] {
  return visiblePath(runs, toRunId(runId), toLsn(lsn), V).map((s) => [s.run, s.firstLsn, s.lastLsn]);
}

/** 0: 1–40; taken over: 1: 141–150; taken over, closed empty: 2; then 3 from a backtrack to (0, 20), open. */
const rewound = [
  run(0, 1, 40),
  run(1, 141, 150, parentAt(0, 40)),
  run(2, 251, 250, parentAt(1, 150)),
  run(3, 351, null, parentAt(0, 20)),
];

describe('runs', () => {
  it('know which LSN is theirs and which is cut', () => {
    const owner = (lsn: number) => runOf(rewound, toLsn(lsn))?.id ?? 'cut';
    expect([1, 40, 141, 150, 351, 1_000_000].map(owner)).toEqual([0, 0, 1, 1, 3, 3]);
    expect([0, 41, 140, 151, 250, 251, 350].map(owner)).toEqual(new Array(7).fill('cut'));
    expect(runOf([], toLsn(5))).toBeNull();
  });

  it('admit a record only in a run and under that run’s epoch', () => {
    expect(admits(rewound, toLsn(145), epoch(2))).toBe(true);
    expect(admits(rewound, toLsn(145), epoch(1))).toBe(false);
    expect(admits(rewound, toLsn(145), { number: 2, writerId: 'another' })).toBe(false);
    expect(admits(rewound, toLsn(100), epoch(1))).toBe(false);
    expect(admits(rewound, toLsn(251), epoch(3))).toBe(false);
  });

  it('tell head, run by id, and closing tails', () => {
    expect(headRun(rewound).id).toBe(3);
    expect(runById(rewound, toRunId(1))?.firstLsn).toBe(141);
    expect(runById(rewound, toRunId(9))).toBeNull();
    expect(closingTail(rewound[0] as Run, toPgIndex(0))).toBe(40);
    expect(closingTail(rewound[0] as Run, toPgIndex(5))).toBe(NO_LSN);
    expect(closingTail(rewound[3] as Run, toPgIndex(0))).toBeNull();
    expect(() => headRun([])).toThrow(/at least one run/);
  });
});

describe('visible path', () => {
  it('goes from the run through its parents, newest first', () => {
    expect(path(rewound, 1, 145)).toEqual([
      [1, 141, 145],
      [0, 1, 40],
    ]);
  });

  it('leaves a rewound stretch out, although it lies in a run', () => {
    expect(path(rewound, 3, 400)).toEqual([
      [3, 351, 400],
      [0, 1, 20],
    ]);
    const head = visiblePath(rewound, toRunId(3), toLsn(400), V);
    expect([20, 351].every((lsn) => isVisible(head, V, toLsn(lsn)))).toBe(true);
    expect([21, 40, 100, 141, 150, 401].some((lsn) => isVisible(head, V, toLsn(lsn)))).toBe(false);
    expect(isVisible(head, CLONE, toLsn(351))).toBe(false);
  });

  it('still shows the rewound stretch to those who read at a point on it', () => {
    expect(path(rewound, 2, 250)).toEqual([
      [1, 141, 150],
      [0, 1, 40],
    ]);
  });

  it('passes a run that closed empty, and a point before the run’s first', () => {
    expect(path(rewound, 3, 350)).toEqual([[0, 1, 20]]);
    expect(path(rewound, 3, 15)).toEqual([[0, 1, 15]]);
    expect(path(rewound, 0, 0)).toEqual([]);
  });

  it('never reaches past where a run was closed', () => {
    expect(path(rewound, 0, 90)).toEqual([[0, 1, 40]]);
  });

  it('is empty for a run that is not there', () => {
    expect(path(rewound, 8, 90)).toEqual([]);
  });

  it('ends at a parent in another volume with a stretch that shows nothing yet', () => {
    const clone = [run(0, 1, 10, parentAt(1, 145, V)), run(1, 111, null, parentAt(0, 10, CLONE))];
    const own = visiblePath(clone, toRunId(1), toLsn(120), CLONE);
    expect(own.map((s) => [s.volume, s.run, s.lastLsn])).toEqual([
      [CLONE, 1, 120],
      [CLONE, 0, 10],
      [V, 1, 145],
    ]);
    expect(isVisible(own, V, toLsn(145))).toBe(false);
    expect(newestVisibleLsn(own, CLONE)).toBe(120);
    expect(newestVisibleLsn(own, V)).toBeNull();

    const known = new Map([
      [V, rewound],
      [CLONE, clone],
    ]);
    const across = visiblePathAcross((volume) => known.get(volume) ?? null, {
      volume: CLONE,
      run: toRunId(1),
      lsn: toLsn(120),
    });
    expect(across?.map((s) => [s.volume, s.run, s.firstLsn, s.lastLsn])).toEqual([
      [CLONE, 1, 111, 120],
      [CLONE, 0, 1, 10],
      [V, 1, 141, 145],
      [V, 0, 1, 40],
    ]);
    expect(visiblePathAcross(() => null, { volume: V, run: toRunId(0), lsn: toLsn(3) })).toBeNull();
    known.delete(V);
    expect(
      visiblePathAcross((volume) => known.get(volume) ?? null, {
        volume: CLONE,
        run: toRunId(0),
        lsn: toLsn(3),
      }),
    ).toBeNull();
  });

  it('agrees with the definition, set by set, on random trees of runs', () => {
    const move = fc.record({
      length: fc.nat(6),
      gap: fc.integer({ min: 0, max: 5 }),
      /** How far back the next run's parent lies: 0 the closing point, else anywhere before. */
      back: fc.oneof(fc.constant(0), fc.nat(30)),
    });
    fc.assert(
      fc.property(
        fc.array(move, { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.nat(),
        (moves, runAt, lsnAt) => {
          const runs: Run[] = [];
          let first = 1;
          let parent: RunParent | null = null;
          for (const [id, { length, gap, back }] of moves.entries()) {
            const last = first + length - 1;
            runs.push(run(id, first, id === moves.length - 1 ? null : last, parent));
            // A read point: any LSN at or above the first − 1 of some run.
            const target = runs[Math.max(0, id - (back % (id + 1)))] as Run;
            const end = target.lastLsn ?? last;
            parent = parentAt(target.id, back === 0 ? end : Math.max(target.firstLsn - 1, end - (back % 5)));
            first = last + gap + 2;
          }
          const chosen = runs[runAt % runs.length] as Run;
          const lsn = toLsn(chosen.firstLsn - 1 + (lsnAt % 8));
          const visible = visiblePath(runs, chosen.id, lsn, V);
          const expected = byDefinition(runs, chosen.id, lsn);
          for (let probe = 0; probe <= first + 10; probe += 1) {
            expect(isVisible(visible, V, toLsn(probe)), `${probe}`).toBe(expected.has(probe));
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** "That run's records up to L, plus what is visible at its parent's (run, LSN)." */
function byDefinition(runs: readonly Run[], id: RunId, lsn: Lsn): Set<number> {
  const run = runs.find((other) => other.id === id) as Run;
  const seen = new Set<number>();
  for (let at = run.firstLsn as number; at <= lsn && at <= (run.lastLsn ?? lsn); at += 1) seen.add(at);
  if (run.parent !== null) {
    for (const at of byDefinition(runs, run.parent.run, run.parent.lsn)) seen.add(at);
  }
  return seen;
}
