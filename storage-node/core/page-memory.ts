/**
 * What a segment keeps in memory about pages beyond the records themselves: versions made (a cache, bounded in bytes over all segments
 * of the node) and heads (bounded in number per segment). Both may be forgotten at any time.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { Lsn, PageNumber, RunId } from '../../src/log/lsn.ts';
import { applyChanges } from '../../src/log/page-diff.ts';

/**
 * A page as read points of `run` see it from `lsn` on, until its next record. Invariant: no record of the page that is in page form
 * has a higher LSN, so that what came since is all in memory.
 */
export interface CachedPage {
  readonly run: RunId;
  readonly lsn: Lsn;
  /** The page before `pending`. */
  readonly data: Uint8Array;
  /** Deltas up to `lsn` that are yet to be applied, oldest first: many pages are never asked for again. */
  readonly pending: readonly Uint8Array[];
}

/** The page of a cache entry as it is at its LSN. */
export function pageOf({ data, pending }: CachedPage): Uint8Array {
  return applyChanges(
    data,
    pending.map((body) => ({ kind: 'delta', body })),
  ) as Uint8Array;
}

/** The node's page versions, least recently used go first. Keys are segments (by identity) and pages. */
export class PageCache {
  private readonly maxPages: number;
  private readonly pages = new Map<string, CachedPage>();

  constructor(maxBytes: number) {
    this.maxPages = Math.max(1, Math.floor(maxBytes / PAGE_SIZE_BYTES));
  }

  get(segment: string, page: PageNumber): CachedPage | null {
    const key = `${segment}/${page}`;
    const cached = this.pages.get(key);
    if (cached === undefined) return null;
    this.pages.delete(key);
    this.pages.set(key, cached);
    return cached;
  }

  put(segment: string, page: PageNumber, cached: CachedPage): void {
    const key = `${segment}/${page}`;
    this.pages.delete(key);
    this.pages.set(key, cached);
    if (this.pages.size <= this.maxPages) return;
    for (const oldest of this.pages.keys()) {
      this.pages.delete(oldest);
      break;
    }
  }

  drop(segment: string, page: PageNumber): void {
    this.pages.delete(`${segment}/${page}`);
  }

  dropSegment(segment: string): void {
    for (const key of this.pages.keys()) if (key.startsWith(`${segment}/`)) this.pages.delete(key);
  }
}

/** The head of a page's history in page form, as the head run sees it. */
export interface PageHead {
  /** Its newest record in page form, visible or not. */
  readonly newestLsn: Lsn;
  /** Visible delta records over the newest visible image. */
  readonly chainRecords: number;
  /** Bytes of deltas since the last image that is kept. */
  readonly sinceKeptBytes: number;
  /** The newest visible image, if it may be thinned out once a newer one is there. */
  readonly thinnableImageLsn: Lsn | null;
}

/** Bounded memory of heads. Valid for one head run: cleared when the head moves. */
export class PageHeads {
  private readonly maxHeads: number;
  private readonly heads = new Map<PageNumber, PageHead>();

  constructor(maxHeads: number) {
    this.maxHeads = maxHeads;
  }

  get(page: PageNumber): PageHead | null {
    return this.heads.get(page) ?? null;
  }

  put(page: PageNumber, head: PageHead): void {
    this.heads.delete(page);
    this.heads.set(page, head);
    if (this.heads.size <= this.maxHeads) return;
    for (const oldest of this.heads.keys()) {
      this.heads.delete(oldest);
      break;
    }
  }

  clear(): void {
    this.heads.clear();
  }

  dropBetween(first: PageNumber, last: PageNumber): void {
    for (const page of this.heads.keys()) if (page >= first && page <= last) this.heads.delete(page);
  }
}
