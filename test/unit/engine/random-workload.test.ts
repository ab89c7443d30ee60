/**
 * Random SQL through the engine and through plain SQLite: the same rows after every transaction, a sound database, and a log whose replay is
 * that database. Tiny caches, so that pages come from storage; VDL held back at random, so that states above it are kept.
 */
import { describe, it } from 'vitest';
import { compareWithPlainSqlite } from '../../support/random-sql.ts';

describe('random work', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it(`gives what plain SQLite gives (seed ${seed})`, () => compareWithPlainSqlite(seed));
  }
});
