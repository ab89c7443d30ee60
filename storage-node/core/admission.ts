/**
 * Admission: the one gate for redo records, whichever way they come (append, recovery's append, gossip, the store and the journal at a
 * start). A record exists only if its LSN lies in a run of the installed manifest and its birth epoch is that run's (design section
 * 6): so what a manifest cut can never come back. What exists is new, known already, or in conflict with what is held.
 *
 * Authority (may this sender write now?) is checked before, by the way it came; here only existence is.
 */
import type { RedoRecord, Boxcar } from '../../src/log/record.ts';
import type { Lsn, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import { pgOfPage } from '../../src/log/lsn.ts';
import { sameEpoch } from '../../src/log/epoch.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { runOf } from '../../src/timeline/visibility.ts';
import type { HeldLog, Piece } from './held-log.ts';

export type Admission =
  /** `isWhole`: the boxcar is new from end to end and one piece, so its bytes can be stored as they came. */
  | {
      readonly kind: 'admitted';
      readonly pieces: readonly Piece[];
      readonly isWhole: boolean;
      readonly cutCount: number;
    }
  | { readonly kind: 'foreign'; readonly reason: string }
  | { readonly kind: 'conflict'; readonly lsn: Lsn };

/**
 * Sifts a decoded boxcar: cut records are left out and counted, known ones are dropped, the rest comes in maximal pieces. Nothing is
 * taken from a boxcar of which one record conflicts.
 */
export function sift(
  boxcar: Boxcar,
  place: { readonly volume: VolumeId; readonly pg: PgIndex },
  manifest: ManifestValue,
  held: HeldLog,
): Admission {
  if (boxcar.volume !== place.volume || boxcar.pg !== place.pg) {
    return {
      kind: 'foreign',
      reason: `records of ${boxcar.volume}/${boxcar.pg} do not belong to ${place.volume}/${place.pg}`,
    };
  }
  const pieces: Piece[] = [];
  let open: RedoRecord[] = [];
  let openRun = -1;
  let cutCount = 0;
  const close = () => {
    if (open.length > 0) pieces.push({ birthEpoch: boxcar.birthEpoch, records: open });
    open = [];
  };
  for (const record of boxcar.records) {
    if (pgOfPage(record.page, manifest.pgPages) !== place.pg) {
      return { kind: 'foreign', reason: `page ${record.page} is not of protection group ${place.pg}` };
    }
    const run = runOf(manifest.runs, record.lsn);
    if (run === null || !sameEpoch(run.epoch, boxcar.birthEpoch)) {
      cutCount += 1;
      close();
      continue;
    }
    const standing = held.standing(record, boxcar.birthEpoch);
    if (standing === 'conflict') return { kind: 'conflict', lsn: record.lsn };
    if (standing === 'known' || run.id !== openRun) close();
    if (standing === 'known') continue;
    openRun = run.id;
    open.push(record);
  }
  close();
  const isWhole = pieces.length === 1 && pieces[0]?.records.length === boxcar.records.length;
  return { kind: 'admitted', pieces, isWhole, cutCount };
}
