/**
 * The messages between processes, as TypeScript sees them: exactly proto/tidemark.proto as loaded with camelCase names, longs as
 * numbers, bytes as Uint8Array, absent messages as null. Cores speak in these; src/adapters/grpc carries them.
 */
import type { Epoch } from '../log/epoch.ts';
import type { Lsn, NodeId, PageNumber, PgIndex, RunId, VolumeId } from '../log/lsn.ts';
import type { ErrorCode } from '../base/errors.ts';

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly promised: Epoch | null;
}

export interface AppendRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly epoch: Epoch;
  readonly configVersion: number;
  readonly vdl: Lsn;
  readonly tail: Lsn;
  readonly boxcar: Uint8Array;
  readonly recovery: boolean;
}

export interface AppendReply {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly epoch: Epoch;
  readonly scl: Lsn;
  readonly incarnation: string;
  readonly refusal: Refusal | null;
  /** The segment holds all history below its SCL: only then its SCL counts. */
  readonly hydrated: boolean;
  /** Of the PG's members, as installed in the segment. */
  readonly configVersion: number;
}

export interface ReadPagesRequest {
  readonly requestId: number;
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly run: RunId;
  readonly lsn: Lsn;
  readonly requiredScl: Lsn;
  readonly pages: readonly PageNumber[];
}

/** `lsn` NO_LSN and empty data: never written at this read point. */
export interface PageVersion {
  readonly page: PageNumber;
  readonly lsn: Lsn;
  readonly data: Uint8Array;
}

export interface ReadPagesReply {
  readonly requestId: number;
  readonly pages: readonly PageVersion[];
  readonly scl: Lsn;
  readonly refusal: Refusal | null;
}

export interface HeartbeatVolume {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly release: boolean;
  readonly pgs: readonly { readonly pg: PgIndex; readonly vdl: Lsn; readonly tail: Lsn }[];
  /** A committed retention value (floor and pins travel together, or a pin could be collected); empty: nothing new. */
  readonly retention: Uint8Array;
  /** What is known there of the volume's VDL is made durable before the answer: of a PG that is not written to it would be forgotten over a restart. */
  readonly keep: boolean;
}

export interface HeartbeatRequest {
  readonly clusterId: string;
  readonly sequence: number;
  readonly computeId: string;
  readonly computeUrl: string;
  readonly volumes: readonly HeartbeatVolume[];
}

export interface SegmentGrant {
  readonly pg: PgIndex;
  readonly scl: Lsn;
  /** Neither in quarantine nor hydrating. */
  readonly verified: boolean;
  readonly configVersion: number;
}

export interface HeartbeatGrant {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly granted: boolean;
  readonly pgs: readonly SegmentGrant[];
  readonly refusal: Refusal | null;
}

export interface HeartbeatReply {
  readonly sequence: number;
  readonly incarnation: string;
  readonly grants: readonly HeartbeatGrant[];
}

export interface RegisterPrepareRequest {
  readonly clusterId: string;
  /** `cluster`, `name/<volume name>`, `manifest/<volume id>` or `retention/<volume id>`. */
  readonly key: string;
  readonly ballot: Epoch;
}

export interface RegisterPrepareReply {
  readonly promised: boolean;
  readonly promisedBallot: Epoch | null;
  readonly acceptedBallot: Epoch | null;
  readonly acceptedVersion: number;
  readonly acceptedValue: Uint8Array;
  readonly refusal: Refusal | null;
}

export interface RegisterAcceptRequest {
  readonly clusterId: string;
  readonly key: string;
  readonly ballot: Epoch;
  readonly version: number;
  readonly value: Uint8Array;
}

export interface RegisterAcceptReply {
  readonly accepted: boolean;
  readonly promisedBallot: Epoch | null;
  readonly refusal: Refusal | null;
}

export interface RegisterListRequest {
  readonly clusterId: string;
  readonly prefix: string;
}

export interface RegisterListReply {
  readonly keys: readonly string[];
  readonly refusal: Refusal | null;
}

export interface RegisterScanRequest {
  readonly clusterId: string;
  readonly prefix: string;
  /** Go on behind this key; empty: from the first. */
  readonly after: string;
  readonly maxBytes: number;
}

export interface AcceptedRegister {
  readonly key: string;
  readonly ballot: Epoch;
  readonly version: number;
  readonly value: Uint8Array;
}

/** By key. What was accepted here and is lost is left out. */
export interface RegisterScanReply {
  readonly entries: readonly AcceptedRegister[];
  readonly done: boolean;
  readonly refusal: Refusal | null;
}

export interface FenceRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly epoch: Epoch;
  readonly configVersion: number;
}

export interface FenceReply {
  readonly promised: boolean;
  readonly promisedEpoch: Epoch | null;
  readonly incarnation: string;
  readonly intact: boolean;
  readonly scl: Lsn;
  readonly vdl: Lsn;
  readonly tail: Lsn;
  readonly watermark: Lsn;
  readonly installedEpoch: Epoch | null;
  readonly installedManifest: Uint8Array;
  readonly entryCount: number;
  readonly refusal: Refusal | null;
}

export interface InventoryRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly epoch: Epoch;
  readonly afterLsn: Lsn;
}

export interface InventoryEntry {
  readonly lsn: Lsn;
  readonly prevLsn: Lsn;
  readonly isCpl: boolean;
  readonly commitTimeMicros: number;
  readonly birthEpoch: Epoch;
  readonly checksum: number;
}

export interface InventoryReply {
  readonly entries: readonly InventoryEntry[];
  readonly done: boolean;
  readonly refusal: Refusal | null;
}

export interface InstallRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly manifest: Uint8Array;
  readonly retention: Uint8Array;
  readonly pg: PgIndex;
}

export interface InstallReply {
  readonly installed: boolean;
  readonly scl: Lsn;
  readonly incarnation: string;
  readonly refusal: Refusal | null;
  readonly hydrated: boolean;
}

export interface PullRecordsRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly afterLsn: Lsn;
  readonly throughLsn: Lsn;
  readonly maxBytes: number;
  readonly scl: Lsn;
  readonly vdl: Lsn;
  readonly tail: Lsn;
  /** Of the asker's manifest; 0: it has none. */
  readonly configVersion: number;
}

export interface PullRecordsReply {
  readonly boxcars: readonly Uint8Array[];
  readonly scl: Lsn;
  readonly vdl: Lsn;
  readonly tail: Lsn;
  readonly manifest: Uint8Array;
  readonly refusal: Refusal | null;
  readonly promisedEpoch: Epoch | null;
}

/** Everything of a copy up to here is there: pages in order, of a page the LSNs in order, at one LSN the bundle before the image. */
export interface PageCursor {
  readonly page: PageNumber;
  readonly lsn: Lsn;
  readonly image: boolean;
}

/** One value of the store: `value` is checksummed together with the key that volume, PG and the other fields make. */
export interface PageEntry extends PageCursor {
  readonly value: Uint8Array;
}

export interface PullPagesRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  /** NO_LSN: as far as the source's pages reach. */
  readonly throughLsn: Lsn;
  /** 0: the PG's first, its last. */
  readonly firstPage: number;
  readonly lastPage: number;
  readonly cursor: PageCursor | null;
  readonly maxBytes: number;
}

export interface PullPagesReply {
  readonly entries: readonly PageEntry[];
  /** Where to go on; null: that was all. */
  readonly cursor: PageCursor | null;
  readonly throughLsn: Lsn;
  readonly highestPage: number;
  readonly manifest: Uint8Array;
  /** What the source collects by; empty: it knows none. */
  readonly retention: Uint8Array;
  readonly refusal: Refusal | null;
}

/** What a node has promised and acknowledged for one segment, durably: told by itself, or remembered of it by a peer. */
export interface MemorySegment {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly watermark: Lsn;
  readonly promised: Epoch;
  readonly installed: Epoch | null;
}

export interface MemoryRegister {
  readonly key: string;
  readonly promised: Epoch;
  readonly acceptedBallot: Epoch | null;
  readonly acceptedVersion: number;
}

/** What one side remembers of the other: all after `after` up to `through`, or what it was told less of than it remembers. */
export interface Recollection {
  /** Empty: nothing is remembered. */
  readonly incarnation: string;
  readonly segments: readonly MemorySegment[];
  readonly registers: readonly MemoryRegister[];
  readonly after: string;
  readonly through: string;
  readonly done: boolean;
}

export interface MemoryQuestion {
  readonly after: string;
}

export interface ExchangeMemoryRequest {
  readonly clusterId: string;
  readonly nodeId: NodeId;
  readonly incarnation: string;
  readonly segments: readonly MemorySegment[];
  readonly registers: readonly MemoryRegister[];
  readonly asks: MemoryQuestion | null;
  readonly recalls: Recollection | null;
}

export interface ExchangeMemoryReply {
  readonly incarnation: string;
  readonly asks: MemoryQuestion | null;
  readonly recalls: Recollection | null;
  readonly refusal: Refusal | null;
}

/** The newest commit of the PG on `run` with LSN ≤ `throughLsn` and stamp ≤ `throughMicros`. */
export interface FindCommitRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly run: RunId;
  readonly throughLsn: Lsn;
  readonly throughMicros: number;
  readonly requiredScl: Lsn;
}

/** `lsn` NO_LSN: there is none on that run. */
export interface FindCommitReply {
  readonly lsn: Lsn;
  readonly commitTimeMicros: number;
  readonly refusal: Refusal | null;
}

/** Pages of the PG with records of `volume` in afterLsn < LSN ≤ throughLsn, whatever run they are of. */
export interface ChangedPagesRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly afterLsn: Lsn;
  readonly throughLsn: Lsn;
  readonly requiredScl: Lsn;
  /** Only pages above it. */
  readonly afterPage: PageNumber;
}

export interface ChangedPagesReply {
  /** Ascending. Some that did not change may be among them. */
  readonly pages: readonly PageNumber[];
  /** There are none above the last. */
  readonly done: boolean;
  readonly refusal: Refusal | null;
}

export interface DigestPagesRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly run: RunId;
  readonly lsn: Lsn;
  readonly requiredScl: Lsn;
  readonly firstPage: PageNumber;
  readonly pageCount: number;
}

export interface DigestPagesReply {
  readonly digest: number;
  readonly refusal: Refusal | null;
}

export interface ScrubRequest {
  readonly clusterId: string;
  /** False: only tell how it goes. */
  readonly start: boolean;
  /** A volume id; empty: all. */
  readonly onlyVolume: string;
}

export interface ScrubReply {
  readonly running: boolean;
  /** Of the scrub that runs, or of the last one. */
  readonly checkedPages: number;
  readonly totalPages: number;
  /** Files of the store. */
  readonly checkedBytes: number;
  readonly totalBytes: number;
  readonly damagedPages: number;
  /** Page ranges that differ between peers while too few agree to say which copy is right. */
  readonly unequalRanges: number;
  /** Waiting for their repair now. */
  readonly pagesInDoubt: number;
  /** 0: none since the process started, or not over yet. */
  readonly startedMicros: number;
  readonly finishedMicros: number;
  readonly findings: readonly string[];
  readonly refusal: Refusal | null;
}

/** Committed. */
export interface TellRetentionRequest {
  readonly clusterId: string;
  readonly volume: VolumeId;
  readonly retention: Uint8Array;
}

export interface TellRetentionReply {
  /** Of the volume, that this node still keeps. */
  readonly segments: number;
  readonly refusal: Refusal | null;
}

export interface StatusRequest {
  readonly clusterId: string;
}

export interface SegmentStatus {
  readonly volume: VolumeId;
  readonly pg: PgIndex;
  readonly scl: Lsn;
  readonly vdl: Lsn;
  readonly coalescedLsn: Lsn;
  readonly floor: Lsn;
  readonly promisedEpoch: Epoch | null;
  readonly installedEpoch: Epoch | null;
  readonly quarantined: boolean;
  readonly uncoalescedRecords: number;
  /** Of the log, and (about) in page form. */
  readonly storedBytes: number;
  readonly pageBytes: number;
  readonly holderId: string;
  readonly holderUrl: string;
  readonly holderAgeMs: number;
  readonly configVersion: number;
  /** Kept for clones only. */
  readonly isBase: boolean;
  /** False: it is copying pages, or catching up after that. */
  readonly hydrated: boolean;
  /** While it is not: pages copied, of so many. */
  readonly hydratedPages: number;
  readonly hydrationPages: number;
  /** Not served before they are copied from peers. */
  readonly pagesInDoubt: number;
}

export interface StatusReply {
  readonly nodeId: NodeId;
  readonly az: string;
  readonly clusterId: string;
  readonly version: string;
  readonly format: number;
  readonly incarnation: string;
  readonly uptimeMs: number;
  readonly diskBytes: number;
  readonly memoryBytes: number;
  readonly segments: readonly SegmentStatus[];
  readonly refusal: Refusal | null;
  /** When the last full scrub ended; 0: none since the process started. */
  readonly lastScrubMicros: number;
}

/** Every exchange with a storage node: method name → request and reply. Streams carry the same pairs, matched as noted in the proto. */
export interface StorageNodeMethods {
  append: { request: AppendRequest; reply: AppendReply };
  readPages: { request: ReadPagesRequest; reply: ReadPagesReply };
  heartbeat: { request: HeartbeatRequest; reply: HeartbeatReply };
  registerPrepare: { request: RegisterPrepareRequest; reply: RegisterPrepareReply };
  registerAccept: { request: RegisterAcceptRequest; reply: RegisterAcceptReply };
  registerList: { request: RegisterListRequest; reply: RegisterListReply };
  registerScan: { request: RegisterScanRequest; reply: RegisterScanReply };
  fence: { request: FenceRequest; reply: FenceReply };
  inventory: { request: InventoryRequest; reply: InventoryReply };
  install: { request: InstallRequest; reply: InstallReply };
  pullRecords: { request: PullRecordsRequest; reply: PullRecordsReply };
  exchangeMemory: { request: ExchangeMemoryRequest; reply: ExchangeMemoryReply };
  findCommit: { request: FindCommitRequest; reply: FindCommitReply };
  changedPages: { request: ChangedPagesRequest; reply: ChangedPagesReply };
  pullPages: { request: PullPagesRequest; reply: PullPagesReply };
  digestPages: { request: DigestPagesRequest; reply: DigestPagesReply };
  scrub: { request: ScrubRequest; reply: ScrubReply };
  tellRetention: { request: TellRetentionRequest; reply: TellRetentionReply };
  status: { request: StatusRequest; reply: StatusReply };
}
export type StorageNodeMethod = keyof StorageNodeMethods;
/** The methods carried on long-lived streams. */
export type StreamMethod = 'append' | 'readPages' | 'heartbeat';
export type UnaryMethod = Exclude<StorageNodeMethod, StreamMethod>;
