/**
 * Histories of volumes that go back in time and branch, cut into ones that never do. An *era* is what a volume shows between two changes of its
 * timeline: runs that each go on from the end of the one before. Within an era time goes one way, so every checker holds; what an era begins with are the
 * writes on its path through earlier eras, of the volume itself and of those it was cloned from.
 *
 * What was done in an era, or to the volume and cannot be placed, belongs to the history of it. Of earlier eras only what wrote, and lies at or below
 * where the path leaves them, belongs to it: whatever else is seen was invented.
 */
import type { Lsn, VolumeId } from '../../src/log/lsn.ts';
import type { Run } from '../../src/timeline/run.ts';
import { type History, isWrite, type Transaction } from './history.ts';

export interface BranchingVolume {
  readonly volume: VolumeId;
  readonly runs: readonly Run[];
  readonly history: History;
}

export interface EraHistory {
  readonly volume: VolumeId;
  /** Its first LSN is the one after. */
  readonly from: Lsn;
  /** Nothing came after it, so that it has a last look, if the history has. */
  readonly isLast: boolean;
  readonly history: History;
}

interface Era {
  /** What its first run's records come after; LSNs up to where the next era begins belong to it, cut ones too. */
  readonly from: number;
  readonly until: number;
  readonly runs: readonly Run[];
}

interface Stretch {
  readonly volume: VolumeId;
  readonly from: number;
  readonly through: number;
}

/** Eras in which nothing was done are left out. */
export function splitByEra(volumes: readonly BranchingVolume[]): EraHistory[] {
  const byId = new Map(volumes.map((each) => [each.volume, { ...each, eras: erasOf(each) }]));
  const lookUp = (volume: VolumeId) => byId.get(volume);
  return [...byId.values()].flatMap(({ volume, history, eras }) =>
    eras.flatMap((era, index): EraHistory[] => {
      const isLast = index === eras.length - 1;
      const own = history.transactions.filter((transaction) => isOf(era, transaction));
      if (!own.some(({ outcome }) => outcome === 'ok')) return [];
      const before = pathBefore(volume, era, lookUp).flatMap((stretch) =>
        (lookUp(stretch.volume)?.history.transactions ?? []).filter((transaction) =>
          isOn(stretch, transaction),
        ),
      );
      const settledAt = isLast ? history.settledAt : Number.POSITIVE_INFINITY;
      return [
        {
          volume,
          from: era.from as Lsn,
          isLast,
          history: { ...history, transactions: [...before, ...own], settledAt },
        },
      ];
    }),
  );
}

function erasOf({ volume, runs }: BranchingVolume): Era[] {
  const starts: Run[][] = [];
  for (const [index, run] of runs.entries()) {
    const before = runs[index - 1];
    const goesOn =
      before !== undefined &&
      run.parent !== null &&
      run.parent.volume === volume &&
      run.parent.run === before.id &&
      run.parent.lsn === before.lastLsn;
    if (goesOn) starts.at(-1)?.push(run);
    else starts.push([run]);
  }
  return starts.map((own, index) => ({
    from: (own[0] as Run).firstLsn - 1,
    until: (starts[index + 1]?.[0]?.firstLsn ?? Number.POSITIVE_INFINITY) - 1,
    runs: own,
  }));
}

/** What the era shows of earlier ones. */
function pathBefore(
  volume: VolumeId,
  { runs }: Era,
  lookUp: (volume: VolumeId) => { readonly eras: readonly Era[] } | undefined,
): Stretch[] {
  const path: Stretch[] = [];
  let parent = runs[0]?.parent ?? null;
  while (parent !== null) {
    const { volume: of, run: id, lsn } = parent;
    const era = lookUp(of)?.eras.find((candidate) => candidate.runs.some((run) => run.id === id));
    if (era === undefined)
      throw new Error(`${volume} goes on from run ${id} of ${of}, of which nothing is known`);
    path.push({ volume: of, from: era.from, through: lsn });
    parent = era.runs[0]?.parent ?? null;
  }
  return path;
}

/** Done while the volume showed this era, or never done as far as anybody knows. */
function isOf({ from, until }: Era, { lsn }: Transaction): boolean {
  return lsn === null || (lsn >= from && lsn < until);
}

function isOn({ from, through }: Stretch, { lsn, operations }: Transaction): boolean {
  return lsn !== null && lsn > from && lsn <= through && operations.some(isWrite);
}
