/**
 * Makes a store safe to open: surveys it, and mends what is damaged so that LevelDB never sees it.
 *
 * - Write-ahead log: cut at the first fault. The store is then what it was a moment earlier; the journal supplies what was acknowledged since.
 * - CURRENT: written again.
 * - Tables, MANIFEST: every intact entry is copied into a new store, which takes the old one's place. Which keys may have lost their newest
 *   value is written down first (store-doubts.ts), and stays until the core says that its peers have made good for it.
 *
 * Crashes: `store.new` becomes `store` by two renames, after it is whole and synced:
 *   store + store.new            not finished: store.new goes
 *   store.damaged + store.new    between the renames: the second one is made
 *   store.damaged + store        finished: store.damaged goes
 */
import { access, open, readdir, rename, rm, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MIB } from '../../../src/base/limits.ts';
import type { KvOp } from '../../../src/env/env.ts';
import type { KeyRange } from '../../core/effects.ts';
import { replaceFile, syncDirectory } from '../journal-disk.ts';
import { LevelStore } from '../level-store.ts';
import { StoreDoubts } from './store-doubts.ts';
import { newestEntries } from './store-merge.ts';
import { type Progress, type StoreSurvey, EVERYTHING, surveyStore } from './store-survey.ts';

const BATCH_BYTES = MIB;

export interface MendedStore {
  readonly findings: readonly string[];
  /** Of this start and earlier ones, until they are settled. */
  readonly doubts: readonly KeyRange[];
  readonly checkedBytes: number;
  readonly isSalvaged: boolean;
}

export interface MendOptions {
  /** There was a store once: an empty directory has lost it. */
  readonly isExpected: boolean;
  readonly onProgress?: Progress;
}

/** To be called while no LevelDB has `directory` open, here or elsewhere (store-lock.ts). */
export async function mendStore(directory: string, options: MendOptions): Promise<MendedStore> {
  await finishSwap(directory);
  const survey = await surveyStore(directory, options.onProgress);
  const doubts = StoreDoubts.beside(directory);
  const known = await doubts.read();
  const { findings, checkedBytes } = survey;
  if (survey.isEmpty) {
    if (!options.isExpected) return { findings, doubts: known, checkedBytes, isSalvaged: false };
    await doubts.write([EVERYTHING]);
    return { findings: ['the store is gone'], doubts: [EVERYTHING], checkedBytes, isSalvaged: false };
  }
  const isSalvageNeeded =
    survey.isManifestLost || survey.tables.some(({ verdict }) => verdict.kind !== 'intact');
  const all = [...known, ...survey.doubts];
  if (isSalvageNeeded) {
    if (survey.doubts.length > 0) await doubts.write(all);
    await salvage(directory, survey);
  } else {
    await cutLogs(survey);
    if (survey.currentToWrite !== null) {
      await replaceFile(join(directory, 'CURRENT'), Buffer.from(`${survey.currentToWrite}\n`));
    }
  }
  return { findings, doubts: all, checkedBytes, isSalvaged: isSalvageNeeded };
}

/** Newest first, so that a crash in between leaves the fault where it is found again. */
async function cutLogs({ logs }: StoreSurvey): Promise<void> {
  for (const { path, keepBytes } of logs.toReversed()) {
    if (keepBytes === null) continue;
    await truncate(path, keepBytes);
    await syncFile(path);
  }
}

async function salvage(directory: string, survey: StoreSurvey): Promise<void> {
  const fresh = `${directory}.new`;
  await rm(fresh, { recursive: true, force: true });
  const store = await LevelStore.open(fresh);
  try {
    let ops: KvOp[] = [];
    let sizeBytes = 0;
    for await (const { key, value } of newestEntries(survey)) {
      ops.push({ type: 'put', key, value });
      sizeBytes += key.length + value.length;
      if (sizeBytes < BATCH_BYTES) continue;
      await store.batch(ops, { sync: false });
      ops = [];
      sizeBytes = 0;
    }
    await store.batch(ops, { sync: false });
    await store.flush();
  } finally {
    await store.close();
  }
  for (const name of await readdir(fresh)) await syncFile(join(fresh, name));
  await syncDirectory(fresh);
  await rename(directory, `${directory}.damaged`);
  await finishSwap(directory);
}

async function finishSwap(directory: string): Promise<void> {
  const [damaged, fresh] = [`${directory}.damaged`, `${directory}.new`];
  const isSwapping = (await exists(damaged)) && !(await exists(directory));
  if (isSwapping) {
    await syncDirectory(dirname(directory));
    await rename(fresh, directory);
    await syncDirectory(dirname(directory));
  }
  await rm(fresh, { recursive: true, force: true });
  await rm(damaged, { recursive: true, force: true });
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
