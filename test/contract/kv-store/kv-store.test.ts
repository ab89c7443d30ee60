import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LevelStore } from '../../../storage-node/adapters/level-store.ts';
import { MemoryKv } from '../../support/memory-kv.ts';
import { kvStoreSuite } from './kv-store-suite.ts';

const root = await mkdtemp(join(tmpdir(), 'tidemark-kv-'));
afterAll(() => rm(root, { recursive: true, force: true }));
let count = 0;
const directory = (): string => join(root, `store-${count++}`);

kvStoreSuite('memory', async () => new MemoryKv());
kvStoreSuite('LevelDB', () => LevelStore.open(directory()));

describe('LevelDB store', () => {
  it('says that its directory is in use, and by what to do', async () => {
    const path = directory();
    const store = await LevelStore.open(path);
    await expect(LevelStore.open(path)).rejects.toMatchObject({
      code: 'IN_USE',
      nextStep: expect.stringContaining('data directory'),
    });
    await store.close();
  });

  it('has everything in tables after a flush: its write-ahead log may be lost then', async () => {
    const path = directory();
    const store = await LevelStore.open(path);
    for (let i = 0; i < 100; i++)
      await store.batch([{ type: 'put', key: Uint8Array.of(i), value: Uint8Array.of(i) }], { sync: false });
    await store.flush();
    await store.batch([{ type: 'put', key: Uint8Array.of(200), value: Uint8Array.of(1) }], { sync: false });
    expect(await store.sizeBytes()).toBeGreaterThan(0);
    await store.close();
    for (const name of await readdir(path)) if (name.endsWith('.log')) await writeFile(join(path, name), '');
    const again = await LevelStore.open(path);
    expect((await again.range({ gte: Uint8Array.of(0), lt: Uint8Array.of(150) })).length).toBe(100);
    expect(await again.get(Uint8Array.of(200))).toBeUndefined();
    await again.close();
  });

  it('says that a store is damaged', async () => {
    const path = directory();
    const store = await LevelStore.open(path);
    await store.batch([{ type: 'put', key: Uint8Array.of(1), value: Uint8Array.of(1) }], { sync: true });
    await store.close();
    await writeFile(join(path, 'CURRENT'), 'nonsense');
    await expect(LevelStore.open(path)).rejects.toMatchObject({ code: 'CORRUPT' });
  });
});
