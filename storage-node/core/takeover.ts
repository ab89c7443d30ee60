/**
 * The storage node's part of taking over (design section 6): fence, inventory, install.
 *
 * Invariants
 * 1. A fence is answered when the promise is durable; what it reports was durable before (effects are durable in order).
 * 2. Only a committed manifest is installed, by authority at or above the promise, and only if it extends the installed one. Then, and
 *    only then, records are cut.
 * 3. The acknowledgement of an install waits until this node's lease promises to other epochs have run out (leases.ts).
 */
import { compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { InventoryEntry, Refusal } from '../../src/messages/messages.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { whyWrongConfig } from './append.ts';
import type { NodeContext, Request } from './context.ts';
import { whyDropped } from './drops.ts';
import type { DurableOp } from './effects.ts';
import { compareManifests, configOf, hostsOf, whyNotExtends } from './manifests.ts';
import { installManifest, leaveIfNoHost, openSegment, whyLeft } from './membership.ts';
import { refusal, refusalOf, refuse, stale } from './refusals.ts';
import type { Segment } from './segment.ts';

const EMPTY = new Uint8Array(0);

export function onFence(ctx: NodeContext, { to, body }: Request<'fence'>): void {
  const refuseWith = (because: Refusal) => ctx.reply(to, refuse({ method: 'fence', body }, because, ctx));
  const { volume, pg, configVersion } = body;
  const known = ctx.segments.known(volume, pg);
  const unsure = ctx.whyUnsure(known) ?? whyDropped(ctx, volume);
  if (unsure !== null) {
    refuseWith(unsure);
    return;
  }
  const staleConfig =
    whyLeft(ctx, volume, pg, configVersion) ?? (known && whyWrongConfig(known, configVersion));
  if (staleConfig?.code === 'STALE_CONFIG') {
    refuseWith(staleConfig);
    return;
  }
  if (known !== null && compareEpochs(body.epoch, known.promised) < 0) {
    refuseWith(stale(known));
    return;
  }

  const ops: DurableOp[] = [];
  const segment = openSegment(ctx, volume, pg, configVersion, ops);
  const promise = segment.promise(body.epoch);
  ops.push(...promise);
  if (promise.length > 0) {
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
  const known = ctx.segments.known(body.volume, body.pg);
  const unsure = ctx.whyUnsure(known) ?? whyDropped(ctx, body.volume);
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

  const ops: DurableOp[] = [];
  const segment = openSegment(
    ctx,
    body.volume,
    body.pg,
    configOf(manifest, body.pg)?.configVersion ?? 0,
    ops,
  );
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
  const config = configOf(manifest, body.pg);
  if (config === null) return refusal('NO_SEGMENT', `that manifest knows no ${name}`);
  const left = whyLeft(ctx, body.volume, body.pg, config.configVersion);
  if (left !== null) return left;
  const installed = segment?.manifest?.value ?? null;
  const isNewer = installed === null || compareManifests(manifest, installed) > 0;
  const fault =
    segment === null || installed === null || !isNewer ? null : whyNotExtends(installed, manifest, segment);
  if (fault !== null)
    return refusal('CORRUPT', `the manifest does not extend what is installed in ${name}: ${fault}`);
  if (hostsOf(manifest, body.pg).includes(ctx.options.nodeId)) return null;
  if (segment !== null && isNewer) leaveIfNoHost(ctx, segment, manifest);
  return refusal('NO_SEGMENT', `this node is no member of ${name} by that manifest`);
}

function whyOther(body: Request<'install'>['body'], retention: { readonly volume: string }): Refusal | null {
  return retention.volume === body.volume
    ? null
    : refusal('BAD_REQUEST', `retention value of ${retention.volume}`);
}
