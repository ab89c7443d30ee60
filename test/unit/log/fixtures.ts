/** Arbitrary boxcars and pages for the property tests of the log. */
import fc from 'fast-check';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { recordContext, sealRecord } from '../../../src/log/codec.ts';
import type { Epoch } from '../../../src/log/epoch.ts';
import { type Lsn, type VolumeId, toLsn, toPageNumber, toPgIndex } from '../../../src/log/lsn.ts';
import { diffPage } from '../../../src/log/page-diff.ts';
import type { Boxcar, RecordKind, RedoRecord } from '../../../src/log/record.ts';

export const VOLUME = '0123456789abcdef' as VolumeId;
export const EPOCH: Epoch = { number: 7, writerId: 'writer0000000001' };

/** A page of zeros with the given bytes at the given places. */
export function pageWith(...changes: readonly (readonly [offset: number, ...bytes: number[]])[]): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE_BYTES);
  for (const [offset, ...bytes] of changes) page.set(bytes, offset);
  return page;
}

/** A delta body of one range of `length` bytes. */
export function deltaBody(length: number, fill = 1): Uint8Array {
  const base = new Uint8Array(PAGE_SIZE_BYTES);
  const next = base.slice();
  next.fill(fill, 100, 100 + length);
  const change = diffPage(toPageNumber(1), base, next);
  if (change?.kind !== 'delta') throw new Error('not a delta');
  return change.body;
}

export interface Step {
  readonly step: number;
  readonly page: number;
  readonly kind: RecordKind;
  readonly bodyLength: number;
  readonly isCpl: boolean;
}

export function boxcarOf(
  head: { readonly volume: VolumeId; readonly pg: number; readonly birthEpoch: Epoch; readonly prevLsn: Lsn },
  steps: readonly Step[],
): Boxcar {
  const pg = toPgIndex(head.pg);
  const context = recordContext(head.volume, pg, head.birthEpoch, nodeCrc32);
  const records: RedoRecord[] = [];
  let prevLsn = head.prevLsn;
  for (const { step, page, kind, bodyLength, isCpl } of steps) {
    const lsn = toLsn(prevLsn + step);
    const body =
      kind === 'image' ? new Uint8Array(PAGE_SIZE_BYTES).fill(bodyLength & 0xff) : deltaBody(bodyLength);
    records.push(
      sealRecord(
        {
          page: toPageNumber(page),
          kind,
          body,
          lsn,
          prevLsn,
          isCpl,
          commitTimeMicros: isCpl ? 1_750_000_000_000_000 + lsn : 0,
        },
        context,
        nodeCrc32,
      ),
    );
    prevLsn = lsn;
  }
  return { volume: head.volume, pg, birthEpoch: head.birthEpoch, records };
}

export const steps = fc.array(
  fc.record<Step>({
    step: fc.oneof(
      fc.constant(1),
      fc.nat(20_000_000).map((n) => n + 1),
    ),
    page: fc.integer({ min: 1, max: 0xffff_fffe }),
    kind: fc.constantFrom<RecordKind>('delta', 'delta', 'delta', 'image'),
    bodyLength: fc.integer({ min: 1, max: 600 }),
    isCpl: fc.boolean(),
  }),
  { minLength: 1, maxLength: 20 },
);

export const boxcars = fc
  .record({
    volume: fc.stringMatching(/^[0-9a-v]{16}$/).map((id) => id as VolumeId),
    pg: fc.nat(70_000),
    birthEpoch: fc.record({
      number: fc.integer({ min: 1, max: 2 ** 40 }),
      writerId: fc.stringMatching(/^[0-9a-v]{16}$/),
    }),
    prevLsn: fc.nat(2 ** 45).map(toLsn),
    steps,
  })
  .map(({ steps: list, ...head }) => boxcarOf(head, list));
