/**
 * What "the volume at LSN L" names, for an L that the head's timeline passes through: (run, LSN) as storage nodes understand it. An L
 * in the cut stretch before a run's first record names what that run started from: the end of the run before it, which every node knows;
 * after a return to an older point the run's own start, as that older point itself may lie below the floor by now.
 */
import type { Lsn, VolumeId } from '../../src/log/lsn.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import { runById } from '../../src/timeline/visibility.ts';

/** null: nothing had been written yet. */
export function readPointAt(
  { volume, runs }: { readonly volume: VolumeId; readonly runs: readonly Run[] },
  at: Lsn,
): { readonly run: Run['id']; readonly lsn: Lsn } | null {
  let limit = at;
  for (let run = runs[runs.length - 1]; run !== undefined; ) {
    const last = Math.min(limit, run.lastLsn ?? limit) as Lsn;
    if (last >= run.firstLsn) return { run: run.id, lsn: last };
    const parent: ReadPoint | null = run.parent;
    if (parent === null) return null;
    const next = parent.volume === volume ? runById(runs, parent.run) : null;
    // A clone's first run: its parent lies in another volume, which the segments look up by the run itself.
    if (next === null || (limit >= parent.lsn && parent.lsn !== next.lastLsn))
      return { run: run.id, lsn: (run.firstLsn - 1) as Lsn };
    limit = Math.min(limit, parent.lsn) as Lsn;
    run = next;
  }
  return null;
}
