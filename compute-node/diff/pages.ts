/**
 * The pages of the two sides, kept for a while. A page that no record between the two touched is the same on both, and read once.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { DiffSide } from './side.ts';

/** 0: the older, or left, side. */
export type SideIndex = 0 | 1;
export const SIDES: readonly SideIndex[] = [0, 1];

/** Pages kept, 32 MiB of them. */
const MAX_KEPT_PAGES = 8_192;
const NOTHING = new Uint8Array(PAGE_SIZE_BYTES);

export class PagePair {
  readonly changed: ReadonlySet<number>;
  readonly #sides: readonly [DiffSide, DiffSide];
  readonly #kept = new Map<string, Uint8Array>();
  #pagesRead = 0;

  constructor(sides: readonly [DiffSide, DiffSide], changed: ReadonlySet<number>) {
    this.#sides = sides;
    this.changed = changed;
  }

  get pagesRead(): number {
    return this.#pagesRead;
  }

  /** Zeros for a page that was never written there. */
  async read(side: SideIndex, pages: Iterable<number>): Promise<ReadonlyMap<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>();
    const missing: number[] = [];
    for (const page of new Set(pages)) {
      const kept = this.#take(this.#keyOf(side, page));
      if (kept === undefined) missing.push(page);
      else found.set(page, kept);
    }
    if (missing.length === 0) return found;
    missing.sort((a, b) => a - b);
    this.#pagesRead += missing.length;
    const versions = await this.#sides[side].readPages(missing);
    for (const [index, page] of missing.entries()) {
      const data = versions[index] ?? NOTHING;
      found.set(page, data);
      this.#keep(this.#keyOf(side, page), data);
    }
    return found;
  }

  async readOne(side: SideIndex, page: number): Promise<Uint8Array> {
    return (await this.read(side, [page])).get(page) ?? NOTHING;
  }

  #keyOf(side: SideIndex, page: number): string {
    return this.changed.has(page) ? `${side}/${page}` : `${page}`;
  }

  #take(key: string): Uint8Array | undefined {
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    return kept;
  }

  #keep(key: string, data: Uint8Array): void {
    this.#kept.set(key, data);
    if (this.#kept.size <= MAX_KEPT_PAGES) return;
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest);
      break;
    }
  }
}
