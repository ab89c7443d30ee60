/**
 * Repair of pages in doubt: their whole stored history is replaced by a peer's (`pullPages`), as far as this segment has coalesced.
 *
 * In *sittings*: a few replies of one peer, up to the end of a page, durable before the pages are out of doubt. During a sitting no round and
 * no collection of the segment runs, so that `coalesced` stands still and what is replaced is not added to; between sittings they do. What rounds
 * write of pages in doubt is replaced with the rest.
 *
 * Invariants
 * 1. Pages leave doubt only when every entry of theirs is a peer's, checked against its key, and durable.
 * 2. The copy ends exactly at `coalesced`: what comes above is in memory here.
 * 3. The retention value that the peer collects by is adopted with the copy: history that it lacks lies below a floor that is known here then.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type NodeId, type PageNumber } from '../../src/log/lsn.ts';
import type { PageCursor, PageEntry, PullPagesReply } from '../../src/messages/messages.ts';
import { decodeRetention } from '../../src/register/codec.ts';
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { adoptManifest } from './membership.ts';
import { LAST_PAGE, after } from './keys.ts';
import { sourcesOf } from './hydration.ts';
import type { PageInterval } from './page-doubts.ts';
import { type Program, callPeer, readRange, writeStore, writeStoreDurably } from './program.ts';
import type { Segment } from './segment.ts';

/** Replies of one sitting, if it ends at a page's end by then. */
const REPLIES_PER_SITTING = 4;
const ENTRIES_PER_QUERY = 256;
const RETRY_PAUSE_MS = 200;

export function isRepairDue(segment: Segment, nowMs: number): boolean {
  if (segment.doubts.isEmpty || segment.manifest === null || !segment.isHydrated) return false;
  if (segment.isRepairing || segment.isCoalescing || segment.isCollecting) return false;
  return segment.repair.nextAtMs <= nowMs;
}

/** One sitting with the next peer. */
export function* repairPages(ctx: NodeContext, segment: Segment): Program<void> {
  const { repair } = segment;
  const interval = wantedOf(segment);
  const peers = sourcesOf(ctx, segment);
  const peer = peers[repair.peerCursor % Math.max(1, peers.length)];
  if (interval === null || peer === undefined) return;
  segment.isRepairing = true;
  try {
    const copied = yield* copyFrom(ctx, segment, peer, interval);
    yield* writeStoreDurably([]);
    segment.doubts.remove(copied.first, copied.last);
    ctx.persist([segment.doubtsOp()], []);
    ctx.cache.dropSegment(segment.name);
    // What rounds thought of them meanwhile was put together from nothing.
    segment.heads.dropBetween(copied.first, copied.last);
    ctx.log('info', 'copied pages in doubt from a peer', { segment: segment.name, peer, ...copied });
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    ctx.log('warn', 'pages in doubt could not be copied from a peer', {
      segment: segment.name,
      peer,
      ...interval,
      why: error.message,
    });
    repair.peerCursor += 1;
    repair.nextAtMs = ctx.now.monotonicMs + RETRY_PAUSE_MS;
  } finally {
    segment.isRepairing = false;
  }
}

/** The lowest pages in doubt, of those that the PG has; what lies outside it is out of doubt at once. */
function wantedOf(segment: Segment): PageInterval | null {
  const manifest = segment.manifest?.value;
  if (manifest === undefined) return null;
  const first = (segment.pg * manifest.pgPages + 1) as PageNumber;
  const last = (first + manifest.pgPages - 1) as PageNumber;
  segment.doubts.remove(0 as PageNumber, (first - 1) as PageNumber);
  segment.doubts.remove((last + 1) as PageNumber, LAST_PAGE);
  return segment.doubts.lowest;
}

/** Returns which pages are whole then. */
function* copyFrom(
  ctx: NodeContext,
  segment: Segment,
  peer: NodeId,
  { first, last }: PageInterval,
): Program<PageInterval> {
  const throughLsn = segment.coalesced;
  let cursor: PageCursor | null = null;
  for (let replies = 1; ; replies += 1) {
    const reply: PullPagesReply =
      throughLsn === NO_LSN ? NOTHING : yield* pull(ctx, segment, peer, { first, last }, throughLsn, cursor);
    adoptKnowledge(ctx, segment, peer, reply);
    const next: PageCursor | null = reply.cursor;
    if (next !== null && !isAhead(next, cursor))
      throw new TidemarkError('UNAVAILABLE', 'the copy does not advance');
    yield* replace(ctx, segment, reply.entries, cursor ?? startOf(first), next ?? endOf(last));
    if (next === null) return { first, last };
    cursor = next;
    if (replies >= REPLIES_PER_SITTING && next.page > first)
      return { first, last: (next.page - 1) as PageNumber };
  }
}

const NOTHING: PullPagesReply = {
  entries: [],
  cursor: null,
  throughLsn: NO_LSN,
  highestPage: 0,
  manifest: new Uint8Array(0),
  retention: new Uint8Array(0),
  refusal: null,
};

function* pull(
  ctx: NodeContext,
  segment: Segment,
  peer: NodeId,
  { first, last }: PageInterval,
  throughLsn: Lsn,
  cursor: PageCursor | null,
): Program<PullPagesReply> {
  const { volume, pg } = segment;
  const body = {
    clusterId: ctx.clusterId,
    volume,
    pg,
    throughLsn,
    firstPage: first,
    lastPage: last,
    cursor,
    maxBytes: ctx.limits.copyReplyBytes,
  };
  const answer = yield* callPeer(peer, { method: 'pullPages', body });
  if (answer.method !== 'pullPages') throw new TidemarkError('UNAVAILABLE', 'another answer than asked for');
  if (answer.body.refusal !== null)
    throw new TidemarkError(answer.body.refusal.code, answer.body.refusal.message);
  if (answer.body.throughLsn !== throughLsn) throw new TidemarkError('BEHIND', 'the copy ends elsewhere');
  return answer.body;
}

function adoptKnowledge(ctx: NodeContext, segment: Segment, peer: NodeId, reply: PullPagesReply): void {
  const ops: DurableOp[] = [];
  if (reply.manifest.length > 0) ops.push(...adoptManifest(ctx, segment, peer, reply.manifest));
  if (reply.retention.length > 0) {
    const retention = decodeRetention(reply.retention);
    if (retention.volume === segment.volume)
      ops.push(...segment.learnRetention(retention, new Uint8Array(reply.retention)));
  }
  if (ops.length > 0) ctx.persist(ops, []);
}

/** What lies here above `from`, up to `to`, goes; what was copied comes. */
function* replace(
  ctx: NodeContext,
  segment: Segment,
  entries: readonly PageEntry[],
  from: PageCursor,
  to: PageCursor,
): Program<void> {
  const { keys } = segment;
  const copied: KvOp[] = [];
  for (const { page, lsn, image, value } of entries) {
    const at = { page, lsn, image };
    if (!isAhead(at, from) || isAhead(at, to))
      throw new TidemarkError('CORRUPT', 'a page that was not asked for');
    const key = image ? keys.image(page, lsn) : keys.bundle(page, lsn);
    copied.push({ type: 'put', key, value });
    if (image) {
      const { isRecord, isKept } = ctx.values.decodeImage(key, value);
      if (isRecord || isKept)
        copied.push({ type: 'put', key: keys.garbage(lsn, page), value: new Uint8Array(0) });
    } else {
      ctx.values.decodeBundle(key, value);
    }
  }
  const removed: KvOp[] = [];
  let rest = { gte: after(keyOf(segment, from)), lt: after(keyOf(segment, to)) };
  for (;;) {
    const some = yield* readRange({ ...rest, limit: ENTRIES_PER_QUERY });
    for (const { key } of some) removed.push({ type: 'del', key });
    const last = some[some.length - 1];
    if (last === undefined || some.length < ENTRIES_PER_QUERY) break;
    rest = { ...rest, gte: after(last.key) };
  }
  // A put after the deletion of its key renews it.
  yield* writeStore([...removed, ...copied]);
}

function keyOf({ keys }: Segment, { page, lsn, image }: PageCursor): Uint8Array {
  return image ? keys.image(page, lsn) : keys.bundle(page, lsn);
}

function startOf(page: PageNumber): PageCursor {
  return { page, lsn: NO_LSN, image: false };
}

function endOf(page: PageNumber): PageCursor {
  return { page, lsn: Number.MAX_SAFE_INTEGER as Lsn, image: true };
}

function isAhead(cursor: PageCursor, than: PageCursor | null): boolean {
  if (than === null || cursor.page !== than.page) return than === null || cursor.page > than.page;
  return cursor.lsn !== than.lsn ? cursor.lsn > than.lsn : cursor.image && !than.image;
}
