/**
 * Which records exist, and which of them a read point sees (design sections 1, 6, 7).
 *
 * - An LSN that lies in no run is *cut*; a record whose birth epoch is not its run's does not exist either (a ghost of a deposed writer).
 * - What is visible at (run, L) is that run's records up to L, plus what is visible at its parent's (run, LSN). So a rewound stretch,
 *   although it lies in a run and is kept, is not on the path of the new head.
 *
 * Runs are given ascending by firstLsn, as the manifest holds them; they do not overlap. A run that closed empty has
 * lastLsn = firstLsn − 1 and shows only its parent. Each volume has its own LSN space.
 */
import { assert } from '../base/assert.ts';
import { type Epoch, sameEpoch } from '../log/epoch.ts';
import { NO_LSN, type Lsn, type PgIndex, type RunId, type VolumeId } from '../log/lsn.ts';
import type { ReadPoint, Run, RunParent } from './run.ts';

/** A stretch of one run that a read point sees; both ends belong to it. */
export interface VisibleStretch {
  readonly volume: VolumeId;
  readonly run: RunId;
  readonly firstLsn: Lsn;
  readonly lastLsn: Lsn;
}

/** The run that `lsn` belongs to, null when it is cut. */
export function runOf(runs: readonly Run[], lsn: Lsn): Run | null {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((runs[middle] as Run).firstLsn <= lsn) low = middle + 1;
    else high = middle;
  }
  const run = runs[low - 1];
  if (run === undefined || (run.lastLsn !== null && lsn > run.lastLsn)) return null;
  return run;
}

/** Whether a record may exist at all: checked by everything that takes records in. */
export function admits(runs: readonly Run[], lsn: Lsn, birthEpoch: Epoch): boolean {
  const run = runOf(runs, lsn);
  return run !== null && sameEpoch(run.epoch, birthEpoch);
}

export function runById(runs: readonly Run[], id: RunId): Run | null {
  return runs.find((run) => run.id === id) ?? null;
}

/** The run that is written, or was last (a dropped volume's is closed). */
export function headRun(runs: readonly Run[]): Run {
  const head = runs[runs.length - 1];
  assert(head !== undefined, 'a volume has at least one run');
  return head;
}

/**
 * The stretches that (runId, lsn) sees within its own `volume`, newest first, empty ones left out. When the path leaves the volume
 * (a clone's first run), one more stretch closes the list, in the parent's volume: it ends at the branch point and is marked as not
 * resolved by firstLsn = lastLsn + 1, so that it shows nothing until that volume's own runs are put in its place
 * (visiblePathAcross). Empty when the run is not known.
 *
 * An `lsn` before the run's first means the newest that the path holds up to there.
 */
export function visiblePath(
  runs: readonly Run[],
  runId: RunId,
  lsn: Lsn,
  volume: VolumeId,
): readonly VisibleStretch[] {
  const path: VisibleStretch[] = [];
  const branch = walk(runs, runId, lsn, volume, path);
  if (branch !== null) {
    path.push({
      volume: branch.volume,
      run: branch.run,
      firstLsn: (branch.lsn + 1) as Lsn,
      lastLsn: branch.lsn,
    });
  }
  return path;
}

/** The whole path over clones' parents. null when a volume on it has no runs known here. */
export function visiblePathAcross(
  runsOf: (volume: VolumeId) => readonly Run[] | null,
  point: ReadPoint,
): readonly VisibleStretch[] | null {
  const path: VisibleStretch[] = [];
  const seen = new Set<VolumeId>();
  for (let next: ReadPoint | null = point; next !== null; ) {
    const runs = runsOf(next.volume);
    if (runs === null || runById(runs, next.run) === null) return null;
    assert(!seen.has(next.volume), `volume ${next.volume} descends from itself`);
    seen.add(next.volume);
    next = walk(runs, next.run, next.lsn, next.volume, path);
  }
  return path;
}

export function isVisible(path: readonly VisibleStretch[], volume: VolumeId, lsn: Lsn): boolean {
  for (const stretch of path) {
    if (lsn >= stretch.firstLsn && lsn <= stretch.lastLsn && stretch.volume === volume) return true;
  }
  return false;
}

/**
 * The newest LSN that (run, lsn) sees in its own volume: the last of its path's newest stretch, null when it sees nothing of
 * its own. Two read points with the same value show the same bytes.
 */
export function newestVisibleLsn(path: readonly VisibleStretch[], volume: VolumeId): Lsn | null {
  const first = path[0];
  return first !== undefined && first.volume === volume ? first.lastLsn : null;
}

/** tail(PG, lastLsn) kept at the run's closing; null while it is open. A PG made after the closing had no record: NO_LSN. */
export function closingTail(run: Run, pg: PgIndex): Lsn | null {
  if (run.closingTails === null) return null;
  return run.closingTails[pg] ?? NO_LSN;
}

/** Appends the visible stretches of one volume. Returns the branch point in another volume, or null at the root. */
function walk(
  runs: readonly Run[],
  runId: RunId,
  lsn: Lsn,
  volume: VolumeId,
  path: VisibleStretch[],
): RunParent | null {
  let limit = lsn;
  let run = runById(runs, runId);
  while (run !== null) {
    const lastLsn = Math.min(limit, run.lastLsn ?? limit) as Lsn;
    if (lastLsn >= run.firstLsn) path.push({ volume, run: run.id, firstLsn: run.firstLsn, lastLsn });
    const parent: RunParent | null = run.parent;
    if (parent === null || parent.volume !== volume) return parent;
    assert(
      parent.lsn < run.firstLsn,
      `run ${run.id} starts at ${run.firstLsn}, not after its parent's ${parent.lsn}`,
    );
    limit = Math.min(limit, parent.lsn) as Lsn;
    run = runById(runs, parent.run);
    assert(run !== null, `parent run ${parent.run} is not among the volume's runs`);
  }
  return null;
}
