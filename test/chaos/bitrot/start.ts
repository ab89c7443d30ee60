/** The start of a node from its files, as far as its core: directory, check and mending of the store, LevelDB, journal. */
import { createHash } from 'node:crypto';
import { nodeCrc32 } from '../../../src/adapters/crc32.ts';
import { openDataDirectory } from '../../../storage-node/adapters/data-directory.ts';
import { FileJournalDisk } from '../../../storage-node/adapters/journal-disk.ts';
import { recoverJournal } from '../../../storage-node/adapters/journal-recovery.ts';
import { LevelStore } from '../../../storage-node/adapters/level-store.ts';
import { mendStore } from '../../../storage-node/adapters/leveldb-files/store-mending.ts';
import { EVERYTHING } from '../../../storage-node/adapters/leveldb-files/store-survey.ts';
import { readMarker } from '../../../storage-node/driver/journal-marker.ts';
import type { FoundDisk } from '../../support/storage-cluster.ts';
import { NODE } from './image.ts';

export interface Started {
  readonly found: FoundDisk;
  readonly findings: readonly string[];
  /** Two starts with one name found the same. */
  readonly name: string;
}

/** Rejects when the node would not start. */
export async function startFromFiles(directory: string): Promise<Started> {
  const { journalPath, storePath } = await openDataDirectory(directory, NODE);
  const disk = await FileJournalDisk.open(journalPath, 0);
  try {
    const mended = await mendStore(storePath, { isExpected: !disk.isNew });
    const store = await LevelStore.open(storePath);
    try {
      const state = await recoverJournal(disk, nodeCrc32, await readMarker(store));
      const entries = await store.range(EVERYTHING);
      const found = { entries, recovery: state.recovery, storeDoubts: mended.doubts };
      const findings = [...mended.findings, ...state.recovery.findings];
      return { found, findings, name: nameOf(found) };
    } finally {
      await store.close();
    }
  } finally {
    await disk.close();
  }
}

function nameOf({ entries, recovery, storeDoubts }: FoundDisk): string {
  const hash = createHash('sha1');
  const add = (bytes: Uint8Array | string | null): void => {
    hash.update(`${bytes?.length ?? -1} `);
    if (bytes !== null) hash.update(bytes);
  };
  for (const { key, value } of entries) {
    add(key);
    add(value);
  }
  for (const { gte, lt } of storeDoubts) {
    add(gte);
    add(lt);
  }
  for (const [key, value] of [...recovery.guard].sort(([a], [b]) => (a < b ? -1 : 1))) {
    add(key);
    add(value);
  }
  for (const ops of recovery.entries) {
    for (const { key, value } of ops) {
      add(key);
      add(value);
    }
  }
  add(String(recovery.damaged));
  return hash.digest('hex');
}
