/** The stock `sqlite3` tool, where the machine has one, as a second opinion on database files. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const hasStockSqlite = spawnSync('sqlite3', ['-version']).status === 0;

/** Output of `sql` on a database with these bytes. */
export function stockQuery(file: Uint8Array, sql: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-stock-'));
  try {
    const path = join(folder, 'copy.sqlite');
    writeFileSync(path, file);
    const { stdout, stderr, status } = spawnSync('sqlite3', [path, sql], {
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    });
    return status === 0 ? stdout.trim() : `sqlite3 failed: ${stderr}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
