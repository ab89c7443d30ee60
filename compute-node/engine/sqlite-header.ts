/** Fields of the first 100 bytes of a SQLite database file (sqlite.org/fileformat2.html, section 1.3). */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';

export const SQLITE_MAGIC = 'SQLite format 3\0';
export const HEADER_BYTES = 100;
/** The page around the byte at 1 GiB, which SQLite's file locks use: never part of the database. */
export const LOCK_BYTE_PAGE = 0x40000000 / PAGE_SIZE_BYTES + 1;

const PAGES_AT = 28;

/** Number of pages as page 1 has it; 0 for a page that was never written (an empty database). */
export function databasePages(page1: Uint8Array): number {
  return u32(page1, PAGES_AT);
}

export function u32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}

export function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
