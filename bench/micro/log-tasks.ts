/** The work per redo record: page diff, sealing, boxcar codec, apply. Shapes are those of a one-row indexed update (three pages). */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { decodeBoxcar, encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import { type Lsn, type VolumeId, toLsn, toPageNumber, toPgIndex } from '../../src/log/lsn.ts';
import { applyChange, applyChanges, diffPage } from '../../src/log/page-diff.ts';
import type { Boxcar, PageChange, RedoRecord } from '../../src/log/record.ts';
import type { MicroTask } from './task.ts';

const VOLUME = '0123456789abcdef' as VolumeId;
const PG = toPgIndex(0);
const EPOCH = { number: 12, writerId: 'writer0000000001' };
const PAGE = toPageNumber(7);

function somePage(): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE_BYTES);
  for (let at = 0; at < page.length; at += 1) page[at] = (at * 31 + (at >>> 5)) & 0xff;
  return page;
}

/** `base` with `count` changes of `bytes` bytes each, spread over the page. */
function changedPage(base: Uint8Array, count: number, bytes: number): Uint8Array {
  const next = base.slice();
  for (let i = 0; i < count; i += 1) {
    const offset = Math.floor(((i + 0.5) * PAGE_SIZE_BYTES) / count);
    for (let at = offset; at < offset + bytes; at += 1) next[at] = (next[at] as number) ^ 0xff;
  }
  return next;
}

function boxcarOf(changes: readonly PageChange[], prevLsn: Lsn): Boxcar {
  const context = recordContext(VOLUME, PG, EPOCH, nodeCrc32);
  const records: RedoRecord[] = [];
  let previous = prevLsn;
  for (const [index, change] of changes.entries()) {
    const lsn = toLsn(previous + 1);
    const isCpl = index % 3 === 2;
    const commitTimeMicros = isCpl ? 1_790_000_000_000_000 : 0;
    records.push(
      sealRecord({ ...change, lsn, prevLsn: previous, isCpl, commitTimeMicros }, context, nodeCrc32),
    );
    previous = lsn;
  }
  return { volume: VOLUME, pg: PG, birthEpoch: EPOCH, records };
}

export function logTasks(): MicroTask[] {
  const base = somePage();
  const few = changedPage(base, 4, 6);
  const many = changedPage(base, 100, 12);
  const delta = diffPage(PAGE, base, few) as PageChange;
  const deltas = new Array<PageChange>(16).fill(delta);
  const image = diffPage(PAGE, null, base) as PageChange;

  const one = boxcarOf([delta, delta, delta], toLsn(1_000_000));
  const hundred = boxcarOf(new Array<PageChange>(300).fill(delta), toLsn(1_000_000));
  const images = boxcarOf(new Array<PageChange>(64).fill(image), toLsn(1_000_000));
  const oneBytes = encodeBoxcar(one, nodeCrc32);
  const hundredBytes = encodeBoxcar(hundred, nodeCrc32);
  const imageBytes = encodeBoxcar(images, nodeCrc32);
  const context = recordContext(VOLUME, PG, EPOCH, nodeCrc32);
  const record = one.records[0] as RedoRecord;

  return [
    {
      name: 'diff: unchanged page',
      perCall: 1,
      unit: 'pages',
      leastPerS: 200_000,
      run: () => diffPage(PAGE, base, base),
    },
    {
      name: 'diff: 4 changes',
      perCall: 1,
      unit: 'pages',
      leastPerS: 100_000,
      run: () => diffPage(PAGE, base, few),
    },
    {
      name: 'diff: 100 changes',
      perCall: 1,
      unit: 'pages',
      leastPerS: 20_000,
      run: () => diffPage(PAGE, base, many),
    },
    {
      name: 'apply: one delta',
      perCall: 1,
      unit: 'records',
      leastPerS: 200_000,
      run: () => applyChange(base, delta),
    },
    {
      name: 'apply: a chain of 16',
      perCall: 16,
      unit: 'records',
      leastPerS: 1_000_000,
      run: () => applyChanges(base, deltas),
    },
    {
      name: 'seal a record',
      perCall: 1,
      unit: 'records',
      leastPerS: 500_000,
      run: () => sealRecord(record, context, nodeCrc32),
    },
    {
      name: 'encode: 1 update',
      perCall: 3,
      unit: 'records',
      leastPerS: 150_000,
      run: () => encodeBoxcar(one, nodeCrc32),
    },
    {
      name: 'decode: 1 update',
      perCall: 3,
      unit: 'records',
      leastPerS: 150_000,
      run: () => decodeBoxcar(oneBytes, nodeCrc32),
    },
    {
      name: 'encode: 100 updates',
      perCall: 300,
      unit: 'records',
      leastPerS: 500_000,
      run: () => encodeBoxcar(hundred, nodeCrc32),
    },
    {
      name: 'decode: 100 updates',
      perCall: 300,
      unit: 'records',
      leastPerS: 300_000,
      run: () => decodeBoxcar(hundredBytes, nodeCrc32),
    },
    {
      name: 'encode: 64 images',
      perCall: 64,
      unit: 'records',
      leastPerS: 50_000,
      run: () => encodeBoxcar(images, nodeCrc32),
    },
    {
      name: 'decode: 64 images',
      perCall: 64,
      unit: 'records',
      leastPerS: 50_000,
      run: () => decodeBoxcar(imageBytes, nodeCrc32),
    },
  ];
}
