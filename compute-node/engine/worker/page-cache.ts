/**
 * The page cache of one open volume: page → versions, each valid over a stretch of LSNs. Every SQLite connection of the volume reads
 * through it, each at its own read point.
 *
 * A version (lsn, through, data) says: `data` is the page's content at every read point in [lsn, through]. The newest version's `through`
 * is Infinity while nothing newer is known to exist.
 *
 * Invariants
 * 1. A version whose LSN is above VDL is never dropped: storage could not give it back (design section 4).
 * 2. A version is dropped for good only when every live read point and VDL see a newer one; any other can be fetched again.
 * 3. `through` never covers an LSN at which the page had another content. What is fetched is valid at least at the LSN it was asked at,
 *    and beyond only if no version that was written here and evicted could lie in between (`#maxEvictedLsn`).
 * 4. Storage never answers with another version than one held here for the same read point; if it does, that is corruption.
 * 5. Bytes held stay within the limit, but for versions that invariant 1 keeps.
 *
 * Eviction is by CLOCK: pages that were read twice outlive a scan, and pages fetched ahead are there when the scan gets to them. Frames are recycled, so whoever gets one copies it at once.
 */
import { TidemarkError } from '../../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';

/** Frames kept for reuse: enough for the churn of commits, little enough to be given back to the system. */
const MAX_FREE_FRAMES = 256;

/** What a page that was never written reads as. Never changed, never recycled. */
export const ZERO_PAGE: Uint8Array = new Uint8Array(PAGE_SIZE_BYTES);

interface Version {
  readonly lsn: number;
  through: number;
  readonly data: Uint8Array;
}

interface Entry {
  readonly page: number;
  /** Oldest first. Never empty. */
  readonly versions: Version[];
  /** Outlives the next pass of the clock's hand: read again since the last one, or fetched ahead and to be read soon. */
  referenced: boolean;
  /** Fetched ahead, not read yet. */
  isAhead: boolean;
  /** Index in the clock's ring. */
  slot: number;
  /** To be told at the first read (read-ahead's marker), then forgotten. */
  onFirstRead: (() => void) | null;
}

export class PageCache {
  readonly #limitBytes: number;
  readonly #entries = new Map<number, Entry>();
  readonly #ring: Entry[] = [];
  /** (page, LSN of the version that superseded others), in the order of hand-over. */
  #superseded: { readonly page: number; readonly lsn: number }[] = [];
  #supersededAt = 0;
  #hand = 0;
  #versions = 0;
  #freeFrames: Uint8Array[] = [];
  #maxEvictedLsn = 0;
  #vdl = 0;
  /** True after a full round found nothing to evict; cleared when VDL moves or something evictable comes in. */
  #stuck = false;
  hits = 0;
  misses = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get pages(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#versions * PAGE_SIZE_BYTES;
  }

  get isOverLimit(): boolean {
    return this.bytes > this.#limitBytes;
  }

  /** The page at read point `at`, or null when it must be fetched. Valid until the next change of the cache: copy it. */
  get(page: number, at: number): Uint8Array | null {
    const entry = this.#entries.get(page);
    const version = entry === undefined ? null : versionAt(entry, at);
    if (entry === undefined || version === null) {
      this.misses += 1;
      return null;
    }
    this.hits += 1;
    // A first read is no more than what a scan does to every page.
    entry.referenced = !entry.isAhead;
    entry.isAhead = false;
    if (entry.onFirstRead !== null) {
      const tell = entry.onFirstRead;
      entry.onFirstRead = null;
      tell();
    }
    return version.data;
  }

  /** Like get, without a trace in statistics and eviction order. */
  peek(page: number, at: number): Uint8Array | null {
    const entry = this.#entries.get(page);
    return entry === undefined ? null : (versionAt(entry, at)?.data ?? null);
  }

  has(page: number, at: number): boolean {
    const entry = this.#entries.get(page);
    return entry !== undefined && versionAt(entry, at) !== null;
  }

  /** A frame to fill and hand to `putHandedOver`, or to give back. Its content is undefined. */
  takeFrame(): Uint8Array {
    return this.#freeFrames.pop() ?? new Uint8Array(PAGE_SIZE_BYTES);
  }

  giveFrame(frame: Uint8Array): void {
    if (frame !== ZERO_PAGE && this.#freeFrames.length < MAX_FREE_FRAMES) this.#freeFrames.push(frame);
  }

  /** A version just written by this engine: newer than all others of its page. The cache owns `frame` from now on. */
  putHandedOver(page: number, lsn: number, frame: Uint8Array): void {
    const version: Version = { lsn, through: Number.POSITIVE_INFINITY, data: frame };
    const entry = this.#entries.get(page);
    if (entry === undefined) {
      this.#add(page, version, { referenced: true, isAhead: false });
      return;
    }
    const newest = entry.versions[entry.versions.length - 1] as Version;
    if (newest.through >= lsn) newest.through = lsn - 1;
    entry.versions.push(version);
    entry.referenced = true;
    entry.isAhead = false;
    entry.onFirstRead = null;
    this.#versions += 1;
    this.#superseded.push({ page, lsn });
  }

  /**
   * A version that storage gave for read point `at`; `data` is copied, null means never written. `isAhead`: nobody has asked for it yet.
   * Throws CORRUPT by invariant 4.
   */
  putFetched(
    page: number,
    lsn: number,
    at: number,
    data: Uint8Array | null,
    isAhead: boolean,
    onFirstRead: (() => void) | null = null,
  ): void {
    const entry = this.#entries.get(page);
    const isCurrent = this.#maxEvictedLsn <= at;
    if (entry === undefined) {
      const through = isCurrent ? Number.POSITIVE_INFINITY : at;
      this.#stuck = false;
      const version: Version = { lsn, through, data: this.#frameOf(data) };
      this.#add(page, version, { referenced: isAhead, isAhead }, onFirstRead);
      return;
    }
    let index = entry.versions.length;
    while (index > 0 && (entry.versions[index - 1] as Version).lsn > lsn) index -= 1;
    const newer = entry.versions[index];
    if (newer !== undefined && newer.lsn <= at) {
      throw new TidemarkError(
        'CORRUPT',
        `storage answered page ${page} at LSN ${at} with version ${lsn}, older than the known version ${newer.lsn}`,
        { nextStep: 'check the storage nodes with tidemark status; the copy that answered has lost records' },
      );
    }
    let through = isCurrent ? Number.POSITIVE_INFINITY : at;
    if (newer !== undefined) through = isCurrent ? newer.lsn - 1 : Math.min(at, newer.lsn - 1);
    const same = entry.versions[index - 1];
    if (same !== undefined && same.lsn === lsn) {
      same.through = Math.max(same.through, through);
      return;
    }
    if (same !== undefined && same.through >= lsn) {
      throw new TidemarkError(
        'CORRUPT',
        `storage answered page ${page} at LSN ${at} with version ${lsn}, which this volume's writer never wrote`,
        { nextStep: 'check with tidemark status whether two writers share an epoch' },
      );
    }
    entry.versions.splice(index, 0, { lsn, through, data: this.#frameOf(data) });
    if (data !== null) this.#versions += 1;
    if (newer !== undefined) this.#superseded.push({ page, lsn: newer.lsn });
    if (onFirstRead !== null) entry.onFirstRead = onFirstRead;
    this.#stuck = false;
    this.#evict(entry);
  }

  /** VDL as known by now: in the middle of a long statement, so that what it has read can be evicted again. */
  noteVdl(vdl: number): void {
    if (vdl <= this.#vdl) return;
    this.#vdl = vdl;
    this.#stuck = false;
  }

  /** VDL moved, or read points came or went: drops what nobody needs any more. `lowest`: the lowest live read point. */
  advance(vdl: number, lowest: number): void {
    this.noteVdl(vdl);
    const keepFrom = Math.min(vdl, lowest);
    while (this.#supersededAt < this.#superseded.length) {
      const next = this.#superseded[this.#supersededAt] as { readonly page: number; readonly lsn: number };
      if (next.lsn > keepFrom) break;
      this.#supersededAt += 1;
      const entry = this.#entries.get(next.page);
      if (entry !== undefined) this.#dropOlder(entry, keepFrom);
    }
    if (this.#supersededAt > 1024 && this.#supersededAt * 2 > this.#superseded.length) {
      this.#superseded = this.#superseded.slice(this.#supersededAt);
      this.#supersededAt = 0;
    }
    this.#evict();
  }

  /**
   * Forgets everything. Only when nothing above VDL is held (after an import has hardened). `lsn`: everything forgotten, and all that was
   * written past this cache, is at or below it; an answer that was asked for before is not valid beyond its own read point (invariant 3).
   */
  clear(lsn: number): void {
    this.#maxEvictedLsn = Math.max(this.#maxEvictedLsn, lsn);
    for (const entry of this.#ring) this.#forget(entry);
    this.#entries.clear();
    this.#ring.length = 0;
    this.#superseded = [];
    this.#supersededAt = 0;
    this.#hand = 0;
    this.#versions = 0;
  }

  #frameOf(data: Uint8Array | null): Uint8Array {
    if (data === null) return ZERO_PAGE;
    const frame = this.takeFrame();
    frame.set(data);
    return frame;
  }

  #add(
    page: number,
    version: Version,
    flags: { readonly referenced: boolean; readonly isAhead: boolean },
    onFirstRead: (() => void) | null = null,
  ): void {
    const entry: Entry = { page, versions: [version], ...flags, slot: this.#ring.length, onFirstRead };
    this.#entries.set(page, entry);
    this.#ring.push(entry);
    if (version.data !== ZERO_PAGE) this.#versions += 1;
    this.#evict(entry);
  }

  /** Drops the versions that a newer one hides from `keepFrom` and everything above it. */
  #dropOlder(entry: Entry, keepFrom: number): void {
    const { versions } = entry;
    let needed = versions.length - 1;
    while (needed > 0 && (versions[needed] as Version).lsn > keepFrom) needed -= 1;
    for (let i = 0; i < needed; i += 1) this.#release(versions[i] as Version);
    if (needed > 0) versions.splice(0, needed);
  }

  #evict(except: Entry | null = null): void {
    if (this.#stuck) return;
    let steps = this.#ring.length * 2;
    while (this.isOverLimit) {
      if (steps === 0) {
        this.#stuck = true;
        return;
      }
      steps -= 1;
      if (this.#hand >= this.#ring.length) this.#hand = 0;
      const entry = this.#ring[this.#hand] as Entry;
      const newestLsn = (entry.versions[entry.versions.length - 1] as Version).lsn;
      if (entry === except || newestLsn > this.#vdl) {
        this.#hand += 1;
      } else if (entry.referenced) {
        entry.referenced = false;
        this.#hand += 1;
      } else {
        this.#remove(entry, newestLsn);
        // What took its slot is the newest page: not the next to go.
        this.#hand += 1;
      }
    }
  }

  #remove(entry: Entry, newestLsn: number): void {
    this.#maxEvictedLsn = Math.max(this.#maxEvictedLsn, newestLsn);
    this.#forget(entry);
    this.#entries.delete(entry.page);
    const last = this.#ring.pop() as Entry;
    if (last !== entry) {
      last.slot = entry.slot;
      this.#ring[entry.slot] = last;
    }
  }

  #forget(entry: Entry): void {
    for (const version of entry.versions) this.#release(version);
  }

  #release(version: Version): void {
    if (version.data === ZERO_PAGE) return;
    this.#versions -= 1;
    this.giveFrame(version.data);
  }
}

function versionAt(entry: Entry, at: number): Version | null {
  const { versions } = entry;
  for (let i = versions.length - 1; i >= 0; i -= 1) {
    const version = versions[i] as Version;
    if (version.lsn <= at) return at <= version.through ? version : null;
  }
  return null;
}
