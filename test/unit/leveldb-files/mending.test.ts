/**
 * A real LevelDB directory, one flipped bit in it, mended: what the store shows then is what it showed before, or an earlier state of its
 * unsynced end, or differs only where the keys are said to be in doubt.
 */
import { cp, mkdtemp, readFile, readdir, rm, truncate, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mendStore } from '../../../storage-node/adapters/leveldb-files/store-mending.ts';
import { StoreDoubts } from '../../../storage-node/adapters/leveldb-files/store-doubts.ts';
import { surveyStore } from '../../../storage-node/adapters/leveldb-files/store-survey.ts';
import { LevelStore } from '../../../storage-node/adapters/level-store.ts';
import type { KvOp } from '../../../src/env/env.ts';
import { compareKeys } from '../../../storage-node/core/keys.ts';
import type { KeyRange } from '../../../storage-node/core/effects.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const random = new SeededRandom(7);
let root = '';
let original = '';
/** What the store showed after each batch that is in its write-ahead log only; the last is its newest state. */
const states: Map<string, string>[] = [];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tidemark-mend-'));
  original = join(root, 'original');
  const state = new Map<string, string>();
  const store = await LevelStore.open(original, { writeBufferBytes: 64 * 1024 });
  const write = async (count: number): Promise<void> => {
    const ops: KvOp[] = [];
    for (let i = 0; i < count; i += 1) {
      const key = `key${String(Math.floor(random.next() * 120)).padStart(4, '0')}`;
      if (random.next() < 0.15) {
        ops.push({ type: 'del', key: Buffer.from(key) });
        state.delete(key);
      } else {
        const value = `${random.id(8)} `.repeat(1 + Math.floor(random.next() * 40)) + random.id(60);
        ops.push({ type: 'put', key: Buffer.from(key), value: Buffer.from(value) });
        state.set(key, value);
      }
    }
    await store.batch(ops, { sync: false });
  };
  for (let table = 0; table < 3; table += 1) {
    for (let i = 0; i < 10; i += 1) await write(8);
    await store.flush();
  }
  // What flush writes last is in the log as well.
  states.push(new Map(state));
  for (let i = 0; i < 6; i += 1) {
    await write(5);
    states.push(new Map(state));
  }
  await cp(original, join(root, 'copy'), { recursive: true });
  await store.close();
  await rm(original, { recursive: true });
  original = join(root, 'copy');
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function shown(directory: string): Promise<Map<string, string>> {
  const store = await LevelStore.open(directory);
  try {
    const entries = await store.range({ gte: Buffer.from('key'), lt: Buffer.from('kez') });
    return new Map(
      entries.map(({ key, value }) => [Buffer.from(key).toString(), Buffer.from(value).toString()]),
    );
  } finally {
    await store.close();
  }
}

function isDoubted(doubts: readonly KeyRange[], key: string): boolean {
  const bytes = Buffer.from(key);
  return doubts.some(({ gte, lt }) => compareKeys(gte, bytes) <= 0 && compareKeys(bytes, lt) < 0);
}

function judge(found: Map<string, string>, doubts: readonly KeyRange[]): string | null {
  const faults = states.map((state) => {
    for (const key of new Set([...state.keys(), ...found.keys()])) {
      if (state.get(key) !== found.get(key) && !isDoubted(doubts, key)) return key;
    }
    return null;
  });
  return faults.includes(null) ? null : `${faults.at(-1)} differs and is not in doubt`;
}

async function damaged(damage: (directory: string) => Promise<void>): Promise<string> {
  const directory = join(root, 'store');
  for (const suffix of ['', '.doubts', '.new', '.damaged'])
    await rm(directory + suffix, { recursive: true, force: true });
  await cp(original, directory, { recursive: true });
  await damage(directory);
  return directory;
}

async function checkMended(damage: (directory: string) => Promise<void>): Promise<readonly string[]> {
  const directory = await damaged(damage);
  const mended = await mendStore(directory, { isExpected: true });
  const survey = await surveyStore(directory);
  expect(survey.findings).toEqual([]);
  expect(judge(await shown(directory), mended.doubts)).toBeNull();
  return mended.findings;
}

const isChecked = (name: string): boolean => /\.(ldb|log)$|^MANIFEST|^CURRENT$/.test(name);

describe('a store as it was written', () => {
  it('is found intact and left alone', async () => {
    const directory = await damaged(async () => undefined);
    const before = await readdir(directory);
    const mended = await mendStore(directory, { isExpected: true });
    expect(mended).toMatchObject({ findings: [], doubts: [], isSalvaged: false });
    expect(await readdir(directory)).toEqual(before);
    expect(judge(await shown(directory), [])).toBeNull();
    expect(await shown(directory)).toEqual(states.at(-1));
  });

  it('has several tables and a write-ahead log', async () => {
    const survey = await surveyStore(original);
    expect(survey.tables.length).toBeGreaterThan(1);
    expect(survey.logs.flatMap(({ batches }) => batches).length).toBeGreaterThanOrEqual(6);
  });
});

describe('one flipped bit', () => {
  it('in any file is found, or harmless', async () => {
    for (const name of (await readdir(original)).filter(isChecked)) {
      const { length } = await readFile(join(original, name));
      const step = Math.max(1, Math.floor(length / 40));
      for (let at = Math.floor(random.next() * step); at < length; at += step) {
        await checkMended((directory) => flip(join(directory, name), at, Math.floor(random.next() * 8)));
      }
    }
  }, 60_000);

  it('in a table is never without doubts where keys were lost', async () => {
    const table = (await readdir(original)).find((name) => name.endsWith('.ldb')) as string;
    const directory = await damaged((copy) => flip(join(copy, table), 10, 3));
    const mended = await mendStore(directory, { isExpected: true });
    expect(mended.isSalvaged).toBe(true);
    expect(mended.doubts).toHaveLength(1);
    const read = await StoreDoubts.beside(directory).read();
    expect(read.map(({ gte }) => Buffer.from(gte))).toEqual(mended.doubts.map(({ gte }) => Buffer.from(gte)));
    expect(read.map(({ lt }) => Buffer.from(lt))).toEqual(mended.doubts.map(({ lt }) => Buffer.from(lt)));
  });
});

describe('files that are gone', () => {
  it.each(['MANIFEST', 'CURRENT', '.log', '.ldb'])('%s', async (kind) => {
    const findings = await checkMended(async (directory) => {
      const name = (await readdir(directory)).find((file) => file.includes(kind)) as string;
      await unlink(join(directory, name));
    });
    expect(findings.length).toBeGreaterThan(0);
  });

  it('all of them: every key is in doubt, if there was a store', async () => {
    const directory = await damaged(async (copy) => rm(copy, { recursive: true }));
    expect((await mendStore(directory, { isExpected: false })).doubts).toEqual([]);
    expect((await mendStore(directory, { isExpected: true })).doubts).toHaveLength(1);
  });

  it.each(['.ldb', '.log', 'MANIFEST'])('the end of %s', async (kind) => {
    for (const cutBytes of [1, 3, 48, 100]) {
      await checkMended(async (directory) => {
        const name = (await readdir(directory)).find((file) => file.includes(kind)) as string;
        const { length } = await readFile(join(directory, name));
        await truncate(join(directory, name), Math.max(0, length - cutBytes));
      });
    }
  });
});

async function flip(path: string, at: number, bit: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] as number) ^ (1 << bit);
  await writeFile(path, bytes);
}
