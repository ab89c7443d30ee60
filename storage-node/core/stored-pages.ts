/**
 * Which pages a segment may have entries of in the store: a bit for each. A clone of a clone of a clone is read level by level, and most levels have
 * nothing of most pages; this is what spares asking the store for it.
 *
 * Invariants
 * 1. Every page of which an entry is written is added before it is written; none is ever taken out. So a page that is not here has no entry, as long
 *    as all is known.
 * 2. After a start nothing is known, and every page may have entries, until the store has been looked through (`learnStoredPages`).
 */
import type { PageNumber } from '../../src/log/lsn.ts';
import { LAST_PAGE, parsePageKey } from './keys.ts';
import { type Program, readRange } from './program.ts';
import type { Segment } from './segment.ts';

const PAGES_PER_BLOCK = 4_096;
const ENTRIES_PER_QUERY = 64;

export class StoredPages {
  private readonly blocks = new Map<number, Uint8Array>();
  private isWhole = true;
  /** Somebody asked while it was not known, and nobody looks yet. */
  private isAskedFor = false;

  /** The store may have more than was told here. */
  forget(): void {
    this.isWhole = false;
  }

  /** All that the store had at some moment has been added, and all that was written since. */
  complete(): void {
    this.isWhole = true;
  }

  get isLearningDue(): boolean {
    return this.isAskedFor && !this.isWhole;
  }

  startLearning(): void {
    this.isAskedFor = false;
  }

  add(page: PageNumber): void {
    const number = Math.floor(page / PAGES_PER_BLOCK);
    let block = this.blocks.get(number);
    if (block === undefined) {
      block = new Uint8Array(PAGES_PER_BLOCK / 8);
      this.blocks.set(number, block);
    }
    const bit = page % PAGES_PER_BLOCK;
    block[bit >> 3] = block[bit >> 3]! | (1 << (bit & 7));
  }

  mayHold(page: PageNumber): boolean {
    if (this.isWhole) return this.has(page);
    this.isAskedFor = true;
    return true;
  }

  /** At most so many pages first … last have entries. */
  mostBetween(first: PageNumber, last: PageNumber): number {
    if (!this.isWhole) return last - first + 1;
    let count = 0;
    for (let page = first; page <= last; page = (page + 1) as PageNumber) if (this.has(page)) count += 1;
    return count;
  }

  private has(page: PageNumber): boolean {
    const bit = page % PAGES_PER_BLOCK;
    return ((this.blocks.get(Math.floor(page / PAGES_PER_BLOCK))?.[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }
}

/** Looks through the store, while rounds and copies add what they write. */
export function* learnStoredPages({ keys, storedPages }: Segment): Program<void> {
  storedPages.startLearning();
  for (let next = 0 as PageNumber; ; ) {
    const entries = yield* readRange({ ...keys.pagesBetween(next, LAST_PAGE), limit: ENTRIES_PER_QUERY });
    for (const { key } of entries) storedPages.add(parsePageKey(key).page);
    const last = entries[entries.length - 1];
    if (last === undefined || entries.length < ENTRIES_PER_QUERY) break;
    next = (parsePageKey(last.key).page + 1) as PageNumber;
  }
  storedPages.complete();
}
