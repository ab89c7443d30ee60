/**
 * The sealed boxcars of one PG that some segment may still need, in order of sending. Boxcars are named by ordinal, counted from the
 * opening; running totals make "how much lies between two ordinals" a subtraction.
 */
import { assert } from '../../src/base/assert.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { AppendRequest } from '../../src/messages/messages.ts';

export interface SealedBoxcar {
  readonly firstLsn: Lsn;
  readonly lastLsn: Lsn;
  readonly recordCount: number;
  /** One object for all six, encoded once; sent under the configuration that is committed by then. */
  readonly request: AppendRequest;
  readonly sealedAtMs: number;
}

interface Slot {
  readonly boxcar: SealedBoxcar;
  readonly bytesBefore: number;
  readonly recordsBefore: number;
}

/** Released slots are cut off the array in pieces of this many. */
const COMPACT_SLOTS = 256;

export class BoxcarBuffer {
  private slots: Slot[] = [];
  /** Ordinal of slots[0], and of the oldest boxcar not released yet. */
  private slotBase = 0;
  private first = 0;
  private totalBytes = 0;
  private totalRecords = 0;

  /** Ordinal of the oldest boxcar still here. */
  get base(): number {
    return this.first;
  }

  /** Ordinal that the next boxcar gets. */
  get end(): number {
    return this.slotBase + this.slots.length;
  }

  /** Of all that was ever pushed. */
  get pushedBytes(): number {
    return this.totalBytes;
  }

  push(boxcar: SealedBoxcar): void {
    this.slots.push({ boxcar, bytesBefore: this.totalBytes, recordsBefore: this.totalRecords });
    this.totalBytes += boxcar.request.boxcar.byteLength;
    this.totalRecords += boxcar.recordCount;
  }

  at(ordinal: number): SealedBoxcar {
    const slot = ordinal < this.first ? undefined : this.slots[ordinal - this.slotBase];
    assert(slot !== undefined, `boxcar ${ordinal} is not buffered (${this.first} to ${this.end})`);
    return slot.boxcar;
  }

  /** Bytes of the boxcars from `from` (or the oldest still here) up to and without `to`. */
  bytesBetween(from: number, to: number): number {
    return Math.max(0, this.bytesBefore(to) - this.bytesBefore(from));
  }

  recordsBetween(from: number, to: number): number {
    return Math.max(0, this.recordsBefore(to) - this.recordsBefore(from));
  }

  /** Lets go of all boxcars before `ordinal`. */
  releaseBefore(ordinal: number): void {
    assert(ordinal <= this.end, `release of ${ordinal}, only ${this.end} were sealed`);
    if (ordinal <= this.first) return;
    this.first = ordinal;
    if (this.first - this.slotBase >= COMPACT_SLOTS || this.first === this.end) {
      this.slots.splice(0, this.first - this.slotBase);
      this.slotBase = this.first;
    }
  }

  private bytesBefore(ordinal: number): number {
    const at = Math.max(ordinal, this.first);
    return this.slots[at - this.slotBase]?.bytesBefore ?? this.totalBytes;
  }

  private recordsBefore(ordinal: number): number {
    const at = Math.max(ordinal, this.first);
    return this.slots[at - this.slotBase]?.recordsBefore ?? this.totalRecords;
  }
}
