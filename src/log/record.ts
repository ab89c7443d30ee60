/**
 * Redo records: the only thing that crosses from compute to storage. One record changes one page; the records of one atomic
 * change form a mini-transaction (MTR) whose last record is its CPL. Records are immutable: what a checksum covers is
 * said in codec.ts.
 */
import type { Epoch } from './epoch.ts';
import type { Lsn, PageNumber, PgIndex, VolumeId } from './lsn.ts';

/** `delta`: byte ranges to put over the page before (page-diff.ts). `image`: the whole page. */
export type RecordKind = 'delta' | 'image';

/** What the engine hands over for one page of an MTR, before LSNs are given. */
export interface PageChange {
  readonly page: PageNumber;
  readonly kind: RecordKind;
  /** delta: encoded ranges; image: PAGE_SIZE_BYTES bytes. */
  readonly body: Uint8Array;
}

export interface RedoRecord extends PageChange {
  readonly lsn: Lsn;
  /** Backlink: LSN of the PG's previous record over all runs of the volume in LSN order, NO_LSN for the PG's first. */
  readonly prevLsn: Lsn;
  /** Ends its MTR. */
  readonly isCpl: boolean;
  /** Commit time in microseconds of the Unix epoch on a CPL, 0 otherwise. */
  readonly commitTimeMicros: number;
  /** CRC-32 over (volume, PG, birth epoch) and all of the above. */
  readonly checksum: number;
}

/**
 * Records of one PG that share a birth epoch and follow each other without a gap in the backlink chain, oldest first.
 * The unit of sending, of journaling and of the stored log (a stored boxcar is called a *chunk*).
 */
export interface Boxcar {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly birthEpoch: Epoch;
  readonly records: readonly RedoRecord[];
}

/** One atomic change as the engine hands it over at SQLite's commit point; never empty. */
export interface Mtr {
  readonly changes: readonly PageChange[];
}
