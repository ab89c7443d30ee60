import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { toPageNumber } from '../../../src/log/lsn.ts';
import { applyChange, applyChanges, checkBody, diffPage } from '../../../src/log/page-diff.ts';
import { pageWith } from './fixtures.ts';

const PAGE = toPageNumber(5);

/** A page after random writes, some of them whole stretches, some putting back what was there. */
const edits = fc.array(
  fc.record({
    offset: fc.nat(PAGE_SIZE_BYTES - 1),
    length: fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 1, max: 40 }) },
      fc.integer({ min: 1, max: 4096 }),
    ),
    seed: fc.nat(255),
    stride: fc.integer({ min: 1, max: 9 }),
  }),
  { maxLength: 30 },
);

function edited(
  base: Uint8Array,
  list: readonly { offset: number; length: number; seed: number; stride: number }[],
) {
  const next = base.slice();
  for (const { offset, length, seed, stride } of list) {
    for (let at = offset; at < Math.min(offset + length, PAGE_SIZE_BYTES); at += stride) {
      next[at] = (seed + at * 7) & 0xff;
    }
  }
  return next;
}

const basePage = fc.nat(255).map((seed) => {
  const page = new Uint8Array(PAGE_SIZE_BYTES);
  for (let at = 0; at < page.length; at += 1) page[at] = (at * seed) & 0xff;
  return page;
});

/** The dumb twin: which bytes a delta's body names, read with none of the product's code. */
function rangesOf(body: Uint8Array): { start: number; end: number }[] {
  const ranges: { start: number; end: number }[] = [];
  let at = 0;
  let offset = 0;
  const varint = (): number => {
    const low = body[at++] as number;
    return low < 128 ? low : low - 128 + 128 * (body[at++] as number);
  };
  while (at < body.length) {
    offset += varint();
    const length = varint();
    ranges.push({ start: offset, end: offset + length });
    at += length;
    offset += length;
  }
  return ranges;
}

describe('page diff', () => {
  it('applied to its base gives the next page, byte for byte', () => {
    fc.assert(
      fc.property(basePage, edits, (base, list) => {
        const next = edited(base, list);
        const change = diffPage(PAGE, base, next);
        if (change === null) expect(next).toEqual(base);
        else expect(applyChange(base, change)).toEqual(next);
      }),
    );
  });

  it('names every changed byte, ascending ranges apart, and no needless one', () => {
    fc.assert(
      fc.property(basePage, edits, (base, list) => {
        const next = edited(base, list);
        const change = diffPage(PAGE, base, next);
        if (change?.kind !== 'delta') return;
        const named = new Set<number>();
        let before = -3;
        for (const { start, end } of rangesOf(change.body)) {
          expect(start - before).toBeGreaterThan(2);
          expect(base[start]).not.toBe(next[start]);
          expect(base[end - 1]).not.toBe(next[end - 1]);
          for (let at = start; at < end; at += 1) named.add(at);
          before = end;
        }
        for (let at = 0; at < PAGE_SIZE_BYTES; at += 1)
          if (base[at] !== next[at]) expect(named.has(at)).toBe(true);
      }),
    );
  });

  it('is null exactly when nothing changed', () => {
    const page = pageWith([7, 1, 2, 3]);
    expect(diffPage(PAGE, page, page.slice())).toBeNull();
    for (const at of [0, 1, 2, 3, 4, 4092, 4093, 4094, 4095]) {
      const next = page.slice();
      next[at] = 0xff;
      expect(diffPage(PAGE, page, next)).toEqual({ page: PAGE, kind: 'delta', body: expect.anything() });
    }
  });

  it('takes few bytes for few changes', () => {
    const next = pageWith([24, 0, 0, 0, 9], [92, 0, 0, 0, 9], [2000, 1, 2, 3, 4]);
    // Three ranges: 1 + 1 + 1, 1 + 1 + 1 and 2 + 1 + 4 bytes.
    expect(diffPage(PAGE, pageWith(), next)?.body.length).toBe(13);
  });

  it('sends a gap of two equal bytes along, and starts anew after three', () => {
    expect(diffPage(PAGE, pageWith(), pageWith([0, 1, 0, 0, 1]))?.body).toEqual(
      Uint8Array.of(0, 4, 1, 0, 0, 1),
    );
    expect(diffPage(PAGE, pageWith(), pageWith([0, 1, 0, 0, 0, 1]))?.body).toEqual(
      Uint8Array.of(0, 1, 1, 3, 1, 1),
    );
  });

  it('is an image when there is no base, and when that is not longer', () => {
    const page = pageWith([0, 1]);
    expect(diffPage(PAGE, null, page)).toEqual({ page: PAGE, kind: 'image', body: page });
    expect(
      diffPage(
        PAGE,
        page,
        page.map((byte) => byte ^ 0xff),
      )?.kind,
    ).toBe('image');
    const everyFourth = page.map((byte, at) => (at % 4 === 0 ? byte ^ 0xff : byte));
    expect(diffPage(PAGE, page, everyFourth)?.kind).toBe('delta');
    const nearlyAll = page.map((byte, at) => (at < 4094 ? byte ^ 0xff : byte));
    expect(diffPage(PAGE, page, nearlyAll)?.kind).toBe('image');
  });

  it('reads pages at any alignment, and Buffers', () => {
    const wide = new Uint8Array(PAGE_SIZE_BYTES * 2 + 16);
    for (const shift of [1, 2, 3, 5]) {
      const base = wide.subarray(shift, shift + PAGE_SIZE_BYTES);
      const next = Buffer.from(pageWith([4090, 1, 2, 3, 4, 5, 6]));
      const change = diffPage(PAGE, base, next);
      expect(applyChange(base, change as NonNullable<typeof change>)).toEqual(new Uint8Array(next));
    }
  });

  it('keeps nothing of the memory it was given', () => {
    const base = pageWith();
    for (const next of [Buffer.from(pageWith([8, 1])), Buffer.alloc(PAGE_SIZE_BYTES, 7)]) {
      const change = diffPage(PAGE, base, next) as NonNullable<ReturnType<typeof diffPage>>;
      const expected = new Uint8Array(next);
      next.fill(0xee);
      const page = applyChange(base, change);
      expect(page).toEqual(expected);
      page.fill(0xdd);
      expect(base).toEqual(pageWith());
      expect(applyChange(base, change)).toEqual(expected);
    }
  });

  it('refuses pages of another size: a bug of the caller', () => {
    expect(() => diffPage(PAGE, null, new Uint8Array(512))).toThrow(/512 bytes/);
    expect(() => diffPage(PAGE, new Uint8Array(512), pageWith())).toThrow(/512 bytes/);
  });
});

describe('applying changes', () => {
  it.each<[string, number[]]>([
    ['empty', []],
    ['of an empty range', [0, 0]],
    ['with a range cut off', [0, 3, 1, 1]],
    ['with a header cut off', [0, 1, 9, 5]],
    ['with a length cut off', [0, 0x81]],
    ['with a range past the page', [0xff, 0x1f, 2, 1, 1]],
    ['with a skip past the page', [0xff, 0x7f, 1, 1]],
    ['with a varint in a longer form than needed', [0x80, 0x00, 1, 1]],
    ['with a length in a longer form than needed', [0, 0x82, 0x00, 7]],
    ['with a varint of three bytes', [0x80, 0x80, 1, 1, 1]],
  ])('refuses a delta body that is %s', (_what, bytes) => {
    const change = { kind: 'delta' as const, body: Uint8Array.from(bytes) };
    expect(() => applyChange(pageWith(), change)).toThrow(expect.objectContaining({ code: 'CORRUPT' }));
  });

  it('refuses an image of another size, a delta as long as a page, and a delta with no page to stand on', () => {
    const corrupt = expect.objectContaining({ code: 'CORRUPT' });
    expect(() => applyChange(null, { kind: 'image', body: new Uint8Array(4095) })).toThrow(corrupt);
    expect(() => checkBody('delta', new Uint8Array(PAGE_SIZE_BYTES))).toThrow(corrupt);
    expect(() => applyChange(null, { kind: 'delta', body: Uint8Array.of(0, 1, 1) })).toThrow(corrupt);
  });

  it('answers any delta body with a page or CORRUPT, and never writes outside the page', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (body) => {
        try {
          expect(applyChange(pageWith(), { kind: 'delta', body }).length).toBe(PAGE_SIZE_BYTES);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CORRUPT' });
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('applies many changes as it applies them one by one, and skips what an image covers', () => {
    fc.assert(
      fc.property(basePage, fc.array(fc.tuple(edits, fc.boolean()), { maxLength: 8 }), (base, rounds) => {
        let page: Uint8Array = base;
        const changes = [];
        for (const [list, asImage] of rounds) {
          const next = edited(page, list);
          const change = diffPage(PAGE, asImage ? null : page, next);
          if (change !== null) changes.push(change);
          page = next;
        }
        expect(applyChanges(base, changes)).toEqual(page);
        const startsWithImage = changes.findLastIndex((change) => change.kind === 'image');
        if (startsWithImage >= 0) expect(applyChanges(null, changes.slice(startsWithImage))).toEqual(page);
      }),
      { numRuns: 50 },
    );
  });
});
