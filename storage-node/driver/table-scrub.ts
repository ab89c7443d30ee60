/**
 * Checks the store's tables while the store is open: they never change once written, so that they can be read beside it. One after the other, at
 * a pace, from time to time; and soon when something was read that the store cannot have been given.
 *
 * A table that fails is looked at again a little later, and counts as damaged only if it is still there and still fails: it may have been in the
 * making, or on its way out. The node is then started anew in place, which mends the store (start.ts): LevelDB must not go on with it.
 *
 * What is in the page cache is read from there: damage on the disk beneath it is found once it has left.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { Timer, Timers } from '../../src/env/env.ts';
import type { TableChecks } from './driver.ts';

const INTERVAL_MS = 24 * 3_600_000;
/** Foreground first: about the disk's idle speed divided by ten. */
const BYTES_PER_SECOND = 32 * MIB;
const SECOND_LOOK_MS = 3_000;

/** The tables as an adapter shows them. */
export interface TableFiles {
  list(): Promise<readonly { readonly name: string; readonly sizeBytes: number }[]>;
  /** What is wrong with it; null: nothing, or it is gone. Rejects when it cannot be read. */
  faultOf(name: string): Promise<string | null>;
}

export interface TableScrubOptions {
  readonly files: TableFiles;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly onDamage: (error: Error) => void;
}

export class TableScrub implements TableChecks {
  checkedBytes = 0;
  totalBytes = 0;
  isRunning = false;
  findings: string[] = [];
  readonly #options: TableScrubOptions;
  #isStopped = false;
  #timer: Timer | null = null;
  #wake: (() => void) | null = null;

  constructor(options: TableScrubOptions) {
    this.#options = options;
    this.#schedule(INTERVAL_MS);
  }

  checkSoon(): void {
    if (this.isRunning || this.#isStopped) return;
    this.isRunning = true;
    this.#timer?.cancel();
    void this.#run();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#wake?.();
  }

  #schedule(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer = this.#options.timers.after(delayMs, () => this.checkSoon());
  }

  async #run(): Promise<void> {
    const { files, logger } = this.#options;
    try {
      const tables = await files.list();
      this.findings = [];
      this.checkedBytes = 0;
      this.totalBytes = tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      for (const { name, sizeBytes } of tables) {
        if (this.#isStopped) return;
        await this.#check(name);
        this.checkedBytes += sizeBytes;
        await this.#pause((1_000 * sizeBytes) / BYTES_PER_SECOND);
      }
    } catch (error) {
      logger.log('warn', 'the tables of the store could not be listed', { error: error as Error });
    } finally {
      this.isRunning = false;
      this.#schedule(INTERVAL_MS);
    }
  }

  async #check(name: string): Promise<void> {
    if ((await this.#faultOf(name)) === null) return;
    await this.#pause(SECOND_LOOK_MS);
    if (this.#isStopped) return;
    const fault = await this.#faultOf(name);
    if (fault === null || this.#isStopped) return;
    this.findings.push(`table ${name}: ${fault} damaged`);
    this.#isStopped = true;
    this.#options.onDamage(new TidemarkError('CORRUPT', `table ${name} of the store: ${fault} damaged`));
  }

  async #faultOf(name: string): Promise<string | null> {
    return this.#options.files.faultOf(name).catch((error: Error) => error.message);
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = this.#options.timers.after(delayMs, resolve);
    });
  }
}
