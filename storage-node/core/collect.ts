/**
 * Collection of history below the floor (design section 7). A version or record goes only when no read point needs it: none at or above the
 * floor on any retained run, no pin. "Newest ≤ floor" alone would be wrong: the head may descend from an older point.
 *
 * Where to look is known from garbage marks: whenever coalescing writes such an image over earlier history of a page, it leaves a mark with the
 * image's LSN. Once the floor has passed it, the page is looked at and the mark goes.
 *
 * For one page: each retained run has a lowest read point that is still valid; what that one starts from, its newest visible image that is
 * not to be thinned out, is the oldest thing the run needs, and from there on everything stays (readers check the backlinks of everything between). A pin needs
 * the same up to itself. In a clone a page may have no such image, as it stands on its parent's page: then all of it stays.
 *
 * Chunks of the log go when all their records are below the floor and in page form here, and every peer holds them. One that has not been heard of
 * for long is not waited for for ever: should it come back further behind than the log then reaches, it is hydrated.
 *
 * Invariants
 * 1. Only a floor from a committed retention value is collected to, with the pins of that same value.
 * 2. A reader that began before the floor rose looks at the floor again before it answers (read-requests.ts).
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type NodeId, type PageNumber } from '../../src/log/lsn.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import { type VisibleStretch, isVisible, visiblePath } from '../../src/timeline/visibility.ts';
import { collectChanges } from './change-index.ts';
import { collectCommits } from './commit-index.ts';
import { BUNDLE, after, parseGarbageKey, parsePageKey } from './keys.ts';
import type { CoreLimits } from './limits.ts';
import { peersOf } from './manifests.ts';
import { type Entries, type Program, readRange, writeStore } from './program.ts';
import type { Segment } from './segment.ts';
import type { ValueCodec } from './values.ts';

export interface CollectEnv {
  readonly nodeId: NodeId;
  readonly values: ValueCodec;
  readonly limits: CoreLimits;
  readonly nowMs: number;
  readonly startedAtMs: number;
  doubtPages(segment: Segment, first: PageNumber, last: PageNumber, why: string): void;
}

export function isCollectionDue(env: CollectEnv, segment: Segment): boolean {
  const { nowMs } = env;
  if (segment.isCollecting || segment.isRepairing || segment.isQuarantined || nowMs < segment.collectAfterMs)
    return false;
  const floor = collectableFloor(segment);
  if (floor > segment.collected + 1) return true;
  // Most often nothing lies below the floor that is not gone already, whatever the peers hold.
  return floor > segment.chunksCollected + 1 && collectableChunks(env, segment) > segment.chunksCollected;
}

/** What is not in page form yet is not collected: a pass ends below it and the next one goes on. */
function collectableFloor(segment: Segment): Lsn {
  return Math.min(segment.floor, segment.coalesced + 1) as Lsn;
}

/** Up to here the log is below the floor, in page form here, and held by every peer that is waited for. */
function collectableChunks(env: CollectEnv, segment: Segment): Lsn {
  const manifest = segment.manifest?.value;
  if (manifest === undefined) return NO_LSN;
  const peers = peersOf(manifest, segment.pg, env.nodeId).filter((peer) => isWaitedFor(env, segment, peer));
  const heldByAll = peers.map((peer) => segment.peerScls.get(peer) ?? NO_LSN);
  return Math.max(0, Math.min(collectableFloor(segment) - 1, ...heldByAll)) as Lsn;
}

function isWaitedFor({ limits, nowMs, startedAtMs }: CollectEnv, segment: Segment, peer: NodeId): boolean {
  const silentMs = nowMs - (segment.gossip.heardAtMs.get(peer) ?? startedAtMs);
  if (silentMs <= limits.absentAfterMs) return true;
  return silentMs <= limits.absentLogMs && segment.storedBytes <= limits.absentLogBytes;
}

/** One pass up to the floor as it is now. */
export function* collect(env: CollectEnv, segment: Segment): Program<void> {
  const manifest = segment.manifest?.value;
  const retention = segment.retention;
  if (manifest === undefined || retention === null) return;
  const floor = collectableFloor(segment);
  const points = {
    oldestOfRuns: oldestReadPoints(segment, segment.runs, floor),
    pins: retention.pins
      .filter((pin) => pin.point.volume === segment.volume)
      .map((pin) => needOf(segment, segment.runs, pin.point)),
  };
  if (floor > segment.collected + 1) {
    yield* collectPages(env, segment, points, floor);
    yield* collectCommits(segment, floor, env.limits.collectBatch);
    yield* collectChanges(segment, floor, env.limits.collectBatch);
    segment.collected = (floor - 1) as Lsn;
  }
  yield* collectChunks(segment, collectableChunks(env, segment), env.limits.collectBatch);
  segment.check();
}

/** What one read point sees of this volume, and where it ends. */
interface Need {
  readonly path: readonly VisibleStretch[];
  readonly lsn: Lsn;
}

interface Needs {
  readonly oldestOfRuns: readonly Need[];
  readonly pins: readonly Need[];
}

function needOf(segment: Segment, runs: readonly Run[], point: Pick<ReadPoint, 'run' | 'lsn'>): Need {
  return { path: visiblePath(runs, point.run, point.lsn, segment.volume), lsn: point.lsn };
}

/** The lowest read point at or above the floor of every run that still has one. */
function oldestReadPoints(segment: Segment, runs: readonly Run[], floor: Lsn): Need[] {
  return runs
    .filter((run) => run.lastLsn === null || run.lastLsn >= floor || hasChildAt(runs, run))
    .map((run) => {
      const lowest = Math.max(floor, run.firstLsn - 1);
      return needOf(segment, runs, { run: run.id, lsn: Math.min(lowest, run.lastLsn ?? lowest) as Lsn });
    });
}

/** A run whose end is where another goes on is read at as long as that one is (src/timeline/kept.ts). */
function hasChildAt(runs: readonly Run[], run: Run): boolean {
  return runs.some(
    (next) => next.parent !== null && next.parent.run === run.id && next.parent.lsn === run.lastLsn,
  );
}

function* collectPages(env: CollectEnv, segment: Segment, needs: Needs, floor: Lsn): Program<void> {
  for (;;) {
    const marks = yield* readRange({ ...segment.keys.garbageBelow(floor), limit: env.limits.collectBatch });
    if (marks.length === 0) return;
    const pages = new Set(marks.map(({ key }) => parseGarbageKey(key).page));
    const ops: KvOp[] = [];
    for (const page of pages) ops.push(...(yield* collectPage(env, segment, page, needs, floor)));
    for (const { key } of marks) ops.push({ type: 'del', key });
    yield* writeStore(ops);
  }
}

/** What is known of an entry once its value is put aside. */
interface EntryExtent {
  readonly key: Uint8Array;
  readonly firstLsn: Lsn;
  readonly lastLsn: Lsn;
  readonly sizeBytes: number;
  readonly isImage: boolean;
  /** An image that coalescing will not thin out: only such a one can stand in for what is collected below it. */
  readonly isLasting: boolean;
}

function* collectPage(
  env: CollectEnv,
  segment: Segment,
  page: PageNumber,
  needs: Needs,
  floor: Lsn,
): Program<KvOp[]> {
  // Its marks may go: repair leaves new ones with what it copies.
  if (segment.doubts.covers(page)) return [];
  const entries: EntryExtent[] = [];
  let range = segment.keys.pageEntries(page, NO_LSN, (floor - 1) as Lsn);
  for (;;) {
    const some = yield* readRange({ ...range, limit: env.limits.collectBatch });
    try {
      entries.push(...some.map((entry) => extentOf(env, entry)));
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      env.doubtPages(segment, page, page, error.message);
      return [];
    }
    const last = some[some.length - 1];
    if (last === undefined || some.length < env.limits.collectBatch) break;
    range = { ...range, gte: after(last.key) };
  }
  const gone = unneeded(segment, entries, needs, floor);
  for (const { sizeBytes } of gone) segment.pageBytes = Math.max(0, segment.pageBytes - sizeBytes);
  return gone.map((entry) => ({ type: 'del', key: entry.key }));
}

function extentOf(env: CollectEnv, { key, value }: Entries[number]): EntryExtent {
  const { lsn, kind } = parsePageKey(key);
  const sizeBytes = value.length;
  if (kind !== BUNDLE) {
    const { isRecord, isKept } = env.values.decodeImage(key, value);
    return { key, firstLsn: lsn, lastLsn: lsn, sizeBytes, isImage: true, isLasting: isRecord || isKept };
  }
  const { records } = env.values.decodeBundle(key, value);
  const lastLsn = records[records.length - 1]?.lsn ?? lsn;
  return { key, firstLsn: lsn, lastLsn, sizeBytes, isImage: false, isLasting: false };
}

function unneeded(
  segment: Segment,
  entries: readonly EntryExtent[],
  needs: Needs,
  floor: Lsn,
): EntryExtent[] {
  const baseOf = (need: Need): Lsn | null => {
    const image = entries.findLast(
      (entry) =>
        entry.isLasting && entry.firstLsn <= need.lsn && isVisible(need.path, segment.volume, entry.firstLsn),
    );
    if (image !== undefined) return image.firstLsn;
    return need.path.some(({ volume }) => volume !== segment.volume) ? NO_LSN : null;
  };
  // A run without an image below the floor needs nothing below it.
  let keepFrom = (floor - 1) as Lsn;
  for (const need of needs.oldestOfRuns) keepFrom = Math.min(keepFrom, baseOf(need) ?? keepFrom) as Lsn;
  const kept = needs.pins.flatMap((need) => {
    const from = baseOf(need);
    return from === null ? [] : [{ from, to: need.lsn }];
  });
  return entries.filter((entry) => {
    // A bundle that ends where an image stands is in the image.
    const end = entry.isImage ? entry.lastLsn : entry.lastLsn - 1;
    const start = entry.firstLsn;
    if (end >= keepFrom) return false;
    return !kept.some(({ from, to }) => end >= from && start <= to);
  });
}

function* collectChunks(segment: Segment, throughLsn: Lsn, batch: number): Program<void> {
  let range = segment.keys.chunksAfter(NO_LSN, throughLsn);
  for (;;) {
    const chunks = yield* readRange({ ...range, limit: batch });
    const last = chunks[chunks.length - 1];
    if (last === undefined) break;
    yield* writeStore(chunks.map(({ key }) => ({ type: 'del', key })));
    for (const { value } of chunks) segment.storedBytes = Math.max(0, segment.storedBytes - value.length);
    range = { ...range, gte: after(last.key) };
  }
  segment.chunksCollected = throughLsn;
}
