/** Requests to a storage node: sound ones of a writer that is at work, and what becomes of them when a field or the bytes go wrong. */
import { TidemarkError } from '../../src/base/errors.ts';
import { methodDefinition, STORAGE_NODE_METHODS } from '../../src/adapters/grpc/wire.ts';
import { NO_EPOCH } from '../../src/log/epoch.ts';
import { encodeCluster, encodeManifest, encodeRetention } from '../../src/register/codec.ts';
import type { StorageNodeMethod, StorageNodeMethods } from '../../src/messages/messages.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { TEST_CLUSTER, TEST_NODES } from '../support/storage-cluster.ts';
import type { TestVolume } from '../support/storage-volume.ts';
import { mutateBytes, noise } from './mutate.ts';
import { boxcarBytes, cluster, epochOf, manifest, retention } from './samples.ts';

export interface WireRequest {
  readonly method: StorageNodeMethod;
  readonly bytes: Uint8Array;
}

const NUMBERS = [0, 1, 2, 100, 2 ** 31, 2 ** 32 - 1, 2 ** 40, Number.MAX_SAFE_INTEGER] as const;
const STRINGS = [
  '',
  'x',
  'vol00000',
  '__proto__',
  'manifest/vol00000',
  'name/main',
  'a'.repeat(65),
  '\u0000',
] as const;
const KEYS = [
  'cluster',
  'name/main',
  'manifest/vol00000',
  'retention/vol00000',
  'manifest/other',
  'bad key',
] as const;

type Body<M extends StorageNodeMethod> = StorageNodeMethods[M]['request'];

/** As bytes of the wire. Sometimes sound, mostly not. */
export function wireRequest(random: SeededRandom, volume: TestVolume): WireRequest {
  const method = random.pick(STORAGE_NODE_METHODS);
  let body: unknown = soundRequest(random, method, volume);
  if (random.chance(0.6)) body = changeFields(random, body);
  const bytes = new Uint8Array(methodDefinition(method).requestSerialize(body as object));
  return { method, bytes: random.chance(0.4) ? mutateBytes(random, bytes) : bytes };
}

/** What the server makes of the bytes: null when it turns them away. */
export function received({ method, bytes }: WireRequest): object | null {
  const decoded = methodDefinition(method).requestDeserialize(Buffer.from(bytes));
  return decoded instanceof TidemarkError ? null : decoded;
}

function soundRequest(random: SeededRandom, method: StorageNodeMethod, volume: TestVolume): object {
  const clusterId = TEST_CLUSTER;
  switch (method) {
    case 'append': {
      const records = Array.from({ length: 1 + random.below(4) }, () =>
        volume.write(1 + random.below(6), random.below(1000)),
      );
      const vdl = random.chance(0.7) ? volume.lastLsn : 0;
      return volume.append(random.chance(0.9) ? records : [], { vdl: vdl as never }) satisfies Body<'append'>;
    }
    case 'readPages':
      return {
        ...volume.readPages([1, 2, 3].slice(random.below(3)), { run: volume.headRun, lsn: volume.lastLsn }),
        clusterId,
      } satisfies Body<'readPages'>;
    case 'heartbeat':
      return {
        clusterId,
        sequence: random.below(1000),
        computeId: 'compute-1',
        computeUrl: 'http://localhost:8080',
        volumes: [
          {
            volume: volume.volume,
            epoch: volume.epoch,
            release: random.chance(0.1),
            pgs: [{ pg: 0 as never, vdl: volume.lastLsn, tail: volume.lastLsn }],
            retention: random.chance(0.3) ? encodeRetention(retention(random)) : new Uint8Array(0),
            keep: random.chance(0.2),
          },
        ],
      } satisfies Body<'heartbeat'>;
    case 'registerPrepare':
      return {
        clusterId,
        key: random.pick(KEYS),
        ballot: random.chance(0.5) ? NO_EPOCH : epochOf(random),
      } satisfies Body<'registerPrepare'>;
    case 'registerAccept':
      return {
        clusterId,
        key: random.pick(KEYS),
        ballot: epochOf(random),
        version: 1 + random.below(5),
        value: random.chance(0.3) ? encodeCluster(cluster(random)) : noise(random, random.below(100)),
      } satisfies Body<'registerAccept'>;
    case 'fence':
      if (random.chance(0.05)) volume.takeOver(`w${volume.epoch.number + 1}`);
      return volume.fence();
    case 'install':
      return volume.install(0, random.chance(0.5) ? volume.retention(0) : undefined);
    case 'pullRecords':
      return {
        clusterId,
        volume: volume.volume,
        pg: 0 as never,
        afterLsn: random.below(volume.lastLsn + 1) as never,
        throughLsn: volume.lastLsn,
        maxBytes: random.below(1_000_000),
        scl: 0 as never,
        vdl: 0 as never,
        tail: 0 as never,
        configVersion: random.below(4),
      } satisfies Body<'pullRecords'>;
    case 'pullPages':
      return {
        clusterId,
        volume: volume.volume,
        pg: 0 as never,
        throughLsn: random.below(volume.lastLsn + 1) as never,
        firstPage: random.below(4),
        lastPage: random.below(8),
        cursor: random.chance(0.5)
          ? null
          : {
              page: (1 + random.below(6)) as never,
              lsn: random.below(50) as never,
              image: random.chance(0.5),
            },
        maxBytes: random.below(1_000_000),
      } satisfies Body<'pullPages'>;
    case 'exchangeMemory':
      return {
        clusterId,
        nodeId: random.pick(TEST_NODES).nodeId,
        incarnation: `${random.below(5)}.x`,
        ...memoryItems(random, volume),
        asks: random.chance(0.5) ? null : { after: random.pick(STRINGS) },
        recalls: random.chance(0.7)
          ? null
          : {
              ...memoryItems(random, volume),
              incarnation: `${random.below(5)}.y`,
              after: '',
              through: random.pick(STRINGS),
              done: random.chance(0.5),
            },
      } satisfies Body<'exchangeMemory'>;
    default:
      return emptyRequest(random, volume);
  }
}

function memoryItems(
  random: SeededRandom,
  volume: TestVolume,
): Pick<Body<'exchangeMemory'>, 'segments' | 'registers'> {
  return {
    segments: Array.from({ length: random.below(3) }, (_, pg) => ({
      volume: volume.volume,
      pg: pg as never,
      watermark: random.below(volume.lastLsn + 5) as never,
      promised: random.chance(0.5) ? volume.epoch : epochOf(random),
      installed: random.chance(0.5) ? null : volume.epoch,
    })),
    registers: Array.from({ length: random.below(3) }, () => ({
      key: random.pick(KEYS),
      promised: epochOf(random),
      acceptedBallot: random.chance(0.5) ? null : epochOf(random),
      acceptedVersion: random.below(3),
    })),
  };
}

/** Methods that need nothing but their place, and those that are newer than this file: what they do not know of they leave out. */
function emptyRequest(random: SeededRandom, volume: TestVolume): object {
  const { volume: id, epoch } = volume;
  return {
    clusterId: TEST_CLUSTER,
    volume: id,
    pg: 0,
    epoch,
    afterLsn: 0,
    prefix: 'name/',
    maxBytes: random.below(100_000),
  };
}

function changeFields(random: SeededRandom, value: unknown): unknown {
  if (value instanceof Uint8Array) return changeValue(random, value);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.chance(0.2)) return random.chance(0.5) ? [] : [...value, ...value];
    const at = random.below(value.length);
    return value.map((each, index) => (index === at ? changeFields(random, each) : each));
  }
  if (typeof value !== 'object' || value === null) return changeValue(random, value);
  const entries = Object.entries(value);
  const at = random.below(entries.length);
  return Object.fromEntries(
    entries.map(([key, each], index) => [key, index === at ? changeFields(random, each) : each]),
  );
}

function changeValue(random: SeededRandom, value: unknown): unknown {
  if (typeof value === 'number')
    return random.chance(0.5) ? random.pick(NUMBERS) : Math.max(0, value + random.below(7) - 3);
  if (typeof value === 'string') return random.pick(STRINGS);
  if (typeof value === 'boolean') return !value;
  if (value instanceof Uint8Array) {
    switch (random.below(5)) {
      case 0:
        return boxcarBytes(random);
      case 1:
        return encodeManifest(manifest(random));
      case 2:
        return noise(random, random.below(50));
      default:
        return mutateBytes(random, value);
    }
  }
  return value;
}
