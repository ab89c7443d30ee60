/**
 * The disk as the journal sees it: one preallocated ring file written in place, and two guard files that are replaced whole. A port, so
 * that tests can cut, tear and flip what is on it at any moment (test/support/memory-journal-disk.ts).
 *
 * Any rejection is final: after a failed write or sync nothing is known about what the disk holds (the kernel may have dropped the
 * dirty pages and reports the error once), so the journal never tries again and the process ends.
 */
import { constants, fdatasync, write, writeSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setImmediate as yieldTurn } from 'node:timers/promises';
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';

/** Entries start at multiples of it. A physical sector of today's disks and a page of the page cache: no two entries ever share one, so
 * that a torn write damages nothing but itself. */
export const SECTOR_BYTES = 4096;

export type GuardCopy = 'guard-a' | 'guard-b';
export const GUARD_COPIES: readonly GuardCopy[] = ['guard-a', 'guard-b'];

export interface JournalDisk {
  /** A multiple of SECTOR_BYTES. */
  readonly ringBytes: number;
  /** The ring was made just now: nothing was ever written to it. */
  readonly isNew: boolean;
  /** Rejects when the bytes cannot be read. */
  readRing(offset: number, lengthBytes: number): Promise<Uint8Array>;
  /** Durable on return. `bytes` is not touched by the caller until then. */
  writeRing(offset: number, bytes: Uint8Array): Promise<void>;
  /** null: there is none. */
  readGuard(copy: GuardCopy): Promise<Uint8Array | null>;
  /** Atomic and durable on return: at every moment the old content or the new. */
  replaceGuard(copy: GuardCopy, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

const RING_FILE = 'ring';

export class FileJournalDisk implements JournalDisk {
  readonly ringBytes: number;
  readonly isNew: boolean;
  readonly #directory: string;
  readonly #ring: FileHandle;
  /** Writes that have begun: closing waits for them, or one could end up in another file, or over what the next start writes. */
  readonly #underWay = new Set<Promise<void>>();
  #isClosed = false;

  private constructor(directory: string, ring: FileHandle, ringBytes: number, isNew: boolean) {
    this.#directory = directory;
    this.#ring = ring;
    this.ringBytes = ringBytes;
    this.isNew = isNew;
  }

  /** Opens the journal in `directory`, or makes it. The size of a ring that exists is kept, whatever `ringBytes` says. */
  static async open(directory: string, ringBytes: number): Promise<FileJournalDisk> {
    try {
      await mkdir(directory, { recursive: true });
      const path = join(directory, RING_FILE);
      const existing = await openIfPresent(path);
      if (existing !== null) {
        // A write that the last process died in may be in the page cache only: what is read from now on must be on the disk.
        await existing.datasync();
        const { size } = await existing.stat();
        return new FileJournalDisk(directory, existing, size - (size % SECTOR_BYTES), false);
      }
      const sizeBytes = ringBytes - (ringBytes % SECTOR_BYTES);
      await preallocate(path, sizeBytes);
      const made = await openIfPresent(path);
      if (made === null) throw new Error(`${path} vanished`);
      return new FileJournalDisk(directory, made, sizeBytes, true);
    } catch (cause) {
      throw diskError(`cannot open the journal in ${directory}`, cause);
    }
  }

  async readRing(offset: number, lengthBytes: number): Promise<Uint8Array> {
    const bytes = Buffer.alloc(lengthBytes);
    const { bytesRead } = await this.#ring.read(bytes, 0, lengthBytes, offset);
    if (bytesRead !== lengthBytes)
      throw diskError(`the journal's ring ends before ${offset + lengthBytes}`, null);
    return bytes;
  }

  writeRing(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#track(() => this.#write(offset, bytes));
  }

  #write(offset: number, bytes: Uint8Array): Promise<void> {
    const { fd } = this.#ring;
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown): void => reject(diskError('writing the journal failed', cause));
      write(fd, bytes, 0, bytes.length, offset, (error, written) => {
        if (error !== null) fail(error);
        else if (written !== bytes.length) fail(new Error(`${written} of ${bytes.length} bytes written`));
        else if (constants.O_DSYNC !== undefined) resolve();
        else fdatasync(fd, (syncError) => (syncError === null ? resolve() : fail(syncError)));
      });
    });
  }

  async readGuard(copy: GuardCopy): Promise<Uint8Array | null> {
    const file = await openIfPresent(join(this.#directory, copy));
    if (file === null) return null;
    try {
      return await file.readFile();
    } finally {
      await file.close();
    }
  }

  replaceGuard(copy: GuardCopy, bytes: Uint8Array): Promise<void> {
    return this.#track(async () => {
      try {
        await replaceFile(join(this.#directory, copy), bytes);
      } catch (cause) {
        throw diskError(`writing ${copy} failed`, cause);
      }
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await Promise.allSettled(this.#underWay);
    await this.#ring.close();
  }

  async #track(work: () => Promise<void>): Promise<void> {
    if (this.#isClosed) throw diskError('the journal is closed', null);
    const running = work();
    this.#underWay.add(running);
    try {
      await running;
    } finally {
      this.#underWay.delete(running);
    }
  }
}

/** Writes `path` so that at every moment, power cuts included, it holds the old content or the new. */
export async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w');
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * Real blocks, written and synced, so that later writes in place change no metadata of the file; under its name only once whole.
 *
 * Sector by sector: Linux keeps what one call wrote as one unit of its page cache, and each synced write later pays for the whole
 * unit it falls into (measured on ext4, 4 KiB at a time into 1 MiB units: 0.15 ms and 39 µs of the kernel's time, against 0.03 ms and 11 µs).
 */
async function preallocate(path: string, sizeBytes: number): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w');
  try {
    const zeros = Buffer.alloc(SECTOR_BYTES);
    for (let at = 0; at < sizeBytes; at += SECTOR_BYTES) {
      // Others have their turn now and then; a call of its own for each would take seconds.
      if (at % MIB === 0) await yieldTurn();
      writeSync(file.fd, zeros, 0, SECTOR_BYTES, at);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

async function openIfPresent(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, constants.O_RDWR | (constants.O_DSYNC ?? 0));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function diskError(message: string, cause: unknown): TidemarkError {
  const isFull = (cause as NodeJS.ErrnoException | null)?.code === 'ENOSPC';
  return new TidemarkError(isFull ? 'DISK_FULL' : 'IO_ERROR', message, {
    cause,
    nextStep: isFull
      ? 'Free space on the disk of this storage node and start it again.'
      : 'Check the disk (kernel log, SMART) before this storage node is started again.',
  });
}
