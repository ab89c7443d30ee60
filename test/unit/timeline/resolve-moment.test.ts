/**
 * Moments → read points, against a plain diary: after each event (a commit, a new writer, a return to an older moment) it notes the time and
 * all that a reader then saw.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { type Lsn, toLsn, toRunId, type VolumeId } from '../../../src/log/lsn.ts';
import { type Moment, parseMoment } from '../../../src/timeline/moment.ts';
import {
  type AgoFrom,
  floorPoint,
  foundPoint,
  type KnownHistory,
  planMoment,
  requireKept,
} from '../../../src/timeline/resolve-moment.ts';
import type { ReadPoint, Run } from '../../../src/timeline/run.ts';
import { headRun, visiblePath } from '../../../src/timeline/visibility.ts';

const V = 'volume0000000000' as VolumeId;
const LAL = 100;
const BORN = 1_000_000;

interface Commit {
  readonly run: number;
  readonly lsn: number;
  readonly micros: number;
}

/** A volume's life, and the diary of what it showed. */
class Life {
  runs: Run[] = [];
  readonly commits: Commit[] = [];
  readonly diary: { readonly micros: number; readonly seen: readonly number[] }[] = [];
  durable = 0;
  now = BORN;

  constructor() {
    this.#openRun(1, null);
  }

  /** An MTR of `records` records, `after` microseconds later. */
  commit(records: number, after: number): void {
    this.now += after;
    this.durable += records;
    this.commits.push({ run: headRun(this.runs).id, lsn: this.durable, micros: this.now });
    this.#note();
  }

  /** A new writer, going on from the end or, with `to`, from an older point. */
  takeOver(after: number, to: ReadPoint | null): void {
    this.now += after;
    const head = headRun(this.runs);
    const closed = { ...head, lastLsn: toLsn(this.durable), closingTails: [toLsn(this.durable)] };
    this.runs = [...this.runs.slice(0, -1), closed];
    const parent = to ?? { volume: V, run: head.id, lsn: toLsn(this.durable) };
    this.#openRun(this.durable + LAL + 1, parent);
  }

  known(fields: Partial<KnownHistory> = {}): KnownHistory {
    return {
      name: 'main',
      volume: V,
      runs: this.runs,
      retention: { floor: 0 as Lsn, pins: [] },
      durableLsn: toLsn(this.durable),
      isNewest: true,
      nowMicros: this.now,
      ...fields,
    };
  }

  resolve(
    moment: Moment | null,
    fields: Partial<KnownHistory> = {},
    agoFrom: AgoFrom = 'instant',
  ): ReadPoint | 'unknown' {
    const known = this.known(fields);
    const plan = planMoment(known, moment, agoFrom);
    if (plan.kind === 'unknown') return 'unknown';
    if (plan.kind === 'point') return plan.point;
    const commit = this.commits.findLast(
      ({ run, lsn, micros }) => run === plan.run && lsn <= plan.throughLsn && micros <= plan.throughMicros,
    );
    return foundPoint(known, plan, commit === undefined ? null : toLsn(commit.lsn));
  }

  /** Commits that a read point shows. */
  seenAt(point: ReadPoint): readonly number[] {
    const path = visiblePath(this.runs, point.run, point.lsn, V);
    return this.commits
      .map(({ lsn }) => lsn)
      .filter((lsn) => path.some(({ firstLsn, lastLsn }) => lsn >= firstLsn && lsn <= lastLsn));
  }

  #openRun(firstLsn: number, parent: ReadPoint | null): void {
    this.durable = firstLsn - 1;
    const opened: Run = {
      id: toRunId(this.runs.length),
      epoch: { number: this.runs.length + 1, writerId: 'w' },
      firstLsn: toLsn(firstLsn),
      lastLsn: null,
      parent,
      closingTails: null,
      openedAtMicros: this.now,
      lastCommitTimeMicros: this.now,
    };
    this.runs.push(opened);
    this.#note();
  }

  #note(): void {
    const at: ReadPoint = { volume: V, run: headRun(this.runs).id, lsn: toLsn(this.durable) };
    this.diary.push({ micros: this.now, seen: this.seenAt(at) });
  }
}

function point(resolved: ReadPoint | 'unknown'): ReadPoint {
  if (resolved === 'unknown') throw new Error('unknown');
  return resolved;
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (isTidemarkError(error)) return `${error.code}: ${error.message} ${error.nextStep ?? ''}`;
    throw error;
  }
  return 'nothing';
}

const events = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        records: fc.integer({ min: 1, max: 4 }),
        after: fc.integer({ min: 1, max: 9 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ takeOver: fc.integer({ min: 1, max: 9 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        backTo: fc.double({ min: 0, max: 1, noNaN: true }),
        after: fc.integer({ min: 1, max: 9 }),
      }),
    },
  ),
  { maxLength: 25 },
);

type Event = { records: number; after: number } | { takeOver: number } | { backTo: number; after: number };

function lived(story: readonly Event[]): Life {
  const life = new Life();
  for (const event of story) {
    if ('records' in event) life.commit(event.records, event.after);
    else if ('takeOver' in event) life.takeOver(event.takeOver, null);
    else {
      const micros = Math.floor(BORN + event.backTo * (life.now - BORN));
      life.takeOver(event.after, point(life.resolve({ kind: 'time', micros })));
    }
  }
  return life;
}

describe('a moment', () => {
  it('that is a time shows what a reader saw then, over writers and returns to older moments', () => {
    fc.assert(
      fc.property(events, (story) => {
        const life = lived(story);
        for (let micros = BORN; micros <= life.now; micros += 1) {
          const seen = life.diary.findLast((entry) => entry.micros <= micros)?.seen;
          expect(life.seenAt(point(life.resolve({ kind: 'time', micros })))).toEqual(seen);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('that is an LSN shows its run up to the newest commit at or below it, on rewound runs too', () => {
    fc.assert(
      fc.property(events, (story) => {
        const life = lived(story);
        for (const { run, lsn } of life.commits) {
          expect(life.resolve({ kind: 'lsn', lsn: toLsn(lsn) })).toEqual({ volume: V, run, lsn });
        }
        for (const run of life.runs) {
          // From the start of a run on: what it goes on from, then its commits; beyond its end there is nothing.
          const last = run.lastLsn ?? life.durable;
          for (let lsn = run.firstLsn - 1; lsn <= last; lsn += 1) {
            const newest = life.commits.findLast((commit) => commit.run === run.id && commit.lsn <= lsn);
            expect(life.resolve({ kind: 'lsn', lsn: toLsn(lsn) })).toEqual({
              volume: V,
              run: run.id,
              lsn: newest?.lsn ?? run.firstLsn - 1,
            });
          }
          for (let lsn = last + 1; lsn < last + LAL; lsn += 7) {
            const code = codeOf(() => life.resolve({ kind: 'lsn', lsn: toLsn(lsn) }));
            expect(code).toMatch(run.lastLsn === null ? /^IN_FUTURE: / : /^CUT: /);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('never lies below a floor that was the newest point at some earlier time', () => {
    fc.assert(
      fc.property(events, fc.double({ min: 0, max: 1, noNaN: true }), (story, share) => {
        const life = lived(story);
        const from = Math.floor(BORN + share * (life.now - BORN));
        const floor = point(life.resolve({ kind: 'time', micros: from })).lsn;
        const known = life.known({ retention: { floor, pins: [] } });
        for (let micros = from; micros <= life.now; micros += 1) {
          requireKept(known, point(life.resolve({ kind: 'time', micros })), null);
        }
        expect(life.seenAt(floorPoint(known))).toEqual(
          life.seenAt(point(life.resolve({ kind: 'time', micros: from }))),
        );
      }),
      { numRuns: 60 },
    );
  });

  it('of a run that nobody known writes is not named while a commit of that time may turn up', () => {
    const life = lived([{ records: 2, after: 5 }, { takeOver: 5 }, { records: 3, after: 5 }]);
    const head = headRun(life.runs);
    const fields = { isNewest: false, durableLsn: toLsn(head.firstLsn - 1) };
    expect(life.resolve({ kind: 'time', micros: head.openedAtMicros }, fields)).toBe('unknown');
    expect(life.resolve(null, fields)).toBe('unknown');
    expect(life.resolve({ kind: 'lsn', lsn: head.firstLsn }, fields)).toBe('unknown');
    expect(life.resolve({ kind: 'time', micros: head.openedAtMicros - 1 }, fields)).toMatchObject({
      run: 0,
      lsn: 2,
    });
    expect(life.resolve({ kind: 'lsn', lsn: toLsn(1) }, fields)).toMatchObject({ run: 0, lsn: 0 });
  });

  it('now is the newest that is durable', () => {
    const life = lived([{ records: 2, after: 5 }, { takeOver: 5 }]);
    expect(life.resolve(null)).toEqual({ volume: V, run: 1, lsn: life.durable });
  });

  it('a while ago is counted from the instant, so that nothing acknowledged before is left out', () => {
    const life = lived([
      { records: 2, after: 5 },
      { records: 2, after: 900_000 },
      { records: 1, after: 900_000 },
    ]);
    expect(life.resolve(parseMoment('-0s'))).toMatchObject({ lsn: 5 });
    expect(life.resolve(parseMoment('-1s'), { nowMicros: 3_900_000 })).toMatchObject({ lsn: 5 });
    expect(life.resolve(parseMoment('-1s'), { nowMicros: 3_800_004 })).toMatchObject({ lsn: 4 });
  });

  it('what a pin keeps below the floor is found by its LSN, when its commit is not to be found any more', () => {
    const life = lived([
      { records: 2, after: 5 },
      { records: 2, after: 5 },
      { records: 2, after: 5 },
    ]);
    const at = point(life.resolve({ kind: 'lsn', lsn: toLsn(2) }));
    const retention = { floor: toLsn(6), pins: [{ name: 'snapshot:old', point: at }] };
    life.commits.splice(0, 2);
    expect(life.resolve({ kind: 'lsn', lsn: toLsn(2) }, { retention })).toEqual(at);
    expect(life.resolve({ kind: 'lsn', lsn: toLsn(4) }, { retention })).toMatchObject({ lsn: 0 });
  });

  it('a while ago is counted from the whole second, where readers are to share a moment', () => {
    const life = lived([
      { records: 2, after: 5 },
      { records: 2, after: 900_000 },
      { records: 1, after: 900_000 },
    ]);
    const at = (nowMicros: number) => life.resolve(parseMoment('-1s'), { nowMicros }, 'second');
    expect(at(4_000_000)).toMatchObject({ lsn: 5 });
    expect(at(3_999_999)).toMatchObject({ lsn: 4 });
    expect(at(3_000_000)).toMatchObject({ lsn: 4 });
  });

  it('in the future or before the volume is refused', () => {
    const life = lived([{ records: 2, after: 5 }]);
    expect(codeOf(() => life.resolve({ kind: 'time', micros: life.now + 1 }))).toMatch(
      /^IN_FUTURE: .*future/,
    );
    expect(codeOf(() => life.resolve({ kind: 'time', micros: BORN - 1 }))).toMatch(
      /^BEFORE_CREATION: .*before main was made/,
    );
    const unborn = life.runs.map((run) => ({ ...run, openedAtMicros: 0 }));
    expect(codeOf(() => life.resolve({ kind: 'time', micros: BORN }, { runs: unborn }))).toMatch(
      /^BEFORE_CREATION/,
    );
    expect(life.resolve({ kind: 'time', micros: BORN }, { runs: unborn, isNewest: false })).toBe('unknown');
  });

  it('on an LSN that does not exist names those near it', () => {
    const life = lived([{ records: 7, after: 5 }, { takeOver: 5 }]);
    expect(codeOf(() => life.resolve({ kind: 'lsn', lsn: toLsn(50) }))).toBe(
      'CUT: lsn:50 does not exist: no record of main ever had it Near it are lsn:7 and lsn:107.',
    );
  });

  it('below the floor is gone, and the window is named; a pinned one is kept', () => {
    const life = lived([
      { records: 2, after: 5 },
      { records: 2, after: 5 },
      { records: 2, after: 5 },
    ]);
    const at = point(life.resolve({ kind: 'lsn', lsn: toLsn(2) }));
    const gone = life.known({ retention: { floor: toLsn(4), pins: [] } });
    expect(codeOf(() => requireKept(gone, at, 1_500_000))).toMatch(
      /^GONE: main can be read back to lsn:4, 1970-01-01T00:00:01.5Z/,
    );
    expect(codeOf(() => requireKept(gone, at, null))).toMatch(/^GONE: main can be read back to lsn:4;/);
    const pins = [{ name: 'snapshot:before', point: at }];
    const pinned = { retention: { floor: toLsn(4), pins } };
    expect(life.resolve(parseMoment('before'), pinned)).toEqual(at);
    requireKept(life.known(pinned), at, null);
    expect(codeOf(() => life.resolve(parseMoment('after'), pinned))).toMatch(
      /^SNAPSHOT_NOT_FOUND: main has no snapshot 'after' It has before\./,
    );
  });
});
