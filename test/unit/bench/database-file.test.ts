/** SQLite's own check of the files that are written without it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sqlite3InitModule from '@sqlite.org/sqlite-wasm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeDatabaseFile } from '../../../bench/workloads/database-file.ts';

const sqlite3 = await sqlite3InitModule();
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidemark-database-file-'));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe('a database file written page by page', () => {
  // One leaf alone; an interior page, full and one too many for one; rowids of one to four bytes.
  it.each([1, 2, 408, 409, 1_000, 60_000])('is sound with %i pages of rows', async (leaves) => {
    const path = join(directory, `${leaves}.sqlite`);
    const { rows, sizeBytes } = await writeDatabaseFile(path, 't', leaves);
    const bytes = await readFile(path);
    expect(bytes.length).toBe(sizeBytes);
    const db = deserialized(bytes);
    try {
      expect(db.selectValue('PRAGMA integrity_check')).toBe('ok');
      expect(db.selectArray('SELECT count(*), min(id), max(id), sum(length(v)) FROM t')).toEqual([
        rows,
        1,
        rows,
        rows * 100,
      ]);
      expect(db.selectValue('SELECT count(*) FROM t WHERE id = ?', [Math.ceil(rows / 2)])).toBe(1);
      // Writable as well.
      db.exec('UPDATE t SET v = ? WHERE id = 1', { bind: ['changed'] });
      expect(db.selectValue('SELECT v FROM t WHERE id = 1')).toBe('changed');
    } finally {
      db.close();
    }
  });
});

function deserialized(bytes: Uint8Array): InstanceType<typeof sqlite3.oo1.DB> {
  const db = new sqlite3.oo1.DB();
  const at = sqlite3.wasm.allocFromTypedArray(new Uint8Array(bytes));
  const { SQLITE_DESERIALIZE_FREEONCLOSE, SQLITE_DESERIALIZE_RESIZEABLE } = sqlite3.capi;
  const code = sqlite3.capi.sqlite3_deserialize(
    db.pointer!,
    'main',
    at,
    bytes.length,
    bytes.length,
    SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE,
  );
  expect(code).toBe(0);
  return db;
}
