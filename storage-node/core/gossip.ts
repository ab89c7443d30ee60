/**
 * Gossip: the six segments of a PG fill each other's gaps (design section 5). Each asks one peer at a time, in turn, for what comes after
 * its SCL, and learns the peer's VDL and a newer committed manifest. Original bytes travel, and go through the
 * same admission as appends.
 *
 * A segment asks for records only when it knows that it lacks some (SCL below the tail, or records beyond a gap) and they have not come by
 * themselves for a while; otherwise the exchange is a few bytes.
 *
 * Invariants
 * 1. Between promise and install nothing is admitted by gossip: a segment then listens to its take-over alone.
 * 2. A peer's manifest is committed knowledge (it was installed there); it is put in force only if it is at or above the promise and
 *    extends what is installed here.
 * 3. A peer's VDL is believed only if its runs are known here. (VDLs in requests are not: an asker does not tell its manifest.)
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { decodeBoxcar } from '../../src/log/codec.ts';
import { type Lsn, NO_LSN, type NodeId } from '../../src/log/lsn.ts';
import type { PullRecordsReply, PullRecordsRequest } from '../../src/messages/messages.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import { areBasesWhole } from './bases.ts';
import type { NodeContext, Request } from './context.ts';
import type { DurableOp } from './effects.ts';
import { beginHydration } from './hydration.ts';
import { after } from './keys.ts';
import { compareManifests, peersOf } from './manifests.ts';
import { adoptManifest, readManifest } from './membership.ts';
import { type Program, callPeer, readRange } from './program.ts';
import { refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';

const EMPTY = new Uint8Array(0);
/** Chunks read at a time to answer a pull. */
const CHUNKS_PER_QUERY = 64;
/** A reply stays below a message's limit whatever is asked for. */
const MAX_REPLY_BYTES = 900 * 1024;
/** Exchanges in a row with one peer that has more, before others get their turn. */
const MAX_PULLS_IN_A_ROW = 64;
/** A newcomer remembers so many of its peers before it counts: any write quorum has one of them in it. */
const WITNESSED_PEERS = 3;
/** So many of five peers have a log that begins above ours before pages are copied instead. */
const UNREACHED_PEERS = 3;

/** Starts an exchange when it is time. Called on every tick. */
export function gossipIfDue(ctx: NodeContext, segment: Segment): void {
  const { gossip } = segment;
  const nowMs = ctx.now.monotonicMs;
  gossip.gapSinceMs = lacksRecords(segment) ? (gossip.gapSinceMs ?? nowMs) : null;
  const isGapOld = gossip.gapSinceMs !== null && nowMs - gossip.gapSinceMs >= ctx.limits.gapAgeMs;
  if (isGapOld) gossip.nextAtMs = Math.min(gossip.nextAtMs, nowMs + ctx.limits.gossipGapIntervalMs);
  if (gossip.isRunning || nowMs < gossip.nextAtMs || segment.manifest === null || !segment.isInForce) return;
  const peers = peersOf(segment.manifest.value, segment.pg, ctx.options.nodeId);
  const peer = peers[gossip.peerCursor % Math.max(1, peers.length)];
  if (peer === undefined) return;
  gossip.peerCursor += 1;
  gossip.fruitless += 1;
  gossip.isRunning = true;
  // With little room on the disk nothing is taken in; what is told of the VDL still is.
  const mayTake = ctx.diskRoom === 'enough' && !wantsPages(segment);
  ctx.run(exchange(ctx, segment, peer, mayTake && (isGapOld || segment.isQuarantined)));
}

function lacksRecords(segment: Segment): boolean {
  if (wantsPages(segment)) return false;
  return segment.held.hasGap || segment.scl < segment.tail || segment.isQuarantined;
}

/** The log begins where the pages end that are being copied. */
function wantsPages(segment: Segment): boolean {
  return segment.quarantine?.kind === 'hydrating';
}

function* exchange(ctx: NodeContext, segment: Segment, peer: NodeId, wantsRecords: boolean): Program<void> {
  const { gossip } = segment;
  const vdlBefore = segment.vdl;
  try {
    for (let pulls = 0; pulls < MAX_PULLS_IN_A_ROW; pulls += 1) {
      const request = pullFor(ctx, segment, wantsRecords);
      const answer = yield* callPeer(peer, { method: 'pullRecords', body: request });
      // Meanwhile the segment may have left this node.
      if (answer.method !== 'pullRecords' || !segment.isInForce) break;
      const sclBefore = segment.scl;
      adopt(ctx, segment, peer, answer.body);
      if (!segment.isInForce) break;
      if (wantsRecords) noteReach(ctx, segment, peer, request, answer.body);
      const isBacklogged = segment.held.bytes > ctx.limits.maxUncoalescedBytes / 2;
      if (segment.scl === sclBefore || segment.scl >= answer.body.scl || !wantsRecords || isBacklogged) break;
    }
  } catch (error) {
    if (!isTidemarkError(error, 'UNAVAILABLE')) throw error;
  } finally {
    gossip.isRunning = false;
  }
  const isQuiet = segment.vdl === vdlBefore && !lacksRecords(segment);
  const pauseMs = isQuiet ? ctx.limits.gossipQuietIntervalMs : ctx.limits.gossipIntervalMs;
  gossip.nextAtMs = ctx.now.monotonicMs + pauseMs;
}

/**
 * The peers' logs are collected too: one that was away for long may find none that goes on where its own ends. Once three peers have shown
 * that, and all have been asked, only their pages can help.
 */
function noteReach(
  ctx: NodeContext,
  segment: Segment,
  peer: NodeId,
  { afterLsn }: PullRecordsRequest,
  reply: PullRecordsReply,
): void {
  const { gossip, scl } = segment;
  if (scl !== afterLsn) {
    gossip.fruitless = 0;
    gossip.unreached.clear();
    return;
  }
  if (reply.refusal !== null || reply.scl <= scl || !segment.isInTerm) return;
  const [first] = reply.boxcars;
  if (first !== undefined && firstPrevLsn(ctx, first) <= scl) return;
  gossip.unreached.add(peer);
  const peers =
    segment.manifest === null ? [] : peersOf(segment.manifest.value, segment.pg, ctx.options.nodeId);
  if (gossip.unreached.size < UNREACHED_PEERS || gossip.fruitless < peers.length) return;
  gossip.unreached.clear();
  beginHydration(ctx, segment, `the logs of its peers begin above ${scl}`);
}

/** NO_LSN when it cannot be read. */
function firstPrevLsn(ctx: NodeContext, boxcar: Uint8Array): Lsn {
  try {
    return decodeBoxcar(boxcar, ctx.crc32).records[0]?.prevLsn ?? NO_LSN;
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    return NO_LSN;
  }
}

function pullFor(ctx: NodeContext, segment: Segment, wantsRecords: boolean): PullRecordsRequest {
  const { scl, vdl, tail, volume, pg } = segment;
  return {
    clusterId: ctx.clusterId,
    volume,
    pg,
    afterLsn: scl,
    throughLsn: wantsRecords ? (Number.MAX_SAFE_INTEGER as Lsn) : scl,
    maxBytes: ctx.limits.gossipReplyBytes,
    scl,
    vdl,
    tail,
    configVersion: segment.configVersion,
  };
}

function adopt(ctx: NodeContext, segment: Segment, peer: NodeId, reply: PullRecordsReply): void {
  // A peer in quarantine still gives what it holds; only its SCL proves nothing.
  const isIntact = reply.refusal === null;
  if (!isIntact && reply.refusal?.code !== 'QUARANTINED') return;
  segment.gossip.heardAtMs.set(peer, ctx.now.monotonicMs);
  const ops: DurableOp[] = [];
  if (reply.manifest.length > 0) ops.push(...adoptManifest(ctx, segment, peer, reply.manifest));
  if (!segment.isInForce) return;
  if (segment.isInTerm) {
    if (knowsRunsOf(segment, reply)) segment.learnVdl(reply.vdl, reply.tail);
    for (const bytes of reply.boxcars) ops.push(...takeBoxcar(ctx, segment, peer, bytes));
  }
  const { isHydrated: wasHydrated, hydration } = segment;
  if (hydration !== null) {
    hydration.isComplete = ctx.rememberedOf(segment) >= WITNESSED_PEERS && areBasesWhole(ctx, segment);
  }
  ops.push(...segment.hearPeer(peer, reply.scl, isIntact, reply.promisedEpoch));
  if (!wasHydrated && segment.isHydrated)
    ctx.log('info', 'a segment is hydrated', { segment: segment.name, scl: segment.scl });
  if (ops.length > 0) ctx.persist(ops, []);
}

/**
 * Whether the peer's VDL can be of no run that is unknown here: else it would turn this node's ghosts of an earlier run into durable records.
 * A peer leaves its manifest out only for one whose VDL shows that it has it (mayLackManifest).
 */
function knowsRunsOf(segment: Segment, reply: PullRecordsReply): boolean {
  if (reply.manifest.length === 0) return true;
  const theirs = readManifest(reply.manifest);
  return (
    theirs !== null && segment.manifest !== null && compareManifests(segment.manifest.value, theirs) >= 0
  );
}

function takeBoxcar(ctx: NodeContext, segment: Segment, peer: NodeId, bytes: Uint8Array): DurableOp[] {
  try {
    const admission = segment.sift(decodeBoxcar(bytes, ctx.crc32));
    if (admission.kind === 'admitted') return segment.take(admission, bytes, ctx.now.monotonicMs);
    const why =
      admission.kind === 'foreign' ? admission.reason : `record ${admission.lsn} contradicts what is held`;
    ctx.log('error', 'refused records from a peer', { segment: segment.name, peer, why });
    return admission.kind === 'conflict' ? segment.distrust(`${why} (from ${peer})`) : [];
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    ctx.log('warn', 'a peer sent malformed records', { segment: segment.name, peer, why: error.message });
    return [];
  }
}

export function onPullRecords(ctx: NodeContext, { to, body }: Request<'pullRecords'>): void {
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null) {
    const because = refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`);
    ctx.reply(to, refuse({ method: 'pullRecords', body }, because, ctx));
    return;
  }
  ctx.run(answerPull(ctx, segment, { to, body }));
}

function* answerPull(
  ctx: NodeContext,
  segment: Segment,
  { to, body }: Request<'pullRecords'>,
): Program<void> {
  try {
    // What comes while the store is read is in the next reply: an SCL told with records is one that they reach, if the log does.
    const sclBefore = segment.scl;
    const boxcars = yield* chunksFor(segment, body);
    const { vdl, tail, promised: promisedEpoch } = segment;
    const scl = Math.min(sclBefore, segment.scl) as Lsn;
    const manifest = mayLackManifest(segment, body) ? (segment.manifest?.bytes ?? EMPTY) : EMPTY;
    const isIntact = !segment.isQuarantined && ctx.whyUnsure(segment) === null;
    const quarantined = isIntact
      ? null
      : refusal('QUARANTINED', `${segment.name} is in quarantine: what it lacks proves nothing`);
    ctx.persist(
      [],
      [
        {
          to,
          reply: {
            method: 'pullRecords',
            body: { boxcars, scl, vdl, tail, manifest, refusal: quarantined, promisedEpoch },
          },
        },
      ],
    );
  } catch (error) {
    ctx.reply(to, refuse({ method: 'pullRecords', body }, refusalOf(error), ctx));
  }
}

/** Stored chunks with records in (afterLsn, throughLsn], as they are. Their ends may reach beyond: who asks drops what it has. */
function* chunksFor(segment: Segment, body: PullRecordsRequest): Program<readonly Uint8Array[]> {
  const boxcars: Uint8Array[] = [];
  if (body.throughLsn <= body.afterLsn) return boxcars;
  const maxBytes = Math.min(body.maxBytes, MAX_REPLY_BYTES);
  // A chunk is found by its last LSN, so the one that throughLsn falls into ends above it.
  let range = segment.keys.chunksAfter(body.afterLsn);
  let bytes = 0;
  for (;;) {
    const chunks = yield* readRange({ ...range, limit: CHUNKS_PER_QUERY });
    for (const { value } of chunks) {
      if (boxcars.length > 0 && bytes + value.length > maxBytes) return boxcars;
      boxcars.push(value);
      bytes += value.length;
    }
    const last = chunks[chunks.length - 1];
    if (last === undefined || chunks.length < CHUNKS_PER_QUERY) return boxcars;
    range = { ...range, gte: after(last.key) };
  }
}

/** Whoever has the installed manifest knows of a VDL at least at the head run's start, and one with an older manifest of none there. */
function mayLackManifest(segment: Segment, { vdl, configVersion }: PullRecordsRequest): boolean {
  if (segment.manifest === null) return false;
  const { firstLsn } = headRun(segment.manifest.value.runs);
  return configVersion < segment.configVersion || vdl === NO_LSN || vdl < firstLsn - 1;
}
