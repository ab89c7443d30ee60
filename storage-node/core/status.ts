/** What a node tells of itself. Sizes of disk and memory are the driver's to fill in. */
import type { SegmentStatus, StatusReply } from '../../src/messages/messages.ts';
import { REGISTER_FORMAT } from '../../src/register/values.ts';
import type { NodeContext } from './context.ts';
import { pagesInDoubtOf } from './scrub.ts';
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
    segments: [...ctx.segments.allKept()].map((segment) => segmentStatus(ctx, segment)),
    refusal: null,
    lastScrubMicros: ctx.scrub.lastFinishedMicros,
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
    pageBytes: segment.pageBytes,
    holderId: holder?.computeId ?? '',
    holderUrl: holder?.computeUrl ?? '',
    holderAgeMs: holder === null ? 0 : Math.round(ctx.now.monotonicMs - holder.atMs),
    configVersion: segment.configVersion,
    isBase: !segment.isInForce,
    hydrated: segment.isHydrated,
    ...hydrationStatus(segment),
    pagesInDoubt: pagesInDoubtOf(segment),
  };
}

/** By page number: what lies between is copied or was never written. */
function hydrationStatus({ hydration, manifest, pg }: Segment) {
  if (hydration === null) return { hydratedPages: 0, hydrationPages: 0 };
  const before = pg * (manifest?.value.pgPages ?? 0);
  const pagesOf = (page: number) => Math.max(0, page - before);
  const hydrationPages = pagesOf(Math.max(hydration.pagesAtSource, hydration.highestPage));
  const hydratedPages = hydration.isCopied ? hydrationPages : pagesOf(hydration.cursor?.page ?? 0);
  return { hydratedPages, hydrationPages };
}
