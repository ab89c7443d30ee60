import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { softCrc32 } from '../../../src/base/crc32.ts';
import { sealEnvelope } from '../../../src/base/envelope.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { type NodeId, type VolumeId, toLsn, toPgIndex, toRunId } from '../../../src/log/lsn.ts';
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
import type { ClusterValue, ManifestValue, NameValue, RetentionValue } from '../../../src/register/values.ts';

const NODES = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'] as NodeId[];
const VOLUME = 'volume0000000000' as VolumeId;
const OTHER = 'parent0000000000' as VolumeId;

const cluster: ClusterValue = {
  format: 1,
  clusterId: 'cluster000000000',
  nodes: NODES.map((nodeId, index) => ({
    nodeId,
    az: nodeId.slice(0, 3),
    address: `127.0.0.1:${7000 + index}`,
  })),
  draining: [],
  constants: { lal: 10_000_000, leaseTermMs: 500, defaultPgPages: 2_621_440 },
};
const name: NameValue = {
  format: 1,
  name: 'main',
  volume: VOLUME,
  registerMembers: NODES,
  registerGeneration: 0,
};
const manifest: ManifestValue = {
  format: 1,
  volume: VOLUME,
  epoch: { number: 4, writerId: 'writer0000000004' },
  pageSizeBytes: 4096,
  pgPages: 16,
  inheritedPgs: 1,
  pgs: [
    { pg: toPgIndex(0), configVersion: 1, members: NODES, proposed: null },
    { pg: toPgIndex(1), configVersion: 3, members: [...NODES].reverse(), proposed: NODES },
  ],
  runs: [
    {
      id: toRunId(0),
      epoch: { number: 1, writerId: 'writer0000000001' },
      firstLsn: toLsn(1),
      lastLsn: toLsn(500),
      parent: { volume: OTHER, run: toRunId(7), lsn: toLsn(12_345_678_901) },
      closingTails: [toLsn(500), toLsn(480)],
      openedAtMicros: 1_700_000_000_000_000,
      lastCommitTimeMicros: 1_750_000_000_000_000,
    },
    {
      id: toRunId(1),
      epoch: { number: 4, writerId: 'writer0000000004' },
      firstLsn: toLsn(10_000_501),
      lastLsn: null,
      parent: { volume: VOLUME, run: toRunId(0), lsn: toLsn(500) },
      closingTails: null,
      openedAtMicros: 1_700_000_000_000_000,
      lastCommitTimeMicros: 1_750_000_000_000_000,
    },
  ],
};
const retention: RetentionValue = {
  format: 1,
  volume: VOLUME,
  floor: toLsn(99),
  windowMs: 86_400_000,
  dropped: false,
  pins: [{ name: 'clone:x', point: { volume: VOLUME, run: toRunId(0), lsn: toLsn(120) } }],
};

const kinds = [
  { what: 'cluster', value: cluster, encode: () => encodeCluster(cluster), decode: decodeCluster },
  { what: 'name', value: name, encode: () => encodeName(name), decode: decodeName },
  { what: 'manifest', value: manifest, encode: () => encodeManifest(manifest), decode: decodeManifest },
  { what: 'retention', value: retention, encode: () => encodeRetention(retention), decode: decodeRetention },
] as const;

/** As first written, format version 1. Never changed, only added to. */
const GOLDEN: Readonly<Record<string, string>> = {
  cluster:
    'AS14Ta2WsGNsdXN0ZXIwMDAwMDAwMDCWk6VhejEtYaNhejGuMTI3LjAuMC4xOjcwMDCTpWF6MS1io2F6Ma4xMjcuMC4wLjE6NzAwMZOlYXoyLWGjYXoyrjEyNy4wLjAuMTo3MDAyk6VhejItYqNhejKuMTI3LjAuMC4xOjcwMDOTpWF6My1ho2F6M64xMjcuMC4wLjE6NzAwNJOlYXozLWKjYXozrjEyNy4wLjAuMTo3MDA1kM4AmJaAzQH0zgAoAAA=',
  name: 'AbJAwC2UpG1haW6wdm9sdW1lMDAwMDAwMDAwMJalYXoxLWGlYXoxLWKlYXoyLWGlYXoyLWKlYXozLWGlYXozLWIA',
  manifest:
    'Ad3VI2CZsHZvbHVtZTAwMDAwMDAwMDAEsHdyaXRlcjAwMDAwMDAwMDTNEAAQlqVhejEtYaVhejEtYqVhejItYaVhejItYqVhejMtYaVhejMtYpKTAZYAAQIDBAXAkwOWBQQDAgEAlgABAgMEBZKZAAGwd3JpdGVyMDAwMDAwMDAwMQHNAfSTsHBhcmVudDAwMDAwMDAwMDAHy0IG/uDhqAAAks0B9M0B4MtDGCiQYHkAAMtDGN52gW2AAJkBBLB3cml0ZXIwMDAwMDAwMDA0zgCYmHXAk7B2b2x1bWUwMDAwMDAwMDAwAM0B9MDLQxgokGB5AADLQxjedoFtgAAB',
  retention: 'ASgvhLCVsHZvbHVtZTAwMDAwMDAwMDBjzgUmXADCkZSnY2xvbmU6eLB2b2x1bWUwMDAwMDAwMDAwAHg=',
};

function codeOf(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): string {
  try {
    decode(bytes);
    return 'ok';
  } catch (error) {
    return isTidemarkError(error) ? error.code : `threw ${String(error)}`;
  }
}

describe.each(kinds)('$what value', ({ what, value, encode, decode }) => {
  it('comes back as it was, and equal values are equal bytes', () => {
    expect(decode(encode())).toEqual(value);
    expect(encode()).toEqual(encode());
  });

  it('reads format version 1 as it was first written', () => {
    expect(Buffer.from(encode()).toString('base64')).toBe(GOLDEN[what]);
    expect(decode(Buffer.from(GOLDEN[what] as string, 'base64'))).toEqual(value);
  });

  it('notices flipped bits and truncation, and throws nothing untyped', () => {
    const bytes = encode();
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), fc.nat(bytes.length - 1), (bit, cut) => {
        const bent = bytes.slice();
        bent[bit >>> 3] = (bent[bit >>> 3] as number) ^ (1 << (bit & 7));
        expect(codeOf(decode, bent)).toBe(bit < 8 ? 'WRONG_FORMAT' : 'CORRUPT');
        expect(codeOf(decode, bytes.subarray(0, cut))).toBe('CORRUPT');
      }),
    );
  });

  it('is never taken for another kind', () => {
    for (const other of kinds)
      if (other.what !== what) expect(codeOf(other.decode, encode())).toBe('CORRUPT');
  });

  it('refuses intact bytes of any other shape', () => {
    const tags = { cluster: 0x10, name: 0x11, manifest: 0x12, retention: 0x13 };
    const format = { what, tag: tags[what], version: 1 };
    fc.assert(
      fc.property(
        fc.oneof(fc.nat(), fc.array(fc.oneof(fc.nat(), fc.string(), fc.constant(null), fc.array(fc.nat())))),
        (shape) => {
          expect(codeOf(decode, sealEnvelope(format, shape, softCrc32))).toBe('CORRUPT');
        },
      ),
    );
  });
});

describe('what a manifest must keep', () => {
  const [closed, open] = manifest.runs as [ManifestValue['runs'][0], ManifestValue['runs'][0]];
  const pg = manifest.pgs[0] as ManifestValue['pgs'][0];
  const bad: Readonly<Record<string, Partial<ManifestValue>>> = {
    'no run': { runs: [] },
    'no PG': { pgs: [] },
    'an open run before the last': { runs: [{ ...closed, lastLsn: null, closingTails: null }, open] },
    'runs that overlap': { runs: [closed, { ...open, firstLsn: toLsn(500), parent: null }] },
    'runs out of order': {
      runs: [
        { ...closed, firstLsn: toLsn(1), parent: null },
        { ...open, firstLsn: toLsn(1), parent: null },
      ],
    },
    'two runs that start at one LSN': {
      runs: [
        { ...closed, lastLsn: toLsn(0), closingTails: [toLsn(0)] },
        { ...open, firstLsn: toLsn(1), parent: null },
      ],
    },
    'two runs of one id': { runs: [closed, { ...open, id: closed.id }] },
    'a parent that does not come before': {
      runs: [closed, { ...open, parent: { volume: VOLUME, run: toRunId(1), lsn: toLsn(5) } }],
    },
    'a parent point at or after the run’s start': {
      runs: [closed, { ...open, parent: { volume: VOLUME, run: toRunId(0), lsn: open.firstLsn } }],
    },
    'a run closed without tails': { runs: [{ ...closed, closingTails: null }, open] },
    'a run that ends before it starts': { runs: [{ ...closed, firstLsn: toLsn(502) }, open] },
    'five members': { pgs: [{ ...pg, members: NODES.slice(1).concat(NODES[1] as NodeId) }] },
    'more inherited PGs than PGs': { inheritedPgs: 3 },
    'a page size of nothing': { pageSizeBytes: 0 },
  };

  it.each(Object.keys(bad))('refuses %s', (what) => {
    expect(codeOf(decodeManifest, encodeManifest({ ...manifest, ...bad[what] }))).toBe('CORRUPT');
  });

  it('takes a run that closed empty', () => {
    const empty = { ...closed, lastLsn: toLsn(0), closingTails: [toLsn(0)] };
    const value = { ...manifest, runs: [empty, { ...open, parent: null }] };
    expect(decodeManifest(encodeManifest(value))).toEqual(value);
  });

  it('stays far below a message at the size of a 10 TiB volume', () => {
    const pgs = Array.from({ length: 1024 }, (_, index) => ({
      pg: toPgIndex(index),
      configVersion: 300,
      members: NODES,
      proposed: null,
    }));
    const tails = pgs.map(() => toLsn(2 ** 40));
    const value = { ...manifest, pgs, runs: [{ ...closed, closingTails: tails }, open] };
    expect(decodeManifest(encodeManifest(value))).toEqual(value);
    expect(encodeManifest(value).length).toBeLessThan(32 * 1024);
  });

  it('refuses members and ids that name the same twice elsewhere too', () => {
    expect(codeOf(decodeName, encodeName({ ...name, registerMembers: NODES.slice(1) }))).toBe('CORRUPT');
    expect(codeOf(decodeName, encodeName({ ...name, volume: null }))).toBe('ok');
    const twice = [...cluster.nodes, cluster.nodes[0] as ClusterValue['nodes'][0]];
    expect(codeOf(decodeCluster, encodeCluster({ ...cluster, nodes: twice }))).toBe('CORRUPT');
    const pin = retention.pins[0] as RetentionValue['pins'][0];
    expect(codeOf(decodeRetention, encodeRetention({ ...retention, pins: [pin, pin] }))).toBe('CORRUPT');
  });
});
