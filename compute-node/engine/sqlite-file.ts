/**
 * A SQLite database file as an import finds it on disk: is it one, is it whole, and can its pages be taken as they are? Says what to do
 * where it is not.
 */
import { open, stat } from 'node:fs/promises';
import { TidemarkError } from '../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { HEADER_BYTES, SQLITE_MAGIC, u16, u32 } from './sqlite-header.ts';

export interface SqliteFileShape {
  readonly pageSizeBytes: number;
  readonly reservedBytes: number;
  readonly pages: number;
  readonly sizeBytes: number;
  /** Pages can be taken one by one. */
  readonly isOurFormat: boolean;
}

const AT = {
  pageSize: 16,
  reserved: 20,
  changeCounter: 24,
  pages: 28,
  freelistPages: 36,
  encoding: 56,
  validFor: 92,
};
const JOURNAL_MAGIC = Uint8Array.of(0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7);

export async function inspectSqliteFile(path: string): Promise<SqliteFileShape> {
  const header = new Uint8Array(HEADER_BYTES);
  let sizeBytes: number;
  try {
    const file = await open(path, 'r');
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw notADatabase(path, 'it is not a regular file');
      sizeBytes = stats.size;
      await file.read(header, 0, HEADER_BYTES, 0);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw error instanceof TidemarkError
      ? error
      : new TidemarkError('IO_ERROR', `${path} cannot be read`, {
          cause: error,
          nextStep: 'Check the path and its permissions.',
        });
  }
  const shape = shapeOf(path, header, sizeBytes);
  await refuseCompanions(path);
  return shape;
}

function shapeOf(path: string, header: Uint8Array, sizeBytes: number): SqliteFileShape {
  if (sizeBytes < HEADER_BYTES) throw notADatabase(path, 'it is shorter than a database header');
  if (Buffer.from(header.buffer, 0, 16).toString('latin1') !== SQLITE_MAGIC) {
    throw notADatabase(path, 'it does not begin like one (an encrypted database does not either)');
  }
  const rawSize = u16(header, AT.pageSize);
  const pageSizeBytes = rawSize === 1 ? 65_536 : rawSize;
  if (pageSizeBytes < 512 || (pageSizeBytes & (pageSizeBytes - 1)) !== 0) {
    throw corrupt(path, `its header gives a page size of ${pageSizeBytes} bytes`);
  }
  if (sizeBytes % pageSizeBytes !== 0) {
    throw corrupt(
      path,
      `its ${sizeBytes} bytes are no whole number of ${pageSizeBytes}-byte pages; it may be cut off`,
    );
  }
  const onDisk = sizeBytes / pageSizeBytes;
  const inHeader = u32(header, AT.pages);
  // Old versions of SQLite did not keep the field up; the change counter tells.
  const isKept = inHeader > 0 && u32(header, AT.changeCounter) === u32(header, AT.validFor);
  if (isKept && inHeader > onDisk) {
    throw corrupt(path, `it has ${onDisk} of the ${inHeader} pages that its header gives: it is cut off`);
  }
  const pages = isKept ? inHeader : onDisk;
  if (u32(header, AT.freelistPages) >= pages)
    throw corrupt(path, 'its list of free pages is longer than the file');
  const encoding = u32(header, AT.encoding);
  if (encoding > 1) {
    throw new TidemarkError(
      'UNSUPPORTED',
      `${path} keeps its text as UTF-16, which this build of SQLite does not read`,
      {
        nextStep: 'Dump it with sqlite3 and load the dump into a new database, which will be UTF-8.',
      },
    );
  }
  const reservedBytes = header[AT.reserved] as number;
  return {
    pageSizeBytes,
    reservedBytes,
    pages,
    sizeBytes,
    isOurFormat: pageSizeBytes === PAGE_SIZE_BYTES && reservedBytes === 0,
  };
}

/** A write-ahead log or a journal beside the file holds part of the database, or what undoes it. */
async function refuseCompanions(path: string): Promise<void> {
  if ((await sizeOf(`${path}-wal`)) > 0) {
    throw new TidemarkError('BAD_REQUEST', `${path}-wal is not empty: part of the database is in it`, {
      nextStep: `Close the programs that use it, and run: sqlite3 '${path}' 'PRAGMA wal_checkpoint(TRUNCATE)'`,
    });
  }
  if ((await sizeOf(`${path}-journal`)) >= JOURNAL_MAGIC.length && (await isHotJournal(`${path}-journal`))) {
    throw new TidemarkError('BAD_REQUEST', `${path}-journal holds a transaction that was cut off`, {
      nextStep: `Close the programs that use it, and run: sqlite3 '${path}' 'SELECT count(*) FROM sqlite_schema', which rolls it back.`,
    });
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

/** A journal that was committed by zeroing its header (journal_mode=PERSIST) is cold. */
async function isHotJournal(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const magic = new Uint8Array(JOURNAL_MAGIC.length);
    await file.read(magic, 0, magic.length, 0);
    return magic.every((byte, i) => byte === JOURNAL_MAGIC[i]);
  } finally {
    await file.close();
  }
}

function notADatabase(path: string, why: string): TidemarkError {
  return new TidemarkError('NOT_A_DATABASE', `${path} is not a SQLite database: ${why}`, {
    nextStep: 'Give a SQLite database file; load SQL text with tidemark sql instead.',
  });
}

function corrupt(path: string, why: string): TidemarkError {
  return new TidemarkError('CORRUPT', `${path} is damaged: ${why}`, {
    nextStep: "Check it with sqlite3's integrity_check; .recover may save what is left.",
  });
}
