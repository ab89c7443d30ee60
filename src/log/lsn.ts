/**
 * Log sequence numbers and the small branded numbers that travel with them. LSNs are positive safe integers; `NO_LSN` (0)
 * stands before the first. With LAL = 10^7 burnt per take-over, 2^53 allows 900 million take-overs of one volume.
 */
import { assert } from '../base/assert.ts';
import type { Brand } from '../base/brand.ts';

export type Lsn = Brand<number, 'Lsn'>;
/** 1-based page number, as SQLite counts. */
export type PageNumber = Brand<number, 'PageNumber'>;
/** 0-based index of a protection group within its volume. */
export type PgIndex = Brand<number, 'PgIndex'>;
export type RunId = Brand<number, 'RunId'>;
/** Random, never reused: 16 lower-case base-32 characters. */
export type VolumeId = Brand<string, 'VolumeId'>;
/** Operator-given and stable over restarts, e.g. `az1-a`. */
export type NodeId = Brand<string, 'NodeId'>;

export const NO_LSN = 0 as Lsn;

export function toLsn(value: number): Lsn {
  assert(Number.isSafeInteger(value) && value >= 0, `not an LSN: ${value}`);
  return value as Lsn;
}

export function toPageNumber(value: number): PageNumber {
  assert(Number.isInteger(value) && value >= 1 && value <= 0xffff_fffe, `not a page number: ${value}`);
  return value as PageNumber;
}

export function toPgIndex(value: number): PgIndex {
  assert(Number.isInteger(value) && value >= 0, `not a PG index: ${value}`);
  return value as PgIndex;
}

export function toRunId(value: number): RunId {
  assert(Number.isInteger(value) && value >= 0, `not a run id: ${value}`);
  return value as RunId;
}

/** The protection group that holds `page` in a volume whose PGs have `pgPages` pages each. */
export function pgOfPage(page: PageNumber, pgPages: number): PgIndex {
  return Math.floor((page - 1) / pgPages) as PgIndex;
}
