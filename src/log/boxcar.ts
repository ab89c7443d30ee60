/**
 * Cutting boxcars to size and to LSN ranges, and joining neighbours: what sending, chunk merging, gossip and re-replication share.
 * Records themselves are never touched.
 */
import { assert } from '../base/assert.ts';
import { recordSizeBytes } from './codec.ts';
import { sameEpoch } from './epoch.ts';
import type { Lsn } from './lsn.ts';
import type { Boxcar, RedoRecord } from './record.ts';

export function firstRecord(boxcar: Boxcar): RedoRecord {
  const record = boxcar.records[0];
  assert(record !== undefined, 'a boxcar holds at least one record');
  return record;
}

export function lastRecord(boxcar: Boxcar): RedoRecord {
  const record = boxcar.records[boxcar.records.length - 1];
  assert(record !== undefined, 'a boxcar holds at least one record');
  return record;
}

/** The records with afterLsn < LSN ≤ throughLsn; null when there is none. */
export function sliceBoxcar(boxcar: Boxcar, afterLsn: Lsn, throughLsn: Lsn): Boxcar | null {
  const from = countUpTo(boxcar.records, afterLsn);
  const to = countUpTo(boxcar.records, throughLsn);
  if (from >= to) return null;
  if (from === 0 && to === boxcar.records.length) return boxcar;
  return { ...boxcar, records: boxcar.records.slice(from, to) };
}

/** Pieces of at most `maxBytes` of records each (by recordSizeBytes), at least one record each. */
export function splitBoxcar(boxcar: Boxcar, maxBytes: number): Boxcar[] {
  const pieces: Boxcar[] = [];
  let start = 0;
  let bytes = 0;
  for (const [index, record] of boxcar.records.entries()) {
    const size = recordSizeBytes(record);
    if (index > start && bytes + size > maxBytes) {
      pieces.push({ ...boxcar, records: boxcar.records.slice(start, index) });
      start = index;
      bytes = 0;
    }
    bytes += size;
  }
  pieces.push(start === 0 ? boxcar : { ...boxcar, records: boxcar.records.slice(start) });
  return pieces;
}

/** True when `next` goes on exactly where `boxcar` ends: same chain, same birth epoch, backlink to its last record. */
export function followsOn(boxcar: Boxcar, next: Boxcar): boolean {
  return (
    boxcar.volume === next.volume &&
    boxcar.pg === next.pg &&
    sameEpoch(boxcar.birthEpoch, next.birthEpoch) &&
    firstRecord(next).prevLsn === lastRecord(boxcar).lsn
  );
}

export function concatBoxcars(boxcar: Boxcar, next: Boxcar): Boxcar {
  assert(followsOn(boxcar, next), 'boxcars do not follow each other');
  return { ...boxcar, records: [...boxcar.records, ...next.records] };
}

/** Groups records of one PG and birth epoch, ascending, into boxcars: a new one at every break of the chain. */
export function chainsOf(head: Omit<Boxcar, 'records'>, records: readonly RedoRecord[]): Boxcar[] {
  const chains: Boxcar[] = [];
  let start = 0;
  for (let i = 1; i <= records.length; i += 1) {
    const record = records[i];
    if (record !== undefined && record.prevLsn === records[i - 1]?.lsn) continue;
    chains.push({ ...head, records: records.slice(start, i) });
    start = i;
  }
  return records.length === 0 ? [] : chains;
}

/** How many of the ascending records have an LSN ≤ `lsn`. */
function countUpTo(records: readonly RedoRecord[], lsn: Lsn): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((records[middle] as RedoRecord).lsn <= lsn) low = middle + 1;
    else high = middle;
  }
  return low;
}
