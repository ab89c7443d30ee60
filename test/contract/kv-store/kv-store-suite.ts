/** What every KvStore (src/env/env.ts) must do, as tests; see kv-store.test.ts for the adapters. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { KvOp, KvStore } from '../../../src/env/env.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('hex');

export function kvStoreSuite(name: string, open: () => Promise<KvStore>): void {
  describe(`key-value store: ${name}`, () => {
    let store: KvStore | null = null;
    const opened = async (): Promise<KvStore> => {
      store = await open();
      return store;
    };
    afterEach(async () => {
      await store?.close();
      store = null;
    });

    it('gives back what a batch wrote, and nothing for what it deleted', async () => {
      const kv = await opened();
      await kv.batch([{ type: 'put', key: bytes(1), value: bytes(9, 0, 255) }], { sync: false });
      await kv.batch(
        [
          { type: 'put', key: bytes(2), value: bytes() },
          { type: 'del', key: bytes(1) },
          { type: 'del', key: bytes(77) },
        ],
        { sync: true },
      );
      expect(await kv.get(bytes(1))).toBeUndefined();
      expect(text(await kv.get(bytes(2)))).toBe('');
      expect((await kv.getMany([bytes(2), bytes(1), bytes(3)])).map(text)).toEqual([
        '',
        undefined,
        undefined,
      ]);
    });

    it('applies a batch in order: the last operation on a key counts', async () => {
      const kv = await opened();
      const put = (value: number): KvOp => ({ type: 'put', key: bytes(5), value: bytes(value) });
      await kv.batch([put(1), { type: 'del', key: bytes(5) }, put(2)], { sync: false });
      expect(text(await kv.get(bytes(5)))).toBe('02');
      await kv.batch([put(3), { type: 'del', key: bytes(5) }], { sync: false });
      expect(await kv.get(bytes(5))).toBeUndefined();
    });

    it('keeps what it was given when the caller changes the bytes afterwards', async () => {
      const kv = await opened();
      const key = bytes(1);
      const value = bytes(1);
      await kv.batch([{ type: 'put', key, value }], { sync: false });
      key[0] = 2;
      value[0] = 2;
      expect(text(await kv.get(bytes(1)))).toBe('01');
    });

    it('takes an empty list of keys and an empty batch', async () => {
      const kv = await opened();
      await kv.batch([], { sync: true });
      expect(await kv.getMany([])).toEqual([]);
    });

    it('orders keys as unsigned bytes, gte inclusive, lt exclusive, either way, at most limit', async () => {
      const kv = await opened();
      const keys = [
        bytes(),
        bytes(0),
        bytes(0, 0),
        bytes(0x7f),
        bytes(0x80),
        bytes(0x80, 0),
        bytes(0xff),
        bytes(0xff, 0xff),
      ];
      const usable = keys.slice(1);
      await kv.batch(
        usable.map((key) => ({ type: 'put', key, value: key })),
        { sync: false },
      );
      const range = async (gte: Uint8Array, lt: Uint8Array, more = {}): Promise<(string | undefined)[]> =>
        (await kv.range({ gte, lt, ...more })).map(({ key, value }) => {
          expect(text(value)).toBe(text(key));
          return text(key);
        });
      expect(await range(bytes(0), bytes(0xff, 0xff))).toEqual(['00', '0000', '7f', '80', '8000', 'ff']);
      expect(await range(bytes(0, 0), bytes(0x80))).toEqual(['0000', '7f']);
      expect(await range(bytes(0), bytes(0xff), { reverse: true, limit: 2 })).toEqual(['8000', '80']);
      expect(await range(bytes(0), bytes(0xff), { limit: 1 })).toEqual(['00']);
      expect(await range(bytes(1), bytes(2))).toEqual([]);
      expect(await range(bytes(2), bytes(1))).toEqual([]);
    });

    it('behaves as a sorted map under random work', async () => {
      const kv = await opened();
      const twin = new Map<string, Uint8Array>();
      const key = fc.uint8Array({ minLength: 1, maxLength: 3, max: 3 });
      const op = fc.oneof(
        fc.record({ type: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 40 }) }),
        fc.record({ type: fc.constant('del' as const), key }),
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(op, { maxLength: 20 }),
          key,
          key,
          fc.boolean(),
          async (ops, gte, lt, reverse) => {
            await kv.batch(ops, { sync: false });
            for (const { key: k, ...rest } of ops) {
              if (rest.type === 'put') twin.set(text(k)!, rest.value);
              else twin.delete(text(k)!);
            }
            const expected = [...twin]
              .filter(([k]) => k >= text(gte)! && k < text(lt)!)
              .sort(([a], [b]) => (a < b ? -1 : 1));
            if (reverse) expected.reverse();
            const got = await kv.range({ gte, lt, reverse });
            expect(got.map((entry) => [text(entry.key), text(entry.value)])).toEqual(
              expected.map(([k, v]) => [k, text(v)]),
            );
          },
        ),
        { numRuns: 60 },
      );
    });

    it('holds ranges larger than one fetch', async () => {
      const kv = await opened();
      const ops: KvOp[] = [];
      for (let i = 0; i < 600; i++)
        ops.push({ type: 'put', key: bytes(i >> 8, i & 255), value: new Uint8Array(4096).fill(i) });
      await kv.batch(ops, { sync: false });
      const all = await kv.range({ gte: bytes(0), lt: bytes(0xff) });
      expect(all.length).toBe(600);
      expect(all[599]!.value[4095]).toBe(599 & 255);
    });
  });
}
