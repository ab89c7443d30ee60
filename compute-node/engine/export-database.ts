/**
 * A volume's database as the bytes of a SQLite file, in order, at one read point. Straight from storage, past the SQL worker; several
 * requests are under way at once.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { type Lsn, toPageNumber } from '../../src/log/lsn.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type { TransferProgress } from './api.ts';
import { databasePages } from './sqlite-header.ts';

const PAGES_PER_READ = 64;
const READS_UNDER_WAY = 4;

/** An empty database is an empty file, as SQLite has it. The lock byte's page, never written, comes out as zeros. */
export async function* exportPages(
  volume: OpenVolume,
  at: Lsn,
  onProgress: (progress: TransferProgress) => void,
): AsyncGenerator<Uint8Array> {
  const [first] = await volume.readPages(at, [toPageNumber(1)]);
  if (first === undefined || first.data.length === 0) return;
  const pages = databasePages(first.data);
  const totalBytes = pages * PAGE_SIZE_BYTES;
  const reads: Promise<readonly PageVersion[]>[] = [];
  let asked = 0;
  let given = 0;
  const ask = (): void => {
    const count = Math.min(PAGES_PER_READ, pages - asked);
    const wanted = Array.from({ length: count }, (_, i) => toPageNumber(asked + i + 1));
    asked += count;
    const read = volume.readPages(at, wanted);
    // Reported when its turn comes; meanwhile nobody listens.
    read.catch(() => {});
    reads.push(read);
  };
  while (given < pages) {
    while (asked < pages && reads.length < READS_UNDER_WAY) ask();
    const versions = await (reads.shift() as Promise<readonly PageVersion[]>);
    const chunk = new Uint8Array(versions.length * PAGE_SIZE_BYTES);
    versions.forEach(({ data }, i) => {
      chunk.set(data, i * PAGE_SIZE_BYTES);
    });
    given += versions.length;
    onProgress({ doneBytes: given * PAGE_SIZE_BYTES, totalBytes });
    yield chunk;
  }
}
