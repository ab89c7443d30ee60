/**
 * Everything that turns bytes into values of ours: each gives a value or a TidemarkError, whatever the bytes. Checksums would turn all of it away
 * at the door; so half of the inputs are mutated inside and sealed again.
 */
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { ENVELOPE_BYTES } from '../../../src/base/envelope.ts';
import { packStrict, unpackStrict } from '../../../src/base/strict-msgpack.ts';
import { decodeBoxcar } from '../../../src/log/codec.ts';
import { type PageNumber, type PgIndex, toLsn } from '../../../src/log/lsn.ts';
import { applyChange } from '../../../src/log/page-diff.ts';
import { decodeAcceptor, encodeAcceptor } from '../../../src/register/acceptor.ts';
import {
  decodeCluster,
  decodeManifest,
  decodeName,
  decodeRetention,
  encodeCluster,
  encodeManifest,
  encodeName,
  encodeRetention,
} from '../../../src/register/codec.ts';
import { REGISTER_FORMAT } from '../../../src/register/values.ts';
import { decodeOps, encodeOps } from '../../../storage-node/adapters/journal-entry.ts';
import { decodeGuard, encodeGuard } from '../../../storage-node/adapters/journal-guard.ts';
import { parseGarbageKey, parseKey, parsePageKey, SegmentKeys } from '../../../storage-node/core/keys.ts';
import {
  decodeEpoch,
  decodeLsns,
  encodeEpoch,
  encodeLsns,
  ValueCodec,
} from '../../../storage-node/core/values.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { mutateBytes, noise } from '../mutate.ts';
import {
  boxcarBytes,
  cluster,
  durableOps,
  epochOf,
  manifest,
  pageChange,
  retention,
  SAMPLE_VOLUME,
} from '../samples.ts';
import type { Target } from '../target.ts';

const PAGE_BYTES = 4096;
const values = new ValueCodec(nodeCrc32);
const keys = new SegmentKeys(SAMPLE_VOLUME, 0 as PgIndex);

interface Codec {
  readonly sample: (random: SeededRandom) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => unknown;
  /** Seed of the envelope's checksum (tag and version), where there is one; with the key it is bound to. */
  readonly seal?: { readonly tag: number; readonly key?: Uint8Array };
}

const IMAGE_KEY = keys.image(1 as PageNumber, toLsn(7));
const BUNDLE_KEY = keys.bundle(1 as PageNumber, toLsn(7));
const ROUND_KEY = keys.round(toLsn(7));

const CODECS: readonly Codec[] = [
  { sample: boxcarBytes, decode: (bytes) => decodeBoxcar(bytes, nodeCrc32), seal: { tag: 0x01 } },
  { sample: (random) => encodeCluster(cluster(random)), decode: decodeCluster, seal: { tag: 0x10 } },
  {
    sample: (random) =>
      encodeName({
        format: REGISTER_FORMAT,
        name: random.id(5),
        volume: random.chance(0.5) ? SAMPLE_VOLUME : null,
        registerMembers: manifest(random).pgs[0]?.members ?? [],
        registerGeneration: random.below(3),
      }),
    decode: decodeName,
    seal: { tag: 0x11 },
  },
  { sample: (random) => encodeManifest(manifest(random)), decode: decodeManifest, seal: { tag: 0x12 } },
  { sample: (random) => encodeRetention(retention(random)), decode: decodeRetention, seal: { tag: 0x13 } },
  {
    sample: (random) =>
      encodeAcceptor({
        promised: { number: 5000, writerId: 'w' },
        acceptedBallot: epochOf(random),
        acceptedVersion: 1 + random.below(9),
        value: noise(random, random.below(40)),
      }),
    decode: decodeAcceptor,
  },
  {
    sample: (random) =>
      values.encodeImage(IMAGE_KEY, {
        isRecord: random.chance(0.5),
        isKept: true,
        prevLsn: toLsn(3),
        sinceKeptBytes: random.below(9_999),
        data: new Uint8Array(PAGE_BYTES),
      }),
    decode: (bytes) => values.decodeImage(IMAGE_KEY, bytes),
    seal: { tag: 0x42, key: IMAGE_KEY },
  },
  {
    sample: (random) =>
      values.encodeBundle(BUNDLE_KEY, {
        prevLsn: toLsn(3),
        records: [7, 9, 20].map((lsn) => ({ lsn: toLsn(lsn), body: noise(random, 1 + random.below(30)) })),
      }),
    decode: (bytes) => values.decodeBundle(BUNDLE_KEY, bytes),
    seal: { tag: 0x41, key: BUNDLE_KEY },
  },
  {
    sample: (random) => values.encodeRound(ROUND_KEY, toLsn(random.below(7))),
    decode: (bytes) => values.decodeRound(ROUND_KEY, bytes),
    seal: { tag: 0x44, key: ROUND_KEY },
  },
  { sample: (random) => encodeEpoch(epochOf(random)), decode: decodeEpoch },
  {
    sample: (random) => encodeLsns(toLsn(random.below(99)), toLsn(random.below(2 ** 50))),
    decode: decodeLsns,
  },
  { sample: (random) => encodeOps(durableOps(random)), decode: decodeOps },
  {
    sample: (random) =>
      encodeGuard(
        {
          generation: random.below(99),
          through: random.below(9_999),
          storeFlushed: random.below(9_999),
          values: new Map(
            Array.from({ length: random.below(4) }, () => [random.id(6), noise(random, random.below(40))]),
          ),
        },
        nodeCrc32,
      ),
    decode: (bytes) => decodeGuard(bytes, nodeCrc32),
  },
  {
    sample: (random) => packStrict([1, 'two', [null, true], noise(random, 9), 2 ** 40]),
    decode: unpackStrict,
  },
  {
    sample: (random) => pageChange(random).body,
    decode: (body) => {
      const page = applyChange(new Uint8Array(PAGE_BYTES), { kind: 'delta', body });
      if (page.length !== PAGE_BYTES) throw new Error(`a page of ${page.length} bytes`);
    },
  },
  { sample: (random) => noise(random, 1 + random.below(60)), decode: parseAnyKey },
];

export const codecs: Target = {
  name: 'codecs',
  weight: 80,
  concurrency: 1,
  open: async () => ({
    input: (random) => {
      const codec = random.pick(CODECS);
      const bytes = mutated(random, codec);
      try {
        codec.decode(bytes);
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
      }
    },
    check: () => {},
    close: async () => {},
  }),
};

function mutated(random: SeededRandom, { sample, seal }: Codec): Uint8Array {
  const sound = sample(random);
  if (seal === undefined || random.chance(0.3)) return mutateBytes(random, sound);
  const payload = mutateBytes(random, sound.subarray(ENVELOPE_BYTES));
  const sealed = new Uint8Array(ENVELOPE_BYTES + payload.length);
  sealed.set(payload, ENVELOPE_BYTES);
  sealed[0] = 1;
  const seed = (seal.tag << 8) | 1;
  const crc = nodeCrc32(payload, seal.key === undefined ? seed : nodeCrc32(seal.key, seed));
  new DataView(sealed.buffer).setUint32(1, crc);
  return sealed;
}

/** As the core does: a key of any bytes, and what follows from its kind. */
function parseAnyKey(key: Uint8Array): void {
  const parsed = parseKey(key);
  if (parsed === null || key.length < 14) return;
  if (parsed.kind === 'page') parsePageKey(key);
  if (parsed.kind === 'garbage') parseGarbageKey(key);
}
