/**
 * When a change of members may end by itself: once the newcomers are hydrated and hold what the PG has, the new six can do without the old
 * (design section 9). Nobody has to be told: whoever writes the volume next goes on where its predecessor stopped.
 */
import type { Lsn, PgIndex } from '../../src/log/lsn.ts';
import type { PgTracker } from '../../src/quorum/pg-tracker.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { VolumeTracker } from '../../src/quorum/volume-tracker.ts';
import type { MemberChange, VolumeManifests } from './writer-manifests.ts';

export class ChangeWatch {
  /** PGCL of the changing PGs a while ago: a newcomer as busy as the others is always a little behind the newest. */
  private pgclBefore = new Map<PgIndex, Lsn>();

  /** Asks for the end of every change whose newcomers are filled. Called on every tick. */
  endFilled(manifests: VolumeManifests, tracker: VolumeTracker): void {
    const pgcls = new Map<PgIndex, Lsn>();
    for (const change of manifests.changes()) {
      if (change.phase !== 'filling') continue;
      const known = tracker.pgTracker(change.pg);
      const before = this.pgclBefore.get(change.pg);
      if (before !== undefined && isFilled(change, known, before)) manifests.endChange(change.pg, 'keep');
      pgcls.set(change.pg, known.pgcl);
    }
    this.pgclBefore = pgcls;
  }
}

/** Four of the new six hold all that is complete, and each newcomer is hydrated and held what was complete a tick ago. */
function isFilled({ from, to }: MemberChange, known: PgTracker, pgclBefore: Lsn): boolean {
  const newcomers = to.filter((node) => !from.includes(node));
  if (!newcomers.every((node) => known.isHydrated(node) && known.sclOf(node) >= pgclBefore)) return false;
  return new QuorumSet([to]).isWriteQuorum((node) => known.sclOf(node) >= known.pgcl);
}
