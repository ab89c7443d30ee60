/**
 * MTRs that wait for a protection group that the committed manifest does not name yet, and every MTR behind them. Their LSNs are given; they
 * go out in order, whole: were a later one sent first, recovery could meet it without the one before.
 */
import { recordSizeBytes } from '../../src/log/codec.ts';
import type { PgIndex } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';

export interface PlacedRecord {
  readonly pg: PgIndex;
  readonly record: RedoRecord;
}

interface HeldMtr {
  readonly records: readonly PlacedRecord[];
  readonly highestPg: PgIndex;
}

export class HeldMtrs {
  private mtrs: HeldMtr[] = [];
  private bytes = 0;

  get isEmpty(): boolean {
    return this.mtrs.length === 0;
  }

  get sizeBytes(): number {
    return this.bytes;
  }

  add(records: readonly PlacedRecord[], highestPg: PgIndex): void {
    this.mtrs.push({ records, highestPg });
    for (const { record } of records) this.bytes += recordSizeBytes(record);
  }

  /** Takes out, in order, what needs no PG beyond the first `pgCount`, up to the first MTR that does. */
  release(pgCount: number): readonly PlacedRecord[] {
    const stays = this.mtrs.findIndex((mtr) => mtr.highestPg >= pgCount);
    const released = stays === -1 ? this.mtrs : this.mtrs.slice(0, stays);
    this.mtrs = stays === -1 ? [] : this.mtrs.slice(stays);
    const records = released.flatMap((mtr) => mtr.records);
    for (const { record } of records) this.bytes -= recordSizeBytes(record);
    return records;
  }
}
