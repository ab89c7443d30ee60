/**
 * Which read points a volume's retention still allows (design section 7, "Floor and collection"): those at or above the floor, and pinned
 * ones. Storage nodes refuse the others as GONE, and whoever opens a moment, branches off or rewinds asks first.
 */
import type { Lsn, RunId } from '../log/lsn.ts';
import type { RetentionValue } from '../register/values.ts';
import type { ReadPoint, Run } from './run.ts';

export function isKept(
  runs: readonly Run[],
  retention: Pick<RetentionValue, 'floor' | 'pins'>,
  point: ReadPoint,
): boolean {
  if (point.lsn >= retention.floor) return true;
  const isPinned = retention.pins.some(
    (pin) => pin.point.volume === point.volume && pin.point.run === point.run && pin.point.lsn === point.lsn,
  );
  return isPinned || newestSameLsn(runs, point.run, point.lsn) >= retention.floor;
}

/**
 * The newest LSN at which a read point sees the same as at (run, lsn): where a run was closed and another goes on from there, the end
 * of the gap between. A read point is below the floor only if this is.
 */
export function newestSameLsn(runs: readonly Run[], runId: RunId, lsn: Lsn): Lsn {
  let run = runId;
  let newest = lsn;
  for (const next of runs) {
    const before = runs.find((candidate) => candidate.id === run);
    const isGoneOn =
      next.parent !== null &&
      next.parent.run === run &&
      before !== undefined &&
      next.firstLsn > before.firstLsn &&
      before.lastLsn !== null &&
      newest >= before.lastLsn &&
      next.parent.lsn === before.lastLsn;
    if (!isGoneOn) continue;
    run = next.id;
    newest = Math.max(newest, next.firstLsn - 1) as Lsn;
  }
  return newest;
}
