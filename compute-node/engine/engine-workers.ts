/**
 * Threads for SQL engines. To start one, load SQLite into it and compile it takes a tenth of a second and more, and an engine is opened while a client
 * waits for its first row: so one is kept ready, with SQLite loaded and run in, before it is known for which volume. Not more than one: each
 * holds SQLite's memory (about 30 MiB).
 */
import { Worker } from 'node:worker_threads';
import { avoidWasmInliningBug } from './v8-flags.ts';
import type { EngineStart } from './worker-messages.ts';

/** After an opening: the next spare is not to compete with the first statements. */
const PREPARE_DELAY_MS = 300;

export function startEngineWorker(workerUrl: URL, isSpare = false): Worker {
  avoidWasmInliningBug();
  return new Worker(workerUrl, { workerData: { kind: 'engine', isSpare } satisfies EngineStart });
}

export class EngineWorkers {
  readonly #workerUrl: URL;
  #spare: Worker | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  /** What breaks it will break an engine's own, too, which then says so. */
  readonly #onSpareEnded = (): void => {
    this.#spare = null;
  };

  constructor(workerUrl: URL) {
    this.#workerUrl = workerUrl;
  }

  /** One is ready, or becoming so. */
  get hasSpare(): boolean {
    return this.#spare !== null;
  }

  /** The spare one, else a new one. The next spare is made soon after. */
  take(): Worker {
    const worker = this.#spare ?? startEngineWorker(this.#workerUrl);
    this.#spare = null;
    worker.off('error', this.#onSpareEnded).off('exit', this.#onSpareEnded);
    worker.ref();
    this.#prepareLater();
    return worker;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#spare?.terminate();
    this.#spare = null;
  }

  #prepareLater(): void {
    if (this.#isClosed) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#prepare(), PREPARE_DELAY_MS);
    this.#timer.unref();
  }

  #prepare(): void {
    this.#timer = null;
    if (this.#spare !== null) return;
    const worker = startEngineWorker(this.#workerUrl, true);
    worker.unref();
    worker.on('error', this.#onSpareEnded).on('exit', this.#onSpareEnded);
    this.#spare = worker;
  }
}
