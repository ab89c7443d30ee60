/**
 * A volume in memory, for tests of the SQL engine: keeps every version of every page, and lets a test decide when what becomes durable,
 * what fails, and what is slow. Strict where the real one trusts: an LSN out of order or a read above VDL is an assertion.
 */
import { assert } from '../../src/base/assert.ts';
import { type ErrorCode, TidemarkError } from '../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type PageNumber, toLsn, type VolumeId } from '../../src/log/lsn.ts';
import { applyChange } from '../../src/log/page-diff.ts';
import type { Mtr } from '../../src/log/record.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { OpenVolume, OpenVolumeStatus, SubmittedMtr } from '../../compute-node/volume/open-volume.ts';

interface Waiter {
  readonly lsn: Lsn;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export interface MemoryVolumeOptions {
  readonly firstLsn?: number;
  /** null: at once, in submit itself. */
  readonly durabilityDelayMs?: number | null;
}

export class MemoryVolume implements OpenVolume {
  readonly volume = 'memoryvolume0000' as VolumeId;
  readonly name = 'test';
  readonly epoch: Epoch = { number: 1, writerId: 'test' };
  readonly mtrs: { readonly cpl: Lsn; readonly mtr: Mtr }[] = [];
  readonly readRequests: { readonly at: Lsn; readonly pages: readonly PageNumber[] }[] = [];
  readonly #versions = new Map<number, { readonly lsn: Lsn; readonly data: Uint8Array }[]>();
  readonly #vdlListeners = new Set<(vdl: Lsn) => void>();
  readonly #deposedListeners = new Set<(reason: Error) => void>();
  readonly #delayMs: number | null;
  #waiters: Waiter[] = [];
  #writableWaiters: Omit<Waiter, 'lsn'>[] = [];
  #head: Lsn;
  #vdl: Lsn;
  #isHeld = false;
  #isWritable = true;
  #deposed: Error | null = null;
  /** Set by tests. */
  readDelayMs = 0;
  readError: ErrorCode | null = null;
  submitError: ErrorCode | null = null;
  /** When set, confirmations wait for it. */
  confirmation: Promise<void> | null = null;
  confirmations = 0;
  /** Attempts, refused ones too. */
  submits = 0;
  /** Listeners of VDL are told so much later than those who wait for it. */
  vdlListenerDelayMs = 0;
  lowestReported: Lsn = NO_LSN;
  pagesRead = 0;

  constructor(options: MemoryVolumeOptions = {}) {
    this.#vdl = toLsn((options.firstLsn ?? 1) - 1);
    this.#head = this.#vdl;
    this.#delayMs = options.durabilityDelayMs ?? null;
  }

  get headLsn(): Lsn {
    return this.#head;
  }

  get vdl(): Lsn {
    return this.#vdl;
  }

  get writable(): boolean {
    return this.#isWritable && this.#deposed === null;
  }

  /** Who waits for VDL. */
  get waiting(): number {
    return this.#waiters.length;
  }

  submit(mtr: Mtr): SubmittedMtr {
    this.submits += 1;
    if (this.#deposed !== null) throw this.#deposed;
    if (this.submitError !== null) throw new TidemarkError(this.submitError, 'as the test wants it');
    assert(mtr.changes.length > 0, 'an empty MTR');
    const firstLsn = toLsn(this.#head + 1);
    for (const change of mtr.changes) {
      this.#head = toLsn(this.#head + 1);
      const versions = this.#versions.get(change.page) ?? [];
      const base = versions.at(-1)?.data ?? null;
      // The body may be a view into a buffer that holds others.
      const data = applyChange(base, change);
      assert(data.length === PAGE_SIZE_BYTES, 'a page of the wrong size');
      versions.push({ lsn: this.#head, data });
      this.#versions.set(change.page, versions);
    }
    const cpl = this.#head;
    this.mtrs.push({
      cpl,
      mtr: { changes: mtr.changes.map((c) => ({ ...c, body: new Uint8Array(c.body) })) },
    });
    if (!this.#isHeld) {
      if (this.#delayMs === null) this.#advance(cpl);
      else setTimeout(() => this.#isHeld || this.#advance(cpl), this.#delayMs);
    }
    return { firstLsn, cpl, commitTimeMicros: 0 };
  }

  async whenWritable(timeoutMs: number): Promise<void> {
    if (this.writable) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new TidemarkError('NO_QUORUM', 'no writes')), timeoutMs);
      timer.unref();
      this.#writableWaiters.push({ resolve, reject });
    });
  }

  async whenDurable(lsn: Lsn): Promise<void> {
    if (this.#deposed !== null) throw this.#deposed;
    if (this.#vdl >= lsn) return;
    await new Promise<void>((resolve, reject) => this.#waiters.push({ lsn, resolve, reject }));
  }

  async confirmReadable(): Promise<void> {
    this.confirmations += 1;
    if (this.#deposed !== null) throw this.#deposed;
    await this.confirmation;
  }

  async readPages(at: Lsn, pages: readonly PageNumber[]): Promise<readonly PageVersion[]> {
    assert(at <= this.#vdl, `a read at ${at}, above VDL ${this.#vdl}`);
    this.readRequests.push({ at, pages });
    this.pagesRead += pages.length;
    if (this.readDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.readDelayMs));
    if (this.readError !== null) throw new TidemarkError(this.readError, 'as the test wants it');
    return pages.map((page) => this.pageAt(page, at));
  }

  pageAt(page: PageNumber, at: Lsn): PageVersion {
    const versions = this.#versions.get(page) ?? [];
    const version = versions.findLast(({ lsn }) => lsn <= at);
    return version === undefined
      ? { page, lsn: NO_LSN, data: new Uint8Array(0) }
      : { page, lsn: version.lsn, data: version.data };
  }

  reportReadPoint(lowest: Lsn): void {
    assert(
      lowest >= this.lowestReported,
      `the lowest read point went back from ${this.lowestReported} to ${lowest}`,
    );
    assert(lowest <= this.#vdl, `a reported read point ${lowest} above VDL ${this.#vdl}`);
    this.lowestReported = lowest;
  }

  onVdl(listener: (vdl: Lsn) => void): () => void {
    this.#vdlListeners.add(listener);
    return () => this.#vdlListeners.delete(listener);
  }

  onDeposed(listener: (reason: Error) => void): () => void {
    this.#deposedListeners.add(listener);
    return () => this.#deposedListeners.delete(listener);
  }

  status(): OpenVolumeStatus {
    return {
      volume: this.volume,
      name: this.name,
      epoch: this.epoch,
      vcl: this.#vdl,
      vdl: this.#vdl,
      headLsn: this.#head,
      floor: NO_LSN,
      hasReadLease: true,
      pgCount: 1,
      redoBytes: 0,
      nodes: [],
    };
  }

  async close(): Promise<void> {
    this.#vdlListeners.clear();
  }

  // For tests.

  /** VDL stays where it is. */
  hold(): void {
    this.#isHeld = true;
  }

  /** VDL follows again, and catches up. */
  release(): void {
    this.#isHeld = false;
    this.#advance(this.#head);
  }

  /** VDL moves to `lsn`, held or not. */
  advanceTo(lsn: number): void {
    this.#advance(toLsn(lsn));
  }

  setWritable(writable: boolean): void {
    this.#isWritable = writable;
    if (!writable) return;
    for (const { resolve } of this.#writableWaiters.splice(0)) resolve();
  }

  depose(): void {
    const reason = new TidemarkError('DEPOSED', 'a newer writer took over');
    this.#deposed = reason;
    for (const { reject } of this.#waiters.splice(0)) reject(reason);
    for (const { reject } of this.#writableWaiters.splice(0)) reject(reason);
    for (const listener of this.#deposedListeners) listener(reason);
  }

  /** Commits wait until their limit. */
  failWaiting(code: ErrorCode): void {
    for (const { reject } of this.#waiters.splice(0)) reject(new TidemarkError(code, 'as the test wants it'));
  }

  /** The database file at `at`, built from nothing but the MTRs. */
  replay(at: Lsn = this.#head): Uint8Array {
    const pages = new Map<number, Uint8Array>();
    let lsn = this.mtrs[0] === undefined ? 0 : this.mtrs[0].cpl - this.mtrs[0].mtr.changes.length;
    for (const { cpl, mtr } of this.mtrs) {
      if (cpl > at) break;
      for (const change of mtr.changes)
        pages.set(change.page, applyChange(pages.get(change.page) ?? null, change));
      lsn += mtr.changes.length;
      assert(lsn === cpl, 'MTRs do not follow each other');
    }
    const first = pages.get(1);
    if (first === undefined) return new Uint8Array(0);
    const size = new DataView(first.buffer, first.byteOffset).getUint32(28);
    const file = new Uint8Array(size * PAGE_SIZE_BYTES);
    for (const [page, data] of pages) if (page <= size) file.set(data, (page - 1) * PAGE_SIZE_BYTES);
    return file;
  }

  #advance(vdl: Lsn): void {
    if (vdl <= this.#vdl) return;
    this.#vdl = vdl;
    const tell = (): void => {
      for (const listener of this.#vdlListeners) listener(this.#vdl);
    };
    if (this.vdlListenerDelayMs === 0) tell();
    else setTimeout(tell, this.vdlListenerDelayMs);
    const due = this.#waiters.filter(({ lsn }) => lsn <= vdl);
    this.#waiters = this.#waiters.filter(({ lsn }) => lsn > vdl);
    for (const { resolve } of due) resolve();
  }
}
