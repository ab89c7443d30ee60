/** Values for take-over tests: six nodes, manifests, inventories, written as shortly as they are thought. */
import type { PgReports, SegmentReport } from '../../compute-node/volume/take-over-compute.ts';
import { originManifest } from '../../compute-node/volume/take-over-manifest.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import { type NodeId, type VolumeId, toLsn, toPgIndex, toRunId } from '../../src/log/lsn.ts';
import type { InventoryEntry } from '../../src/messages/messages.ts';
import type { ClusterNode, ManifestValue } from '../../src/register/values.ts';
import type { Run } from '../../src/timeline/run.ts';

export const VOLUME = 'vol0000000000001' as VolumeId;
export const NODES: readonly ClusterNode[] = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'].map(
  (id) => ({
    nodeId: id as NodeId,
    az: id.slice(0, 3),
    address: `${id}:1`,
  }),
);
export const NODE_IDS: readonly NodeId[] = NODES.map((node) => node.nodeId);

export const epoch = (number: number, writerId = `w${number}`): Epoch => ({ number, writerId });

export function run(
  id: number,
  firstLsn: number,
  lastLsn: number | null,
  tails: readonly number[] = [],
): Run {
  return {
    id: toRunId(id),
    epoch: epoch(id + 1),
    firstLsn: toLsn(firstLsn),
    lastLsn: lastLsn === null ? null : toLsn(lastLsn),
    parent: null,
    closingTails: lastLsn === null ? null : tails.map(toLsn),
    openedAtMicros: 0,
    lastCommitTimeMicros: 0,
  };
}

/** `pgCount` PGs on the six nodes; its epoch is the head run's. */
export function manifestOf(runs: readonly Run[], pgCount = 1): ManifestValue {
  const base = originManifest({
    volume: VOLUME,
    epoch: runs.at(-1)?.epoch ?? epoch(1),
    pgPages: 4,
    members: NODE_IDS,
  });
  const pgs = Array.from({ length: pgCount }, (_, pg) => ({
    pg: toPgIndex(pg),
    configVersion: 1,
    members: NODE_IDS,
    proposed: null,
  }));
  return { ...base, pgs, runs };
}

export interface EntryOptions {
  readonly birth?: Epoch;
  readonly cpl?: boolean;
  readonly checksum?: number;
  readonly time?: number;
}

/** A CPL unless said otherwise. */
export function entry(lsn: number, prevLsn: number, options: EntryOptions = {}): InventoryEntry {
  const isCpl = options.cpl ?? true;
  return {
    lsn: toLsn(lsn),
    prevLsn: toLsn(prevLsn),
    isCpl,
    commitTimeMicros: isCpl ? (options.time ?? lsn * 1_000) : 0,
    birthEpoch: options.birth ?? epoch(1),
    checksum: options.checksum ?? lsn,
  };
}

export interface ReportOptions {
  readonly intact?: boolean;
  readonly vdl?: number;
  readonly tail?: number;
  readonly scl?: number;
}

/** What a segment that holds `entries` reports; SCL is the last of them unless said otherwise. */
export function report(
  node: number,
  entries: readonly InventoryEntry[] | null,
  options: ReportOptions = {},
): SegmentReport {
  const vdl = options.vdl ?? 0;
  return {
    nodeId: NODE_IDS[node] as NodeId,
    intact: options.intact ?? true,
    scl: toLsn(options.scl ?? entries?.at(-1)?.lsn ?? options.tail ?? vdl),
    vdl: toLsn(vdl),
    tail: toLsn(options.tail ?? vdl),
    entries: entries?.filter((candidate) => candidate.lsn > vdl) ?? null,
  };
}

export function reportsOf(...pgs: (readonly SegmentReport[])[]): readonly PgReports[] {
  return pgs.map((segments, pg) => ({ pg: toPgIndex(pg), segments }));
}
