/**
 * What this compute node has open: volumes, each with its log client and its SQL engine, and moments of volumes' pasts, read-only, each with an
 * engine of its own. A volume is opened on first use, which takes its epoch; all of them stay open until they are idle and their place is
 * needed, their term is over, or the process stops.
 *
 * Invariants
 * 1. At most one opening per volume or moment is under way; everyone who asks meanwhile waits for the same one.
 * 2. A volume whose term is over, or whose engine broke, is forgotten at once: the next use opens it anew, from what is durable.
 * 3. An engine is closed before its log client, so that nothing is handed over to a closed log.
 * 4. Volumes and moments together are bounded: each holds an engine worker and a page cache.
 */
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import type { Logger } from '../src/adapters/logger.ts';
import type { Engine } from './engine/api.ts';
import type { AdministeredVolume, OpenVolume } from './volume/open-volume.ts';

/** A volume's past at one read point. */
export interface OpenedPast {
  readonly name: string;
  readonly log: OpenVolume;
  readonly engine: Engine;
}

export interface OpenedVolume extends OpenedPast {
  readonly log: AdministeredVolume;
}

type OnEnded = (reason: Error) => void;

export interface VolumeRegistryOptions {
  /**
   * Takes the volume over and starts its engine. Rejects VOLUME_NOT_FOUND, VOLUME_HELD, NO_QUORUM, DATA_AT_RISK …
   * `onEnded` is to be called when its engine has broken or its term is over.
   */
  readonly open: (name: string, onEnded: OnEnded) => Promise<OpenedVolume>;
  /** Each open volume holds an engine worker and a page cache. */
  readonly maxOpenVolumes: number;
  readonly logger: Logger;
}

interface Entry<T extends OpenedPast> {
  readonly opening: Promise<T>;
  opened: T | null;
  lastUsed: number;
  /** Uses that no connection tells of. */
  holds: number;
  /** When the last look at idle ones found it so. */
  wasIdle: boolean;
}

type Entries<T extends OpenedPast> = Map<string, Entry<T>>;

export class VolumeRegistry {
  readonly #options: VolumeRegistryOptions;
  readonly #volumes: Entries<OpenedVolume> = new Map();
  readonly #pasts: Entries<OpenedPast> = new Map();
  /** What is being closed: opening it again waits until its old term has ended here. */
  readonly #closing = new Map<string, Promise<void>>();
  #uses = 0;
  #isClosed = false;

  constructor(options: VolumeRegistryOptions) {
    this.#options = options;
  }

  /** The volume, opened when it is not yet. */
  async get(name: string): Promise<OpenedVolume> {
    const entry = await this.#use(this.#volumes, name, 0, (onEnded) => this.#options.open(name, onEnded));
    return entry.opening;
  }

  /** The moment under that key, opened by `open` when it is not yet, and kept open at least until it is released. */
  async holdPast(
    key: string,
    open: (onEnded: OnEnded) => Promise<OpenedPast>,
  ): Promise<{ readonly past: OpenedPast; readonly release: () => void }> {
    const entry = await this.#use(this.#pasts, key, 1, open);
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      entry.holds -= 1;
    };
    try {
      return { past: await entry.opening, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** The volume, if it is open or being opened. */
  peek(name: string): Promise<OpenedVolume> | null {
    return this.#volumes.get(name)?.opening ?? null;
  }

  /**
   * Ends the volume here, whoever uses it, and puts in its place what `open` gives: who asks for it meanwhile waits for that. What is being opened
   * is opened first.
   */
  async replace(
    name: string,
    reason: TidemarkError,
    open: (onEnded: OnEnded) => Promise<OpenedVolume>,
  ): Promise<OpenedVolume> {
    let entry: Entry<OpenedVolume> | null = null;
    await this.end(name, reason, () => {
      entry = this.#enter(this.#volumes, name, open);
    });
    return (entry as Entry<OpenedVolume> | null)?.opening ?? this.get(name);
  }

  /** Ends the volume here, whoever uses it. `then`: before anybody else can open it. */
  async end(name: string, reason: TidemarkError, then: () => void = () => undefined): Promise<void> {
    for (let entry = this.#volumes.get(name); entry?.opened === null; entry = this.#volumes.get(name))
      await entry.opening.catch(() => undefined);
    if (this.#isClosed) throw new TidemarkError('UNAVAILABLE', 'this compute node is stopping');
    const entry = this.#volumes.get(name);
    if (entry !== undefined) this.#startClosing(this.#volumes, name, entry, reason);
    const closing = this.#closing.get(name);
    then();
    await closing;
  }

  /** Volumes fully open now. */
  opened(): readonly OpenedVolume[] {
    return fullyOpen(this.#volumes);
  }

  /** Moments fully open now. */
  openedPasts(): readonly OpenedPast[] {
    return fullyOpen(this.#pasts);
  }

  /** Closes the moments that were idle at the last call already: called at intervals. */
  closeIdlePasts(): void {
    for (const [key, entry] of [...this.#pasts]) {
      const isIdle = isUnused(entry);
      if (isIdle && entry.wasIdle) this.#startClosing(this.#pasts, key, entry);
      else entry.wasIdle = isIdle;
    }
  }

  /** Closes the moments whose key begins so; who uses them is told the reason. */
  async endPasts(prefix: string, reason: TidemarkError): Promise<void> {
    const entries = [...this.#pasts].filter(([key]) => key.startsWith(prefix));
    await Promise.all(
      entries.map(async ([key, entry]) => {
        await entry.opening.catch(() => undefined);
        this.#startClosing(this.#pasts, key, entry, reason);
        await this.#closing.get(key);
      }),
    );
  }

  /** Hardens what was handed over (bounded), gives leases back, stops every engine. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const entries = [...this.#pasts.values(), ...this.#volumes.values()];
    this.#pasts.clear();
    this.#volumes.clear();
    const results = await Promise.allSettled(entries.map(({ opening }) => opening));
    await Promise.allSettled([
      ...results.map((result) => (result.status === 'fulfilled' ? shut(result.value) : null)),
      ...this.#closing.values(),
    ]);
  }

  async #use<T extends OpenedPast>(
    entries: Entries<T>,
    key: string,
    holds: number,
    open: (onEnded: OnEnded) => Promise<T>,
  ): Promise<Entry<T>> {
    if (this.#isClosed) throw new TidemarkError('UNAVAILABLE', 'this compute node is stopping');
    if (!entries.has(key)) await this.#makeRoom();
    let entry = entries.get(key);
    if (entry === undefined) entry = this.#enter(entries, key, open);
    entry.lastUsed = ++this.#uses;
    entry.wasIdle = false;
    entry.holds += holds;
    return entry;
  }

  #enter<T extends OpenedPast>(
    entries: Entries<T>,
    key: string,
    open: (onEnded: OnEnded) => Promise<T>,
  ): Entry<T> {
    let ended: Error | null = null;
    const onEnded = (reason: Error): void => {
      ended = reason;
      if (entry.opened !== null) this.#onEnded(entries, key, entry, reason);
    };
    const opening = (async () => {
      await this.#closing.get(key);
      return open(onEnded);
    })();
    const entry: Entry<T> = { opening, opened: null, lastUsed: 0, holds: 0, wasIdle: false };
    entries.set(key, entry);
    opening.then(
      (opened) => {
        entry.opened = opened;
        if (ended !== null) this.#onEnded(entries, key, entry, ended);
      },
      () => forget(entries, key, entry),
    );
    return entry;
  }

  async #makeRoom(): Promise<void> {
    while (this.#volumes.size + this.#pasts.size >= this.#options.maxOpenVolumes) {
      const idleVolume = longestIdle(this.#volumes);
      const idlePast = longestIdle(this.#pasts);
      if (idlePast !== null && idlePast.entry.lastUsed < (idleVolume?.entry.lastUsed ?? Number.MAX_VALUE)) {
        this.#startClosing(this.#pasts, idlePast.key, idlePast.entry);
        await this.#closing.get(idlePast.key);
      } else if (idleVolume !== null) {
        this.#startClosing(this.#volumes, idleVolume.key, idleVolume.entry);
        await this.#closing.get(idleVolume.key);
      } else {
        throw new TidemarkError(
          'OVERLOADED',
          `${this.#volumes.size} volumes and ${this.#pasts.size} moments are open and in use on this compute node`,
          {
            nextStep: 'Close connections to volumes that are not needed, or raise --max-open-volumes.',
          },
        );
      }
    }
  }

  #onEnded<T extends OpenedPast>(entries: Entries<T>, key: string, entry: Entry<T>, reason: Error): void {
    if (entries.get(key) !== entry) return;
    const isDeposed = isTidemarkError(reason, 'DEPOSED') || isTidemarkError(reason, 'VOLUME_DROPPED');
    this.#options.logger.log(
      isDeposed ? 'warn' : 'error',
      isDeposed
        ? 'the term of a volume is over here; it is opened anew on its next use'
        : 'the SQL engine of a volume broke; the volume is opened anew on its next use',
      { volume: key, error: reason },
    );
    this.#startClosing(entries, key, entry);
  }

  /** Forgotten at once, whoever still uses it. */
  #startClosing<T extends OpenedPast>(
    entries: Entries<T>,
    key: string,
    entry: Entry<T>,
    reason?: TidemarkError,
  ): void {
    forget(entries, key, entry);
    const { opened } = entry;
    if (opened === null) return;
    const closing = shut(opened, reason)
      .catch((error: unknown) =>
        this.#options.logger.log('error', 'closing a volume failed', { volume: key, error }),
      )
      .finally(() => this.#closing.delete(key));
    this.#closing.set(key, closing);
  }
}

function fullyOpen<T extends OpenedPast>(entries: Entries<T>): readonly T[] {
  return [...entries.values()].flatMap(({ opened }) => (opened === null ? [] : [opened]));
}

function isUnused({ opened, holds }: Entry<OpenedPast>): boolean {
  return opened !== null && holds === 0 && opened.engine.status().connections === 0;
}

function longestIdle<T extends OpenedPast>(
  entries: Entries<T>,
): { readonly key: string; readonly entry: Entry<T> } | null {
  let idle: { readonly key: string; readonly entry: Entry<T> } | null = null;
  for (const [key, entry] of entries) {
    if (isUnused(entry) && entry.lastUsed < (idle?.entry.lastUsed ?? Number.MAX_VALUE)) idle = { key, entry };
  }
  return idle;
}

function forget<T extends OpenedPast>(entries: Entries<T>, key: string, entry: Entry<T>): void {
  if (entries.get(key) === entry) entries.delete(key);
}

async function shut(opened: OpenedPast, reason?: TidemarkError): Promise<void> {
  await opened.engine.close(reason);
  await opened.log.close();
}
