/**
 * The storage node's part of taking over (design section 6): fence, inventory, install.
 *
 * Invariants
 * 1. A fence is answered when the promise is durable; what it reports was durable before (effects are durable in order).
 * 2. Only a committed manifest is installed, by authority at or above the promise, and only if it extends the installed one. Then, and
 *    only then, records are cut.
 * 3. The acknowledgement of an install waits until this node's lease promises to other epochs have run out (leases.ts).
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { InventoryEntry, Refusal } from '../../src/messages/messages.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { whyWrongConfig } from './append.ts';
import type { NodeContext, Request } from './context.ts';
import type { DurableOp } from './effects.ts';
import { compareManifests, hostsOf, whyNotExtends } from './manifests.ts';
import { refusal, refusalOf, refuse, stale } from './refusals.ts';
import { Segment } from './segment.ts';

const EMPTY = new Uint8Array(0);

export function onFence(ctx: NodeContext, { to, body }: Request<'fence'>): void {
  const refuseWith = (because: Refusal) => ctx.reply(to, refuse({ method: 'fence', body }, because, ctx));
  const known = ctx.segments.get(body.volume, body.pg);
  const unsure = ctx.whyUnsure(known);
  if (unsure !== null) {
    refuseWith(unsure);
    return;
  }
  const staleConfig = known === null ? null : whyWrongConfig(known, body.configVersion);
  if (staleConfig?.code === 'STALE_CONFIG') {
    refuseWith(staleConfig);
    return;
  }
  if (known !== null && compareEpochs(body.epoch, known.promised) < 0) {
    refuseWith(stale(known));
    return;
  }

  const segment = known ?? addSegment(ctx, body.volume, body.pg);
  const ops = segment.promise(body.epoch);
  if (ops.length > 0) {
    ctx.releaseHeld();
    ctx.log('info', 'promised a new epoch', { segment: segment.name, epoch: formatEpoch(body.epoch) });
  }
  ctx.persist(ops, [
    {
      to,
      reply: {
        method: 'fence',
        body: {
          promised: true,
          promisedEpoch: segment.promised,
          incarnation: ctx.incarnation,
          intact: !segment.isQuarantined,
          scl: segment.scl,
          vdl: segment.vdl,
          tail: segment.tail,
          watermark: segment.watermark,
          installedEpoch: segment.installedEpoch,
          installedManifest: segment.manifest?.bytes ?? EMPTY,
          entryCount: segment.held.countAbove(segment.vdl),
          refusal: null,
        },
      },
    },
  ]);
}

/** What is held above the VDL that the fence reported; below it nothing is in question. */
export function onInventory(ctx: NodeContext, { to, body }: Request<'inventory'>): void {
  const refuseWith = (because: Refusal) => ctx.reply(to, refuse({ method: 'inventory', body }, because, ctx));
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null) {
    refuseWith(refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`));
    return;
  }
  const unsure = ctx.whyUnsure(segment);
  if (unsure !== null) {
    refuseWith(unsure);
    return;
  }
  const order = compareEpochs(body.epoch, segment.promised);
  if (order < 0) {
    refuseWith(stale(segment));
    return;
  }
  if (order > 0) {
    refuseWith(refusal('BEHIND', `${segment.name} has not promised that epoch`, segment.promised));
    return;
  }

  const afterLsn = Math.max(body.afterLsn, segment.vdl) as Lsn;
  const entries: InventoryEntry[] = [];
  let done = true;
  for (const { birthEpoch, records } of segment.held.piecesAbove(afterLsn)) {
    for (const { lsn, prevLsn, isCpl, commitTimeMicros, checksum } of records) {
      if (lsn <= afterLsn) continue;
      if (entries.length < ctx.limits.maxInventoryEntries) {
        entries.push({ lsn, prevLsn, isCpl, commitTimeMicros, birthEpoch, checksum });
      } else {
        done = false;
      }
    }
    if (!done) break;
  }
  ctx.persist([], [{ to, reply: { method: 'inventory', body: { entries, done, refusal: null } } }]);
}

export function onInstall(ctx: NodeContext, { to, body }: Request<'install'>): void {
  const request = { method: 'install', body } as const;
  const refuseWith = (because: Refusal) => ctx.reply(to, refuse(request, because, ctx));
  const known = ctx.segments.get(body.volume, body.pg);
  const unsure = ctx.whyUnsure(known);
  if (unsure !== null) {
    refuseWith(unsure);
    return;
  }
  if (known !== null && compareEpochs(body.epoch, known.promised) < 0) {
    refuseWith(stale(known));
    return;
  }

  let manifest: ManifestValue;
  let retention: ReturnType<typeof decodeRetention> | null;
  try {
    manifest = decodeManifest(body.manifest);
    retention = body.retention.length === 0 ? null : decodeRetention(body.retention);
  } catch (error) {
    refuseWith(refusalOf(error));
    return;
  }
  const fault =
    whyNotInstall(ctx, known, body, manifest) ?? (retention === null ? null : whyOther(body, retention));
  if (fault !== null) {
    refuseWith(fault);
    return;
  }

  const segment = known ?? addSegment(ctx, body.volume, body.pg);
  const ops: DurableOp[] = [];
  ops.push(...segment.promise(body.epoch));
  ctx.releaseHeld();
  ops.push(...installManifest(ctx, segment, manifest, body.manifest));
  if (retention !== null) ops.push(...segment.learnRetention(retention, body.retention));
  const { scl, isHydrated: hydrated } = segment;
  const { incarnation } = ctx;
  const reply = {
    to,
    reply: { method: 'install', body: { installed: true, scl, incarnation, refusal: null, hydrated } },
  } as const;
  // A manifest of an earlier epoch, on the way of a take-over, opens nothing.
  if (compareEpochs(manifest.epoch, body.epoch) < 0) {
    ctx.persist(ops, [reply]);
    return;
  }
  ctx.persistHeld(ops, reply, {
    segment,
    epoch: body.epoch,
    refused: () => refuse(request, stale(segment), ctx),
  });
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
  const ops = segment.install({ value, bytes: new Uint8Array(bytes) });
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

/** A node that may have forgotten segments cannot vouch for the emptiness of a new one. */
export function addSegment(ctx: NodeContext, volume: Segment['volume'], pg: Segment['pg']): Segment {
  const segment = new Segment(volume, pg, ctx.crc32, ctx.limits);
  if (ctx.isInDoubt) segment.quarantine = { kind: 'damaged', targets: new Map() };
  ctx.segments.add(segment);
  return segment;
}

function whyNotInstall(
  ctx: NodeContext,
  segment: Segment | null,
  body: Request<'install'>['body'],
  manifest: ManifestValue,
): Refusal | null {
  const name = `${body.volume}/${body.pg}`;
  if (manifest.volume !== body.volume)
    return refusal('BAD_REQUEST', `a manifest of ${manifest.volume} for ${name}`);
  if (compareEpochs(manifest.epoch, body.epoch) > 0) {
    return refusal('BAD_REQUEST', `epoch ${formatEpoch(body.epoch)} installs a manifest of a newer one`);
  }
  if (!hostsOf(manifest, body.pg).includes(ctx.options.nodeId)) {
    return refusal('NO_SEGMENT', `this node is not a member of ${name} by that manifest`);
  }
  if (segment?.manifest == null || compareManifests(manifest, segment.manifest.value) <= 0) return null;
  const fault = whyNotExtends(segment.manifest.value, manifest, segment);
  return fault === null
    ? null
    : refusal('CORRUPT', `the manifest does not extend what is installed in ${name}: ${fault}`);
}

function whyOther(body: Request<'install'>['body'], retention: { readonly volume: string }): Refusal | null {
  return retention.volume === body.volume
    ? null
    : refusal('BAD_REQUEST', `retention value of ${retention.volume}`);
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
