/**
 * A storage node's LevelDB as far as it matters: batches are atomic; what was written since the last sync is lost by a power cut, always a
 * suffix, and kept by a kill; what is visible after opening is durable. It takes time, may stall, fail, and lose a batch in its middle
 * (a flipped bit in LevelDB's write-ahead log).
 */
import type { KvEntry, KvOp, KvRange } from '../../../src/env/env.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { KeyRange } from '../../../storage-node/core/effects.ts';
import type { FlushableStore } from '../../../storage-node/driver/assemble.ts';
import type { Chance } from '../world/random.ts';
import type { SimProcess } from '../world/process.ts';
import type { DiskState } from './disk-state.ts';

interface Entry extends KvEntry {
  /** The key, one character a byte: strings that order as the bytes do. */
  readonly text: string;
}

interface Undo {
  readonly text: string;
  /** What stood there before; null: nothing. */
  readonly before: Entry | null;
}

interface Batch {
  readonly undo: readonly Undo[];
  readonly ops: readonly KvOp[];
}

const MEMORY_TABLE_BATCHES = 256;
const STALE_ENTRIES = 128;

/** What lies on the disk, whichever process has it open. */
export class KvFiles {
  entries: Entry[] = [];
  /** Batches since the last sync, oldest first. */
  unsynced: Batch[] = [];
  /** What was deleted or written over lately: LevelDB's tables hold it still, and damage can bring it back. */
  stale: Entry[] = [];
  /** Where damage was found in the tables and mended, as told to the node at its starts until all is made good. */
  doubts: KeyRange[] = [];
  /** Blocks that cannot be read; found out when they are, and mended before the next start. */
  unreadable: KeyRange[] = [];

  /** An independent copy. Keys and values are never changed in place. */
  copy(): KvFiles {
    const copy = new KvFiles();
    copy.entries = [...this.entries];
    copy.unsynced = [...this.unsynced];
    copy.stale = [...this.stale];
    copy.doubts = [...this.doubts];
    return copy;
  }

  find(text: string): number {
    const { entries } = this;
    let low = 0;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((entries[middle] as Entry).text < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  get(text: string): Entry | null {
    const entry = this.entries[this.find(text)];
    return entry !== undefined && entry.text === text ? entry : null;
  }

  apply(ops: readonly KvOp[]): void {
    const undo: Undo[] = [];
    for (const op of ops) {
      const text = textOf(op.key);
      const at = this.find(text);
      const found = this.entries[at];
      const before = found !== undefined && found.text === text ? found : null;
      undo.push({ text, before });
      if (before !== null) this.stale.push(before);
      if (op.type === 'del') {
        if (before !== null) this.entries.splice(at, 1);
      } else {
        const entry = { text, key: op.key, value: op.value };
        if (before === null) this.entries.splice(at, 0, entry);
        else this.entries[at] = entry;
      }
    }
    this.unsynced.push({ undo, ops });
    if (this.stale.length > STALE_ENTRIES) this.stale.splice(0, STALE_ENTRIES / 2);
    // LevelDB writes its memory table out when it is full.
    if (this.unsynced.length > MEMORY_TABLE_BATCHES) this.unsynced.splice(0, MEMORY_TABLE_BATCHES / 2);
  }

  sync(): void {
    this.unsynced = [];
  }

  /** Power is cut: of what was not synced the oldest `kept` batches had reached the disk. */
  losePower(kept: number): void {
    for (const { undo } of this.unsynced.splice(kept).reverse()) this.#undo(undo);
    this.unsynced = [];
  }

  /** One batch that is not in a table yet is gone when the log is read again; those after it are there. */
  loseBatch(index: number): void {
    const after = this.unsynced.slice(index);
    for (const { undo } of [...after].reverse()) this.#undo(undo);
    this.unsynced = this.unsynced.slice(0, index);
    for (const { ops } of after.slice(1)) this.apply(ops);
    this.unsynced = [];
  }

  /**
   * A stretch of a table is damaged: of its keys some are gone, some show an older value, some that were deleted are back. The check of the tables
   * at the next start finds where.
   */
  damageTable(chance: Chance): boolean {
    const first = this.entries[chance.below(Math.max(1, this.entries.length))];
    if (first === undefined) return false;
    const from = this.find(first.text);
    const last = this.entries[Math.min(this.entries.length - 1, from + chance.integer(0, 30))] ?? first;
    this.sync();
    const range = { gte: first.key, lt: justAfter(last.key) };
    this.entries = this.entries.filter(
      ({ text }) => text < first.text || text > last.text || chance.chance(0.4),
    );
    for (const old of this.stale) {
      if (old.text < first.text || old.text > last.text || !chance.chance(0.4)) continue;
      if (this.get(old.text) === null) this.entries.splice(this.find(old.text), 0, old);
    }
    this.doubts.push(range);
    return true;
  }

  /** One bit of one value, under LevelDB's own eyes: the value's checksum is all that can tell. */
  flipValueBit(chance: Chance): boolean {
    const at = chance.below(Math.max(1, this.entries.length));
    const entry = this.entries[at];
    if (entry === undefined || entry.value.length === 0) return false;
    const value = entry.value.slice();
    const byte = chance.below(value.length);
    value[byte] = (value[byte] as number) ^ (1 << chance.below(8));
    this.entries[at] = { ...entry, value };
    return true;
  }

  /** From now on a block fails its checksum whenever it is read, and all of it is lost. */
  spoilBlock(chance: Chance): boolean {
    const first = this.entries[chance.below(Math.max(1, this.entries.length))];
    if (first === undefined) return false;
    const last =
      this.entries[Math.min(this.entries.length - 1, this.find(first.text) + chance.integer(0, 20))] ?? first;
    this.unreadable.push({ gte: first.key, lt: justAfter(last.key) });
    return true;
  }

  /** LevelDB's log is read and written to a table of its own, synced, before anything is served: what a kill left behind is durable from now on. */
  open(onDurable: (ops: readonly KvOp[]) => void): void {
    for (const { ops } of this.unsynced) onDurable(ops);
    this.sync();
  }

  /** What the start does before it opens the store: what cannot be read is left out and told. */
  mend(): void {
    for (const range of this.unreadable) {
      const [from, to] = [textOf(range.gte), textOf(range.lt)];
      this.entries = this.entries.filter(({ text }) => text < from || text >= to);
      this.doubts.push(range);
    }
    if (this.unreadable.length > 0) this.sync();
    this.unreadable = [];
  }

  #undo(undo: readonly Undo[]): void {
    for (const { text, before } of [...undo].reverse()) {
      const at = this.find(text);
      const isThere = this.entries[at]?.text === text;
      if (before === null) {
        if (isThere) this.entries.splice(at, 1);
      } else if (isThere) this.entries[at] = before;
      else this.entries.splice(at, 0, before);
    }
  }
}

function justAfter(key: Uint8Array): Uint8Array {
  const after = new Uint8Array(key.length + 1);
  after.set(key);
  return after;
}

export function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

export class SimKv implements FlushableStore {
  readonly #files: KvFiles;
  readonly #process: SimProcess;
  readonly #chance: Chance;
  readonly #state: DiskState;
  readonly #onDurable: (ops: readonly KvOp[]) => void;

  constructor(options: {
    readonly files: KvFiles;
    readonly process: SimProcess;
    readonly chance: Chance;
    readonly state: DiskState;
    /** Operations that are in synced tables now. */
    readonly onDurable: (ops: readonly KvOp[]) => void;
  }) {
    this.#files = options.files;
    this.#process = options.process;
    this.#chance = options.chance;
    this.#state = options.state;
    this.#onDurable = options.onDurable;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return (await this.getMany([key]))[0];
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#later('kv-get', 0.05, () =>
      keys.map((key) => {
        const text = textOf(key);
        this.#refuseIfUnreadable(text, text);
        return this.#files.get(text)?.value;
      }),
    );
  }

  range({ gte, lt, reverse = false, limit = Number.POSITIVE_INFINITY }: KvRange): Promise<KvEntry[]> {
    return this.#later('kv-range', 0.08, () => {
      const from = this.#files.find(textOf(gte));
      const to = Math.max(from, this.#files.find(textOf(lt)));
      const count = Math.min(to - from, limit);
      const found = reverse ? [to - count, to - 1] : [from, from + count - 1];
      const [low, high] = found.map((index) => this.#files.entries[index]?.text);
      if (low !== undefined && high !== undefined && count > 0) this.#refuseIfUnreadable(low, high);
      if (!reverse) return this.#files.entries.slice(from, from + count);
      return this.#files.entries.slice(to - count, to).reverse();
    });
  }

  batch(ops: readonly KvOp[], { sync }: { readonly sync: boolean }): Promise<void> {
    return this.#later('kv-batch', 0.05, () => {
      this.#refuseIfFailing('writing');
      this.#files.apply(ops);
      if (sync) this.#synced();
    });
  }

  flush(): Promise<void> {
    return this.#later('kv-flush', 2, () => {
      this.#refuseIfFailing('flushing');
      this.#synced();
    });
  }

  /** These files have no space to give back. */
  async reclaim(): Promise<void> {}

  async close(): Promise<void> {}

  #synced(): void {
    for (const { ops } of this.#files.unsynced) this.#onDurable(ops);
    this.#files.sync();
  }

  #refuseIfUnreadable(first: string, last: string): void {
    for (const { gte, lt } of this.#files.unreadable) {
      if (last >= textOf(gte) && first < textOf(lt))
        throw new TidemarkError('CORRUPT', 'reading the store failed: checksum mismatch in a block');
    }
  }

  #refuseIfFailing(what: string): void {
    if (this.#state.failsWrites) throw new TidemarkError('IO_ERROR', `${what} the store failed: EIO`);
  }

  #later<Result>(what: string, typicalMs: number, act: () => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#process.later(this.#state.delayMs(this.#chance, typicalMs), what, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  }
}
