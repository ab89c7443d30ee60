/**
 * Space in the ring: where the next entry goes, and which entries may not be overwritten yet. Pure arithmetic.
 *
 * Invariants
 * 1. Live entries never overlap, and nothing is placed over one.
 * 2. An entry is contiguous: what is left at the end of the file, when too short, is skipped.
 */
import { assert } from '../../src/base/assert.ts';

export interface LiveEntry {
  readonly sequence: number;
  readonly sector: number;
  readonly sectors: number;
}

export class RingSpace {
  readonly sectors: number;
  /** Oldest first; dead ones are skipped by #first. */
  #live: LiveEntry[] = [];
  #first = 0;
  #head = 0;
  #liveSectors = 0;

  constructor(sectors: number) {
    this.sectors = sectors;
  }

  /** After a start: what recovery found, oldest first, and the sector behind the newest entry. */
  restore(live: readonly LiveEntry[], head: number): void {
    this.#live = [...live];
    this.#first = 0;
    this.#head = head >= this.sectors ? 0 : head;
    this.#liveSectors = live.reduce((sum, entry) => sum + entry.sectors, 0);
  }

  get liveSectors(): number {
    return this.#liveSectors;
  }

  get oldestSequence(): number | null {
    return this.#live[this.#first]?.sequence ?? null;
  }

  /** Takes room for an entry and makes it live; null when a live entry is in the way. */
  place(sequence: number, sectors: number): number | null {
    assert(
      sectors > 0 && sectors <= this.sectors,
      `an entry of ${sectors} sectors in a ring of ${this.sectors}`,
    );
    const sector = this.#find(sectors);
    if (sector === null) return null;
    this.#live.push({ sequence, sector, sectors });
    this.#liveSectors += sectors;
    this.#head = (sector + sectors) % this.sectors;
    return sector;
  }

  /** Entries up to `sequence` may be overwritten from now on. */
  release(sequence: number): void {
    let entry = this.#live[this.#first];
    while (entry !== undefined && entry.sequence <= sequence) {
      this.#liveSectors -= entry.sectors;
      this.#first += 1;
      entry = this.#live[this.#first];
    }
    if (this.#first > 1_024 && this.#first * 2 > this.#live.length) {
      this.#live = this.#live.slice(this.#first);
      this.#first = 0;
    }
  }

  #find(sectors: number): number | null {
    const tail = this.#live[this.#first]?.sector;
    if (tail === undefined) return this.#head + sectors <= this.sectors ? this.#head : 0;
    if (this.#head <= tail) return this.#head + sectors <= tail ? this.#head : null;
    if (this.#head + sectors <= this.sectors) return this.#head;
    return sectors <= tail ? 0 : null;
  }
}
