/**
 * What the replicated registers hold. The cluster register, one register per volume name, and each volume's manifest and
 * retention. Every value carries a format version so that an older build refuses rather than guesses.
 */
import type { Epoch } from '../log/epoch.ts';
import type { Lsn, NodeId, PgIndex, VolumeId } from '../log/lsn.ts';
import type { ReadPoint, Run } from '../timeline/run.ts';

export const REGISTER_FORMAT = 1;

export interface ClusterNode {
  readonly nodeId: NodeId;
  readonly az: string;
  /** host:port of its gRPC server. */
  readonly address: string;
}

export interface ClusterValue {
  readonly format: typeof REGISTER_FORMAT;
  readonly clusterId: string;
  /** In the order in which they joined. */
  readonly nodes: readonly ClusterNode[];
  /** Those that are being emptied: nothing new is placed on them. */
  readonly draining: readonly NodeId[];
  readonly constants: { readonly lal: number; readonly leaseTermMs: number; readonly defaultPgPages: number };
}

/** name → volume. `volume` is null once the name was given up (a tombstone, so that versions go on). */
export interface NameValue {
  readonly format: typeof REGISTER_FORMAT;
  readonly name: string;
  readonly volume: VolumeId | null;
  /** The six nodes that keep the volume's manifest and retention registers. */
  readonly registerMembers: readonly NodeId[];
  /** How often they have moved: part of their keys (place.ts). */
  readonly registerGeneration: number;
}

/** Of a PG as it is born. Its segments start empty then; who comes to it under a later one has history to copy. */
export const FIRST_CONFIG_VERSION = 1;

export interface PgConfig {
  readonly pg: PgIndex;
  /** Raised by every change of members; requests carry it. */
  readonly configVersion: number;
  /** Six nodes, two per AZ. */
  readonly members: readonly NodeId[];
  /**
   * The six that are to follow, while a change of members is under way; else null. From its proposal on, writes, fences, installs and
   * leases need a quorum of `members` AND one of `proposed` (design section 9). Ending the change, either way, raises `configVersion` again.
   */
  readonly proposed: readonly NodeId[] | null;
}

export interface ManifestValue {
  readonly format: typeof REGISTER_FORMAT;
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly pageSizeBytes: number;
  readonly pgPages: number;
  readonly pgs: readonly PgConfig[];
  /** Of a clone: as many PGs as its parent had when it was cloned. Beneath those that it grew since lies nothing of the parent. Else 0. */
  readonly inheritedPgs: number;
  /** Ordered by firstLsn; the last one is the head, open unless the volume was dropped. */
  readonly runs: readonly Run[];
}

export interface RetentionValue {
  readonly format: typeof REGISTER_FORMAT;
  readonly volume: VolumeId;
  /** History below it may be collected. Monotone. */
  readonly floor: Lsn;
  readonly windowMs: number;
  readonly dropped: boolean;
  readonly pins: readonly { readonly name: string; readonly point: ReadPoint }[];
}
