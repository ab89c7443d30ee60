/**
 * Bytes of records and values, changed on their way: whatever is moved to another page, LSN, chain, term or key, or flipped, must be refused
 * when it is read, also when the envelope around it was made anew (as by a node that re-packs what it holds).
 */
import { nodeCrc32 } from '../../../../src/adapters/crc32.ts';
import { isTidemarkError } from '../../../../src/base/errors.ts';
import { openEnvelope, sealEnvelope } from '../../../../src/base/envelope.ts';
import { decodeBoxcar, encodeBoxcar, recordContext, sealRecord } from '../../../../src/log/codec.ts';
import { type Lsn, type PageNumber, type PgIndex, toLsn, type VolumeId } from '../../../../src/log/lsn.ts';
import type { Boxcar, RedoRecord } from '../../../../src/log/record.ts';
import { SegmentKeys } from '../../../../storage-node/core/keys.ts';
import { ValueCodec } from '../../../../storage-node/core/values.ts';
import { SeededRandom } from '../../../support/seeded-random.ts';
import type { Arena } from './arena.ts';

const VOLUME = 'vol0000000000000' as VolumeId;
const PAGE_BYTES = 4096;
const TRIES = 8;

export const codec: Arena = {
  async runSeed(seed) {
    const random = new SeededRandom(seed);
    const violations: string[] = [];
    const refuses = (what: string, read: () => unknown): void => {
      try {
        read();
        violations.push(`${what} was taken for good`);
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
      }
    };
    for (let i = 0; i < TRIES; i += 1) {
      movedRecords(random, refuses);
      movedValues(random, refuses);
      flippedAndMistaken(random, refuses);
    }
    return violations;
  },
};

type Refuses = (what: string, read: () => unknown) => void;

function movedRecords(random: SeededRandom, refuses: Refuses): void {
  const boxcar = randomBoxcar(random);
  const { records } = boxcar;
  const at = random.below(records.length);
  const record = records[at] as RedoRecord;
  const shift = 1 + random.below(5);
  const changed = (change: Partial<RedoRecord>): Boxcar => ({
    ...boxcar,
    records: records.map((each, index) => (index === at ? { ...each, ...change } : each)),
  });
  const read = (moved: Boxcar) => () => decodeBoxcar(encodeBoxcar(moved, nodeCrc32), nodeCrc32);
  refuses('a record moved to another page', read(changed({ page: (record.page + shift) as PageNumber })));
  refuses(
    'a chain moved to other LSNs',
    read({ ...boxcar, records: records.map((each) => movedBy(each, shift)) }),
  );
  refuses('a record of another body', read(changed({ body: flipped(random, record.body) })));
  refuses('a CPL that is none', read(changed({ isCpl: !record.isCpl, commitTimeMicros: 0 })));
  refuses('records of another PG', read({ ...boxcar, pg: (boxcar.pg + shift) as PgIndex }));
  const { number, writerId } = boxcar.birthEpoch;
  refuses('records of another term', read({ ...boxcar, birthEpoch: { number: number + shift, writerId } }));
  refuses('records of another writer', read({ ...boxcar, birthEpoch: { number, writerId: `${writerId}x` } }));
}

function movedBy(record: RedoRecord, shift: number): RedoRecord {
  return { ...record, lsn: toLsn(record.lsn + shift), prevLsn: toLsn(record.prevLsn + shift) };
}

function movedValues(random: SeededRandom, refuses: Refuses): void {
  const values = new ValueCodec(nodeCrc32);
  const keys = new SegmentKeys(VOLUME, random.below(4) as PgIndex);
  const page = (1 + random.below(100)) as PageNumber;
  const lsn = toLsn(1 + random.below(10_000));
  const elsewhere = random.chance(0.5)
    ? ([page, toLsn(lsn + 1 + random.below(9))] as const)
    : ([(page + 1 + random.below(9)) as PageNumber, lsn] as const);
  const image = {
    isRecord: random.chance(0.5),
    isKept: random.chance(0.5),
    prevLsn: toLsn(lsn - 1),
    sinceKeptBytes: random.below(999),
    data: bytesOf(random, PAGE_BYTES),
  };
  const stored = values.encodeImage(keys.image(page, lsn), image);
  refuses('a page image under another key', () => values.decodeImage(keys.image(...elsewhere), stored));
  const bundle = { prevLsn: toLsn(0), records: [{ lsn, body: bytesOf(random, 1 + random.below(40)) }] };
  const packed = values.encodeBundle(keys.bundle(page, lsn), bundle);
  refuses('a bundle under another key', () => values.decodeBundle(keys.bundle(...elsewhere), packed));
  const round = values.encodeRound(keys.round(lsn), toLsn(lsn - 1));
  refuses('a round under another key', () => values.decodeRound(keys.round(toLsn(lsn + 1)), round));
}

function flippedAndMistaken(random: SeededRandom, refuses: Refuses): void {
  const format = { what: 'test value', tag: 1 + random.below(200), version: 1 };
  const sealed = sealEnvelope(format, [random.below(1000), 'text', bytesOf(random, 30)], nodeCrc32);
  refuses('a flipped value', () => openEnvelope(format, flipped(random, sealed), nodeCrc32));
  const other = { ...format, tag: format.tag + 1 };
  refuses('a value of another kind', () => openEnvelope(other, sealed, nodeCrc32));
}

function randomBoxcar(random: SeededRandom): Boxcar {
  const pg = random.below(5) as PgIndex;
  const birthEpoch = { number: 1 + random.below(50), writerId: random.id(16) };
  const context = recordContext(VOLUME, pg, birthEpoch, nodeCrc32);
  let prevLsn: Lsn = toLsn(random.below(1_000_000));
  const records = Array.from({ length: 1 + random.below(6) }, () => {
    const lsn = toLsn(prevLsn + 1 + random.below(3));
    const isCpl = random.chance(0.4);
    const record = sealRecord(
      {
        lsn,
        prevLsn,
        page: (1 + random.below(500)) as PageNumber,
        kind: 'image',
        body: bytesOf(random, PAGE_BYTES),
        isCpl,
        commitTimeMicros: isCpl ? 1 + random.below(2 ** 30) : 0,
      },
      context,
      nodeCrc32,
    );
    prevLsn = lsn;
    return record;
  });
  return { volume: VOLUME, pg, birthEpoch, records };
}

function bytesOf(random: SeededRandom, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1 + random.below(64)) bytes[at] = random.below(256);
  return bytes;
}

function flipped(random: SeededRandom, bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(bytes);
  const at = random.below(copy.length);
  copy[at] = (copy[at] as number) ^ (1 << random.below(8));
  return copy;
}
