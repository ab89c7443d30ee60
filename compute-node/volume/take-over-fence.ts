/**
 * Step 2 of a take-over: every segment of every PG is asked for its promise and for what it holds. Stragglers are asked again until the
 * take-over ends; each that answers improves the picture.
 *
 * Owns the state per segment. Does not judge whether it suffices: that is take-over-compute.ts.
 *
 * Invariants
 * 1. A segment counts as reported only when its inventory is complete and has exactly as many records above its VDL as its promise
 *    announced. (A restart in between may have lost some: then it is asked anew.)
 * 2. A segment that shows another incarnation than its report is asked anew; its old report and acknowledgements count no more.
 * 3. A segment whose own watermark is above its SCL misses what it acknowledged: it is not intact, whatever it says of itself. Nor is one
 *    of a newcomer that was never told of it: it has nothing because nobody gave it anything.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { type Epoch, compareEpochs } from '../../src/log/epoch.ts';
import type { Lsn, NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { FenceReply, InventoryEntry, InventoryReply, Refusal } from '../../src/messages/messages.ts';
import { decodeManifest } from '../../src/register/codec.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import type { CallOutcome, Calls } from './take-over-calls.ts';
import type { PgReports, SegmentReport } from './take-over-compute.ts';
import { isNewerManifest } from './take-over-manifest.ts';

/** Pause before a segment that did not answer, or refused, is asked again. */
const RETRY_PAUSE_MS = 150;

export interface FencedSegment {
  readonly pg: PgIndex;
  readonly configVersion: number;
  readonly node: NodeId;
  /** To be a member once the change under way is over, and none yet. */
  readonly isNewcomer: boolean;
  state: 'idle' | 'fencing' | 'listing' | 'reported';
  retryAtMs: number;
  /** Why it does not count (yet); null while there is nothing to say. */
  problem: string | null;
  /** Its promise, with what it said of itself. Kept while listing and when reported. */
  promise: FenceReply | null;
  entries: InventoryEntry[];
  /** `entries` by LSN, once complete. */
  listed: ReadonlyMap<Lsn, InventoryEntry>;
  /** Its absences prove something. */
  isIntact: boolean;
  /** An append or install of the re-replication is under way. */
  isSending: boolean;
  /** What it has installed, null when nothing or unreadable. */
  installed: ManifestValue | null;
  /** Records that this take-over sent it and it acknowledged, in this incarnation. */
  readonly acked: Set<Lsn>;
}

export interface FenceContext {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly calls: Calls;
  readonly onDeposed: (promised: Epoch, by: NodeId) => void;
}

export class Fencing {
  readonly #context: FenceContext;
  readonly #manifest: ManifestValue;
  readonly #segments: readonly (readonly FencedSegment[])[];
  /** Raised whenever a report comes or goes. */
  reportsVersion = 0;
  /** Newest manifest found installed that is newer than the one this fence goes by. */
  newerInstalled: ManifestValue | null = null;

  constructor(context: FenceContext, manifest: ManifestValue) {
    this.#context = context;
    this.#manifest = manifest;
    this.#segments = manifest.pgs.map((config) =>
      QuorumSet.of(config).nodes.map((node) => ({
        pg: config.pg,
        configVersion: config.configVersion,
        node,
        isNewcomer: !config.members.includes(node),
        state: 'idle',
        retryAtMs: 0,
        problem: null,
        promise: null,
        entries: [],
        listed: new Map<Lsn, InventoryEntry>(),
        isIntact: false,
        isSending: false,
        installed: null,
        acked: new Set<Lsn>(),
      })),
    );
  }

  /** By position of the PG in the manifest. */
  segmentsOf(position: number): readonly FencedSegment[] {
    return this.#segments[position] ?? [];
  }

  /** Asks every segment whose turn has come. */
  decide(): void {
    const { nowMs } = this.#context.calls;
    for (const segment of this.#segments.flat()) {
      if (segment.state === 'idle' && nowMs >= segment.retryAtMs) this.#fence(segment);
    }
  }

  reports(): readonly PgReports[] {
    return this.#manifest.pgs.map(({ pg }, position) => ({
      pg,
      segments: this.segmentsOf(position).flatMap((segment) => {
        const report = toReport(segment);
        return report === null ? [] : [report];
      }),
    }));
  }

  /** Invariant 2, and for a segment that failed during recovery: forget what it said and ask again. */
  askAnew(segment: FencedSegment, problem: string): void {
    if (segment.promise !== null) this.reportsVersion += 1;
    segment.state = 'idle';
    segment.retryAtMs = this.#context.calls.nowMs + RETRY_PAUSE_MS;
    segment.problem = problem;
    segment.promise = null;
    segment.entries = [];
    segment.listed = new Map();
    segment.isIntact = false;
    segment.acked.clear();
  }

  /** One line per segment that does not count, for the error that ends an unsuccessful take-over. */
  problems(): readonly string[] {
    return this.#segments.flat().flatMap((segment) => {
      if (segment.state === 'reported' && segment.problem === null) return [];
      return [`${segment.node} (PG ${segment.pg}): ${segment.problem ?? 'no answer yet'}`];
    });
  }

  #fence(segment: FencedSegment): void {
    const { clusterId, epoch, calls } = this.#context;
    const { pg, configVersion, node } = segment;
    segment.state = 'fencing';
    const request = { clusterId, volume: this.#manifest.volume, pg, epoch, configVersion };
    calls.send(node, 'fence', request, (outcome) => this.#onFence(segment, outcome));
  }

  #onFence(segment: FencedSegment, outcome: CallOutcome<FenceReply>): void {
    if (!outcome.ok) {
      this.askAnew(segment, outcome.message);
      return;
    }
    const reply = outcome.body;
    if (this.#isDeposed(segment.node, reply.promisedEpoch, reply.refusal)) return;
    if (!reply.promised) {
      this.askAnew(segment, describeRefusal(reply.refusal));
      return;
    }
    if (!this.#noteInstalled(segment, reply)) return;
    segment.promise = reply;
    segment.state = 'listing';
    segment.problem = null;
    segment.entries = [];
    this.#list(segment, reply.vdl);
  }

  #list(segment: FencedSegment, afterLsn: Lsn): void {
    const { clusterId, epoch, calls } = this.#context;
    const request = { clusterId, volume: this.#manifest.volume, pg: segment.pg, epoch, afterLsn };
    calls.send(segment.node, 'inventory', request, (outcome) => this.#onList(segment, afterLsn, outcome));
  }

  #onList(segment: FencedSegment, afterLsn: Lsn, outcome: CallOutcome<InventoryReply>): void {
    if (!outcome.ok) {
      this.askAnew(segment, outcome.message);
      return;
    }
    const { entries, done, refusal } = outcome.body;
    if (this.#isDeposed(segment.node, null, refusal)) return;
    if (refusal !== null) {
      this.askAnew(segment, describeRefusal(refusal));
      return;
    }
    if (!isAscending(entries, afterLsn)) {
      this.askAnew(segment, 'its inventory is out of order');
      return;
    }
    segment.entries = segment.entries.concat(entries);
    const last = entries.at(-1);
    if (!done) {
      if (last === undefined) {
        this.askAnew(segment, 'its inventory does not go on');
        return;
      }
      this.#list(segment, last.lsn);
      return;
    }
    const promise = segment.promise;
    if (promise === null || segment.entries.length !== promise.entryCount) {
      this.askAnew(
        segment,
        `it announced ${promise?.entryCount} records and listed ${segment.entries.length}`,
      );
      return;
    }
    segment.state = 'reported';
    segment.listed = new Map(segment.entries.map((entry) => [entry.lsn, entry]));
    segment.isIntact = isIntact(segment, promise);
    segment.problem = segment.isIntact
      ? null
      : 'it misses data that it acknowledged (quarantine), or not all that its PG ever had yet (newcomer)';
    this.reportsVersion += 1;
  }

  /** False: the segment shows a term beyond ours, so that this take-over is over. */
  #noteInstalled(segment: FencedSegment, reply: FenceReply): boolean {
    segment.installed = null;
    if (reply.installedManifest.length === 0) return true;
    try {
      segment.installed = decodeManifest(reply.installedManifest);
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      return true;
    }
    const { installed } = segment;
    if (compareEpochs(installed.epoch, this.#context.epoch) > 0) {
      this.#context.onDeposed(installed.epoch, segment.node);
      return false;
    }
    if (isNewerManifest(installed, this.newerInstalled ?? this.#manifest)) this.newerInstalled = installed;
    return true;
  }

  #isDeposed(node: NodeId, promised: Epoch | null, refusal: Refusal | null): boolean {
    const newest = promised ?? refusal?.promised ?? null;
    if (newest === null || compareEpochs(newest, this.#context.epoch) <= 0) return false;
    this.#context.onDeposed(newest, node);
    return true;
  }
}

/** An unfinished inventory is a promise all the same: it counts towards the four, not towards the three. */
function toReport(segment: FencedSegment): SegmentReport | null {
  const { promise, node: nodeId } = segment;
  if (promise === null) return null;
  const { scl, vdl, tail } = promise;
  const entries = segment.state === 'reported' ? segment.entries : null;
  return { nodeId, intact: isIntact(segment, promise), scl, vdl, tail, entries };
}

/** A newcomer that has not heard of this change yet may have been here for an earlier one: what came since was not owed to it. */
function isIntact(segment: FencedSegment, promise: FenceReply): boolean {
  const { isNewcomer, installed, pg, configVersion } = segment;
  const known = installed?.pgs.find((config) => config.pg === pg)?.configVersion ?? 0;
  if (isNewcomer && known < configVersion) return false;
  return promise.intact && promise.watermark <= promise.scl;
}

function isAscending(entries: readonly InventoryEntry[], afterLsn: Lsn): boolean {
  return entries.every((entry, index) => entry.lsn > (entries[index - 1]?.lsn ?? afterLsn));
}

export function describeRefusal(refusal: Refusal | null): string {
  return refusal === null ? 'it refused without a reason' : `${refusal.code}: ${refusal.message}`;
}
