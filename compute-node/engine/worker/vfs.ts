/**
 * The VFS: SQLite's file calls, passed on to volume files and to temporary files in memory. One per WebAssembly instance.
 *
 * Nothing may be thrown through SQLite's C frames: what is a TidemarkError becomes a result code, and is kept for the connection's error
 * message; anything else is a bug, reported through `onBug`, after which the engine is over.
 */
import { isTidemarkError, TidemarkError } from '../../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { MemoryFile } from './memory-file.ts';
import type { Pointer, SqliteLibrary } from './sqlite-library.ts';
import type { VolumeFile } from './volume-file.ts';

export const VFS_NAME = 'tidemark';

const OK = 0;
const BUSY = 5;
const INTERRUPT = 9;
const NOTFOUND = 12;
const FULL = 13;
const CANTOPEN = 14;
const IOERR_READ = 10 | (1 << 8);
const IOERR_SHORT_READ = 10 | (2 << 8);
const IOERR_WRITE = 10 | (3 << 8);
const BUSY_SNAPSHOT = 5 | (2 << 8);
const OPEN_MAIN_DB = 0x100;
const FCNTL_PRAGMA = 14;
const FCNTL_COMMIT_PHASETWO = 22;
/** Writing a byte never touches its neighbours: the journal need not cover whole sectors. */
const IOCAP_POWERSAFE_OVERWRITE = 0x1000;

/** What the connection that has the file open adds to it. */
export interface VfsClient {
  readonly file: VolumeFile;
  /** The reason behind the code that SQLite is about to report. */
  noteFailure(error: TidemarkError): void;
  /** null: SQLite decides. */
  pragma(name: string, argument: string | null): PragmaAnswer | null;
}

export type PragmaAnswer =
  | { readonly kind: 'value'; readonly value: string | null }
  | { readonly kind: 'refused'; readonly message: string };

/** A file that is no volume: temporary ones, and a database that is looked at before it is imported. */
export interface PlainFile {
  readonly sizeBytes: number;
  /** False when the file ends before; the rest is zeros. */
  read(into: Uint8Array, offset: number): boolean;
  write(bytes: Uint8Array, offset: number): void;
  truncate(sizeBytes: number): void;
}

export interface Vfs {
  /** The next main database that is opened is this one. */
  expect(client: VfsClient): void;
  expectPlain(file: PlainFile): void;
}

// The C structures, as compiled for 32-bit WebAssembly (sqlite3.h: sqlite3_vfs, sqlite3_io_methods).
const VFS_BYTES = 88;
const IO_METHODS_BYTES = 76;
const FILE_BYTES = 4;
const MAX_PATH_BYTES = 512;

/** Method → offset of its pointer and signature. */
type Layout<Names extends string> = Readonly<Record<Names, readonly [number, string]>>;

const IO_LAYOUT = {
  xClose: [4, 'i(p)'],
  xRead: [8, 'i(ppij)'],
  xWrite: [12, 'i(ppij)'],
  xTruncate: [16, 'i(pj)'],
  xSync: [20, 'i(pi)'],
  xFileSize: [24, 'i(pp)'],
  xLock: [28, 'i(pi)'],
  xUnlock: [32, 'i(pi)'],
  xCheckReservedLock: [36, 'i(pp)'],
  xFileControl: [40, 'i(pip)'],
  xSectorSize: [44, 'i(p)'],
  xDeviceCharacteristics: [48, 'i(p)'],
} as const satisfies Layout<string>;

const VFS_LAYOUT = {
  xOpen: [24, 'i(pppip)'],
  xDelete: [28, 'i(ppi)'],
  xAccess: [32, 'i(ppip)'],
  xFullPathname: [36, 'i(ppip)'],
  xGetLastError: [68, 'i(pip)'],
} as const satisfies Layout<string>;

/** xRandomness, xSleep, xCurrentTime, xCurrentTimeInt64: the system's. */
const SYSTEM_METHODS_AT = [56, 60, 64, 72] as const;

type Method = (...args: never[]) => number;

function structOf<Names extends string>(
  lib: SqliteLibrary,
  bytes: number,
  layout: Layout<Names>,
  methods: Readonly<Record<Names, Method>>,
): Pointer {
  const at = lib.allocate(bytes);
  lib.heap.fill(0, at, at + bytes);
  for (const name of Object.keys(layout) as Names[]) {
    const [offset, signature] = layout[name];
    lib.view.setUint32(at + offset, lib.callback(signature, methods[name]), true);
  }
  return at;
}

export function installVfs(lib: SqliteLibrary, onBug: (error: unknown) => void): Vfs {
  const volumes = new Map<Pointer, VfsClient>();
  const plain = new Map<Pointer, PlainFile>();
  let expected: VfsClient | null = null;
  let expectedPlain: PlainFile | null = null;

  const plainFile = (file: Pointer): PlainFile => plain.get(file) as PlainFile;

  /** Runs one file call; what goes wrong becomes `code`. */
  const guarded = (file: Pointer, code: number, run: () => number): number => {
    try {
      return run();
    } catch (error) {
      if (!isTidemarkError(error)) {
        onBug(error);
        return code;
      }
      volumes.get(file)?.noteFailure(error);
      if (error.code === 'INTERRUPTED') return INTERRUPT;
      return error.code === 'TOO_LARGE' ? FULL : code;
    }
  };

  const pragma = (client: VfsClient, argv: Pointer): number => {
    const name = lib.string(lib.pointer(argv + 4)) ?? '';
    const answer = client.pragma(name.toLowerCase(), lib.string(lib.pointer(argv + 8)));
    if (answer === null) return NOTFOUND;
    const text = answer.kind === 'value' ? answer.value : answer.message;
    if (text !== null) lib.view.setUint32(argv, lib.ownedString(text), true);
    return answer.kind === 'value' ? OK : 1;
  };

  const io = {
    xClose: (file: Pointer): number => {
      volumes.delete(file);
      plain.delete(file);
      return OK;
    },
    xRead: (file: Pointer, into: Pointer, length: number, offset: bigint): number =>
      guarded(file, IOERR_READ, () => {
        const client = volumes.get(file);
        // The heap may not grow meanwhile: nothing in here calls into SQLite.
        const target = lib.bytes(into, length);
        const complete = (client?.file ?? plainFile(file)).read(target, Number(offset));
        return complete ? OK : IOERR_SHORT_READ;
      }),
    xWrite: (file: Pointer, from: Pointer, length: number, offset: bigint): number =>
      guarded(file, IOERR_WRITE, () => {
        const bytes = lib.bytes(from, length);
        (volumes.get(file)?.file ?? plainFile(file)).write(bytes, Number(offset));
        return OK;
      }),
    xTruncate: (file: Pointer, size: bigint): number =>
      guarded(file, IOERR_WRITE, () => {
        (volumes.get(file)?.file ?? plainFile(file)).truncate(Number(size));
        return OK;
      }),
    // Durability is the commit's business, not the file's: the MTR's quorum.
    xSync: (): number => OK,
    xFileSize: (file: Pointer, out: Pointer): number =>
      guarded(file, IOERR_READ, () => {
        const client = volumes.get(file);
        const size =
          client === undefined ? plainFile(file).sizeBytes : client.file.sizePages() * PAGE_SIZE_BYTES;
        lib.view.setBigInt64(out, BigInt(size), true);
        return OK;
      }),
    xLock: (file: Pointer, level: number): number =>
      guarded(file, IOERR_READ, () => {
        const result = volumes.get(file)?.file.lockTo(level) ?? 'ok';
        if (result === 'ok') return OK;
        return result === 'busy' ? BUSY : BUSY_SNAPSHOT;
      }),
    xUnlock: (file: Pointer, level: number): number =>
      guarded(file, IOERR_READ, () => {
        volumes.get(file)?.file.unlockTo(level);
        return OK;
      }),
    xCheckReservedLock: (_file: Pointer, out: Pointer): number => {
      lib.view.setInt32(out, 0, true);
      return OK;
    },
    xFileControl: (file: Pointer, op: number, arg: Pointer): number =>
      guarded(file, IOERR_WRITE, () => {
        const client = volumes.get(file);
        if (client === undefined) return NOTFOUND;
        if (op === FCNTL_PRAGMA) return pragma(client, arg);
        if (op === FCNTL_COMMIT_PHASETWO) client.file.commit();
        return op === FCNTL_COMMIT_PHASETWO ? OK : NOTFOUND;
      }),
    xSectorSize: (): number => PAGE_SIZE_BYTES,
    xDeviceCharacteristics: (): number => IOCAP_POWERSAFE_OVERWRITE,
  };

  const vfsMethods = {
    xOpen: (_vfs: Pointer, _name: Pointer, file: Pointer, flags: number, outFlags: Pointer): number => {
      if ((flags & OPEN_MAIN_DB) !== 0) {
        if (expected !== null) volumes.set(file, expected);
        else if (expectedPlain !== null) plain.set(file, expectedPlain);
        else return CANTOPEN;
        expected = null;
        expectedPlain = null;
      } else {
        plain.set(file, new MemoryFile());
      }
      if (outFlags !== 0) lib.view.setInt32(outFlags, flags, true);
      lib.view.setUint32(file, ioTable, true);
      return OK;
    },
    xDelete: (): number => OK,
    xAccess: (_vfs: Pointer, _name: Pointer, _flags: number, out: Pointer): number => {
      // No journal and no write-ahead log ever lies beside a volume.
      lib.view.setInt32(out, 0, true);
      return OK;
    },
    xFullPathname: (_vfs: Pointer, name: Pointer, length: number, out: Pointer): number => {
      const { heap } = lib;
      const end = heap.indexOf(0, name);
      if (end - name + 1 > length) return CANTOPEN;
      heap.copyWithin(out, name, end + 1);
      return OK;
    },
    xGetLastError: (): number => OK,
  };
  const ioTable = structOf(lib, IO_METHODS_BYTES, IO_LAYOUT, io);
  lib.view.setInt32(ioTable, 1, true); // iVersion: no shared memory, no mapping
  const table = structOf(lib, VFS_BYTES, VFS_LAYOUT, vfsMethods);
  const system = lib.c.sqlite3_vfs_find(0);
  const { view } = lib;
  view.setInt32(table, 2, true); // iVersion
  view.setInt32(table + 4, FILE_BYTES, true); // szOsFile
  view.setInt32(table + 8, MAX_PATH_BYTES, true); // mxPathname
  view.setUint32(table + 16, lib.ownedString(VFS_NAME), true); // zName
  for (const at of SYSTEM_METHODS_AT) view.setUint32(table + at, lib.pointer(system + at), true);
  const rc = lib.c.sqlite3_vfs_register(table, 0);
  if (rc !== OK) throw new TidemarkError('INTERNAL', `SQLite did not take the VFS: ${lib.codeName(rc)}`);

  return {
    expect: (client) => {
      expected = client;
    },
    expectPlain: (file) => {
      expectedPlain = file;
    },
  };
}
