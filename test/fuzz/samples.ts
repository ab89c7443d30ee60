/** Sound values of every format, made from a random source: what mutation starts from. */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  type PgIndex,
  type RunId,
  toLsn,
  type VolumeId,
} from '../../src/log/lsn.ts';
import { diffPage } from '../../src/log/page-diff.ts';
import type { Boxcar, PageChange } from '../../src/log/record.ts';
import {
  type ClusterValue,
  type ManifestValue,
  REGISTER_FORMAT,
  type RetentionValue,
} from '../../src/register/values.ts';
import type { Run } from '../../src/timeline/run.ts';
import type { DurableOp } from '../../storage-node/core/effects.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { noise } from './mutate.ts';

export const SAMPLE_VOLUME = 'vol0000000000000' as VolumeId;
const PAGE_BYTES = 4096;
const NODES = [
  'az1-a',
  'az1-b',
  'az2-a',
  'az2-b',
  'az3-a',
  'az3-b',
  'az1-c',
] as readonly string[] as readonly NodeId[];

export function epochOf(random: SeededRandom): Epoch {
  return { number: 1 + random.below(1000), writerId: random.id(16) };
}

export function pageChange(random: SeededRandom): PageChange {
  const page = (1 + random.below(1000)) as PageNumber;
  const next = new Uint8Array(PAGE_BYTES);
  const base = new Uint8Array(PAGE_BYTES);
  for (let changes = 1 + random.below(6); changes > 0; changes -= 1) {
    const at = random.below(PAGE_BYTES);
    next.fill(1 + random.below(255), at, at + 1 + random.below(random.chance(0.1) ? 2000 : 20));
  }
  return diffPage(page, random.chance(0.1) ? null : base, next) ?? { page, kind: 'image', body: next };
}

export function boxcar(random: SeededRandom): Boxcar {
  const pg = random.below(4) as PgIndex;
  const birthEpoch = epochOf(random);
  const context = recordContext(SAMPLE_VOLUME, pg, birthEpoch, nodeCrc32);
  let prevLsn: Lsn = toLsn(random.below(10_000));
  const records = Array.from({ length: 1 + random.below(5) }, () => {
    const lsn = toLsn(prevLsn + 1 + random.below(3));
    const isCpl = random.chance(0.5);
    const commitTimeMicros = isCpl ? random.below(2 ** 40) : 0;
    const record = sealRecord(
      { ...pageChange(random), lsn, prevLsn, isCpl, commitTimeMicros },
      context,
      nodeCrc32,
    );
    prevLsn = lsn;
    return record;
  });
  return { volume: SAMPLE_VOLUME, pg, birthEpoch, records };
}

export function boxcarBytes(random: SeededRandom): Uint8Array {
  return encodeBoxcar(boxcar(random), nodeCrc32);
}

export function manifest(random: SeededRandom): ManifestValue {
  const epoch = epochOf(random);
  const runs: Run[] = [];
  let next = 1;
  for (let id = random.below(4); id >= 0; id -= 1) {
    const firstLsn = toLsn(next);
    const lastLsn = id === 0 ? null : toLsn(next + random.below(500) - 1);
    const parent = runs.at(-1);
    runs.push({
      id: runs.length as RunId,
      epoch: { number: 1 + runs.length, writerId: random.id(16) },
      firstLsn,
      lastLsn,
      parent:
        parent === undefined
          ? null
          : { volume: SAMPLE_VOLUME, run: parent.id, lsn: parent.lastLsn ?? NO_LSN },
      closingTails: lastLsn === null ? null : [lastLsn],
      openedAtMicros: 0,
      lastCommitTimeMicros: random.below(2 ** 40),
    });
    next += 1_000;
  }
  return {
    format: REGISTER_FORMAT,
    volume: SAMPLE_VOLUME,
    epoch,
    pageSizeBytes: PAGE_BYTES,
    pgPages: 1 + random.below(100),
    inheritedPgs: random.below(2),
    pgs: Array.from({ length: 1 + random.below(3) }, (_, pg) => ({
      pg: pg as PgIndex,
      configVersion: 1 + random.below(5),
      members: NODES.slice(0, 6),
      proposed: random.chance(0.3) ? NODES.slice(1, 7) : null,
    })),
    runs,
  };
}

export function retention(random: SeededRandom): RetentionValue {
  return {
    format: REGISTER_FORMAT,
    volume: SAMPLE_VOLUME,
    floor: toLsn(random.below(500)),
    windowMs: random.below(100_000_000),
    dropped: random.chance(0.1),
    pins: Array.from({ length: random.below(3) }, (_, index) => ({
      name: `pin-${index}`,
      point: { volume: SAMPLE_VOLUME, run: random.below(3) as RunId, lsn: toLsn(random.below(900)) },
    })),
  };
}

export function cluster(random: SeededRandom): ClusterValue {
  return {
    format: REGISTER_FORMAT,
    clusterId: random.id(16),
    nodes: NODES.slice(0, 6).map((nodeId) => ({ nodeId, az: nodeId.slice(0, 3), address: `${nodeId}:7100` })),
    draining: NODES.slice(0, random.below(3)),
    constants: {
      lal: 1 + random.below(10_000_000),
      leaseTermMs: 500,
      defaultPgPages: 1 + random.below(9_999),
    },
  };
}

export function durableOps(random: SeededRandom): readonly DurableOp[] {
  return Array.from({ length: random.below(5) }, () => {
    const value = random.chance(0.2) ? null : noise(random, random.below(80));
    return random.chance(0.5)
      ? { kind: 'home', key: noise(random, 1 + random.below(30)), value }
      : { kind: 'guard', key: `segment/${random.id(8)}/0/marks`, value };
  });
}
