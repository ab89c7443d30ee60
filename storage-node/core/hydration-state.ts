/** What is known of a segment's hydration while it lasts (hydration.ts decides; the store and the guard keep what must survive). */
import { type Epoch, NO_EPOCH, compareEpochs } from '../../src/log/epoch.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { PageCursor } from '../../src/messages/messages.ts';
import type { HydrationProgress } from './values.ts';

export class Hydration {
  readonly id: string;
  /** Pages are copied as of here; null: no source has been found yet. */
  throughLsn: Lsn | null = null;
  cursor: PageCursor | null = null;
  /** Highest page copied, and the highest one that the source has. */
  highestPage = 0;
  pagesAtSource = 0;
  copiedBytes = 0;
  /** All pages are here and durable; the log's end is still to come. */
  isCopied = false;
  /** The highest promise that the peers which vouch for its end have told. */
  promised: Epoch = NO_EPOCH;

  /** What belongs to it beside its own records and pages is here: its peers' memory (peer-memory.ts), its bases. */
  isComplete = false;

  /** Of this process's first look at it. */
  startedAtMs: number | null = null;
  nextAtMs = 0;
  sourceCursor = 0;
  /** Pacing: what was copied is paid for up to here. */
  paidUntilMs = 0;

  constructor(id: string) {
    this.id = id;
  }

  /** As a start finds it; null: nothing of it has survived, or it was of another one. */
  resume(progress: HydrationProgress | null): void {
    if (progress === null || progress.id !== this.id) return;
    this.throughLsn = progress.throughLsn;
    this.cursor = progress.cursor;
    this.highestPage = progress.highestPage;
    this.copiedBytes = progress.copiedBytes;
    this.isCopied = progress.isCopied;
  }

  get progress(): HydrationProgress {
    const { id, cursor, highestPage, copiedBytes, isCopied } = this;
    return { id, throughLsn: this.throughLsn ?? (0 as Lsn), cursor, highestPage, copiedBytes, isCopied };
  }

  hearPromise(epoch: Epoch): void {
    if (compareEpochs(epoch, this.promised) > 0) this.promised = epoch;
  }
}
