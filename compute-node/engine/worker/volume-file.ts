/**
 * The volume as one SQLite connection sees it: a database file at a read point, with the connection's own uncommitted pages over it.
 *
 * SQLite's pager (journal_mode=MEMORY) drives it through the VFS:
 *
 *     xLock(SHARED)    takes the read point: VDL, or the newest handed-over MTR
 *     xLock(RESERVED)  needs the volume's writer lock and the newest read point
 *     xWrite           puts the page into the overlay; nothing leaves the connection
 *     FCNTL 22         COMMIT_PHASETWO: the overlay becomes one MTR. The only way out of the overlay
 *     xUnlock          below RESERVED: what is left of the overlay is forgotten (a rollback, undiffed)
 *
 * Invariants
 * 1. What a connection reads is one read point's state from xLock(SHARED) to xUnlock(NONE), but for its own writes.
 * 2. Only the holder of the writer lock writes, at readPoint = head: every MTR's base is the MTR before it.
 * 3. Commit cannot fail: every limit is checked in xWrite, and pages whose base is not at hand become images.
 * 4. The database's size at a read point is what its page 1 says (bytes 28–31). Pages beyond are short reads.
 * 5. The lock byte's page (262145) has no records: SQLite never uses it, and it reads as zeros.
 */
import { assert } from '../../../src/base/assert.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { KIB, PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { type Lsn, toPageNumber } from '../../../src/log/lsn.ts';
import { diffPage } from '../../../src/log/page-diff.ts';
import type { PageChange } from '../../../src/log/record.ts';
import { type PageCache, ZERO_PAGE } from './page-cache.ts';
import type { PageSource, Reader } from './page-source.ts';
import { ReadAhead } from './read-ahead.ts';
import { databasePages, LOCK_BYTE_PAGE } from '../sqlite-header.ts';

export const LOCK = { none: 0, shared: 1, reserved: 2, pending: 3, exclusive: 4 } as const;

/** What all files of one volume share. */
export interface VolumeView {
  readonly cache: PageCache;
  readonly source: Pick<PageSource, 'read'>;
  /** CPL of the newest handed-over MTR. */
  head(): Lsn;
  vdl(): Lsn;
  /** Takes a finished MTR; returns its CPL, the new head. The frames belong to the view afterwards. */
  handOver(changes: readonly PageChange[], frames: readonly Uint8Array[]): Lsn;
  /** The connection took or left a read point. */
  readPointTaken(file: VolumeFile): void;
  readPointLeft(file: VolumeFile): void;
}

/** What the connection's side decides. */
export interface VolumeFileOwner {
  /** Which read point the next xLock(SHARED) takes. */
  nextReadPoint(): Lsn;
  holdsWriterLock(): boolean;
  isInterrupted(): boolean;
  /** The transaction became an MTR with this CPL. */
  committed(cpl: Lsn): void;
}

export type LockResult = 'ok' | 'busy' | 'stale';

export class VolumeFile implements Reader {
  readonly readAhead: ReadAhead;
  readonly #view: VolumeView;
  readonly #owner: VolumeFileOwner;
  readonly #maxOverlayPages: number;
  readonly #overlay = new Map<number, Uint8Array>();
  #lock: number = LOCK.none;
  #readPoint: Lsn;
  /** At the read point; null: not read yet. */
  #baseSizePages: number | null = null;
  /** While writing: the file's size as SQLite has made it. */
  #ownSizePages: number | null = null;
  /** A write was refused: the transaction can only be rolled back. */
  #isDoomed = false;
  knownSizePages = 0;

  constructor(
    view: VolumeView,
    owner: VolumeFileOwner,
    limits: { readonly maxOverlayPages: number; readonly maxReadAheadPages: number },
  ) {
    this.#view = view;
    this.#owner = owner;
    this.#maxOverlayPages = limits.maxOverlayPages;
    this.#readPoint = view.vdl();
    this.readAhead = new ReadAhead(limits.maxReadAheadPages);
  }

  get lock(): number {
    return this.#lock;
  }

  /** Of the open transaction, or of the last one. */
  get readPoint(): Lsn {
    return this.#readPoint;
  }

  isInterrupted(): boolean {
    return this.#owner.isInterrupted();
  }

  lockTo(level: number): LockResult {
    if (this.#lock === LOCK.none && level >= LOCK.shared) {
      this.#readPoint = this.#owner.nextReadPoint();
      this.#baseSizePages = null;
      this.#lock = LOCK.shared;
      this.#view.readPointTaken(this);
    }
    if (level >= LOCK.reserved && this.#lock < LOCK.reserved) {
      if (!this.#owner.holdsWriterLock()) return 'busy';
      if (this.#readPoint !== this.#view.head()) return 'stale';
    }
    this.#lock = Math.max(this.#lock, level);
    return 'ok';
  }

  unlockTo(level: number): void {
    if (level < LOCK.reserved) this.#forgetOverlay();
    if (level === LOCK.none && this.#lock !== LOCK.none) this.#view.readPointLeft(this);
    this.#lock = Math.min(this.#lock, level);
  }

  /** Fills `into` from byte `offset` on. Returns false when the file ends before; the rest is zeros. */
  read(into: Uint8Array, offset: number): boolean {
    if (this.#lock === LOCK.none) {
      // SQLite looks at the header of a file it opens before it locks it.
      this.#readPoint = this.#owner.nextReadPoint();
      this.#baseSizePages = null;
    }
    const sizeBytes = this.sizePages() * PAGE_SIZE_BYTES;
    let done = 0;
    while (done < into.length) {
      const at = offset + done;
      if (at >= sizeBytes) {
        into.fill(0, done);
        return false;
      }
      const inPage = at % PAGE_SIZE_BYTES;
      const length = Math.min(into.length - done, PAGE_SIZE_BYTES - inPage);
      const data = this.#page(Math.floor(at / PAGE_SIZE_BYTES) + 1);
      into.set(length === PAGE_SIZE_BYTES ? data : data.subarray(inPage, inPage + length), done);
      done += length;
    }
    return true;
  }

  /** Throws TOO_LARGE at the transaction's limit. */
  write(bytes: Uint8Array, offset: number): void {
    assert(this.#lock >= LOCK.reserved, 'a write without the writer lock');
    assert(
      bytes.length === PAGE_SIZE_BYTES && offset % PAGE_SIZE_BYTES === 0,
      'a write that is not one page',
    );
    const page = offset / PAGE_SIZE_BYTES + 1;
    const ownSize = Math.max(this.#ownSizePages ?? this.sizePages(), page);
    if (page !== LOCK_BYTE_PAGE) this.#putOverlay(page, bytes);
    this.#ownSizePages = ownSize;
  }

  truncate(sizeBytes: number): void {
    assert(this.#lock >= LOCK.reserved, 'a truncate without the writer lock');
    const pages = Math.ceil(sizeBytes / PAGE_SIZE_BYTES);
    this.#ownSizePages = pages;
    for (const [page, frame] of this.#overlay) {
      if (page <= pages) continue;
      this.#overlay.delete(page);
      this.#view.cache.giveFrame(frame);
    }
  }

  /** As SQLite's xFileSize has it. */
  sizePages(): number {
    if (this.#ownSizePages !== null) return this.#ownSizePages;
    if (this.#baseSizePages === null) {
      this.#baseSizePages = databasePages(this.#view.source.read(1, this.#readPoint, this));
      this.knownSizePages = this.#baseSizePages;
    }
    return this.#baseSizePages;
  }

  /** FCNTL_COMMIT_PHASETWO. */
  commit(): void {
    if (this.#overlay.size === 0) return;
    assert(this.#lock >= LOCK.reserved && this.#owner.holdsWriterLock(), 'a commit without the writer lock');
    assert(this.#readPoint === this.#view.head(), 'a commit that is not based on the newest MTR');
    assert(!this.#isDoomed, 'a commit of a transaction that was refused');

    const baseSize = this.#baseSizePages ?? 0;
    const first = this.#overlay.get(1) ?? this.#view.cache.peek(1, this.#readPoint);
    assert(first !== null, 'a commit that does not know page 1');
    const newSize = databasePages(first);

    const changes: PageChange[] = [];
    const frames: Uint8Array[] = [];
    for (const page of [...this.#overlay.keys()].sort((a, b) => a - b)) {
      const frame = this.#overlay.get(page) as Uint8Array;
      const known = page <= baseSize ? this.#view.cache.peek(page, this.#readPoint) : null;
      // A page below the end may never have been written (SQLite leaves out free pages): storage has nothing for a delta to stand on.
      const base = known === ZERO_PAGE ? null : known;
      const change = page <= newSize ? diffPage(toPageNumber(page), base, frame) : null;
      if (change === null) {
        this.#view.cache.giveFrame(frame);
      } else {
        changes.push(change);
        frames.push(frame);
      }
    }
    this.#overlay.clear();
    this.#ownSizePages = null;
    if (changes.length === 0) return;
    this.#readPoint = this.#view.handOver(changes, frames);
    this.#baseSizePages = newSize;
    this.knownSizePages = newSize;
    this.#owner.committed(this.#readPoint);
  }

  #page(page: number): Uint8Array {
    const own = this.#overlay.size === 0 ? undefined : this.#overlay.get(page);
    if (own !== undefined) return own;
    if (page === LOCK_BYTE_PAGE) return ZERO_PAGE;
    return this.#view.source.read(page, this.#readPoint, this);
  }

  #putOverlay(page: number, bytes: Uint8Array): void {
    const own = this.#overlay.get(page);
    if (own !== undefined) {
      own.set(bytes);
      return;
    }
    // SQLite writes the old pages back while it rolls back: those are what the base holds anyway.
    if (this.#isDoomed) return;
    if (this.#overlay.size >= this.#maxOverlayPages) {
      this.#isDoomed = true;
      const limitKib = (this.#maxOverlayPages * PAGE_SIZE_BYTES) / KIB;
      throw new TidemarkError(
        'TOO_LARGE',
        `the transaction changes more than ${this.#maxOverlayPages} pages (${limitKib} KiB), the limit of one transaction; split it into smaller ones or raise the limit`,
      );
    }
    const frame = this.#view.cache.takeFrame();
    frame.set(bytes);
    this.#overlay.set(page, frame);
  }

  #forgetOverlay(): void {
    for (const frame of this.#overlay.values()) this.#view.cache.giveFrame(frame);
    this.#overlay.clear();
    this.#ownSizePages = null;
    this.#isDoomed = false;
  }
}
