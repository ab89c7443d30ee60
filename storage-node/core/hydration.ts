/**
 * Hydration: how a segment that does not hold its PG's history comes by it (design section 9): a newcomer of a changed PG, a segment whose
 * data is lost or damaged beyond what records can repair, one so far behind that its peers' logs do not reach it any more, and a clone's base.
 *
 * 1. *Copy.* Everything in page form is copied from one peer as of one LSN (`throughLsn`: as far as the first source had coalesced), page by page
 *    from a cursor on (page-copies.ts). What lies here between two cursors is replaced in the batch that moves the cursor; sources can change at any
 *    cursor, and a restart goes on from the last. Nothing is deleted here before its replacement has come.
 * 2. *Rebase.* The pages are made durable, and the log goes on from `throughLsn`.
 * 3. *Catch up.* By gossip, as after damage: until the segment holds all that three intact members held when asked after the copy; the highest
 *    promise of those is taken over. Then, not before, it is hydrated: it vouches for its absences, serves reads, counts.
 *
 * Invariants
 * 1. The guard says that hydration is needed before anything of the segment can be taken for whole, and until it is.
 * 2. The store's word on how far it came is written with the pages themselves, and is never ahead of them.
 * 3. Nothing is taken over unseen (page-batch.ts).
 * 4. While pages are copied nothing is coalesced, collected or read here.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type NodeId, type PageNumber } from '../../src/log/lsn.ts';
import type { PullPagesReply } from '../../src/messages/messages.ts';
import { decodeRetention } from '../../src/register/codec.ts';
import { neededOf } from './bases.ts';
import type { NodeContext } from './context.ts';
import type { Hydration } from './hydration-state.ts';
import { COMMIT_INDEX } from './keys.ts';
import { adoptManifest, freshHydrationId, keepBases } from './membership.ts';
import { peersOf } from './manifests.ts';
import { PageBatch } from './page-batch.ts';
import { type Program, callPeer, readRange, writeStore, writeStoreDurably } from './program.ts';
import type { Segment } from './segment.ts';

/** Unused pace is kept for so long. */
const BURST_MS = 100;

/** What is here does not suffice: from now on the segment is being hydrated. */
export function beginHydration(ctx: NodeContext, segment: Segment, why: string): void {
  ctx.log('warn', 'a segment is to be hydrated', { segment: segment.name, why });
  ctx.cache.dropSegment(segment.name);
  ctx.persist(segment.hydrate(freshHydrationId(ctx)), []);
}

export function isCopyDue(ctx: NodeContext, segment: Segment): boolean {
  const { hydration } = segment;
  if (ctx.diskRoom !== 'enough') return false;
  if (hydration === null || segment.isCopying || segment.quarantine?.kind !== 'hydrating') return false;
  // A round, a collection or a repair that began before writes what it found then.
  if (segment.isCoalescing || segment.isCollecting || segment.isRepairing) return false;
  return ctx.copies.in < ctx.limits.copiesIn && ctx.now.monotonicMs >= hydration.nextAtMs;
}

/** Copies for a while; called again when it is time to go on. */
export function* copyPages(ctx: NodeContext, segment: Segment, hydration: Hydration): Program<void> {
  segment.isCopying = true;
  hydration.startedAtMs ??= ctx.now.monotonicMs;
  ctx.copies.in += 1;
  try {
    const sources = sourcesOf(ctx, segment);
    const source = sources[hydration.sourceCursor % Math.max(1, sources.length)];
    if (source === undefined) {
      hydration.nextAtMs = ctx.now.monotonicMs + ctx.limits.copyRetryMs;
      return;
    }
    while (segment.hydration === hydration && !hydration.isCopied) {
      const bytes = yield* copyNext(ctx, segment, hydration, source);
      const nowMs = ctx.now.monotonicMs;
      const costMs = (1_000 * bytes) / ctx.limits.copyBytesPerSecond;
      hydration.paidUntilMs = Math.max(hydration.paidUntilMs, nowMs - BURST_MS) + costMs;
      hydration.nextAtMs = hydration.paidUntilMs;
      if (hydration.nextAtMs > nowMs) return;
    }
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    ctx.log('info', 'another source of pages is tried', {
      segment: segment.name,
      code: error.code,
      why: error.message,
    });
    hydration.sourceCursor += 1;
    hydration.nextAtMs = ctx.now.monotonicMs + ctx.limits.copyRetryMs;
  } finally {
    segment.isCopying = false;
    ctx.copies.in -= 1;
  }
}

/** Who may have what this segment lacks. */
export function sourcesOf(ctx: NodeContext, segment: Segment): readonly NodeId[] {
  if (!segment.isInForce) return neededOf(ctx, segment)?.peers ?? [];
  return segment.manifest === null ? [] : peersOf(segment.manifest.value, segment.pg, ctx.options.nodeId);
}

/** A base is wanted up to its clones' branch points, a member as far as its source's rounds have come: the log goes on at the end of one. */
function wantedThrough(ctx: NodeContext, segment: Segment): Lsn {
  return segment.isInForce ? NO_LSN : (neededOf(ctx, segment)?.throughLsn ?? NO_LSN);
}

/** One reply's worth. Returns its bytes; throws when the source is of no use now. */
function* copyNext(
  ctx: NodeContext,
  segment: Segment,
  hydration: Hydration,
  source: NodeId,
): Program<number> {
  const { volume, pg } = segment;
  const request = {
    clusterId: ctx.clusterId,
    volume,
    pg,
    throughLsn: hydration.throughLsn ?? wantedThrough(ctx, segment),
    firstPage: 0,
    lastPage: 0,
    cursor: hydration.cursor,
    maxBytes: ctx.limits.copyReplyBytes,
  };
  const answer = yield* callPeer(source, { method: 'pullPages', body: request });
  if (answer.method !== 'pullPages' || segment.hydration !== hydration) return 0;
  const { body: reply } = answer;
  if (reply.refusal !== null)
    throw new TidemarkError(reply.refusal.code, `${source}: ${reply.refusal.message}`);
  learnFromSource(ctx, segment, source, reply);
  if (segment.hydration !== hydration) return 0;
  const manifest = segment.manifest?.value;
  if (manifest === undefined) throw new TidemarkError('BEHIND', `${segment.name} has no manifest yet`);
  settleThrough(segment, hydration, reply.throughLsn);

  const first = (pg * manifest.pgPages + 1) as PageNumber;
  const scope = { first, last: COMMIT_INDEX, throughLsn: reply.throughLsn };
  const batch = new PageBatch(ctx.values, segment, manifest, scope, hydration.cursor);
  for (const entry of reply.entries) batch.take(entry);
  batch.end(reply.cursor);
  const ops = [...(yield* batch.replaced()), ...batch.ops];
  if (segment.hydration !== hydration) return 0;
  const highestPage = Math.max(hydration.highestPage, batch.highestPage);
  const copiedBytes = hydration.copiedBytes + batch.bytes;
  const moved = { ...hydration.progress, cursor: reply.cursor, highestPage, copiedBytes };
  ops.push({
    type: 'put',
    key: segment.keys.hydration,
    value: ctx.values.encodeHydration(segment.keys.hydration, moved),
  });
  if (reply.cursor !== null) yield* writeStore(ops);
  else yield* finish(ctx, segment, hydration, ops, highestPage);
  hydration.cursor = reply.cursor;
  hydration.highestPage = highestPage;
  hydration.copiedBytes = copiedBytes;
  hydration.pagesAtSource = reply.highestPage;
  return batch.bytes;
}

/** What the source goes by: its floor is ours before anything that it has collected by it is served here. */
export function learnFromSource(
  ctx: NodeContext,
  segment: Segment,
  source: NodeId,
  reply: PullPagesReply,
): void {
  const ops = reply.manifest.length === 0 ? [] : adoptManifest(ctx, segment, source, reply.manifest);
  if (reply.retention.length > 0) {
    const retention = decodeRetention(reply.retention);
    if (retention.volume !== segment.volume)
      throw new TidemarkError('CORRUPT', `${source} sent a retention value of ${retention.volume}`);
    ops.push(...segment.learnRetention(retention, new Uint8Array(reply.retention)));
  }
  if (ops.length > 0) ctx.persist(ops, []);
}

/** The first source says as of when pages are copied; what is here already must not be newer than that. */
function settleThrough(segment: Segment, hydration: Hydration, throughLsn: Lsn): void {
  if (hydration.throughLsn !== null && hydration.throughLsn !== throughLsn)
    throw new TidemarkError('CORRUPT', `pages as of ${throughLsn} instead of ${hydration.throughLsn}`);
  if (throughLsn < segment.coalesced)
    throw new TidemarkError('BEHIND', `pages through ${throughLsn}, here they reach ${segment.coalesced}`);
  hydration.throughLsn = throughLsn;
}

/** The pages are all here: made durable with the point where the log goes on, then believed. */
function* finish(
  ctx: NodeContext,
  segment: Segment,
  hydration: Hydration,
  ops: KvOp[],
  highestPage: number,
): Program<void> {
  const { keys } = segment;
  const throughLsn = hydration.throughLsn ?? NO_LSN;
  for (const { key } of yield* readRange(keys.rounds())) ops.push({ type: 'del', key });
  const progress = {
    vdl: throughLsn,
    tail: throughLsn,
    collected: NO_LSN,
    storedBytes: segment.storedBytes,
    pageBytes: hydration.copiedBytes,
    highestPage,
    roundsFrom: throughLsn,
    roundsThrough: throughLsn,
  };
  ops.push({ type: 'put', key: keys.progress, value: ctx.values.encodeProgress(keys.progress, progress) });
  const copied = { ...hydration.progress, cursor: null, highestPage, isCopied: true };
  ops.push({ type: 'put', key: keys.hydration, value: ctx.values.encodeHydration(keys.hydration, copied) });
  yield* writeStoreDurably(ops);
  if (segment.hydration !== hydration) return;
  ctx.cache.dropSegment(segment.name);
  segment.pageBytes = hydration.copiedBytes;
  ctx.persist(segment.rebase(throughLsn, highestPage), []);
  keepBases(ctx);
  ctx.log('info', 'all pages are copied', {
    segment: segment.name,
    throughLsn,
    bytes: hydration.copiedBytes,
    tookMs: Math.round(ctx.now.monotonicMs - (hydration.startedAtMs ?? 0)),
  });
}
