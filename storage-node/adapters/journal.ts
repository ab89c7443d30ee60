/**
 * The journal: what a storage node was told is durable, and acknowledged, when its entry here is synced. A ring of checksummed, chained entries
 * beside the store, because the store's own write-ahead log cannot be trusted with acknowledged data (design section 5).
 *
 * It owns the ring and the guard files (journal-disk.ts). The store is the home of the log: `flushStore` is how the journal has
 * what it is about to forget put into the store's tables first.
 *
 * Invariants
 * 1. One write is in flight at a time; all that is queued meanwhile goes out as one entry in one synced write (group commit).
 * 2. `whenDurable` is called after the entry of its ops is synced, in the order of `append`; never after a failure.
 * 3. Sequences: storeFlushed ≤ synced, guardThrough ≤ synced ≤ written. Ring space of an entry is reused only when its home ops are in
 *    the store's tables (sequence ≤ storeFlushed) and its guard ops in both guard files (≤ guardThrough).
 * 4. An entry repeats the guard ops of the one before it: they are on disk twice, synced one after the other, before long; an
 *    empty entry follows when nothing else does, and so the last real entry is known synced too.
 * 5. The first failure of the disk is the last: nothing is retried, nobody is told anything more.
 * 6. Until `replayed`, recovered entries stay in the ring. What finds no room beside them, and what is too large for any entry, is made
 *    durable without the ring: home ops by a flush of the store, guard ops in both guard files. Slow, never stuck.
 */
import { assert } from '../../src/base/assert.ts';
import { KIB, MIB } from '../../src/base/limits.ts';
import type { Crc32, Timer, Timers } from '../../src/env/env.ts';
import type { DurableOp, JournalRecovery } from '../core/effects.ts';
import { GUARD_COPIES, type JournalDisk, SECTOR_BYTES } from './journal-disk.ts';
import { encodeEntry, encodeOps, ENTRY_HEADER_BYTES, entrySectors } from './journal-entry.ts';
import { encodeGuard } from './journal-guard.ts';
import { type JournalState, recoverJournal } from './journal-recovery.ts';
import { RingSpace } from './journal-ring.ts';

/** Room for many flushes of the store's write buffer: 64 MiB against 4. */
export const DEFAULT_JOURNAL_BYTES = 64 * MIB;
/** An entry takes at most this share of the ring, so that writing never has to wait for the very last one before it. */
const MAX_ENTRY_SHARE = 1 / 4;
/** ... nor more than this: one write must not hold up the acknowledgements behind it for long. */
const MAX_ENTRY_BYTES = 4 * MIB;
/** Guard ops past this share of an entry are not repeated in the next one but checkpointed at once. */
const MAX_REPEATED_SHARE = 1 / 4;
/** Live part of the ring from which on a checkpoint runs behind the writes. */
const CHECKPOINT_SHARE = 1 / 2;
/** Quiet time after which an empty entry follows the last real one. */
const DEFAULT_IDLE_MS = 20;
/** msgpack's and the array's own bytes around one op. */
const OP_OVERHEAD_BYTES = 16;
const PAYLOAD_OVERHEAD_BYTES = 16;

export interface JournalOptions {
  readonly disk: JournalDisk;
  readonly crc32: Crc32;
  readonly timers: Timers;
  /** Puts into the store's tables, synced, all home ops of every `append` so far. */
  readonly flushStore: () => Promise<void>;
  /** An entry with this sequence is about to be written; its home ops, and all before, were given to the store already. */
  readonly onEntry?: (sequence: number) => void;
  /** Newest sequence the store was told through `onEntry`, 0 when none: tells damage from a torn tail. */
  readonly rememberedSequence?: number;
  readonly onFatal: (error: Error) => void;
  readonly idleMs?: number;
}

interface Waiting {
  readonly ops: readonly DurableOp[];
  readonly sizeBytes: number;
  readonly whenDurable: () => void;
}
type GuardOp = Extract<DurableOp, { kind: 'guard' }>;

export class Journal {
  readonly #disk: JournalDisk;
  readonly #options: JournalOptions;
  readonly #ring: RingSpace;
  readonly #maxEntryBytes: number;
  readonly #guard: Map<string, Uint8Array>;

  #queue: Waiting[] = [];
  #queuedBytes = 0;
  #isScheduled = false;
  #isWriting = false;
  #hasFailed = false;
  #isClosed = false;

  #writtenSequence: number;
  #syncedSequence: number;
  #lastChecksum: number;
  #storeFlushed: number;
  #guardThrough: number;
  #guardGeneration: number;
  #toRepeat: readonly GuardOp[];
  #isLastEmpty = true;
  #checkpoint: Promise<void> | null = null;
  #mayRelease = false;
  #idleTimer: Timer | null = null;
  #drained: (() => void)[] = [];
  #guardWrite: Promise<void> = Promise.resolve();
  #buffer: Uint8Array = new Uint8Array(64 * KIB);

  private constructor(options: JournalOptions, state: JournalState) {
    this.#options = options;
    this.#disk = options.disk;
    this.#ring = new RingSpace(options.disk.ringBytes / SECTOR_BYTES);
    this.#ring.restore(state.live, state.headSector);
    this.#maxEntryBytes = Math.min(MAX_ENTRY_BYTES, Math.floor(options.disk.ringBytes * MAX_ENTRY_SHARE));
    this.#guard = new Map(state.recovery.guard);
    this.#writtenSequence = state.lastSequence;
    this.#syncedSequence = state.lastSequence;
    this.#lastChecksum = state.lastChecksum;
    this.#storeFlushed = state.storeFlushed;
    this.#guardThrough = state.guardThrough;
    this.#guardGeneration = state.guardGeneration;
    this.#toRepeat = state.lastGuardOps;
  }

  /** Reads what is there. Until `replayed` is called the ring keeps all that `recovery` names. */
  static async open(
    options: JournalOptions,
  ): Promise<{ readonly journal: Journal; readonly recovery: JournalRecovery }> {
    const state = await recoverJournal(options.disk, options.crc32, options.rememberedSequence ?? 0);
    const journal = new Journal(options, state);
    // A damaged journal is left as it is until its space is needed: the damage must be found again should we crash now.
    if (state.guardNeedsRepair && !state.recovery.damaged) await journal.#writeGuard();
    return { journal, recovery: state.recovery };
  }

  /** What waits for the disk: the measure for holding writers back. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Everything recovered has been given to the store again as far as it was missing: its ring space may be reused. */
  replayed(): void {
    if (this.#mayRelease) return;
    this.#mayRelease = true;
    this.#checkpointIfFull();
  }

  append(ops: readonly DurableOp[], whenDurable: () => void): void {
    assert(!this.#isClosed, 'append to a closed journal');
    if (this.#hasFailed) return;
    const sizeBytes = sizeOf(ops);
    this.#queue.push({ ops, sizeBytes, whenDurable });
    this.#queuedBytes += sizeBytes;
    this.#schedule();
  }

  /** Resolves when all appended so far is durable. */
  drain(): Promise<void> {
    if (this.#hasFailed) return Promise.resolve();
    if (this.#queue.length === 0 && !this.#isWriting) return Promise.resolve();
    return new Promise((resolve) => this.#drained.push(resolve));
  }

  /** Everything durable, the store flushed, the guard in both files: the next start needs nothing of the ring. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    await this.drain();
    this.#isClosed = true;
    this.#idleTimer?.cancel();
    await this.#checkpoint;
    if (!this.#hasFailed && this.#mayRelease) await this.#runCheckpoint();
    await this.#guardWrite;
    await this.#disk.close();
  }

  /** Stops at once, as a crash would: for a process that is about to end because of a failure elsewhere. */
  abandon(): void {
    this.#hasFailed = true;
    this.#isClosed = true;
    this.#idleTimer?.cancel();
    this.#queue = [];
  }

  /** After the current turn of the event loop, so that all it brings shares the entry; at once afterwards. */
  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    this.#options.timers.soon(() => {
      this.#isScheduled = false;
      void this.#writeQueued();
    });
  }

  async #writeQueued(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    try {
      while (this.#queue.length > 0 && !this.#hasFailed) await this.#writeGroup(this.#takeGroup());
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#isWriting = false;
    if (this.#hasFailed) return;
    const drained = this.#drained;
    this.#drained = [];
    for (const resolve of drained) resolve();
    this.#armIdle();
  }

  /** As much of the queue as fits into one entry; at least one append, however large. */
  #takeGroup(): readonly Waiting[] {
    let count = 0;
    let sizeBytes = 0;
    for (const { sizeBytes: next } of this.#queue) {
      if (count > 0 && sizeBytes + next > this.#maxGroupBytes) break;
      sizeBytes += next;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const ops = group.flatMap(({ ops: own }) => own);
    if (ops.length > 0) await this.#writeEntry(ops);
    if (this.#hasFailed) return;
    for (const waiting of group) {
      this.#queuedBytes -= waiting.sizeBytes;
      waiting.whenDurable();
    }
  }

  async #writeEntry(ops: readonly DurableOp[]): Promise<void> {
    const payload = encodeOps(this.#toRepeat.length === 0 ? ops : [...this.#toRepeat, ...ops]);
    const sectors = entrySectors(payload.length);
    const sequence = this.#writtenSequence + 1;
    const sector = sectors * SECTOR_BYTES > this.#maxEntryBytes ? null : await this.#place(sequence, sectors);
    if (sector === null) {
      await this.#persistWithoutRing(ops);
      return;
    }
    const offset = sector * SECTOR_BYTES;
    const entry = this.#entryBuffer(sectors * SECTOR_BYTES);
    const checksum = encodeEntry(
      {
        sequence,
        offset,
        knownSynced: this.#syncedSequence,
        storeFlushed: this.#storeFlushed,
        previousChecksum: this.#lastChecksum,
      },
      payload,
      entry,
      this.#options.crc32,
    );
    this.#writtenSequence = sequence;
    this.#options.onEntry?.(sequence);
    await this.#disk.writeRing(offset, entry);
    if (this.#hasFailed) return;
    this.#syncedSequence = sequence;
    this.#lastChecksum = checksum;
    this.#isLastEmpty = ops.length === 0;
    this.#toRepeat = this.#applyGuard(ops);
    if (sizeOf(this.#toRepeat) > this.#maxEntryBytes * MAX_REPEATED_SHARE) {
      this.#toRepeat = [];
      void this.#startCheckpoint();
    }
    this.#checkpointIfFull();
  }

  /** The sector for the next entry, waiting for checkpoints while live entries are in the way; null when waiting would not help. */
  async #place(sequence: number, sectors: number): Promise<number | null> {
    for (;;) {
      const sector = this.#ring.place(sequence, sectors);
      if (sector !== null || !this.#mayRelease) return sector;
      await this.#startCheckpoint();
      if (this.#hasFailed) return null;
    }
  }

  async #persistWithoutRing(ops: readonly DurableOp[]): Promise<void> {
    if (this.#hasFailed) return;
    await this.#options.flushStore();
    this.#applyGuard(ops);
    // The next entry must not bring back what these ops have replaced.
    this.#toRepeat = [];
    await this.#writeGuard();
  }

  #applyGuard(ops: readonly DurableOp[]): readonly GuardOp[] {
    const guardOps = ops.filter((op) => op.kind === 'guard');
    for (const { key, value } of guardOps) {
      if (value === null) this.#guard.delete(key);
      else this.#guard.set(key, value);
    }
    return guardOps;
  }

  #entryBuffer(sizeBytes: number): Uint8Array {
    if (this.#buffer.length < sizeBytes)
      this.#buffer = new Uint8Array(Math.min(sizeBytes * 2, MAX_ENTRY_BYTES));
    return this.#buffer.subarray(0, sizeBytes);
  }

  get #maxGroupBytes(): number {
    return this.#maxEntryBytes * (1 - MAX_REPEATED_SHARE) - ENTRY_HEADER_BYTES - PAYLOAD_OVERHEAD_BYTES;
  }

  #checkpointIfFull(): void {
    const isFull = this.#ring.liveSectors > this.#ring.sectors * CHECKPOINT_SHARE;
    if (isFull && this.#mayRelease) void this.#startCheckpoint();
  }

  #startCheckpoint(): Promise<void> {
    this.#checkpoint ??= this.#runCheckpoint()
      .catch((error: unknown) => this.#fail(error as Error))
      .finally(() => {
        this.#checkpoint = null;
      });
    return this.#checkpoint;
  }

  async #runCheckpoint(): Promise<void> {
    const through = this.#syncedSequence;
    if (this.#mayRelease) {
      await this.#options.flushStore();
      this.#storeFlushed = Math.max(this.#storeFlushed, through);
    }
    await this.#writeGuard();
    this.#ring.release(Math.min(this.#storeFlushed, this.#guardThrough));
  }

  /** The guard as it stands now, which is that after the newest synced entry. One copy after the other: see journal-guard.ts. */
  #writeGuard(): Promise<void> {
    this.#guardWrite = this.#guardWrite.then(async () => {
      const through = this.#syncedSequence;
      const generation = this.#guardGeneration + 1;
      const bytes = encodeGuard(
        { generation, through, storeFlushed: this.#storeFlushed, values: this.#guard },
        this.#options.crc32,
      );
      for (const copy of GUARD_COPIES) await this.#disk.replaceGuard(copy, bytes);
      this.#guardGeneration = generation;
      this.#guardThrough = through;
    });
    return this.#guardWrite;
  }

  #armIdle(): void {
    if (this.#isLastEmpty || this.#idleTimer !== null || this.#isClosed) return;
    const idleMs = this.#options.idleMs ?? DEFAULT_IDLE_MS;
    if (!Number.isFinite(idleMs)) return;
    const seen = this.#writtenSequence;
    this.#idleTimer = this.#options.timers.after(idleMs, () => {
      this.#idleTimer = null;
      if (this.#isClosed || this.#hasFailed) return;
      if (seen !== this.#writtenSequence || this.#isWriting) this.#armIdle();
      else void this.#writeIdle();
    });
  }

  async #writeIdle(): Promise<void> {
    this.#isWriting = true;
    try {
      await this.#writeEntry([]);
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#isWriting = false;
    void this.#writeQueued();
  }

  #fail(error: Error): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#queue = [];
    this.#options.onFatal(error);
    for (const resolve of this.#drained) resolve();
    this.#drained = [];
  }
}

function sizeOf(ops: readonly DurableOp[]): number {
  let sizeBytes = 0;
  for (const { key, value } of ops) {
    const keyBytes = typeof key === 'string' ? Buffer.byteLength(key) : key.length;
    sizeBytes += keyBytes + (value?.length ?? 0) + OP_OVERHEAD_BYTES;
  }
  return sizeBytes;
}
