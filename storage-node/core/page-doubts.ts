/**
 * Pages of a segment whose stored history may lack something: what a damaged table of the store held, or what a read, a round or a scrub found wrong.
 * They are not read and not given to peers until they were copied anew (repair.ts). Kept in the guard, as intervals.
 *
 * Invariant: ascending, disjoint, not adjacent; at most MAX_INTERVALS (more are joined: rather too much in doubt than too little).
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { packStrict, unpackStrict } from '../../src/base/strict-msgpack.ts';
import type { PageNumber } from '../../src/log/lsn.ts';

const MAX_INTERVALS = 512;

export interface PageInterval {
  readonly first: PageNumber;
  readonly last: PageNumber;
}

export class PageDoubts {
  private list: PageInterval[] = [];

  get isEmpty(): boolean {
    return this.list.length === 0;
  }

  /** The lowest pages in doubt. */
  get lowest(): PageInterval | null {
    return this.list[0] ?? null;
  }

  get intervals(): readonly PageInterval[] {
    return this.list;
  }

  covers(page: PageNumber): boolean {
    return this.overlaps(page, page);
  }

  overlaps(first: number, last: number): boolean {
    return this.list.some((interval) => interval.first <= last && first <= interval.last);
  }

  /** Returns whether that says anything new. */
  add(first: PageNumber, last: PageNumber): boolean {
    if (this.list.some((interval) => interval.first <= first && last <= interval.last)) return false;
    const joined = this.list.filter((interval) => interval.first <= last + 1 && first <= interval.last + 1);
    const apart = this.list.filter((interval) => !joined.includes(interval));
    apart.push({
      first: Math.min(first, ...joined.map((interval) => interval.first)) as PageNumber,
      last: Math.max(last, ...joined.map((interval) => interval.last)) as PageNumber,
    });
    this.list = apart.sort((a, b) => a.first - b.first);
    while (this.list.length > MAX_INTERVALS) this.joinNearest();
    return true;
  }

  remove(first: PageNumber, last: PageNumber): void {
    this.list = this.list.flatMap((interval) => {
      if (interval.last < first || last < interval.first) return [interval];
      const rest: PageInterval[] = [];
      if (interval.first < first) rest.push({ first: interval.first, last: (first - 1) as PageNumber });
      if (last < interval.last) rest.push({ first: (last + 1) as PageNumber, last: interval.last });
      return rest;
    });
  }

  clear(): void {
    this.list = [];
  }

  encode(): Uint8Array {
    return packStrict(this.list.flatMap(({ first, last }) => [first, last]));
  }

  /** Adds what was encoded. Throws CORRUPT. */
  load(bytes: Uint8Array): void {
    const pages = unpackStrict(bytes);
    if (!Array.isArray(pages) || !pages.every((page) => Number.isSafeInteger(page))) throw malformed();
    for (let at = 0; at + 1 < pages.length; at += 2)
      this.add(pages[at] as PageNumber, pages[at + 1] as PageNumber);
  }

  private joinNearest(): void {
    let nearest = 0;
    for (let i = 1; i + 1 < this.list.length; i += 1) {
      if (this.gapAfter(i) < this.gapAfter(nearest)) nearest = i;
    }
    const [left, right] = [this.list[nearest] as PageInterval, this.list[nearest + 1] as PageInterval];
    this.list.splice(nearest, 2, { first: left.first, last: right.last });
  }

  private gapAfter(index: number): number {
    return (this.list[index + 1] as PageInterval).first - (this.list[index] as PageInterval).last;
  }
}

function malformed(): TidemarkError {
  return new TidemarkError('CORRUPT', 'malformed guard value of pages in doubt');
}
