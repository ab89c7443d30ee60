/**
 * What a storage node's process knows of its machine: memory, disk used, disk left. Read now and then, in the background.
 *
 * What is left must never run out under LevelDB: a write that fails is fatal. So what was written since the last reading counts against it, times what
 * the store makes of a byte in the end, and there are two marks: below the first nothing new is taken in, below the second the store grows no more by
 * itself either. What lies below them is for what gives space back: deletions, and the compactions that make them count.
 */
import { statfs } from 'node:fs/promises';
import type { Timer, Timers } from '../../src/env/env.ts';
import { MIB } from '../../src/base/limits.ts';
import type { DiskRoom } from '../core/effects.ts';

/** Free space below which room is short: what was taken in by then, 64 MiB at most, is yet to be brought into page form ... */
const SHORT_BYTES = 256 * MIB;
/** ... and of it, what must be left for that to go on: LevelDB's largest compaction writes some 70 MiB before it deletes, and flushes meanwhile. */
const GONE_SHARE = 0.5;
/** On a small disk no more than this share of it: such a one is for trying things out. */
const SHORT_SHARE = 0.5;
/** The store's own log, a table, and a compaction or two. */
const WRITTEN_PER_BYTE = 4;
const INTERVAL_MS = 2_000;
/** What is left is read every time; what is used, which looks at every file, every so many times. */
const USED_EVERY = 5;

/** The disk as it is now. Rejects when it cannot be read. */
export type ReadDisk = () => Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;

export function readDiskOf(directory: string): ReadDisk {
  return async () => {
    const { bavail, bsize, blocks } = await statfs(directory);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  };
}

export class Gauges {
  readonly #readDisk: ReadDisk;
  readonly #usedBytes: () => Promise<number>;
  readonly #timers: Timers;
  #diskBytes = 0;
  #freeBytes = Number.POSITIVE_INFINITY;
  #shortBytes = 0;
  #writtenBytes = 0;
  #timer: Timer | null = null;
  #readings = 0;

  constructor(readDisk: ReadDisk, timers: Timers, usedBytes: () => Promise<number>) {
    this.#readDisk = readDisk;
    this.#timers = timers;
    this.#usedBytes = usedBytes;
  }

  async start(): Promise<void> {
    await this.refresh();
    this.#timer = this.#timers.every(INTERVAL_MS, () => void this.refresh());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  get diskBytes(): number {
    return this.#diskBytes;
  }

  get memoryBytes(): number {
    return process.memoryUsage.rss();
  }

  get diskRoom(): DiskRoom {
    const leftBytes = this.#freeBytes - this.#writtenBytes * WRITTEN_PER_BYTE;
    if (leftBytes >= this.#shortBytes) return 'enough';
    return leftBytes >= this.#shortBytes * GONE_SHARE ? 'short' : 'gone';
  }

  /** So much is on its way to the disk. */
  noteWritten(sizeBytes: number): void {
    this.#writtenBytes += sizeBytes;
  }

  /** A reading that fails keeps the last one: a disk that is really gone is noticed by writes. */
  async refresh(): Promise<void> {
    // What the reading may not have seen yet stays counted until the next one.
    const beforeBytes = this.#writtenBytes;
    try {
      const { freeBytes, totalBytes } = await this.#readDisk();
      this.#freeBytes = freeBytes;
      this.#shortBytes = Math.min(SHORT_BYTES, totalBytes * SHORT_SHARE);
      this.#writtenBytes -= beforeBytes;
      if (this.#readings++ % USED_EVERY === 0) this.#diskBytes = await this.#usedBytes();
    } catch {
      return;
    }
  }
}
