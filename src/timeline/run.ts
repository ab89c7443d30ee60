/**
 * Runs: the LSNs written in one stretch by one epoch. They form a tree through `parent`; what is visible at (run, L) is that
 * run's records up to L plus what is visible at its parent's point. An LSN in no run is *cut*: it does not exist.
 */
import type { Epoch } from '../log/epoch.ts';
import type { Lsn, RunId, VolumeId } from '../log/lsn.ts';

export interface RunParent {
  readonly volume: VolumeId;
  readonly run: RunId;
  readonly lsn: Lsn;
}

export interface Run {
  readonly id: RunId;
  readonly epoch: Epoch;
  readonly firstLsn: Lsn;
  /** null while the run is open (it is the head). A closed run's last is ≥ firstLsn − 1 (equal: nothing was written in it). */
  readonly lastLsn: Lsn | null;
  readonly parent: RunParent | null;
  /** tail(PG, lastLsn) of every PG at closing, by PG index; null while open. */
  readonly closingTails: readonly Lsn[] | null;
  /** When the run became the head, later than every stamp before it: at that time the volume began to show what the run shows. 0: never opened. */
  readonly openedAtMicros: number;
  /** Stamp of the last commit at or before closing (`openedAtMicros` while open), so that time is monotone. */
  readonly lastCommitTimeMicros: number;
}

/** A moment of a volume. Snapshots, pins, bookmarks, branch points and open readers all name one. */
export interface ReadPoint {
  readonly volume: VolumeId;
  readonly run: RunId;
  readonly lsn: Lsn;
}
