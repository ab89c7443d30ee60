/**
 * Fills an empty volume from a database file. The pages go to the volume as images, in MTRs of bounded size, from the last page to the
 * first: page 1 comes in the very last MTR, and only it makes the others part of the database. So the database appears at once, at the
 * end, or not at all.
 *
 * The worker holds the writer lock meanwhile, so no other MTR comes in between. Its cache knows nothing of these pages; that is why all of
 * it is durable before the worker goes on.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import { MIB, PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { type Lsn, toPageNumber } from '../../src/log/lsn.ts';
import type { PageChange } from '../../src/log/record.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type { TransferProgress } from './api.ts';
import { inspectSqliteFile, type SqliteFileShape } from './sqlite-file.ts';
import { LOCK_BYTE_PAGE, putU32, u32 } from './sqlite-header.ts';
import type { CheckResult, CheckSetup } from './worker-messages.ts';

/** Of one MTR, 1 MiB: what the streams to the storage nodes take without others waiting long. */
const PAGES_PER_MTR = 256;
/** Handed over and not durable yet. */
const MAX_PAGES_UNDER_WAY = 4_096;
/** SQLite's quick check reads all of the file; larger ones are checked by their header only. */
const MAX_CHECKED_BYTES = 256 * MIB;
/** A converted database is held in memory until it is handed over. */
export const MAX_CONVERTED_BYTES = 256 * MIB;
const WRITABLE_TIMEOUT_MS = 30_000;

const AT = {
  writeVersion: 18,
  readVersion: 19,
  changeCounter: 24,
  pages: 28,
  schemaCookie: 40,
  validFor: 92,
};

/** What the present page 1 says: the new one must differ, because SQLite tells by these fields that its cache is stale. */
export interface PresentHeader {
  readonly changeCounter: number;
  readonly schemaCookie: number;
}

/** Pages of the database to be imported, in our format. */
export interface ImportSource {
  readonly pages: number;
  read(firstPage: number, count: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Checks the file, and converts it where it must be. Changes nothing. */
export async function openImport(filePath: string, workerUrl: URL): Promise<ImportSource> {
  const shape = await inspectSqliteFile(filePath);
  if (!shape.isOurFormat) return converted(filePath, shape, workerUrl);
  if (shape.sizeBytes <= MAX_CHECKED_BYTES) await check(filePath, false, workerUrl);
  const file = await open(filePath, 'r');
  return {
    pages: shape.pages,
    read: (firstPage, count) => readPages(file, firstPage, count),
    close: () => file.close(),
  };
}

/** Hands all pages to the volume. Returns the last CPL; nothing is visible before it. */
export async function handOverPages(
  volume: OpenVolume,
  source: ImportSource,
  present: PresentHeader,
  onProgress: (progress: TransferProgress) => void,
): Promise<Lsn> {
  const totalBytes = source.pages * PAGE_SIZE_BYTES;
  const underWay: { readonly cpl: Lsn; readonly pages: number }[] = [];
  let pagesUnderWay = 0;
  let cpl = volume.headLsn;
  let end = source.pages;
  while (end > 0) {
    const first = Math.max(1, end - PAGES_PER_MTR + 1);
    const bytes = await source.read(first, end - first + 1);
    if (first === 1) adoptHeader(bytes, source.pages, present);
    const changes = imagesOf(bytes, first);
    if (changes.length > 0) {
      cpl = await submit(volume, changes);
      underWay.push({ cpl, pages: changes.length });
      pagesUnderWay += changes.length;
    }
    while (pagesUnderWay > MAX_PAGES_UNDER_WAY) {
      const oldest = underWay.shift() as { readonly cpl: Lsn; readonly pages: number };
      await volume.whenDurable(oldest.cpl);
      pagesUnderWay -= oldest.pages;
    }
    end = first - 1;
    onProgress({ doneBytes: totalBytes - end * PAGE_SIZE_BYTES, totalBytes });
  }
  return cpl;
}

async function submit(volume: OpenVolume, changes: readonly PageChange[]): Promise<Lsn> {
  for (;;) {
    await volume.whenWritable(WRITABLE_TIMEOUT_MS);
    try {
      return volume.submit({ changes }).cpl;
    } catch (error) {
      if (!isTidemarkError(error, 'OVERLOADED')) throw error;
      // Others may have filled it up since; take the line again.
      await volume.whenDurable(volume.headLsn);
    }
  }
}

function imagesOf(bytes: Uint8Array, firstPage: number): PageChange[] {
  const changes: PageChange[] = [];
  for (let i = 0; i * PAGE_SIZE_BYTES < bytes.length; i += 1) {
    const page = firstPage + i;
    if (page === LOCK_BYTE_PAGE) continue;
    const body = bytes.subarray(i * PAGE_SIZE_BYTES, (i + 1) * PAGE_SIZE_BYTES);
    changes.push({ page: toPageNumber(page), kind: 'image', body });
  }
  return changes;
}

/** Rollback-journal format, its size, and counters that no connection has seen before. */
function adoptHeader(page1: Uint8Array, pages: number, present: PresentHeader): void {
  page1[AT.writeVersion] = 1;
  page1[AT.readVersion] = 1;
  const counter = (Math.max(u32(page1, AT.changeCounter), present.changeCounter) + 1) >>> 0;
  putU32(page1, AT.changeCounter, counter);
  putU32(page1, AT.validFor, counter);
  putU32(page1, AT.pages, pages);
  const cookie = u32(page1, AT.schemaCookie);
  if (cookie <= present.schemaCookie) putU32(page1, AT.schemaCookie, present.schemaCookie + 1);
}

async function readPages(file: FileHandle, firstPage: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count * PAGE_SIZE_BYTES);
  const offset = (firstPage - 1) * PAGE_SIZE_BYTES;
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, offset + done);
    if (bytesRead === 0) {
      throw new TidemarkError('IO_ERROR', 'the file became shorter while it was imported', {
        nextStep: 'Import a copy that no program writes to.',
      });
    }
    done += bytesRead;
  }
  return bytes;
}

async function converted(filePath: string, shape: SqliteFileShape, workerUrl: URL): Promise<ImportSource> {
  if (shape.sizeBytes > MAX_CONVERTED_BYTES) {
    throw new TidemarkError(
      'TOO_LARGE',
      `${filePath} has ${shape.pageSizeBytes}-byte pages and ${shape.reservedBytes} reserved bytes in each; files up to ${MAX_CONVERTED_BYTES / MIB} MiB are converted on the way, this one has ${Math.ceil(shape.sizeBytes / MIB)}`,
      {
        nextStep: `Convert a copy first: sqlite3 COPY 'PRAGMA journal_mode=DELETE; PRAGMA page_size=${PAGE_SIZE_BYTES}; VACUUM' (with .filectrl reserve_bytes 0).`,
      },
    );
  }
  const result = await check(filePath, true, workerUrl);
  if (result.kind !== 'converted') {
    throw new TidemarkError('INTERNAL', `the conversion of ${filePath} gave nothing`);
  }
  const { bytes } = result;
  return {
    pages: bytes.length / PAGE_SIZE_BYTES,
    read: async (firstPage, count) =>
      bytes.slice((firstPage - 1) * PAGE_SIZE_BYTES, (firstPage - 1 + count) * PAGE_SIZE_BYTES),
    close: async () => {},
  };
}

async function check(filePath: string, convert: boolean, workerUrl: URL): Promise<CheckResult> {
  const setup: CheckSetup = { kind: 'check', filePath, convert };
  const worker = new Worker(workerUrl, { workerData: setup });
  try {
    const result = await new Promise<CheckResult>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    if (result.kind !== 'unsound') return result;
    throw new TidemarkError('CORRUPT', `${filePath} fails SQLite's check: ${result.reason}`, {
      nextStep: "Check it with sqlite3's integrity_check; .recover may save what is left.",
    });
  } finally {
    await worker.terminate();
  }
}
