/**
 * One protection group as its writer sees it: records that wait to be sent, the boxcars sent, and the lanes to its six segments (and to the
 * newcomers while members change). Batching lives here: a
 * boxcar goes out at once while few are on the way without a quorum; records that come meanwhile form the next one.
 *
 * Invariants
 * 1. Boxcars leave in the order of their records, each exactly one piece of the PG's backlink chain, encoded once.
 * 2. A boxcar is let go only when it is on a quorum and every lane that counts has it.
 */
import { assert } from '../../src/base/assert.ts';
import type { Crc32 } from '../../src/env/env.ts';
import { encodeBoxcar, recordContext, recordSizeBytes } from '../../src/log/codec.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { PgConfig } from '../../src/register/values.ts';
import { BoxcarBuffer } from './writer-buffer.ts';
import { Lane, type NodeLink } from './writer-lane.ts';
import type { WriterLimits } from './writer-types.ts';

/** What is the same in every request of a term. */
export interface Term {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly crc32: Crc32;
}

export class PgStream {
  readonly pg: PgIndex;
  /** Seed of its records' checksums. */
  readonly context: number;
  /** False until the manifest that names it is committed: nothing goes out before. */
  isCommitted: boolean;
  readonly buffer = new BoxcarBuffer();
  private readonly term: Term;
  private config: PgConfig;
  private ways: readonly Lane[];
  private pending: RedoRecord[] = [];
  private pendingBytes = 0;
  /** Ordinal of the oldest boxcar without a quorum. */
  private hardening = 0;

  constructor(term: Term, config: PgConfig, nodes: readonly NodeLink[], isCommitted: boolean) {
    this.term = term;
    this.config = config;
    this.pg = config.pg;
    this.isCommitted = isCommitted;
    this.context = recordContext(term.volume, config.pg, term.epoch, term.crc32);
    this.ways = nodes.map((node) => this.laneTo(node, 0));
  }

  get lanes(): readonly Lane[] {
    return this.ways;
  }

  /** Of the committed manifest. */
  get configVersion(): number {
    return this.config.configVersion;
  }

  /**
   * Another configuration is committed: newcomers get a lane, those that left lose theirs (and are returned), and all install it before they
   * get more.
   */
  reconfigure(config: PgConfig, nodes: readonly NodeLink[]): readonly NodeLink[] {
    const before = this.ways;
    this.config = config;
    this.ways = nodes.map((node) => this.laneOf(node.nodeId) ?? this.laneTo(node, config.configVersion));
    for (const lane of this.ways) lane.reinstall();
    const left = before.filter((lane) => !this.ways.includes(lane));
    for (const lane of left) lane.leave();
    this.release();
    return left.map((lane) => lane.node);
  }

  private laneTo(node: NodeLink, countsFrom: number): Lane {
    const isMember = this.config.members.includes(node.nodeId);
    return new Lane(node, this.pg, this.buffer, { countsFrom, isHydrated: isMember });
  }

  laneOf(node: NodeId): Lane | undefined {
    return this.lanes.find((lane) => lane.nodeId === node);
  }

  get hasPending(): boolean {
    return this.pending.length > 0;
  }

  /** Bytes handed over that no quorum has yet, by a measure that only shrinks at sealing. */
  get hardeningBytes(): number {
    return this.pendingBytes + this.buffer.bytesBetween(this.hardening, this.buffer.end);
  }

  add(record: RedoRecord): void {
    this.pending.push(record);
    this.pendingBytes += recordSizeBytes(record);
  }

  /** Seals what the window lets go; each boxcar carries the durable point known now. Returns whether anything was sealed. */
  seal(limits: WriterLimits, point: { vdl: Lsn; tail: Lsn }, nowMs: number): boolean {
    if (this.pending.length === 0) return false;
    assert(this.isCommitted, `records for PG ${this.pg} before the manifest that names it is committed`);
    let from = 0;
    while (from < this.pending.length && this.mayStart(limits)) {
      const to = this.batchEnd(from, limits.maxBoxcarBytes);
      this.push(this.pending.slice(from, to), point, nowMs);
      from = to;
    }
    if (from === 0) return false;
    this.pending = this.pending.slice(from);
    for (const lane of this.lanes) lane.onBufferChanged();
    return true;
  }

  /** PGCL moved: the window opens. */
  onPgcl(pgcl: Lsn): void {
    while (this.hardening < this.buffer.end && this.buffer.at(this.hardening).lastLsn <= pgcl)
      this.hardening += 1;
  }

  /** Lets go of what nobody needs any more (invariant 2). */
  release(): void {
    let upTo = this.hardening;
    for (const lane of this.lanes) if (lane.isCounted) upTo = Math.min(upTo, lane.ackedOrdinal);
    this.buffer.releaseBefore(upTo);
  }

  /** Four others (of each member set) hold more of the log than this lane's segment: the volume does not need it to go on. */
  canSpare(lane: Lane): boolean {
    const ahead = this.lanes.filter(
      (other) => other !== lane && other.isCounted && other.ackedOrdinal > lane.ackedOrdinal,
    );
    return QuorumSet.of(this.config).isWriteQuorum((node) => ahead.some((other) => other.nodeId === node));
  }

  /** More full boxcars may be on the way than small ones: bounded by bytes then. */
  private mayStart(limits: WriterLimits): boolean {
    const inFlight = this.buffer.end - this.hardening;
    if (inFlight < limits.maxBoxcarsInFlight) return true;
    if (this.pendingBytes < limits.maxBoxcarBytes) return false;
    return this.buffer.bytesBetween(this.hardening, this.buffer.end) < limits.maxInFlightBytesPerNode;
  }

  private batchEnd(from: number, maxBytes: number): number {
    let bytes = 0;
    let to = from;
    while (to < this.pending.length) {
      const size = recordSizeBytes(this.pending[to]!);
      if (to > from && bytes + size > maxBytes) break;
      bytes += size;
      to += 1;
    }
    return to;
  }

  private push(records: readonly RedoRecord[], point: { vdl: Lsn; tail: Lsn }, nowMs: number): void {
    const { clusterId, volume, epoch, crc32 } = this.term;
    const first = records[0];
    const last = records[records.length - 1];
    assert(first !== undefined && last !== undefined, 'an empty boxcar');
    for (const record of records) this.pendingBytes -= recordSizeBytes(record);
    this.buffer.push({
      firstLsn: first.lsn,
      lastLsn: last.lsn,
      recordCount: records.length,
      sealedAtMs: nowMs,
      request: {
        clusterId,
        volume,
        pg: this.pg,
        epoch,
        configVersion: this.config.configVersion,
        vdl: point.vdl,
        tail: point.tail,
        boxcar: encodeBoxcar({ volume, pg: this.pg, birthEpoch: epoch, records }, crc32),
        recovery: false,
      },
    });
  }
}
