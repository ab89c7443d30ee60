import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { sealEnvelope } from '../../../src/base/envelope.ts';
import { isTidemarkError } from '../../../src/base/errors.ts';
import { MAX_BOXCAR_BYTES, MAX_MESSAGE_BYTES } from '../../../src/base/limits.ts';
import {
  boxcarOverheadBytes,
  decodeBoxcar,
  encodeBoxcar,
  recordContext,
  recordSizeBytes,
  sealRecord,
  verifyRecord,
} from '../../../src/log/codec.ts';
import {
  type Lsn,
  NO_LSN,
  type PageNumber,
  type VolumeId,
  toLsn,
  toPageNumber,
  toPgIndex,
} from '../../../src/log/lsn.ts';
import { boxcarOf, boxcars, deltaBody, EPOCH, VOLUME } from './fixtures.ts';

const BOXCAR = { what: 'boxcar', tag: 0x01, version: 1 };

function codeOf(bytes: Uint8Array): string {
  try {
    decodeBoxcar(bytes, nodeCrc32);
    return 'ok';
  } catch (error) {
    return isTidemarkError(error) ? error.code : `threw ${String(error)}`;
  }
}

function record(overrides: Partial<Parameters<typeof sealRecord>[0]> = {}) {
  return {
    page: toPageNumber(9),
    kind: 'delta' as const,
    body: deltaBody(10),
    lsn: toLsn(101),
    prevLsn: toLsn(100),
    isCpl: true,
    commitTimeMicros: 1_750_000_000_000_000,
    ...overrides,
  };
}

/** The flat fields of one good boxcar, to be bent. */
function goodFields(): unknown[] {
  const context = recordContext(VOLUME, toPgIndex(0), EPOCH, nodeCrc32);
  const { checksum, body } = sealRecord(record(), context, nodeCrc32);
  return [VOLUME, 0, EPOCH.number, EPOCH.writerId, 100, 1, 9, 2, 1_750_000_000_000_000, body, checksum];
}

describe('boxcar codec', () => {
  it('gives back what it was given', () => {
    fc.assert(
      fc.property(boxcars, (boxcar) => {
        expect(decodeBoxcar(encodeBoxcar(boxcar, nodeCrc32), nodeCrc32)).toEqual(boxcar);
      }),
    );
  });

  it('takes at most 200 bytes for the three 12-byte deltas of a one-row indexed update', () => {
    const steps = [1, 2, 3].map((page) => ({
      step: 1,
      page: 200_000 + page,
      kind: 'delta' as const,
      bodyLength: 12,
      isCpl: page === 3,
    }));
    const bytes = encodeBoxcar(
      boxcarOf({ volume: VOLUME, pg: 3, birthEpoch: EPOCH, prevLsn: toLsn(2 ** 40) }, steps),
      nodeCrc32,
    );
    expect(bytes.length).toBeLessThanOrEqual(200);
  });

  it('never takes more than its stated bounds', () => {
    fc.assert(
      fc.property(boxcars, (boxcar) => {
        const bound = boxcar.records.reduce((sum, r) => sum + recordSizeBytes(r), boxcarOverheadBytes);
        expect(encodeBoxcar(boxcar, nodeCrc32).length).toBeLessThanOrEqual(bound);
      }),
    );
    expect(MAX_BOXCAR_BYTES + boxcarOverheadBytes).toBeLessThan(MAX_MESSAGE_BYTES);
  });

  it('reads format version 1 as it was first written (kept for ever)', () => {
    const golden = Buffer.from(
      '0100f42760dc0011b0303132333435363738396162636465660307b077726974657230303030303030303031ce00989687' +
        '01ce00030d410000c406640401010101ce0eea91d7030702cb4318de7683cfda2cc40464020101ce9f56a1e1',
      'hex',
    );
    const boxcar = boxcarOf({ volume: VOLUME, pg: 3, birthEpoch: EPOCH, prevLsn: toLsn(10_000_007) }, [
      { step: 1, page: 200_001, kind: 'delta', bodyLength: 4, isCpl: false },
      { step: 3, page: 7, kind: 'delta', bodyLength: 2, isCpl: true },
    ]);
    expect(decodeBoxcar(golden, nodeCrc32)).toEqual(boxcar);
    expect(Buffer.from(encodeBoxcar(boxcar, nodeCrc32)).equals(golden)).toBe(true);
  });

  it('notices every flipped bit', () => {
    const bytes = encodeBoxcar(
      boxcarOf({ volume: VOLUME, pg: 0, birthEpoch: EPOCH, prevLsn: NO_LSN }, [
        { step: 1, page: 1, kind: 'delta', bodyLength: 5, isCpl: true },
      ]),
      nodeCrc32,
    );
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const bent = bytes.slice();
      bent[bit >>> 3] = (bent[bit >>> 3] as number) ^ (1 << (bit & 7));
      expect(codeOf(bent), `bit ${bit}`).toBe(bit < 8 ? 'WRONG_FORMAT' : 'CORRUPT');
    }
  });

  it('answers any bytes, sealed or not, with a boxcar or CORRUPT', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (noise, hasVersion) => {
        const bytes = noise.slice();
        if (hasVersion && bytes.length > 0) bytes[0] = 1;
        expect(['CORRUPT', 'WRONG_FORMAT']).toContain(codeOf(bytes));
      }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(), fc.string(), fc.uint8Array(), fc.constant(null), fc.boolean()), {
          maxLength: 24,
        }),
        (fields) => {
          expect(codeOf(sealEnvelope(BOXCAR, fields, nodeCrc32))).toBe('CORRUPT');
        },
      ),
    );
  });

  it('bends one field of a good boxcar at a time, and is refused', () => {
    expect(codeOf(sealEnvelope(BOXCAR, goodFields(), nodeCrc32))).toBe('ok');
    const bad: readonly unknown[] = [null, true, '', 'x'.repeat(65), 0, 1.5, 2 ** 60, new Uint8Array(3), []];
    for (let index = 0; index < goodFields().length; index += 1) {
      for (const value of bad) {
        const fields = goodFields();
        if (fields[index] === value) continue;
        fields[index] = value;
        expect(codeOf(sealEnvelope(BOXCAR, fields, nodeCrc32)), `field ${index} as ${String(value)}`).toBe(
          'CORRUPT',
        );
      }
    }
    expect(codeOf(sealEnvelope(BOXCAR, goodFields().slice(0, 5), nodeCrc32))).toBe('CORRUPT');
    expect(codeOf(sealEnvelope(BOXCAR, goodFields().slice(0, -1), nodeCrc32))).toBe('CORRUPT');
    expect(codeOf(sealEnvelope(BOXCAR, 5, nodeCrc32))).toBe('CORRUPT');
  });

  it('refuses an unknown flag and an LSN past 2^53', () => {
    for (const [index, value] of [
      [7, 4],
      [4, Number.MAX_SAFE_INTEGER],
    ] as const) {
      const fields = goodFields();
      fields[index] = value;
      expect(codeOf(sealEnvelope(BOXCAR, fields, nodeCrc32))).toBe('CORRUPT');
    }
  });

  it('refuses, although every checksum is right', () => {
    const context = recordContext(VOLUME, toPgIndex(0), EPOCH, nodeCrc32);
    const bad: Readonly<Record<string, Parameters<typeof record>[0]>> = {
      'a commit time on a record that ends no MTR': { isCpl: false },
      'a delta body that no diff could have made': { body: new Uint8Array([0, 0]) },
      'a delta that is called an image': { kind: 'image' },
      'an LSN past 2^53': { prevLsn: Number.MAX_SAFE_INTEGER as Lsn, lsn: (2 ** 53 + 2) as Lsn },
      'a page that no volume has': { page: 0xffff_ffff as PageNumber },
    };
    for (const [what, overrides] of Object.entries(bad)) {
      const boxcar = {
        volume: VOLUME,
        pg: toPgIndex(0),
        birthEpoch: EPOCH,
        records: [sealRecord(record(overrides), context, nodeCrc32)],
      };
      expect(codeOf(encodeBoxcar(boxcar, nodeCrc32)), what).toBe('CORRUPT');
    }
  });

  it('refuses a record that was moved, whatever the envelope says', () => {
    // Each is intact in itself, and sealed anew around the moved record: only the record's own checksum can tell.
    const moved: Readonly<Record<string, [index: number, value: unknown]>> = {
      'another volume': [0, 'fedcba9876543210'],
      'another PG': [1, 1],
      'another epoch number': [2, EPOCH.number + 1],
      'another writer': [3, 'writer0000000002'],
      'another LSN': [4, 99],
      'another backlink (and so LSN)': [5, 2],
      'another page': [6, 10],
      'another commit time': [8, 1_750_000_000_000_001],
      'another body': [9, deltaBody(10, 2)],
      'another checksum': [10, 12345],
    };
    for (const [what, [index, value]] of Object.entries(moved)) {
      const fields = goodFields();
      fields[index] = value;
      expect(codeOf(sealEnvelope(BOXCAR, fields, nodeCrc32)), what).toBe('CORRUPT');
    }
  });

  it('refuses a message larger than any that is sent, though all in it is right', () => {
    const image = { step: 1, page: 1, kind: 'image' as const, bodyLength: 1, isCpl: false };
    const head = { volume: VOLUME, pg: 0, birthEpoch: EPOCH, prevLsn: NO_LSN };
    expect(codeOf(encodeBoxcar(boxcarOf(head, new Array(250).fill(image)), nodeCrc32))).toBe('ok');
    const tooLarge = encodeBoxcar(boxcarOf(head, new Array(256).fill(image)), nodeCrc32);
    expect(tooLarge.length).toBeGreaterThan(MAX_MESSAGE_BYTES);
    expect(codeOf(tooLarge)).toBe('CORRUPT');
  });

  it('will not write a boxcar with a hole in its chain', () => {
    const good = boxcarOf({ volume: VOLUME, pg: 0, birthEpoch: EPOCH, prevLsn: NO_LSN }, [
      { step: 1, page: 1, kind: 'delta', bodyLength: 5, isCpl: false },
      { step: 1, page: 2, kind: 'delta', bodyLength: 5, isCpl: false },
      { step: 1, page: 3, kind: 'delta', bodyLength: 5, isCpl: true },
    ]);
    const hole = { ...good, records: good.records.filter((_, index) => index !== 1) };
    expect(() => encodeBoxcar(hole, nodeCrc32)).toThrow(/breaks the chain/);
    expect(() => encodeBoxcar({ ...good, records: [] }, nodeCrc32)).toThrow(/at least one/);
  });
});

describe('record checksum', () => {
  const context = recordContext(VOLUME, toPgIndex(0), EPOCH, nodeCrc32);

  it('covers every field, for small and large bodies', () => {
    for (const body of [deltaBody(3), deltaBody(500), deltaBody(3000)]) {
      const sealed = sealRecord(record({ body }), context, nodeCrc32);
      expect(verifyRecord(sealed, context, nodeCrc32)).toBe(true);
      const otherBody = body.slice();
      otherBody[body.length - 1] = 99;
      const changes = [
        { page: toPageNumber(10) },
        { lsn: toLsn(102) },
        { prevLsn: toLsn(99) },
        { isCpl: false },
        { commitTimeMicros: 1 },
        { kind: 'image' as const },
        { body: otherBody },
      ];
      for (const change of changes) {
        expect(verifyRecord({ ...sealed, ...change }, context, nodeCrc32), Object.keys(change)[0]).toBe(
          false,
        );
      }
    }
  });

  it('is bound to volume, PG and birth epoch, with no way to mistake one for the other', () => {
    const contexts = [
      recordContext(VOLUME, toPgIndex(0), EPOCH, nodeCrc32),
      recordContext('0123456789abcdeg' as VolumeId, toPgIndex(0), EPOCH, nodeCrc32),
      recordContext(VOLUME, toPgIndex(1), EPOCH, nodeCrc32),
      recordContext(VOLUME, toPgIndex(0), { ...EPOCH, number: 8 }, nodeCrc32),
      recordContext(VOLUME, toPgIndex(0), { ...EPOCH, writerId: 'writer0000000002' }, nodeCrc32),
      recordContext('v1' as VolumeId, toPgIndex(1), EPOCH, nodeCrc32),
      recordContext('v' as VolumeId, toPgIndex(11), EPOCH, nodeCrc32),
    ];
    expect(new Set(contexts).size).toBe(contexts.length);
  });

  it('refuses to seal a record that links to itself or ahead', () => {
    expect(() => sealRecord(record({ prevLsn: toLsn(101) }), context, nodeCrc32)).toThrow(/links back/);
  });
});
