/** A KvStore in memory for tests, cores and the simulator: sorted array of entries, everything copied in and out. */
import type { KvEntry, KvOp, KvRange, KvStore } from '../../src/env/env.ts';

export class MemoryKv implements KvStore {
  #entries: KvEntry[] = [];
  #isOpen = true;

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getNow(key);
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return keys.map((key) => this.getNow(key));
  }

  async range(query: KvRange): Promise<KvEntry[]> {
    return this.rangeNow(query);
  }

  async batch(ops: readonly KvOp[], _options: { readonly sync: boolean }): Promise<void> {
    this.batchNow(ops);
  }

  async close(): Promise<void> {
    this.#isOpen = false;
  }

  /** The same without a Promise, for drivers that are steps themselves. */
  getNow(key: Uint8Array): Uint8Array | undefined {
    this.#check();
    const { index, isHit } = this.#find(key);
    return isHit ? this.#entries[index]?.value.slice() : undefined;
  }

  rangeNow({ gte, lt, reverse = false, limit = Number.POSITIVE_INFINITY }: KvRange): KvEntry[] {
    this.#check();
    const slice = this.#entries.slice(
      this.#find(gte).index,
      Math.max(this.#find(gte).index, this.#find(lt).index),
    );
    if (reverse) slice.reverse();
    return slice.slice(0, limit).map(({ key, value }) => ({ key: key.slice(), value: value.slice() }));
  }

  batchNow(ops: readonly KvOp[]): void {
    this.#check();
    for (const op of ops) {
      const { index, isHit } = this.#find(op.key);
      if (op.type === 'del') this.#entries.splice(index, isHit ? 1 : 0);
      else this.#entries.splice(index, isHit ? 1 : 0, { key: op.key.slice(), value: op.value.slice() });
    }
  }

  /** An independent copy, as it would be found after a crash now. */
  copy(): MemoryKv {
    const copy = new MemoryKv();
    copy.#entries = this.#entries.map(({ key, value }) => ({ key: key.slice(), value: value.slice() }));
    return copy;
  }

  get sizeBytes(): number {
    return this.#entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  }

  #check(): void {
    if (!this.#isOpen) throw new Error('the store is closed');
  }

  #find(key: Uint8Array): { readonly index: number; readonly isHit: boolean } {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = Buffer.compare(this.#entries[middle]!.key, key);
      if (order === 0) return { index: middle, isHit: true };
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return { index: low, isHit: false };
  }
}
