/** What a storage node's process knows of its machine: memory, disk used, disk left. Read now and then, in the background. */
import { statfs } from 'node:fs/promises';
import type { Timer, Timers } from '../../src/env/env.ts';
import { MIB } from '../../src/base/limits.ts';

/** Free space below which appends are refused: room for what compaction writes before it deletes. */
const MIN_FREE_BYTES = 256 * MIB;
/** ... but on a small disk no more than this share of it. */
const MIN_FREE_SHARE = 0.05;
const INTERVAL_MS = 2_000;
/** What is left is read every time; what is used, which looks at every file, every so many times. */
const USED_EVERY = 5;

export class Gauges {
  readonly #directory: string;
  readonly #usedBytes: () => Promise<number>;
  readonly #timers: Timers;
  #diskBytes = 0;
  #isDiskNearlyFull = false;
  #timer: Timer | null = null;
  #readings = 0;

  constructor(directory: string, timers: Timers, usedBytes: () => Promise<number>) {
    this.#directory = directory;
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

  get isDiskNearlyFull(): boolean {
    return this.#isDiskNearlyFull;
  }

  /** A reading that fails keeps the last one: a disk that is really gone is noticed by writes. */
  async refresh(): Promise<void> {
    try {
      const { bavail, bsize, blocks } = await statfs(this.#directory);
      this.#isDiskNearlyFull = bavail * bsize < Math.min(MIN_FREE_BYTES, blocks * bsize * MIN_FREE_SHARE);
      if (this.#readings++ % USED_EVERY === 0) this.#diskBytes = await this.#usedBytes();
    } catch {
      return;
    }
  }
}
