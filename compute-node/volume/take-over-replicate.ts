/**
 * Step 4 of a take-over: the records between what was proven durable and the new VDL are brought to four segments of their PG (of each
 * member set), in their original bytes. Records come from a segment that holds them (PullRecords) and go to those that do not (Append with `recovery`).
 *
 * Invariants
 * 1. A record counts as held by a segment only if an intact one listed it, or it acknowledged it to this take-over in the
 *    incarnation that its report comes from.
 * 2. What is sent is what the inventories listed: LSN, backlink, birth epoch and checksum are compared before a record goes anywhere.
 * 3. One append per segment is under way at a time, so that an answer belongs to exactly one boxcar.
 *
 * Only one window of records (at most one message) per PG is in memory.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { MAX_BOXCAR_BYTES } from '../../src/base/limits.ts';
import type { Crc32 } from '../../src/env/env.ts';
import { type Epoch, compareEpochs, sameEpoch } from '../../src/log/epoch.ts';
import { chainsOf } from '../../src/log/boxcar.ts';
import { decodeBoxcar, encodeBoxcar, recordSizeBytes } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, type NodeId, toLsn } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import type {
  AppendReply,
  InstallReply,
  InventoryEntry,
  PullRecordsReply,
  Refusal,
} from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { encodeManifest } from '../../src/register/codec.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import type { CallOutcome, Calls } from './take-over-calls.ts';
import { type DurableLog, sameRecord } from './take-over-compute.ts';
import { type FencedSegment, type Fencing, describeRefusal } from './take-over-fence.ts';
import { isNewerManifest } from './take-over-manifest.ts';

/** Pause before a segment that refused a record, or could not supply one, is tried again. */
const RETRY_PAUSE_MS = 150;

export interface ReplicationContext {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly crc32: Crc32;
  readonly calls: Calls;
  readonly onDeposed: (promised: Epoch, by: NodeId) => void;
}

interface PgProgress {
  /** Every record before this position has its four holders. */
  cursor: number;
  /** Records pulled and not yet at four segments, by LSN. */
  window: ReadonlyMap<Lsn, RedoRecord>;
  isPulling: boolean;
  /** Segments that could not supply the record at the cursor, and until when they are left alone. */
  readonly poorUntilMs: Map<NodeId, number>;
}

export class Replication {
  readonly #context: ReplicationContext;
  readonly #manifest: ManifestValue;
  readonly #fencing: Fencing;
  readonly #quorums: readonly QuorumSet[];
  readonly #progress: readonly PgProgress[];
  #reportsVersion = -1;

  constructor(context: ReplicationContext, manifest: ManifestValue, fencing: Fencing) {
    this.#context = context;
    this.#manifest = manifest;
    this.#fencing = fencing;
    this.#quorums = manifest.pgs.map((config) => QuorumSet.of(config));
    this.#progress = manifest.pgs.map(() => ({
      cursor: 0,
      window: new Map(),
      isPulling: false,
      poorUntilMs: new Map(),
    }));
  }

  /** Sends what is missing. True when every record of `log` is at four segments of its PG. */
  decide(log: DurableLog): boolean {
    if (this.#reportsVersion !== this.#fencing.reportsVersion) {
      this.#reportsVersion = this.#fencing.reportsVersion;
      for (const progress of this.#progress) progress.cursor = 0;
    }
    let isDone = true;
    for (const [position, records] of log.records.entries()) {
      if (!this.#decidePg(position, records)) isDone = false;
    }
    return isDone;
  }

  #decidePg(position: number, records: readonly InventoryEntry[]): boolean {
    const progress = this.#progress[position] as PgProgress;
    const quorum = this.#quorums[position] as QuorumSet;
    const segments = this.#fencing.segmentsOf(position).filter((segment) => segment.state === 'reported');
    for (let next = records[progress.cursor]; next !== undefined; next = records[progress.cursor]) {
      if (!isOnWriteQuorum(quorum, segments, next)) break;
      progress.cursor += 1;
    }
    const first = records[progress.cursor];
    if (first === undefined) return true;
    if (!progress.window.has(first.lsn)) this.#pull(progress, segments, first, records);
    else {
      for (const segment of segments) {
        this.#send(segment, lackedBy(segment, records, progress));
      }
    }
    return false;
  }

  #pull(
    progress: PgProgress,
    segments: readonly FencedSegment[],
    first: InventoryEntry,
    records: readonly InventoryEntry[],
  ): void {
    const { calls, clusterId } = this.#context;
    if (progress.isPulling) return;
    const holder = segments.find(
      (segment) =>
        (lists(segment, first) || segment.acked.has(first.lsn)) &&
        (progress.poorUntilMs.get(segment.node) ?? 0) <= calls.nowMs,
    );
    if (holder === undefined) return;
    progress.isPulling = true;
    const request = {
      clusterId,
      volume: this.#manifest.volume,
      pg: holder.pg,
      afterLsn: toLsn(first.lsn - 1),
      throughLsn: (records.at(-1) as InventoryEntry).lsn,
      maxBytes: MAX_BOXCAR_BYTES,
      scl: NO_LSN,
      vdl: NO_LSN,
      tail: NO_LSN,
      configVersion: holder.configVersion,
    };
    calls.send(holder.node, 'pullRecords', request, (outcome) => {
      progress.isPulling = false;
      const window = this.#readPulled(holder, outcome, records);
      if (window?.has(first.lsn)) progress.window = window;
      else progress.poorUntilMs.set(holder.node, calls.nowMs + RETRY_PAUSE_MS);
    });
  }

  #readPulled(
    holder: FencedSegment,
    outcome: CallOutcome<PullRecordsReply>,
    records: readonly InventoryEntry[],
  ): Map<Lsn, RedoRecord> | null {
    if (!outcome.ok) return null;
    const { refusal } = outcome.body;
    // One in quarantine says so, and supplies what it holds.
    if (refusal !== null && refusal.code !== 'QUARANTINED') {
      this.#isRefused(holder, refusal);
      return null;
    }
    const wanted = new Map(records.map((record) => [record.lsn, record]));
    const window = new Map<Lsn, RedoRecord>();
    try {
      for (const bytes of outcome.body.boxcars) {
        const boxcar = decodeBoxcar(bytes, this.#context.crc32);
        if (boxcar.volume !== this.#manifest.volume || boxcar.pg !== holder.pg) return null;
        for (const record of boxcar.records) {
          const listed = wanted.get(record.lsn);
          if (listed === undefined) continue;
          if (!sameRecord(listed, { ...record, birthEpoch: boxcar.birthEpoch })) return null;
          window.set(record.lsn, record);
        }
      }
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      holder.problem = `it supplied damaged records: ${error.message}`;
      return null;
    }
    return window;
  }

  #send(segment: FencedSegment, lacking: readonly RedoRecord[]): void {
    const { calls, clusterId, epoch, crc32 } = this.#context;
    if (lacking.length === 0 || segment.isSending || calls.nowMs < segment.retryAtMs) return;
    segment.isSending = true;
    if (segment.installed === null || isNewerManifest(this.#manifest, segment.installed)) {
      this.#bringUpToDate(segment);
      return;
    }
    const head = this.#manifest.runs.at(-1);
    const [boxcar] = chainsOf(
      { volume: this.#manifest.volume, pg: segment.pg, birthEpoch: head?.epoch ?? epoch },
      lacking,
    );
    if (boxcar === undefined) return;
    const request = {
      clusterId,
      volume: boxcar.volume,
      pg: segment.pg,
      epoch,
      configVersion: segment.configVersion,
      vdl: NO_LSN,
      tail: NO_LSN,
      boxcar: encodeBoxcar(boxcar, crc32),
      recovery: true,
    };
    const { promise } = segment;
    calls.send(segment.node, 'append', request, (outcome) => {
      segment.isSending = false;
      // Asked anew meanwhile: whatever this answer says is in the next inventory.
      if (segment.promise === promise) this.#onAppended(segment, boxcar.records, outcome);
    });
  }

  #onAppended(
    segment: FencedSegment,
    records: readonly RedoRecord[],
    outcome: CallOutcome<AppendReply>,
  ): void {
    if (!outcome.ok) {
      this.#fencing.askAnew(segment, outcome.message);
      return;
    }
    const reply = outcome.body;
    if (this.#isRefused(segment, reply.refusal)) return;
    if (reply.incarnation !== segment.promise?.incarnation) {
      this.#fencing.askAnew(segment, 'it restarted during the take-over');
      return;
    }
    if (!sameEpoch(reply.epoch, this.#context.epoch)) return;
    for (const record of records) segment.acked.add(record.lsn);
  }

  /**
   * A segment that slept through earlier terms does not know the run these records belong to, and would take them for ghosts. The manifest
   * is committed, so it may have it.
   */
  #bringUpToDate(segment: FencedSegment): void {
    const { calls, clusterId, epoch } = this.#context;
    const manifest = this.#manifest;
    const request = {
      clusterId,
      volume: manifest.volume,
      epoch,
      manifest: encodeManifest(manifest),
      retention: new Uint8Array(0),
      pg: segment.pg,
    };
    calls.send(segment.node, 'install', request, (outcome: CallOutcome<InstallReply>) => {
      segment.isSending = false;
      if (!outcome.ok) {
        this.#fencing.askAnew(segment, outcome.message);
        return;
      }
      if (this.#isRefused(segment, outcome.body.refusal)) return;
      if (outcome.body.installed) segment.installed = manifest;
    });
  }

  #isRefused(segment: FencedSegment, refusal: Refusal | null): boolean {
    if (refusal === null) return false;
    segment.problem = describeRefusal(refusal);
    segment.retryAtMs = this.#context.calls.nowMs + RETRY_PAUSE_MS;
    if (refusal.promised !== null && compareEpochs(refusal.promised, this.#context.epoch) > 0) {
      this.#context.onDeposed(refusal.promised, segment.node);
    }
    return true;
  }
}

function lists(segment: FencedSegment, record: InventoryEntry): boolean {
  const listed = segment.listed.get(record.lsn);
  return listed !== undefined && sameRecord(listed, record);
}

function holds(segment: FencedSegment, record: InventoryEntry): boolean {
  return segment.acked.has(record.lsn) || (segment.isIntact && lists(segment, record));
}

function isOnWriteQuorum(
  quorum: QuorumSet,
  segments: readonly FencedSegment[],
  record: InventoryEntry,
): boolean {
  return quorum.isWriteQuorum((node) =>
    segments.some((segment) => segment.node === node && holds(segment, record)),
  );
}

/** The next records of the window that the segment does not hold, at most one boxcar's worth. */
function lackedBy(
  segment: FencedSegment,
  records: readonly InventoryEntry[],
  progress: PgProgress,
): readonly RedoRecord[] {
  const lacking: RedoRecord[] = [];
  let sizeBytes = 0;
  for (let at = progress.cursor; at < records.length; at += 1) {
    const entry = records[at] as InventoryEntry;
    const record = progress.window.get(entry.lsn);
    if (record === undefined) break;
    if (holds(segment, entry)) continue;
    sizeBytes += recordSizeBytes(record);
    if (lacking.length > 0 && sizeBytes > MAX_BOXCAR_BYTES) break;
    lacking.push(record);
  }
  return lacking;
}
