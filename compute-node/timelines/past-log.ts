/**
 * A volume at one read point of its past, as the SQL engine sees a volume: the newest is that point and stays it, nothing is written, and what is
 * read needs no confirmation, as it never changes. Storage nodes are asked for pages exactly as the writer asks them; one that does not hold the
 * point yet says BEHIND, and when its history is collected, GONE.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timers } from '../../src/env/env.ts';
import { type Epoch, NO_EPOCH } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  type PgIndex,
  type VolumeId,
} from '../../src/log/lsn.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import { runById } from '../../src/timeline/visibility.ts';
import { PageReader, type ReadSource } from '../driver/page-reader.ts';
import type { StorageLinks } from '../driver/storage-links.ts';
import type { OpenVolume, OpenVolumeStatus, SubmittedMtr } from '../volume/open-volume.ts';
import type { SegmentView } from '../volume/read-router.ts';

export const READONLY_REASON = 'a moment of the past is read-only; clone it to write to it';

/** How old the members of the PGs may be when a page is read: nodes come and go while a moment is open. */
const MEMBERS_AGE_MS = 10_000;

export interface PastLogOptions {
  /** As clients see it: NAME@lsn:N. */
  readonly name: string;
  readonly point: ReadPoint;
  readonly manifest: ManifestValue;
  /** By PG: with this SCL a segment holds all that the point needs. */
  readonly requiredScls: readonly Lsn[];
  /** The volume's PGs as they are now. */
  readonly readMembers: () => Promise<readonly PgConfig[]>;
  readonly links: StorageLinks;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Called once, at the end. */
  readonly onClosed: () => void;
}

export class PastLog implements OpenVolume {
  readonly volume: VolumeId;
  readonly name: string;
  readonly epoch: Epoch;
  readonly vdl: Lsn;
  readonly headLsn: Lsn;
  readonly writable = false;
  readonly #options: PastLogOptions;
  readonly #reader: PageReader;
  readonly #segments: SegmentViews;
  #membersAtMs: number;
  #isClosed = false;

  constructor(options: PastLogOptions) {
    const { point, manifest, links, clock, timers, requiredScls } = options;
    this.#options = options;
    this.volume = point.volume;
    this.name = options.name;
    this.epoch = runById(manifest.runs, point.run)?.epoch ?? NO_EPOCH;
    this.vdl = point.lsn;
    this.headLsn = point.lsn;
    this.#membersAtMs = clock.now().monotonicMs;
    this.#segments = new SegmentViews(manifest.pgs, requiredScls);
    const source: ReadSource = {
      volume: point.volume,
      vdl: point.lsn,
      manifest: { ...manifest, runs: runsSeenBy(manifest.runs, point) },
      segmentsOf: (pg) => this.#segments.of(pg),
      requiredScl: (pg, at) => Math.min(at, requiredScls[pg] ?? at) as Lsn,
      onServed: (pg, node) => this.#segments.noteServed(pg, node),
    };
    this.#reader = new PageReader({ source, links, clock, timers });
  }

  submit(): SubmittedMtr {
    throw new TidemarkError('UNSUPPORTED', READONLY_REASON);
  }

  whenWritable(): Promise<void> {
    return Promise.reject(new TidemarkError('UNSUPPORTED', READONLY_REASON));
  }

  /** All there is to read is durable. */
  whenDurable(): Promise<void> {
    return Promise.resolve();
  }

  /** It is what it was, whoever writes the volume by now. */
  confirmReadable(): Promise<void> {
    return Promise.resolve();
  }

  readPages(at: Lsn, pages: readonly PageNumber[]): Promise<readonly PageVersion[]> {
    this.#refreshMembers();
    return this.#reader.readPages(at, pages);
  }

  /** Who opened the moment sees to it that the floor knows (opened-pasts.ts). */
  reportReadPoint(): void {}

  onVdl(): () => void {
    return () => {};
  }

  onDeposed(): () => void {
    return () => {};
  }

  status(): OpenVolumeStatus {
    const { name, volume, epoch, vdl } = this;
    const pgCount = this.#options.manifest.pgs.length;
    return {
      ...{ volume, name, epoch, vdl, pgCount, redoBytes: 0 },
      vcl: vdl,
      headLsn: vdl,
      floor: NO_LSN,
      hasReadLease: false,
      nodes: [],
    };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reader.stop(
      new TidemarkError('UNAVAILABLE', `${this.name} was closed`, { nextStep: 'Open it again.' }),
    );
    this.#options.onClosed();
  }

  /** In the background: what is known is still right for most nodes. */
  #refreshMembers(): void {
    const nowMs = this.#options.clock.now().monotonicMs;
    if (this.#isClosed || nowMs - this.#membersAtMs < MEMBERS_AGE_MS) return;
    this.#membersAtMs = nowMs;
    this.#options.readMembers().then(
      (pgs) => this.#segments.setMembers(pgs),
      // Looked at again with a later read.
      () => {},
    );
  }
}

/** Who keeps the pages, and of whom it is known that it holds all that the point needs. */
class SegmentViews {
  readonly #requiredScls: readonly Lsn[];
  #pgs: readonly (readonly NodeId[])[];
  readonly #served: Set<NodeId>[] = [];

  constructor(pgs: readonly PgConfig[], requiredScls: readonly Lsn[]) {
    this.#requiredScls = requiredScls;
    this.#pgs = nodesOf(pgs);
  }

  setMembers(pgs: readonly PgConfig[]): void {
    this.#pgs = nodesOf(pgs);
  }

  noteServed(pg: PgIndex, node: NodeId): void {
    this.#servedBy(pg).add(node);
  }

  of(pg: PgIndex): readonly SegmentView[] {
    const required = this.#requiredScls[pg] ?? NO_LSN;
    return (this.#pgs[pg] ?? []).map((nodeId) => ({
      nodeId,
      scl: this.#servedBy(pg).has(nodeId) ? required : NO_LSN,
      // What is said of a closed run or of the floor is committed, whoever says it.
      isInstalled: true,
    }));
  }

  #servedBy(pg: PgIndex): Set<NodeId> {
    this.#served[pg] ??= new Set();
    return this.#served[pg];
  }
}

function nodesOf(pgs: readonly PgConfig[]): readonly (readonly NodeId[])[] {
  return pgs.map((config) => QuorumSet.of(config).nodes);
}

/** The point's run as the newest, and those it goes on from: later runs, and branches that were rewound, are not seen. */
export function runsSeenBy(runs: readonly Run[], { volume, run: id }: ReadPoint): readonly Run[] {
  const seen: Run[] = [];
  for (let run = runById(runs, id); run !== null; ) {
    seen.unshift(run);
    const { parent } = run;
    run = parent === null || parent.volume !== volume ? null : runById(runs, parent.run);
  }
  return seen;
}
