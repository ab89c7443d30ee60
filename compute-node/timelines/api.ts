/**
 * Timelines as everything in front of them sees them (SQL statements, administration, diff): moments, clones, snapshots, backtrack, drop (design
 * section 7). Nothing here knows a protocol. Every call either does what it says, committed at the registers, or changes nothing and rejects with
 * a code of its own.
 */
import type { Lsn, RunId, VolumeId } from '../../src/log/lsn.ts';
import type { Moment } from '../../src/timeline/moment.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { Engine } from '../engine/api.ts';

/** A moment, resolved: what it shows never changes. */
export interface ResolvedMoment {
  readonly name: string;
  readonly point: ReadPoint;
  /** Stamp of the commit at the point; null when nothing was committed by then. Microseconds of the Unix epoch. */
  readonly committedAtMicros: number | null;
}

/** A volume as it was, read-only. */
export interface OpenedMoment extends ResolvedMoment {
  readonly engine: Engine;
  /** Gives up this use; the engine stays for a while, for the next. */
  release(): void;
}

/** Back to when a volume can be read: the retention floor, and what it means on the clock. */
export interface HistoryWindow {
  readonly windowMs: number;
  readonly floorLsn: Lsn;
  /** Stamp of the oldest commit that can be named; null while there is none. */
  readonly oldestMicros: number | null;
  readonly newestLsn: Lsn;
  readonly newestMicros: number | null;
}

export interface Snapshot {
  readonly name: string;
  readonly volume: string;
  readonly lsn: Lsn;
  readonly committedAtMicros: number | null;
}

export interface Clone {
  readonly name: string;
  readonly volume: VolumeId;
  readonly from: ResolvedMoment;
}

export interface Backtracked {
  readonly name: string;
  readonly to: ResolvedMoment;
  /** `lsn:N`: a backtrack to it goes forward again to where the volume was. */
  readonly undo: string;
}

export interface VolumeNode {
  readonly name: string;
  readonly volume: VolumeId;
  /** Whom it was cloned from; `name` null when that volume was dropped since. Null: not a clone. */
  readonly parent: {
    readonly name: string | null;
    readonly volume: VolumeId;
    readonly run: RunId;
    readonly lsn: Lsn;
  } | null;
  /** On six nodes together: what only this volume has, and what it shares with ancestors by reading it there. Null when too few nodes answered. */
  readonly ownBytes: number | null;
  readonly sharedBytes: number | null;
  readonly windowMs: number;
  readonly snapshots: number;
}

export interface Timelines {
  /**
   * Rejects IN_FUTURE, BEFORE_CREATION, GONE (outside the window, which it names), CUT (an LSN that does not exist; names
   * the nearest moments), VOLUME_NOT_FOUND, SNAPSHOT_NOT_FOUND. `moment` null: now, which takes the volume over when nobody has it open.
   */
  resolve(name: string, moment: Moment | null): Promise<ResolvedMoment>;
  /** Opens the moment read-only; many at once, equal ones share an engine. Rejects as resolve does, and OVERLOADED. */
  open(name: string, moment: Moment): Promise<OpenedMoment>;
  /** Writable at once. Rejects VOLUME_EXISTS, CYCLE, BAD_NAME, and as resolve does. */
  clone(source: { readonly name: string; readonly moment: Moment | null }, newName: string): Promise<Clone>;
  /** The name goes at once; data that no clone needs goes after. Rejects VOLUME_NOT_FOUND, IN_USE while it is open here or elsewhere (unless `force`). */
  drop(name: string, options?: { readonly force?: boolean }): Promise<{ readonly name: string }>;
  /** In place. Open sessions end with BACKTRACKED; their next statement works. Rejects as resolve does. */
  backtrack(name: string, to: Moment): Promise<Backtracked>;
  /** Rejects SNAPSHOT_EXISTS, BAD_NAME, and as resolve does. */
  createSnapshot(name: string, snapshot: string, moment: Moment | null): Promise<Snapshot>;
  dropSnapshot(name: string, snapshot: string): Promise<Snapshot>;
  snapshots(name: string): Promise<readonly Snapshot[]>;
  window(name: string): Promise<HistoryWindow>;
  /** Up to 72 h. Takes effect for what is not collected yet. Rejects BAD_REQUEST. */
  setWindow(name: string, windowMs: number): Promise<HistoryWindow>;
  volumes(): Promise<readonly VolumeNode[]>;
}
