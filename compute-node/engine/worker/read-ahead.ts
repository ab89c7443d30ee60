/**
 * Read-ahead: guesses from the pages a connection reads which ones it will want next. Only ever a hint: a wrong guess costs a fetch.
 *
 * Two kinds of streams are followed. *Siblings*: the children of an interior b-tree page in key order, which is what a table or index
 * scan visits, wherever on disk they lie. *Neighbours*: pages one after another (overflow chains, a freshly loaded table). A stream's
 * window doubles with each miss it explains, from 4 to MAX_WINDOW_PAGES; a page missed out of order is fetched alone.
 */
import { childrenOf } from './btree-page.ts';

/** 256 KiB: as much as one reply of a storage node carries. */
const MAX_WINDOW_PAGES = 64;
const FIRST_WINDOW_PAGES = 4;
const REMEMBERED_READS = 8;
const REMEMBERED_INTERIORS = 8;
const MAX_STREAMS = 4;

/** Pages in the order in which they will be wanted. */
interface Stream {
  /** Interior page for siblings, 0 for neighbours. */
  readonly interior: number;
  readonly pages: readonly number[];
  /** Index of the first page not asked for yet. */
  next: number;
  window: number;
}

export interface Plan {
  /** To be fetched now, the missed page first. */
  readonly now: readonly number[];
  readonly stream: Stream | null;
}

/** One connection's reading habits. */
export class ReadAhead {
  readonly #maxWindow: number;
  readonly #reads: number[] = [];
  readonly #interiors: number[] = [];
  readonly #streams: Stream[] = [];
  #readAt = 0;
  #carriedWindow = 0;

  constructor(maxWindowPages = MAX_WINDOW_PAGES) {
    this.#maxWindow = Math.max(1, Math.min(MAX_WINDOW_PAGES, maxWindowPages));
  }

  /** Every page read, hit or miss. */
  noteRead(page: number, isInterior: boolean): void {
    if (isInterior) {
      const known = this.#interiors.indexOf(page);
      if (known >= 0) this.#interiors.splice(known, 1);
      else if (this.#interiors.length === REMEMBERED_INTERIORS) this.#interiors.pop();
      this.#interiors.unshift(page);
      return;
    }
    this.#reads[this.#readAt] = page;
    this.#readAt = (this.#readAt + 1) % REMEMBERED_READS;
  }

  /** `lookUp` gives a cached page or null; `lastPage` is the database's size. */
  planMiss(page: number, lastPage: number, lookUp: (page: number) => Uint8Array | null): Plan {
    const siblings = this.#siblingsOf(page, lookUp);
    if (siblings !== null) {
      const { interior, children, index } = siblings;
      const before = children[index - 1];
      const follows =
        (before !== undefined && this.#reads.includes(before)) || (index === 0 && this.#carriedWindow > 0);
      if (follows) return this.#follow(interior, children, index);
    }
    if (page > 1 && this.#reads.includes(page - 1)) {
      const end = Math.min(lastPage, page + this.#maxWindow * 8);
      const neighbours = Array.from({ length: end - page + 1 }, (_, i) => page + i);
      return this.#follow(0, neighbours, 0);
    }
    return { now: [page], stream: null };
  }

  /** The stream's next window, empty at its end. */
  nextWindow(stream: Stream): readonly number[] {
    const pages = stream.pages.slice(stream.next, stream.next + stream.window);
    stream.next += pages.length;
    stream.window = Math.min(this.#maxWindow, stream.window * 2);
    // The scan will most likely go on under the next interior page: it need not start small again.
    if (stream.interior !== 0 && stream.next >= stream.pages.length) this.#carriedWindow = stream.window;
    return pages;
  }

  #follow(interior: number, pages: readonly number[], index: number): Plan {
    const page = pages[index] as number;
    const known = this.#streams.findIndex((s) => s.interior === interior && s.pages.includes(page));
    let window = index === 0 && interior !== 0 ? this.#carriedWindow : 0;
    this.#carriedWindow = 0;
    if (known >= 0) {
      window = (this.#streams[known] as Stream).window;
      this.#streams.splice(known, 1);
    }
    const stream: Stream = {
      interior,
      pages,
      next: index,
      window: Math.min(this.#maxWindow, Math.max(FIRST_WINDOW_PAGES, window)),
    };
    this.#streams.unshift(stream);
    if (this.#streams.length > MAX_STREAMS) this.#streams.pop();
    return { now: this.nextWindow(stream), stream };
  }

  #siblingsOf(
    page: number,
    lookUp: (page: number) => Uint8Array | null,
  ): { readonly interior: number; readonly children: readonly number[]; readonly index: number } | null {
    for (const interior of this.#interiors) {
      const data = lookUp(interior);
      if (data === null) continue;
      const children = childrenOf(interior, data);
      const index = children.indexOf(page);
      if (index >= 0) return { interior, children, index };
    }
    return null;
  }
}
