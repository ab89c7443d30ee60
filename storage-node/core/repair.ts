/**
 * Repair of pages in doubt: their whole stored history is replaced by a peer's (`pullPages`), as far as this segment has coalesced.
 *
 * In *sittings*: a few replies of one peer, up to the end of a page, durable before the pages are out of doubt. During a sitting no round and
 * no collection of the segment runs, so that `coalesced` stands still and what is replaced is not added to; between sittings they do. What rounds
 * write of pages in doubt is replaced with the rest.
 *
 * Invariants
 * 1. Pages leave doubt only when every entry of theirs is a peer's, checked (page-batch.ts), and durable.
 * 2. The copy ends exactly at `coalesced`: what comes above is in memory here.
 * 3. The retention value that the peer collects by is adopted with the copy: history that it lacks lies below a floor that is known here then.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import { NO_LSN, type NodeId, type PageNumber } from '../../src/log/lsn.ts';
import type { PageCursor, PullPagesReply } from '../../src/messages/messages.ts';
import type { NodeContext } from './context.ts';
import { learnFromSource, sourcesOf } from './hydration.ts';
import { LAST_PAGE } from './keys.ts';
import { type CopyScope, PageBatch } from './page-batch.ts';
import type { PageInterval } from './page-doubts.ts';
import { type Program, callPeer, writeStore, writeStoreDurably } from './program.ts';
import type { Segment } from './segment.ts';

/** Replies of one sitting, if it ends at a page's end by then. */
const REPLIES_PER_SITTING = 4;
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
function wantedOf({ doubts, manifest, pg }: Segment): PageInterval | null {
  if (manifest === null) return null;
  const { pgPages } = manifest.value;
  doubts.remove(0 as PageNumber, (pg * pgPages) as PageNumber);
  doubts.remove(((pg + 1) * pgPages + 1) as PageNumber, LAST_PAGE);
  return doubts.lowest;
}

/** Returns which pages are whole then. */
function* copyFrom(
  ctx: NodeContext,
  segment: Segment,
  peer: NodeId,
  { first, last }: PageInterval,
): Program<PageInterval> {
  const scope = { first, last, throughLsn: segment.coalesced };
  let cursor: PageCursor | null = null;
  for (let replies = 1; ; replies += 1) {
    // Without rounds there is nothing to copy, and what is here is left over from somewhere.
    const reply: PullPagesReply =
      scope.throughLsn === NO_LSN ? NOTHING : yield* pull(ctx, segment, peer, scope, cursor);
    learnFromSource(ctx, segment, peer, reply);
    const manifest = segment.manifest?.value;
    if (manifest === undefined) throw new TidemarkError('BEHIND', `${segment.name} has no manifest any more`);
    const batch = new PageBatch(ctx.values, segment, manifest, scope, cursor);
    for (const entry of reply.entries) batch.take(entry);
    batch.end(reply.cursor);
    // A put after the deletion of its key renews it.
    yield* writeStore([...(yield* batch.replaced()), ...batch.ops]);
    if (reply.cursor === null) return { first, last };
    cursor = reply.cursor;
    if (replies >= REPLIES_PER_SITTING && cursor.page > first)
      return { first, last: (cursor.page - 1) as PageNumber };
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
  { volume, pg }: Segment,
  peer: NodeId,
  { first, last, throughLsn }: CopyScope,
  cursor: PageCursor | null,
): Program<PullPagesReply> {
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
