/**
 * Heartbeats: leases, the VDL when no append carries it, the committed floor, and who holds a volume (for status). One message for all
 * volumes of a compute node.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { compareEpochs, sameEpoch } from '../../src/log/epoch.ts';
import type { HeartbeatGrant, HeartbeatVolume } from '../../src/messages/messages.ts';
import { decodeRetention } from '../../src/register/codec.ts';
import type { NodeContext, Request } from './context.ts';
import { whyDropped } from './drops.ts';
import type { DurableOp } from './effects.ts';
import { isInstalledAt } from './manifests.ts';
import { refusal, stale } from './refusals.ts';

export function onHeartbeat(ctx: NodeContext, { to, body }: Request<'heartbeat'>): void {
  const ops: DurableOp[] = [];
  const grants = body.volumes.map((volume) => onVolume(ctx, volume, body.computeId, body.computeUrl, ops));
  const { sequence } = body;
  // The SCLs in the grants must be durable when they are told: behind everything on its way.
  ctx.persist(ops, [
    { to, reply: { method: 'heartbeat', body: { sequence, incarnation: ctx.incarnation, grants } } },
  ]);
}

function onVolume(
  ctx: NodeContext,
  heartbeat: HeartbeatVolume,
  computeId: string,
  computeUrl: string,
  ops: DurableOp[],
): HeartbeatGrant {
  const { volume, epoch } = heartbeat;
  const refused = (because: HeartbeatGrant['refusal']): HeartbeatGrant => ({
    volume,
    epoch,
    granted: false,
    pgs: [],
    refusal: because,
  });
  const dropped = whyDropped(ctx, volume);
  if (dropped !== null) return refused(dropped);
  const segments = ctx.segments.ofVolume(volume);
  if (segments.length === 0) return refused(refusal('NO_SEGMENT', `no segment of ${volume} here`));
  const unsure = segments.map((segment) => ctx.whyUnsure(segment)).find((why) => why !== null);
  if (unsure !== undefined) return refused(unsure);
  const newer = segments.find((segment) => compareEpochs(epoch, segment.promised) < 0);
  if (heartbeat.release) {
    ctx.leases.release(volume, epoch);
    ctx.leases.forgetHolder(volume, computeId);
    ctx.releaseHeld();
  }
  // Promises made to it before stand until they run out: it may rely on them until it reads this.
  if (newer !== undefined) return refused(stale(newer));
  const inTerm = segments.filter(
    (segment) => sameEpoch(segment.promised, epoch) && isInstalledAt(segment.manifest?.value ?? null, epoch),
  );
  if (inTerm.length === 0)
    return refused(refusal('BEHIND', `that epoch of ${volume} is not installed here yet`));

  learn(ctx, heartbeat, inTerm, ops);
  const pgs = inTerm.map((segment) => ({
    pg: segment.pg,
    scl: segment.scl,
    verified: !segment.isQuarantined && segment.isHydrated,
    configVersion: segment.configVersion,
  }));
  if (heartbeat.release) return { volume, epoch, granted: false, pgs, refusal: null };
  ctx.leases.heard(volume, { computeId, computeUrl, atMs: ctx.now.monotonicMs });
  const granted = inTerm.length === segments.length && ctx.leases.grant(volume, epoch, ctx.now.monotonicMs);
  return { volume, epoch, granted, pgs, refusal: null };
}

function learn(
  ctx: NodeContext,
  heartbeat: HeartbeatVolume,
  inTerm: readonly NonNullable<ReturnType<NodeContext['segments']['get']>>[],
  ops: DurableOp[],
): void {
  for (const { pg, vdl, tail } of heartbeat.pgs) {
    inTerm.find((segment) => segment.pg === pg)?.learnVdl(vdl, tail);
  }
  if (heartbeat.keep) ops.push(...inTerm.map((segment) => segment.marks()));
  if (heartbeat.retention.length === 0) return;
  try {
    const retention = decodeRetention(heartbeat.retention);
    if (retention.volume !== heartbeat.volume) return;
    const bytes = new Uint8Array(heartbeat.retention);
    for (const segment of inTerm) ops.push(...segment.learnRetention(retention, bytes));
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    ctx.log('warn', 'a heartbeat carried an unreadable retention value', { volume: heartbeat.volume });
  }
}
