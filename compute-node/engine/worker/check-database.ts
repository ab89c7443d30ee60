/**
 * Looks at a database file before it is imported: SQLite's quick check, and bringing other page sizes and reserved bytes to ours by VACUUM.
 * Runs in a worker of its own, with a WebAssembly instance of its own: nothing of the volume is touched.
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { TidemarkError } from '../../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import type { CheckResult, CheckSetup } from '../worker-messages.ts';
import { MemoryFile } from './memory-file.ts';
import { SqliteLibrary } from './sqlite-library.ts';
import { installVfs, type PlainFile, VFS_NAME } from './vfs.ts';

const OPEN_READWRITE = 0x2;
const FCNTL_RESERVE_BYTES = 38;
const ROW = 100;
/** Of the file header: 1 means rollback journal, 2 write-ahead log. */
const WRITE_VERSION_AT = 18;
const READ_VERSION_AT = 19;
const ROLLBACK_JOURNAL = 1;

export async function checkDatabase({ filePath, convert }: CheckSetup): Promise<CheckResult> {
  const lib = await SqliteLibrary.load();
  let bug: unknown = null;
  const vfs = installVfs(lib, (error) => {
    bug = error;
  });
  const file = convert ? new MemoryFile(inRollbackMode(readFileSync(filePath))) : new DiskFile(filePath);
  vfs.expectPlain(file);
  const vfsName = lib.ownedString(VFS_NAME);
  const rc = lib.withString('check', (name) => lib.c.sqlite3_open_v2(name, lib.out, OPEN_READWRITE, vfsName));
  const db = lib.pointer(lib.out);
  try {
    if (rc !== 0) return unsound(lib, db);
    const reason = quickCheck(lib, db);
    if (bug !== null) throw bug;
    if (reason !== null) return { kind: 'unsound', reason };
    if (!(file instanceof MemoryFile)) return { kind: 'sound' };
    lib.view.setInt32(lib.out, 0, true);
    lib.withString('main', (name) => lib.c.sqlite3_file_control(db, name, FCNTL_RESERVE_BYTES, lib.out));
    const sql = `PRAGMA page_size=${PAGE_SIZE_BYTES}; VACUUM`;
    if (lib.withString(sql, (at) => lib.c.sqlite3_exec(db, at, 0, 0, 0)) !== 0) return unsound(lib, db);
    if (bug !== null) throw bug;
    return { kind: 'converted', bytes: new Uint8Array(file.content()) };
  } finally {
    lib.c.sqlite3_close_v2(db);
    if (file instanceof DiskFile) file.close();
  }
}

/** null: sound. */
function quickCheck(lib: SqliteLibrary, db: number): string | null {
  const { c } = lib;
  lib.withString('PRAGMA journal_mode=MEMORY', (at) => c.sqlite3_exec(db, at, 0, 0, 0));
  const rc = lib.withString('PRAGMA quick_check(1)', (at, length) =>
    c.sqlite3_prepare_v3(db, at, length, 0, lib.out, 0),
  );
  if (rc !== 0) return lib.string(c.sqlite3_errmsg(db));
  const statement = lib.pointer(lib.out);
  try {
    if (c.sqlite3_step(statement) !== ROW) return lib.string(c.sqlite3_errmsg(db));
    const answer = lib.string(c.sqlite3_column_text(statement, 0));
    return answer === 'ok' ? null : answer;
  } finally {
    c.sqlite3_finalize(statement);
  }
}

function unsound(lib: SqliteLibrary, db: number): CheckResult {
  return { kind: 'unsound', reason: lib.string(lib.c.sqlite3_errmsg(db)) ?? 'SQLite cannot open it' };
}

/** The write-ahead log was found empty, so the file is complete as it is. */
function inRollbackMode(bytes: Uint8Array): Uint8Array {
  bytes[WRITE_VERSION_AT] = ROLLBACK_JOURNAL;
  bytes[READ_VERSION_AT] = ROLLBACK_JOURNAL;
  return bytes;
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
