/**
 * Keeps a second process out of the data directory from the first look at its files on: LevelDB's own lock is taken only when it opens a store, and a
 * damaged one must be mended before that.
 *
 * Node has no file locks; LevelDB has. So the lock is that of an empty LevelDB beside the store, made anew each time: nothing in it can be
 * damaged.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { KIB } from '../../src/base/limits.ts';
import { openError } from './level-store.ts';

const LOCK_FILE = 'LOCK';

export class StoreLock {
  readonly #db: Level;

  private constructor(db: Level) {
    this.#db = db;
  }

  /** Rejects IN_USE. */
  static async take(directory: string): Promise<StoreLock> {
    await mkdir(directory, { recursive: true });
    // Whoever holds the lock needs none of these any more.
    for (const name of await readdir(directory)) {
      if (name !== LOCK_FILE) await rm(join(directory, name), { recursive: true, force: true });
    }
    const db = new Level(directory, { writeBufferSize: 64 * KIB, cacheSize: 8 * KIB, maxOpenFiles: 8 });
    try {
      await db.open();
    } catch (error) {
      throw openError(directory, error);
    }
    return new StoreLock(db);
  }

  release(): Promise<void> {
    return this.#db.close();
  }
}
