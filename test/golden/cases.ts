/**
 * One value of every format that is stored or sent, format version 1. Bytes of these values stand in v1/, one file each; see golden.test.ts.
 * Values are fixed: nothing here may come from chance or time.
 */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { packStrict, unpackStrict } from '../../src/base/strict-msgpack.ts';
import { decodeBoxcar, encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import {
  NO_LSN,
  type NodeId,
  type PageNumber,
  type PgIndex,
  type RunId,
  toLsn,
  type VolumeId,
} from '../../src/log/lsn.ts';
import { applyChange, diffPage } from '../../src/log/page-diff.ts';
import { decodeAcceptor, encodeAcceptor } from '../../src/register/acceptor.ts';
import {
  decodeCluster,
  decodeManifest,
  decodeName,
  decodeRetention,
  encodeCluster,
  encodeManifest,
  encodeName,
  encodeRetention,
} from '../../src/register/codec.ts';
import { decodeMoved, encodeMoved } from '../../src/register/place.ts';
import { type ManifestValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import { SECTOR_BYTES } from '../../storage-node/adapters/journal-disk.ts';
import {
  decodeOps,
  ENTRY_HEADER_BYTES,
  encodeEntry,
  encodeOps,
  entryIsIntact,
  entrySectors,
  readHeader,
} from '../../storage-node/adapters/journal-entry.ts';
import { decodeGuard, encodeGuard } from '../../storage-node/adapters/journal-guard.ts';
import type { DurableOp } from '../../storage-node/core/effects.ts';
import {
  GUARD,
  parseGarbageKey,
  parseKey,
  parsePageKey,
  parseSegmentGuardKey,
  SegmentKeys,
  segmentGuardKey,
  trailingLsn,
} from '../../storage-node/core/keys.ts';
import { decodeItem, encodeItem } from '../../storage-node/core/memory-items.ts';
import {
  decodeEpoch,
  decodeLsns,
  encodeEpoch,
  encodeLsns,
  ValueCodec,
} from '../../storage-node/core/values.ts';

export interface GoldenCase {
  readonly name: string;
  readonly encode: () => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
  /** What decoding the file must give. */
  readonly value: unknown;
}

const PAGE_BYTES = 4096;
const VOLUME = 'k3v0h8m2q9r4s7t1' as VolumeId;
const OTHER_VOLUME = 'p5n1c6d2e8f3g9h4' as VolumeId;
const PG = 3 as PgIndex;
const PAGE = 70_001 as PageNumber;
const EPOCH: Epoch = { number: 7, writerId: '0123456789abcdef' };
/** Past 32 bits, as LSNs come to be. */
const LSN = 12_345_678_901;
const STAMP = 1_795_255_200_000_000;
const MEMBERS = [
  'az1-a',
  'az1-b',
  'az2-a',
  'az2-b',
  'az3-a',
  'az3-b',
] as readonly string[] as readonly NodeId[];
const NEXT_MEMBERS = [...MEMBERS.slice(0, 5), 'az3-c' as NodeId];

const values = new ValueCodec(nodeCrc32);
const keys = new SegmentKeys(VOLUME, PG);

function pageOf(seed: number): Uint8Array {
  return Uint8Array.from({ length: PAGE_BYTES }, (_, at) => (at * 7 + seed + (at >>> 6)) & 0xff);
}

function deltaBody(): Uint8Array {
  const next = pageOf(1);
  next.fill(0xaa, 24, 28);
  next.fill(0xbb, 300, 340);
  next.fill(0xcc, 4090, 4096);
  const change = diffPage(PAGE, pageOf(1), next);
  if (change === null || change.kind !== 'delta') throw new Error('a delta');
  return change.body;
}

function records() {
  const context = recordContext(VOLUME, PG, EPOCH, nodeCrc32);
  const seal = (lsn: number, prevLsn: number, isCpl: boolean, isImage: boolean) =>
    sealRecord(
      {
        lsn: toLsn(lsn),
        prevLsn: toLsn(prevLsn),
        page: PAGE,
        kind: isImage ? 'image' : 'delta',
        body: isImage ? pageOf(9) : deltaBody(),
        isCpl,
        commitTimeMicros: isCpl ? STAMP : 0,
      },
      context,
      nodeCrc32,
    );
  return [
    seal(LSN, LSN - 2, false, false),
    seal(LSN + 1, LSN, true, true),
    seal(LSN + 4, LSN + 1, true, false),
  ];
}

const BOXCAR = { volume: VOLUME, pg: PG, birthEpoch: EPOCH, records: records() };

const MANIFEST: ManifestValue = {
  format: REGISTER_FORMAT,
  volume: VOLUME,
  epoch: EPOCH,
  pageSizeBytes: PAGE_BYTES,
  pgPages: 2_621_440,
  inheritedPgs: 2,
  pgs: [
    { pg: 0 as PgIndex, configVersion: 1, members: MEMBERS, proposed: null },
    { pg: 1 as PgIndex, configVersion: 4, members: MEMBERS, proposed: NEXT_MEMBERS },
  ],
  runs: [
    {
      id: 0 as RunId,
      epoch: { number: 2, writerId: 'fedcba9876543210' },
      firstLsn: toLsn(1),
      lastLsn: toLsn(980),
      parent: { volume: OTHER_VOLUME, run: 4 as RunId, lsn: toLsn(77) },
      closingTails: [toLsn(980), NO_LSN],
      lastCommitTimeMicros: STAMP - 5_000_000,
      openedAtMicros: STAMP - 9_000_000,
    },
    {
      id: 1 as RunId,
      epoch: EPOCH,
      firstLsn: toLsn(10_000_981),
      lastLsn: null,
      parent: { volume: VOLUME, run: 0 as RunId, lsn: toLsn(980) },
      closingTails: null,
      lastCommitTimeMicros: STAMP - 5_000_000,
      openedAtMicros: STAMP - 4_000_000,
    },
  ],
};

const OPS: readonly DurableOp[] = [
  { kind: 'home', key: keys.chunk(toLsn(LSN)), value: Uint8Array.of(1, 2, 3) },
  { kind: 'home', key: keys.chunk(toLsn(LSN + 9)), value: null },
  {
    kind: 'guard',
    key: segmentGuardKey(VOLUME, PG, 'marks'),
    value: encodeLsns(toLsn(LSN), toLsn(LSN - 1), toLsn(5)),
  },
  { kind: 'guard', key: 'register/name/gone', value: null },
];

const ENTRY_OFFSET = 5 * SECTOR_BYTES;
const ENTRY = {
  sequence: 4_294_967_311,
  offset: ENTRY_OFFSET,
  knownSynced: 4_294_967_310,
  storeFlushed: 4_294_960_000,
  previousChecksum: 0xdeadbeef,
};

function journalEntry(): Uint8Array {
  const payload = encodeOps(OPS);
  const entry = new Uint8Array(entrySectors(payload.length) * SECTOR_BYTES);
  encodeEntry(ENTRY, payload, entry, nodeCrc32);
  // The rest of the sector is zeros.
  return entry.slice(0, ENTRY_HEADER_BYTES + payload.length);
}

function readEntry(bytes: Uint8Array): unknown {
  const sector = new Uint8Array(SECTOR_BYTES);
  sector.set(bytes);
  const header = readHeader(sector, ENTRY_OFFSET, 10 * SECTOR_BYTES);
  if (header === null || !entryIsIntact(bytes, header, nodeCrc32)) throw new Error('not intact');
  const { sequence, offset, knownSynced, storeFlushed, previousChecksum } = header;
  const ops = decodeOps(bytes.subarray(ENTRY_HEADER_BYTES)).map(plain);
  return { sequence, offset, knownSynced, storeFlushed, previousChecksum, ops };
}

const GUARD_VALUES = new Map<string, Uint8Array>([
  [GUARD.incarnation, new TextEncoder().encode('12')],
  [segmentGuardKey(VOLUME, PG, 'promise'), encodeEpoch(EPOCH)],
]);

const MSGPACK = [0, 127, 128, 65_535, 4_294_967_295, LSN, null, true, 'text', Uint8Array.of(1, 2), [1.5]];

export const GOLDEN_CASES: readonly GoldenCase[] = [
  { name: 'msgpack', encode: () => packStrict(MSGPACK), decode: unpackStrict, value: MSGPACK },
  {
    name: 'delta-body',
    encode: deltaBody,
    decode: (body) => applyChange(pageOf(1), { kind: 'delta', body }),
    value: applyChange(pageOf(1), { kind: 'delta', body: deltaBody() }),
  },
  {
    name: 'boxcar',
    encode: () => encodeBoxcar(BOXCAR, nodeCrc32),
    decode: (bytes) => decodeBoxcar(bytes, nodeCrc32),
    value: BOXCAR,
  },
  ...registerCases(),
  ...storeValueCases(),
  ...guardCases(),
  ...keyCases(),
];

function registerCases(): GoldenCase[] {
  const cluster = {
    format: REGISTER_FORMAT,
    clusterId: 'abcdefghijklmnop',
    nodes: [...NEXT_MEMBERS, 'az3-b' as NodeId].map((nodeId) => ({
      nodeId,
      az: nodeId.slice(0, 3),
      address: `${nodeId}:7100`,
    })),
    draining: ['az3-b' as NodeId],
    constants: { lal: 10_000_000, leaseTermMs: 500, defaultPgPages: 2_621_440 },
  } as const;
  const name = {
    format: REGISTER_FORMAT,
    name: 'main',
    volume: VOLUME,
    registerMembers: MEMBERS,
    registerGeneration: 2,
  } as const;
  const moved = { value: Uint8Array.of(7, 8, 9), place: { members: MEMBERS, generation: 3 } };
  const retention = {
    format: REGISTER_FORMAT,
    volume: VOLUME,
    floor: toLsn(LSN),
    windowMs: 86_400_000,
    dropped: false,
    pins: [{ name: 'clone/p5n1c6d2e8f3g9h4', point: { volume: VOLUME, run: 0 as RunId, lsn: toLsn(77) } }],
  } as const;
  const acceptor = {
    promised: { number: 9, writerId: 'later' },
    acceptedBallot: EPOCH,
    acceptedVersion: 3,
    value: Uint8Array.of(4, 5, 6),
  };
  return [
    { name: 'register-cluster', encode: () => encodeCluster(cluster), decode: decodeCluster, value: cluster },
    { name: 'register-name', encode: () => encodeName(name), decode: decodeName, value: name },
    {
      name: 'register-name-given-up',
      encode: () => encodeName({ ...name, volume: null }),
      decode: decodeName,
      value: { ...name, volume: null },
    },
    { name: 'register-moved', encode: () => encodeMoved(moved), decode: decodeMoved, value: moved },
    {
      name: 'register-manifest',
      encode: () => encodeManifest(MANIFEST),
      decode: decodeManifest,
      value: MANIFEST,
    },
    {
      name: 'register-retention',
      encode: () => encodeRetention(retention),
      decode: decodeRetention,
      value: retention,
    },
    {
      name: 'acceptor-state',
      encode: () => encodeAcceptor(acceptor),
      decode: decodeAcceptor,
      value: acceptor,
    },
  ];
}

function storeValueCases(): GoldenCase[] {
  const bundleKey = keys.bundle(PAGE, toLsn(LSN));
  const bundle = {
    prevLsn: toLsn(LSN - 2),
    records: [
      { lsn: toLsn(LSN), body: deltaBody() },
      { lsn: toLsn(LSN + 4), body: deltaBody() },
    ],
  };
  const imageKey = keys.image(PAGE, toLsn(LSN + 1));
  const image = { isRecord: true, isKept: true, prevLsn: toLsn(LSN), sinceKeptBytes: 0, data: pageOf(9) };
  const madeKey = keys.image(PAGE, toLsn(LSN + 4));
  const made = { isRecord: false, isKept: false, prevLsn: NO_LSN, sinceKeptBytes: 777, data: pageOf(3) };
  const hydration = {
    id: '3.seed/1',
    throughLsn: toLsn(LSN),
    cursor: { page: PAGE, lsn: toLsn(LSN - 30), image: true },
    highestPage: 9,
    copiedBytes: 123_456,
    isCopied: false,
  };
  const progress = {
    vdl: toLsn(LSN + 4),
    tail: toLsn(LSN + 1),
    collected: toLsn(LSN - 1_000),
    storedBytes: 123_456_789,
    pageBytes: 987_654_321,
    highestPage: 80_000,
    roundsFrom: toLsn(LSN - 500),
    roundsThrough: toLsn(LSN + 2),
  };
  const roundKey = keys.round(toLsn(LSN));
  const changesKey = keys.changes(toLsn(LSN));
  const changes = {
    fromLsn: toLsn(LSN - 300),
    spans: [
      { page: 3 as PageNumber, firstLsn: toLsn(LSN - 290), lastLsn: toLsn(LSN - 290) },
      { page: 70_000 as PageNumber, firstLsn: toLsn(LSN - 299), lastLsn: toLsn(LSN) },
    ],
  };
  const commitsKey = keys.commits(toLsn(LSN));
  const commits = [
    { lsn: toLsn(LSN - 10), commitTimeMicros: STAMP },
    { lsn: toLsn(LSN), commitTimeMicros: STAMP + 1 },
  ];
  return [
    {
      name: 'store-bundle',
      encode: () => values.encodeBundle(bundleKey, bundle),
      decode: (bytes) => values.decodeBundle(bundleKey, bytes),
      value: bundle,
    },
    {
      name: 'store-image-record',
      encode: () => values.encodeImage(imageKey, image),
      decode: (bytes) => values.decodeImage(imageKey, bytes),
      value: image,
    },
    {
      name: 'store-image-made',
      encode: () => values.encodeImage(madeKey, made),
      decode: (bytes) => values.decodeImage(madeKey, bytes),
      value: made,
    },
    {
      name: 'store-hydration',
      encode: () => values.encodeHydration(keys.hydration, hydration),
      decode: (bytes) => values.decodeHydration(keys.hydration, bytes),
      value: hydration,
    },
    {
      name: 'store-progress',
      encode: () => values.encodeProgress(keys.progress, progress),
      decode: (bytes) => values.decodeProgress(keys.progress, bytes),
      value: progress,
    },
    {
      name: 'store-round',
      encode: () => values.encodeRound(roundKey, toLsn(LSN - 200)),
      decode: (bytes) => values.decodeRound(roundKey, bytes),
      value: LSN - 200,
    },
    {
      name: 'store-commits',
      encode: () => values.encodeCommits(commitsKey, commits),
      decode: (bytes) => values.decodeCommits(commitsKey, bytes),
      value: commits,
    },
    {
      name: 'store-changes',
      encode: () => values.encodeChanges(changesKey, changes),
      decode: (bytes) => values.decodeChanges(changesKey, bytes),
      value: changes,
    },
  ];
}

function guardCases(): GoldenCase[] {
  const lsns = [LSN + 4, LSN, LSN - 3];
  const segmentItem = {
    kind: 'segment',
    volume: VOLUME,
    pg: PG,
    watermark: toLsn(LSN),
    promised: EPOCH,
    installed: null,
  } as const;
  const registerItem = {
    kind: 'register',
    key: 'name/main',
    promised: { number: 9, writerId: 'later' },
    acceptedBallot: EPOCH,
    acceptedVersion: 3,
  } as const;
  const guard = { generation: 41, through: 4_294_967_311, storeFlushed: 4_294_960_000, values: GUARD_VALUES };
  return [
    { name: 'guard-epoch', encode: () => encodeEpoch(EPOCH), decode: decodeEpoch, value: EPOCH },
    { name: 'guard-marks', encode: () => encodeLsns(...lsns.map(toLsn)), decode: decodeLsns, value: lsns },
    {
      name: 'guard-peer-segment',
      encode: () => encodeItem(segmentItem),
      decode: (bytes) => decodeItem({ kind: 'segment', volume: VOLUME, pg: PG }, bytes),
      value: segmentItem,
    },
    {
      name: 'guard-peer-register',
      encode: () => encodeItem(registerItem),
      decode: (bytes) => decodeItem({ kind: 'register', key: 'name/main' }, bytes),
      value: registerItem,
    },
    {
      name: 'journal-entry',
      encode: journalEntry,
      decode: readEntry,
      value: { ...ENTRY, ops: OPS.map(plain) },
    },
    {
      name: 'journal-guard',
      encode: () => encodeGuard(guard, nodeCrc32),
      decode: (bytes) => decodeGuard(bytes, nodeCrc32),
      value: { ...guard, damagedKeys: [], lostRecords: 0 },
    },
  ];
}

function keyCases(): GoldenCase[] {
  const segment = { volume: VOLUME, pg: PG };
  const guardKey = segmentGuardKey(VOLUME, PG, 'promise');
  const withLsn = (key: Uint8Array) => ({ ...parseKey(key), lsn: trailingLsn(key) });
  return [
    {
      name: 'key-manifest',
      encode: () => keys.manifest,
      decode: parseKey,
      value: { kind: 'manifest', ...segment },
    },
    {
      name: 'key-retention',
      encode: () => keys.retention,
      decode: parseKey,
      value: { kind: 'retention', ...segment },
    },
    {
      name: 'key-progress',
      encode: () => keys.progress,
      decode: parseKey,
      value: { kind: 'progress', ...segment },
    },
    {
      name: 'key-chunk',
      encode: () => keys.chunk(toLsn(LSN)),
      decode: withLsn,
      value: { kind: 'chunk', ...segment, lsn: LSN },
    },
    {
      name: 'key-round',
      encode: () => keys.round(toLsn(LSN)),
      decode: withLsn,
      value: { kind: 'round', ...segment, lsn: LSN },
    },
    {
      name: 'key-commits',
      encode: () => keys.commits(toLsn(LSN)),
      decode: withLsn,
      value: { kind: 'commits', ...segment, lsn: LSN },
    },
    {
      name: 'key-changes',
      encode: () => keys.changes(toLsn(LSN)),
      decode: withLsn,
      value: { kind: 'changes', ...segment, lsn: LSN },
    },
    {
      name: 'key-bundle',
      encode: () => keys.bundle(PAGE, toLsn(LSN)),
      decode: (key) => ({ ...parseKey(key), ...parsePageKey(key) }),
      value: { ...segment, page: PAGE, lsn: LSN, kind: 0 },
    },
    {
      name: 'key-image',
      encode: () => keys.image(PAGE, toLsn(LSN)),
      decode: (key) => ({ ...parseKey(key), ...parsePageKey(key) }),
      value: { ...segment, page: PAGE, lsn: LSN, kind: 1 },
    },
    {
      name: 'key-garbage',
      encode: () => keys.garbage(toLsn(LSN), PAGE),
      decode: (key) => ({ ...parseKey(key), ...parseGarbageKey(key) }),
      value: { kind: 'garbage', ...segment, page: PAGE, lsn: LSN },
    },
    {
      name: 'key-guard',
      encode: () => new TextEncoder().encode(guardKey),
      decode: (key) => parseSegmentGuardKey(new TextDecoder().decode(key)),
      value: { ...segment, what: 'promise' },
    },
  ];
}

/** Bytes as plain arrays of bytes, whichever class they came in. */
function plain(op: DurableOp): DurableOp {
  const value = op.value === null ? null : new Uint8Array(op.value);
  return op.kind === 'home' ? { ...op, key: new Uint8Array(op.key), value } : { ...op, value };
}
