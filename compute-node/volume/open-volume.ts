/**
 * The seam between a volume's log client (writer core and its driver, on the main thread) and the SQL engine. The engine hands over
 * MTRs and asks for pages; it never waits for a quorum. Replies wait, in the session layer, through `whenDurable` and `confirmReadable`.
 */
import type { Epoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import type { Mtr } from '../../src/log/record.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { RegisterPlace } from '../../src/register/place.ts';
import type { ManifestValue, PgConfig, RetentionValue } from '../../src/register/values.ts';
import type { MemberChange } from './writer-manifests.ts';

/** What became of one MTR at hand-over: LSNs are given, records are on their way. */
export interface SubmittedMtr {
  readonly firstLsn: Lsn;
  readonly cpl: Lsn;
  readonly commitTimeMicros: number;
}

export interface OpenVolume {
  readonly volume: VolumeId;
  readonly name: string;
  readonly epoch: Epoch;
  /** LSN of the newest handed-over MTR (first − 1 of the run right after opening). */
  readonly headLsn: Lsn;
  readonly vdl: Lsn;

  /**
   * Gives LSNs to the MTR's records, in order, the last one the CPL (so cpl = headLsn before + changes.length), and sends them.
   * Synchronous. Throws DEPOSED when the term is over, TOO_LARGE past LAL / 2 records, OVERLOADED when called while `writable` is false
   * and the queue bound is reached.
   */
  submit(mtr: Mtr): SubmittedMtr;

  /** False while the engine should not start another write transaction (backpressure, LAL, or a quorum missing past the limit). */
  readonly writable: boolean;
  /** Resolves when writable; rejects NO_QUORUM after `timeoutMs`, DEPOSED when the term is over. */
  whenWritable(timeoutMs: number): Promise<void>;

  /**
   * Resolves when VDL ≥ lsn. Rejects OUTCOME_UNKNOWN after the commit timeout, DEPOSED when this writer can harden nothing any more. The next
   * writer may still recover what was handed over: a client whose commit that was must be told that its outcome is unknown.
   */
  whenDurable(lsn: Lsn): Promise<void>;

  /**
   * Resolves when it is proven that no newer writer had been able to serve before this call: at once under a read lease, else by three
   * segments that confirm the epoch in requests sent after the call. Rejects DEPOSED or NO_QUORUM.
   */
  confirmReadable(): Promise<void>;

  /** Newest versions visible at `at` (≤ VDL), in the order asked. Rejects GONE, NO_QUORUM (nobody could serve), DEPOSED. */
  readPages(at: Lsn, pages: readonly PageNumber[]): Promise<readonly PageVersion[]>;

  /** The lowest read point this compute node still reads at; holds the floor. */
  reportReadPoint(lowest: Lsn): void;

  /** Called after every advance of VDL. Returns the unsubscriber. */
  onVdl(listener: (vdl: Lsn) => void): () => void;
  /** Called once when the term is over for good (a higher epoch is proven): the engine's state is ahead of the truth, throw it away. */
  onDeposed(listener: (reason: Error) => void): () => void;

  status(): OpenVolumeStatus;
  /** Waits for what was handed over to harden (bounded), releases the lease promises, stops. */
  close(): Promise<void>;
}

/** What an operator does with an open volume, beside what the engine does. */
export interface AdministeredVolume extends OpenVolume {
  readonly members: VolumeMembers;
  readonly past: VolumePast;
}

/** What naming a moment of the volume takes (src/timeline/resolve-moment.ts). */
export interface VolumePast {
  /** As committed. */
  readonly manifest: ManifestValue;
  /** The newest commit stamp given out, or the head run's opening. */
  readonly lastCommitMicros: number;
  /** With this SCL a segment surely holds all that a read at `at` (≤ VDL) needs. */
  requiredScl(pg: PgIndex, at: Lsn): Lsn;
  /** Holds the floor at or below `lsn` for so long: `holder` reads there. Asked again it lasts from then on; 0 lets go. */
  holdReadPoint(holder: string, lsn: Lsn, forMs: number): void;
  /** Resolves when a write quorum of every PG has been told the VDL of now and has it on disk, or after a while. */
  announce(): Promise<void>;
  /** The retention register was changed by somebody else than the writer. */
  noteRetention(committed: RetentionValue): void;
}

/** The nodes that keep a volume, and how they change (design section 9). */
export interface VolumeMembers {
  /** As committed. */
  readonly pgs: readonly PgConfig[];
  readonly changes: readonly MemberChange[];
  /** The six of `pg` are to become `proposed`; goes on by itself. Throws BAD_REQUEST, CHANGE_UNDER_WAY, NODE_NOT_FOUND, DEPOSED. */
  propose(pg: PgIndex, proposed: readonly NodeId[]): void;
  /** Takes the change under way back. Throws BAD_REQUEST when there is none, CHANGE_UNDER_WAY when it is being ended already. */
  revert(pg: PgIndex): void;
  /** Where the volume's registers are. */
  readonly registers: RegisterPlace;
  /** Moves both; the name is the directory's to change. Asked for again it goes on where it had stopped. Rejects NO_QUORUM, DEPOSED. */
  moveRegisters(members: readonly NodeId[]): Promise<RegisterPlace>;
}

export interface OpenVolumeStatus {
  readonly volume: VolumeId;
  readonly name: string;
  readonly epoch: Epoch;
  readonly vcl: Lsn;
  readonly vdl: Lsn;
  readonly headLsn: Lsn;
  readonly floor: Lsn;
  readonly hasReadLease: boolean;
  readonly pgCount: number;
  /** Redo sealed since the volume was opened here: what each of six segments is sent once. */
  readonly redoBytes: number;
  readonly nodes: readonly {
    readonly nodeId: string;
    readonly az: string;
    readonly address: string;
    readonly connected: boolean;
    readonly lagRecords: number;
    readonly queuedBytes: number;
    /** Exponential averages of acknowledgement and page-read latency, null before the first. */
    readonly ackLatencyMs: number | null;
    readonly readLatencyMs: number | null;
    readonly scls: readonly { readonly pg: number; readonly scl: Lsn }[];
  }[];
}
