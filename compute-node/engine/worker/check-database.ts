/**
 * Looks at a database file before it is imported: SQLite's quick check, and bringing other page sizes and reserved bytes to ours by VACUUM INTO.
 * Runs in a worker of its own, with a WebAssembly instance of its own: nothing of the volume is touched.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { TidemarkError } from '../../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import type { CheckResult, CheckSetup } from '../worker-messages.ts';
import { MemoryFile } from './memory-file.ts';
import { SqliteLibrary } from './sqlite-library.ts';
import { installVfs, type PlainFile, VFS_NAME } from './vfs.ts';

const OPEN_READONLY = 0x1;
const OPEN_URI = 0x40;
const ROW = 100;
/** Of the file header: 1 means rollback journal, 2 write-ahead log. */
const WRITE_VERSION_AT = 18;
const READ_VERSION_AT = 19;
const ROLLBACK_JOURNAL = 1;
/** VACUUM INTO takes the page size from the PRAGMA and the reserved bytes from the target's name. */
const CONVERT = `PRAGMA page_size=${PAGE_SIZE_BYTES}; VACUUM INTO 'file:converted?reserve=0'`;

export async function checkDatabase(setup: CheckSetup): Promise<CheckResult> {
  const lib = await SqliteLibrary.load();
  const bugs: unknown[] = [];
  const result = check(lib, setup, bugs);
  if (bugs.length > 0) throw bugs[0];
  return result;
}

function check(lib: SqliteLibrary, { filePath, convert }: CheckSetup, bugs: unknown[]): CheckResult {
  const vfs = installVfs(lib, (error) => bugs.push(error));
  const file = new DiskFile(filePath);
  vfs.expectPlain(file);
  const vfsName = lib.ownedString(VFS_NAME);
  const rc = lib.withString('check', (name) =>
    lib.c.sqlite3_open_v2(name, lib.out, OPEN_READONLY | OPEN_URI, vfsName),
  );
  const db = lib.pointer(lib.out);
  try {
    const reason = rc === 0 ? quickCheck(lib, db) : lastError(lib, db);
    if (reason !== null || !convert) return reason === null ? { kind: 'sound' } : { kind: 'unsound', reason };
    const target = new MemoryFile();
    vfs.expectPlain(target);
    const isConverted = lib.withString(CONVERT, (at) => lib.c.sqlite3_exec(db, at, 0, 0, 0)) === 0;
    if (!isConverted) return { kind: 'unsound', reason: lastError(lib, db) };
    return { kind: 'converted', bytes: new Uint8Array(target.content()) };
  } finally {
    lib.c.sqlite3_close_v2(db);
    file.close();
  }
}

/** null: sound. */
function quickCheck(lib: SqliteLibrary, db: number): string | null {
  const { c } = lib;
  const rc = lib.withString('PRAGMA quick_check(1)', (at, length) =>
    c.sqlite3_prepare_v3(db, at, length, 0, lib.out, 0),
  );
  if (rc !== 0) return lastError(lib, db);
  const statement = lib.pointer(lib.out);
  try {
    if (c.sqlite3_step(statement) !== ROW) return lastError(lib, db);
    const answer = lib.string(c.sqlite3_column_text(statement, 0));
    return answer === 'ok' ? null : answer;
  } finally {
    c.sqlite3_finalize(statement);
  }
}

function lastError(lib: SqliteLibrary, db: number): string {
  return lib.string(lib.c.sqlite3_errmsg(db)) ?? 'SQLite cannot read it';
}

/** A database file on disk, never written to. */
class DiskFile implements PlainFile {
  readonly sizeBytes: number;
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
    this.sizeBytes = fstatSync(this.#fd).size;
  }

  read(into: Uint8Array, offset: number): boolean {
    const wanted = into.length;
    let done = 0;
    while (done < wanted) {
      const count = readSync(this.#fd, into, done, wanted - done, offset + done);
      if (count === 0) break;
      done += count;
    }
    // Seen as a rollback-journal database: its write-ahead log was found empty.
    for (const at of [WRITE_VERSION_AT, READ_VERSION_AT]) {
      if (at >= offset && at < offset + done) into[at - offset] = ROLLBACK_JOURNAL;
    }
    if (done === wanted) return true;
    into.fill(0, done);
    return false;
  }

  write(): void {
    throw new TidemarkError('INTERNAL', 'a check writes nothing');
  }

  truncate(): void {
    throw new TidemarkError('INTERNAL', 'a check writes nothing');
  }

  close(): void {
    closeSync(this.#fd);
  }
}
