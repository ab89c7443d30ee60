/** What a successful take-over (design section 6, steps 1–6) hands to the volume's writer. */
import type { Epoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { ManifestValue, NameValue, RetentionValue } from '../../src/register/values.ts';

export interface TakenOver {
  readonly name: NameValue & { readonly volume: VolumeId };
  readonly epoch: Epoch;
  /** Committed: its head run is open, opened at the VDL found + LAL + 1 (or at 1), with this epoch. */
  readonly manifest: ManifestValue;
  /** Register version under which `manifest` was committed; later versions by this writer follow it. */
  readonly manifestVersion: number;
  /** Where the manifest register is by now. */
  readonly registerPlace: RegisterPlace;
  readonly retention: RetentionValue;
  /** VCL = VDL = first − 1 of the head run; and the LSN the parent run was closed at (what readers see as the newest). */
  readonly vdl: Lsn;
  readonly closedAtLsn: Lsn;
  /** tail(PG, closedAtLsn) by PG index: the first new record's backlink. */
  readonly tails: readonly Lsn[];
  readonly lastCommitTimeMicros: number;
  /** Segments whose install was acknowledged, at least four of each PG. */
  readonly installed: readonly {
    readonly pg: PgIndex;
    readonly nodeId: NodeId;
    readonly scl: Lsn;
    readonly incarnation: string;
    readonly hydrated: boolean;
  }[];
}
