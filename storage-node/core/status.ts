/** What a node tells of itself. Sizes of disk and memory are the driver's to fill in. */
import type { SegmentStatus, StatusReply } from '../../src/messages/messages.ts';
import { REGISTER_FORMAT } from '../../src/register/values.ts';
import type { NodeContext } from './context.ts';
import type { Segment } from './segment.ts';

export function statusOf(ctx: NodeContext): StatusReply {
  return {
    nodeId: ctx.options.nodeId,
    az: ctx.options.az,
    clusterId: ctx.clusterId,
    version: ctx.options.buildVersion,
    format: REGISTER_FORMAT,
    incarnation: ctx.incarnation,
    uptimeMs: Math.round(ctx.now.monotonicMs - ctx.startedAtMs),
    diskBytes: 0,
    memoryBytes: 0,
    segments: [...ctx.segments.all()].map((segment) => segmentStatus(ctx, segment)),
    refusal: null,
  };
}

function segmentStatus(ctx: NodeContext, segment: Segment): SegmentStatus {
  const holder = ctx.leases.holderOf(segment.volume);
  return {
    volume: segment.volume,
    pg: segment.pg,
    scl: segment.scl,
    vdl: segment.vdl,
    coalescedLsn: segment.coalesced,
    floor: segment.floor,
    promisedEpoch: segment.promised,
    installedEpoch: segment.installedEpoch,
    quarantined: segment.isQuarantined,
    uncoalescedRecords: segment.held.recordCount,
    storedBytes: segment.storedBytes,
    holderId: holder?.computeId ?? '',
    holderUrl: holder?.computeUrl ?? '',
    holderAgeMs: holder === null ? 0 : Math.round(ctx.now.monotonicMs - holder.atMs),
  };
}
