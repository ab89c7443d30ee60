/** Every bound of the storage node's core: name, unit, reason. Tests pass smaller ones. */
import { KIB, MAX_BOXCAR_BYTES, MIB } from '../../src/base/limits.ts';

export interface CoreLimits {
  /** Pages of one read request: 200 × 4 KiB stays below a message's limit. */
  readonly maxReadPages: number;
  /** Requests kept while the node starts; more are refused. */
  readonly maxQueuedAtStart: number;
  /** Bytes of records held above a gap before appends are refused: the segment catches up from its peers instead. */
  readonly maxBeyondGapBytes: number;
  /** Bytes of records not yet in page form before appends are refused. A writer's own bound per node is half of it. */
  readonly maxUncoalescedBytes: number;
  /** Inventory entries of one reply (proto/tidemark.proto): about 30 bytes each. */
  readonly maxInventoryEntries: number;

  /** Records and bytes of one coalescing round: what one background batch may take of the disk and, in one go, of the event loop. */
  readonly roundRecords: number;
  readonly roundBytes: number;
  /** A smaller backlog waits so long for company: pages that change often are written once for many records. */
  readonly roundAgeMs: number;
  /** Longest chain of records over an image at the head (design section 5). */
  readonly chainRecords: number;
  /** Inside the window one image per so many bytes of deltas is kept. */
  readonly keptImageDeltaBytes: number;
  /** Pages brought up to date in memory per tick, of those with long chains not yet in page form. */
  readonly freshenPagesPerTick: number;
  /** Bytes of page versions kept in memory per node. */
  readonly pageCacheBytes: number;
  /** A page that took so many deltas to put together is kept there. */
  readonly cacheFromRecords: number;
  /** Pages whose newest record and chain length are remembered per segment: about 150 bytes each. */
  readonly pageHeads: number;

  /** Pause between gossip exchanges of a segment, when a gap is known, when all is quiet. */
  readonly gossipIntervalMs: number;
  readonly gossipGapIntervalMs: number;
  readonly gossipQuietIntervalMs: number;
  /** Record bytes of one gossip reply. */
  readonly gossipReplyBytes: number;
  /** A gap younger than this is usually an append on its way. */
  readonly gapAgeMs: number;

  /** Least pause between two collections of a segment. */
  readonly collectIntervalMs: number;
  /** Entries looked at or deleted in one step of a collection. */
  readonly collectBatch: number;
  /** A peer not heard of for so long is absent: the log is kept for it while it is no larger, and for no longer, than this. */
  readonly absentAfterMs: number;
  readonly absentLogBytes: number;
  readonly absentLogMs: number;
  /** Copies of pages at a time, so that the foreground comes first: replies to others in the making, segments here that hydrate. */
  readonly copiesOut: number;
  readonly copiesIn: number;
  /** Bytes of pages that one segment copies per second, and of one reply. */
  readonly copyBytesPerSecond: number;
  readonly copyReplyBytes: number;
  /** Pause before another source is tried. */
  readonly copyRetryMs: number;
  /** Pause between two full scrubs, and between two steps of one. */
  readonly scrubIntervalMs: number;
  readonly scrubStepMs: number;
  /** Coalescing rounds remembered in the store, to find one that was lost (rounds.ts). */
  readonly roundsRemembered: number;
}

export const DEFAULT_CORE_LIMITS: CoreLimits = {
  maxReadPages: 200,
  maxQueuedAtStart: 10_000,
  maxBeyondGapBytes: 32 * MIB,
  maxUncoalescedBytes: 64 * MIB,
  maxInventoryEntries: 20_000,
  roundRecords: 2_048,
  roundBytes: 1 * MIB,
  roundAgeMs: 2_000,
  chainRecords: 16,
  keptImageDeltaBytes: 16 * KIB,
  freshenPagesPerTick: 32,
  pageCacheBytes: 8 * MIB,
  cacheFromRecords: 8,
  pageHeads: 32_768,
  gossipIntervalMs: 200,
  gossipGapIntervalMs: 50,
  gossipQuietIntervalMs: 1_000,
  gossipReplyBytes: MAX_BOXCAR_BYTES,
  gapAgeMs: 150,
  collectIntervalMs: 5_000,
  collectBatch: 256,
  absentAfterMs: 60_000,
  absentLogBytes: 256 * MIB,
  absentLogMs: 24 * 3_600_000,
  copiesOut: 2,
  copiesIn: 2,
  copyBytesPerSecond: 64 * MIB,
  copyReplyBytes: MAX_BOXCAR_BYTES,
  copyRetryMs: 200,
  scrubIntervalMs: 24 * 3_600_000,
  scrubStepMs: 50,
  roundsRemembered: 256,
};
