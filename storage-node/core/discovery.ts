/**
 * Discovery: which segments this node should have, learnt from the others. A node that was down when a protection group was made, or whose
 * journal forgot one, hears of it here and adopts the manifest that names it a member; gossip then fills it.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { compareEpochs } from '../../src/log/epoch.ts';
import { NO_LSN, type NodeId } from '../../src/log/lsn.ts';
import type { NodeContext } from './context.ts';
import type { DurableOp } from './effects.ts';
import { type Program, callPeer } from './program.ts';
import { configOf, hostsOf } from './manifests.ts';
import { adoptManifest, leaveIfNoHost, openSegment, readManifest, whyLeft } from './membership.ts';

/** Returns whether `peer` has told all it knows. */
export function* discoverFrom(ctx: NodeContext, peer: NodeId): Program<boolean> {
  if (ctx.clusterId === '') return false;
  try {
    const answer = yield* callPeer(peer, { method: 'status', body: { clusterId: ctx.clusterId } });
    if (answer.method !== 'status' || answer.body.refusal !== null) return false;
    for (const { volume, pg, configVersion, isBase } of answer.body.segments) {
      const left = ctx.segments.known(volume, pg)?.left ?? null;
      if (isBase || left?.isDropped === true || (left !== null && left.configVersion >= configVersion))
        continue;
      if (ctx.segments.get(volume, pg)?.manifest == null && !(yield* adoptFrom(ctx, peer, volume, pg)))
        return false;
    }
    return true;
  } catch (error) {
    if (isTidemarkError(error, 'UNAVAILABLE')) return false;
    throw error;
  }
}

type SegmentKey = Parameters<NodeContext['segments']['get']>;

function* adoptFrom(
  ctx: NodeContext,
  peer: NodeId,
  volume: SegmentKey[0],
  pg: SegmentKey[1],
): Program<boolean> {
  const nothing = {
    afterLsn: NO_LSN,
    throughLsn: NO_LSN,
    maxBytes: 0,
    scl: NO_LSN,
    vdl: NO_LSN,
    tail: NO_LSN,
    configVersion: 0,
  };
  const body = { clusterId: ctx.clusterId, volume, pg, ...nothing };
  const answer = yield* callPeer(peer, { method: 'pullRecords', body });
  if (answer.method !== 'pullRecords') return false;
  if (answer.body.refusal !== null && answer.body.refusal.code !== 'QUARANTINED') return false;
  // A segment that was fenced and not yet installed has no manifest: there was nothing to forget.
  if (answer.body.manifest.length === 0) return true;
  const manifest = readManifest(answer.body.manifest);
  if (manifest === null || manifest.volume !== volume) return false;
  const known = ctx.segments.known(volume, pg);
  if (known !== null && compareEpochs(manifest.epoch, known.promised) < 0) return true;
  const config = configOf(manifest, pg);
  if (config === null || whyLeft(ctx, volume, pg, config.configVersion) !== null) return true;
  if (!hostsOf(manifest, pg).includes(ctx.options.nodeId)) {
    if (known !== null) leaveIfNoHost(ctx, known, manifest);
    return true;
  }
  const ops: DurableOp[] = [];
  const segment = openSegment(ctx, volume, pg, config.configVersion, ops);
  ctx.persist([...ops, ...adoptManifest(ctx, segment, peer, answer.body.manifest)], []);
  ctx.log('info', 'heard of a segment that is missing here', { segment: segment.name, peer });
  return true;
}
