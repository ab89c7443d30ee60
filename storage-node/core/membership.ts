/**
 * How segments come to this node and leave it: the committed manifest says who hosts a PG (its members, and those that are to follow).
 *
 * A PG's segments are born empty under its first configuration: what one of them does not hold it never held. Whoever comes to a PG under
 * a later configuration has history to copy before its absences mean anything: it is hydrated (hydration.ts).
 *
 * Who is no host any more by a committed manifest deletes what it has, in the background, and keeps a tombstone: its promise, and which
 * configuration it left by. A message of that configuration or an older one comes from somebody who does not know: it must not find a
 * blank segment that would vouch for nothing having been there.
 *
 * Invariants
 * 1. Only a committed manifest that extends the installed one makes a segment, opens its term, or ends it.
 * 2. A tombstone is durable before the first entry is deleted.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import { compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { Refusal } from '../../src/messages/messages.ts';
import { sameBytes } from '../../src/register/bytes.ts';
import { decodeManifest } from '../../src/register/codec.ts';
import { FIRST_CONFIG_VERSION, type ManifestValue } from '../../src/register/values.ts';
import { isNeededAsBase, neededBases } from './bases.ts';
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { after } from './keys.ts';
import { compareManifests, configOf, hostsOf, whyNotExtends } from './manifests.ts';
import { type Program, readRange, writeStore } from './program.ts';
import { droppedRefusal, refusal } from './refusals.ts';
import { type Left, Segment } from './segment.ts';

/** For good, as far as its configuration goes. */
const LEFT = { isBase: false, isDropped: false };
/** Less is left to the store's own compaction: asking for it costs a flush. */
const RECLAIM_BYTES = 1 * MIB;
/** Entries deleted in one step. */
const REMOVE_BATCH = 64;

/** The segment of a request that speaks of `configVersion`, made if it is not in force here. `ops` gets what must be durable with it. */
export function openSegment(
  ctx: NodeContext,
  volume: Segment['volume'],
  pg: Segment['pg'],
  configVersion: number,
  ops: DurableOp[],
): Segment {
  const inForce = ctx.segments.get(volume, pg);
  if (inForce !== null) return inForce;
  const known = ctx.segments.known(volume, pg);
  const segment = known ?? addSegment(ctx, volume, pg);
  if (known !== null) ops.push(...segment.rejoin());
  const isBorn = known === null && configVersion <= FIRST_CONFIG_VERSION;
  if (!isBorn) ops.push(...segment.hydrate(freshHydrationId(ctx)));
  return segment;
}

/**
 * The node is a newcomer by `configVersion`, and the segment has not heard of that: it has missed that it left meanwhile, or that the change it came with
 * was taken back. What was written in between was never owed to it, and its absences mean as little as those of any newcomer.
 */
export function comeAnew(ctx: NodeContext, segment: Segment, configVersion: number): DurableOp[] {
  if (segment.manifest === null || segment.configVersion >= configVersion) return [];
  return segment.hydrate(freshHydrationId(ctx));
}

/** Why a message of `configVersion` finds no segment here although there was one; null: it is for a segment in force, or a new one. */
export function whyLeft(
  ctx: NodeContext,
  volume: Segment['volume'],
  pg: Segment['pg'],
  configVersion: number,
): Refusal | null {
  const known = ctx.segments.known(volume, pg);
  if (known?.left?.isDropped === true) return droppedRefusal(volume);
  if (known === null || known.left === null || configVersion > known.left.configVersion) return null;
  const { configVersion: leftBy } = known.left;
  return refusal('STALE_CONFIG', `${known.name} left this node with configuration ${leftBy}`, known.promised);
}

/** A node that may have forgotten segments cannot vouch for the emptiness of a new one. */
export function addSegment(ctx: NodeContext, volume: Segment['volume'], pg: Segment['pg']): Segment {
  const segment = new Segment(volume, pg, ctx.crc32, ctx.limits);
  if (ctx.isInDoubt) segment.quarantine = { kind: 'damaged', targets: new Map() };
  ctx.segments.put(segment);
  return segment;
}

export function freshHydrationId(ctx: NodeContext): string {
  ctx.copies.begun += 1;
  return `${ctx.incarnation}/${ctx.copies.begun}`;
}

/** Puts a committed manifest in force, if it is newer than the installed one. It has been checked to extend it. */
export function installManifest(
  ctx: NodeContext,
  segment: Segment,
  value: ManifestValue,
  bytes: Uint8Array,
): DurableOp[] {
  if (segment.manifest !== null && compareManifests(value, segment.manifest.value) <= 0) return [];
  const before = { scl: segment.scl, quarantined: segment.isQuarantined };
  const config = configOf(value, segment.pg);
  const isNewcomer = config?.members.includes(ctx.options.nodeId) === false && segment.isInForce;
  const ops = isNewcomer ? comeAnew(ctx, segment, config.configVersion) : [];
  ops.push(...segment.install({ value, bytes: new Uint8Array(bytes) }));
  ctx.cache.dropSegment(segment.name);
  ctx.log('info', 'installed a manifest', {
    segment: segment.name,
    epoch: formatEpoch(value.epoch),
    runs: value.runs.length,
    sclBefore: before.scl,
    scl: segment.scl,
    quarantined: segment.isQuarantined,
  });
  return ops;
}

/** Installs a peer's manifest if it is newer, above the promise, and fits; leaves the PG if it says so. */
export function adoptManifest(
  ctx: NodeContext,
  segment: Segment,
  peer: NodeId,
  bytes: Uint8Array,
): DurableOp[] {
  const known = segment.manifest;
  if (known !== null && sameBytes(known.bytes, bytes)) return [];
  const manifest = readManifest(bytes);
  if (manifest === null || manifest.volume !== segment.volume) return [];
  if (segment.isInForce && compareEpochs(manifest.epoch, segment.promised) < 0) return [];
  if (known !== null) {
    if (compareManifests(manifest, known.value) <= 0) return [];
    const fault = whyNotExtends(known.value, manifest, segment);
    if (fault !== null) {
      ctx.log('error', 'a peer has a manifest that does not extend ours', {
        segment: segment.name,
        peer,
        fault,
      });
      return [];
    }
  }
  if (leaveIfNoHost(ctx, segment, manifest)) return [];
  const ops = installManifest(ctx, segment, manifest, bytes);
  ctx.releaseHeld();
  return ops;
}

/** A peer's manifest, or null when it cannot be read. */
export function readManifest(bytes: Uint8Array): ManifestValue | null {
  try {
    return decodeManifest(bytes);
  } catch (error) {
    if (isTidemarkError(error)) return null;
    throw error;
  }
}

/** Whether this node is no host of the PG by the committed manifest, and has left by it. */
export function leaveIfNoHost(ctx: NodeContext, segment: Segment, manifest: ManifestValue): boolean {
  if (!segment.isInForce || hostsOf(manifest, segment.pg).includes(ctx.options.nodeId)) return false;
  const config = configOf(manifest, segment.pg);
  if (config === null) return false;
  if (isNeededAsBase(ctx, segment)) {
    ctx.log('info', 'a segment has left and stays as a base of clones', { segment: segment.name });
    ctx.persist(segment.leave({ ...LEFT, configVersion: config.configVersion, isBase: true }), []);
  } else {
    bury(ctx, segment, { ...LEFT, configVersion: config.configVersion });
  }
  ctx.releaseHeld();
  return true;
}

/** Nothing of the segment is needed here: a tombstone takes its place, behind which its data is deleted. */
export function bury(ctx: NodeContext, segment: Segment, left: Left): void {
  const { configVersion } = left;
  ctx.log('info', 'a segment has left and is deleted', { segment: segment.name, configVersion });
  const tombstone = new Segment(segment.volume, segment.pg, ctx.crc32, ctx.limits);
  tombstone.promised = segment.promised;
  tombstone.watermark = segment.watermark;
  tombstone.remains = segment;
  const ops = [...tombstone.leave(left), ...tombstone.forgetMembership()];
  segment.left = left;
  segment.hydration = null;
  ctx.segments.put(tombstone);
  ctx.cache.dropSegment(segment.name);
  ctx.persist(ops, []);
}

/** Whether a tombstone's data is to be deleted, and nothing that began before still writes. */
export function isRemovalDue(segment: Segment): boolean {
  const { left, remains } = segment;
  if (left === null || left.isBase || segment.isRemoved) return false;
  if (remains === null) return true;
  const { isCoalescing, isCollecting, isCopying, isRepairing } = remains;
  return !(isCoalescing || isCollecting || isCopying || isRepairing);
}

export function* removeData(ctx: NodeContext, tombstone: Segment): Program<void> {
  tombstone.isRemoved = true;
  tombstone.remains = null;
  let bytes = 0;
  const ranges = tombstone.keys.all();
  for (const range of ranges) {
    let rest = range;
    for (;;) {
      const entries = yield* readRange({ ...rest, limit: REMOVE_BATCH });
      if (ctx.segments.known(tombstone.volume, tombstone.pg) !== tombstone || tombstone.left === null) return;
      yield* writeStore(entries.map(({ key }) => ({ type: 'del', key })));
      for (const { value } of entries) bytes += value.length;
      const last = entries[entries.length - 1];
      if (last === undefined || entries.length < REMOVE_BATCH) break;
      rest = { ...rest, gte: after(last.key) };
    }
  }
  if (bytes >= RECLAIM_BYTES) ctx.emit({ kind: 'reclaim', ranges });
  ctx.log('info', 'the data of a segment that has left is deleted', { segment: tombstone.name, bytes });
}

/** Bases that clones here need and lack are made, those that nobody needs any more are buried. */
export function keepBases(ctx: NodeContext): void {
  const needed = neededBases(ctx);
  for (const { volume, pg, throughLsn } of needed.values()) {
    const known = ctx.segments.known(volume, pg);
    if (known?.isInForce === true || (known?.left?.isBase === true && known.pagesThrough >= throughLsn))
      continue;
    // A clone that stands on it then was dropped too, and this node is yet to hear of it.
    if (known?.left?.isDropped === true) continue;
    if (known !== null && !known.isHydrated) continue;
    const base = known?.left?.isBase === true ? known : addSegment(ctx, volume, pg);
    const ops = base.leave({ ...LEFT, configVersion: known?.left?.configVersion ?? 0, isBase: true });
    ctx.persist([...ops, ...base.hydrate(freshHydrationId(ctx))], []);
    ctx.log('info', 'a base of clones is copied', { segment: base.name, throughLsn });
  }
  for (const segment of [...ctx.segments.all()]) {
    const { left } = segment;
    if (left?.isBase === true && !needed.has(segment.name))
      bury(ctx, segment, { ...LEFT, configVersion: left.configVersion });
  }
}
