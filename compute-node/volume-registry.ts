/**
 * The volumes this compute node has open: each with its log client (`OpenVolume`) and its SQL engine. A volume is opened on first use,
 * which takes its epoch, and stays open until it is idle and its place is needed, its term is over, or the process stops.
 *
 * Invariants
 * 1. At most one opening per volume is under way; everyone who asks meanwhile waits for the same one.
 * 2. A volume whose term is over, or whose engine broke, is forgotten at once: the next use opens it anew, from what is durable.
 * 3. An engine is closed before its log client, so that nothing is handed over to a closed log.
 */
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import type { Logger } from '../src/adapters/logger.ts';
import type { Engine } from './engine/api.ts';
import type { AdministeredVolume } from './volume/open-volume.ts';

export interface OpenedVolume {
  readonly name: string;
  readonly log: AdministeredVolume;
  readonly engine: Engine;
}

export interface VolumeRegistryOptions {
  /**
   * Takes the volume over and starts its engine. Rejects VOLUME_NOT_FOUND, VOLUME_HELD, NO_QUORUM, DATA_AT_RISK …
   * `onEnded` is to be called when its engine has broken or its term is over.
   */
  readonly open: (name: string, onEnded: (reason: Error) => void) => Promise<OpenedVolume>;
  /** Each open volume holds an engine worker and a page cache. */
  readonly maxOpenVolumes: number;
  readonly logger: Logger;
}

interface Entry {
  readonly opening: Promise<OpenedVolume>;
  opened: OpenedVolume | null;
  lastUsed: number;
}

export class VolumeRegistry {
  readonly #options: VolumeRegistryOptions;
  readonly #entries = new Map<string, Entry>();
  /** Volumes being closed: opening one again waits until its old term has ended here. */
  readonly #closing = new Map<string, Promise<void>>();
  #uses = 0;
  #isClosed = false;

  constructor(options: VolumeRegistryOptions) {
    this.#options = options;
  }

  /** The volume, opened when it is not yet. */
  async get(name: string): Promise<OpenedVolume> {
    if (this.#isClosed) throw new TidemarkError('UNAVAILABLE', 'this compute node is stopping');
    const known = this.#entries.get(name);
    if (known !== undefined) {
      known.lastUsed = ++this.#uses;
      return known.opening;
    }
    await this.#makeRoom();
    const meanwhile = this.#entries.get(name);
    if (meanwhile !== undefined) return meanwhile.opening;
    const entry = this.#enter(name);
    return entry.opening;
  }

  /** The volume, if it is open or being opened. */
  peek(name: string): Promise<OpenedVolume> | null {
    return this.#entries.get(name)?.opening ?? null;
  }

  /** Those fully open now. */
  opened(): readonly OpenedVolume[] {
    return [...this.#entries.values()].flatMap(({ opened }) => (opened === null ? [] : [opened]));
  }

  /** Hardens what was handed over (bounded), gives leases back, stops every engine. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const openings = [...this.#entries.values()].map(({ opening }) => opening);
    this.#entries.clear();
    const results = await Promise.allSettled(openings);
    await Promise.allSettled([
      ...results.map((result) => (result.status === 'fulfilled' ? shut(result.value) : null)),
      ...this.#closing.values(),
    ]);
  }

  #enter(name: string): Entry {
    let ended: Error | null = null;
    const onEnded = (reason: Error): void => {
      ended = reason;
      if (entry.opened !== null) this.#onEnded(name, entry, reason);
    };
    const entry: Entry = { opening: this.#open(name, onEnded), opened: null, lastUsed: ++this.#uses };
    this.#entries.set(name, entry);
    entry.opening.then(
      (opened) => {
        entry.opened = opened;
        if (ended !== null) this.#onEnded(name, entry, ended);
      },
      () => this.#forget(name, entry),
    );
    return entry;
  }

  async #open(name: string, onEnded: (reason: Error) => void): Promise<OpenedVolume> {
    await this.#closing.get(name);
    return this.#options.open(name, onEnded);
  }

  async #makeRoom(): Promise<void> {
    while (this.#entries.size >= this.#options.maxOpenVolumes) {
      const idle = [...this.#entries]
        .filter(([, { opened }]) => opened !== null && opened.engine.status().connections === 0)
        .sort(([, a], [, b]) => a.lastUsed - b.lastUsed)[0];
      if (idle === undefined) {
        throw new TidemarkError(
          'OVERLOADED',
          `${this.#entries.size} volumes are open and in use on this compute node`,
          {
            nextStep: 'Close connections to volumes that are not needed, or raise --max-open-volumes.',
          },
        );
      }
      const [name, entry] = idle;
      this.#forget(name, entry);
      this.#startClosing(name, entry.opened!);
      await this.#closing.get(name);
    }
  }

  #onEnded(name: string, entry: Entry, reason: Error): void {
    if (this.#entries.get(name) !== entry) return;
    const isDeposed = isTidemarkError(reason, 'DEPOSED') || isTidemarkError(reason, 'VOLUME_DROPPED');
    this.#options.logger.log(
      isDeposed ? 'warn' : 'error',
      isDeposed
        ? 'the term of a volume is over here; it is opened anew on its next use'
        : 'the SQL engine of a volume broke; the volume is opened anew on its next use',
      { volume: name, error: reason },
    );
    this.#forget(name, entry);
    this.#startClosing(name, entry.opened!);
  }

  #forget(name: string, entry: Entry): void {
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }

  #startClosing(name: string, opened: OpenedVolume): void {
    const closing = shut(opened)
      .catch((error: unknown) =>
        this.#options.logger.log('error', 'closing a volume failed', { volume: name, error }),
      )
      .finally(() => this.#closing.delete(name));
    this.#closing.set(name, closing);
  }
}

async function shut(opened: OpenedVolume): Promise<void> {
  await opened.engine.close();
  await opened.log.close();
}
