/**
 * What two read points have in common, and what only one of them sees (design section 7): paths are compared stretch by stretch (visibility.ts). Two
 * points of one volume, of a clone and its parent, or of two clones share everything up to where their paths part.
 */
import { type Lsn, NO_LSN, type VolumeId } from '../log/lsn.ts';
import type { ReadPoint, Run } from './run.ts';
import { headRun, type VisibleStretch, visiblePath } from './visibility.ts';

/** Records of `volume` with afterLsn < LSN ≤ throughLsn. */
export interface LsnStretch {
  readonly volume: VolumeId;
  readonly run: VisibleStretch['run'];
  readonly afterLsn: Lsn;
  readonly throughLsn: Lsn;
}

/** What `path` sees and `other` does not, newest first. */
export function seenOnlyBy(
  path: readonly VisibleStretch[],
  other: readonly VisibleStretch[],
): readonly LsnStretch[] {
  const stretches: LsnStretch[] = [];
  for (const { volume, run, firstLsn, lastLsn } of path) {
    const shared = stretchOf(other, volume, run)?.lastLsn ?? NO_LSN;
    const afterLsn = Math.max(firstLsn - 1, shared) as Lsn;
    if (lastLsn > afterLsn) stretches.push({ volume, run, afterLsn, throughLsn: lastLsn });
  }
  return stretches;
}

/** The newest point that both descend from; null when they share no record. */
export function commonPoint(
  path: readonly VisibleStretch[],
  other: readonly VisibleStretch[],
): ReadPoint | null {
  for (const { volume, run, lastLsn } of path) {
    const shared = stretchOf(other, volume, run);
    if (shared !== null) return { volume, run, lsn: Math.min(lastLsn, shared.lastLsn) as Lsn };
  }
  return null;
}

/**
 * Where a volume was before it went back to where its head goes on from: the end of the newest run that showed something else. An attempt whose answer
 * was lost, and a writer that came in between and wrote nothing, leave runs that show the same already.
 */
export function leftBehind(runs: readonly Run[], volume: VolumeId): Lsn {
  const { parent } = headRun(runs);
  const isSame = ({ id, firstLsn, lastLsn }: Run): boolean => {
    if (parent === null || lastLsn === null || lastLsn >= firstLsn) return false;
    const [own] = visiblePath(runs, id, lastLsn, volume);
    const [target] = visiblePath(runs, parent.run, parent.lsn, volume);
    return own?.volume === target?.volume && own?.run === target?.run && own?.lastLsn === target?.lastLsn;
  };
  const closed = runs.slice(0, -1);
  return (closed.findLast((run) => !isSame(run)) ?? closed.at(-1))?.lastLsn ?? NO_LSN;
}

function stretchOf(
  path: readonly VisibleStretch[],
  volume: VolumeId,
  run: VisibleStretch['run'],
): VisibleStretch | null {
  return path.find((stretch) => stretch.volume === volume && stretch.run === run) ?? null;
}
