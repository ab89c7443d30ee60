/**
 * The cells of SQLite's b-tree pages (sqlite.org/fileformat2.html, section 1.6), as far as finding changed rows needs them. Pure.
 *
 * A page may be anything: a freed one keeps what it held, an overflow page holds a client's bytes. So parsing answers null for what cannot be a
 * page of its kind, and whoever uses the answer has to know from the tree that the page belongs to it.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { u16, u32 } from '../engine/sqlite-header.ts';

const TYPE = { indexInterior: 0x02, tableInterior: 0x05, indexLeaf: 0x0a, tableLeaf: 0x0d } as const;
const FILE_HEADER_BYTES = 100;
const LEAF_HEADER_BYTES = 8;
const INTERIOR_HEADER_BYTES = 12;

/** Bytes of a payload that stay in a table's leaf; of an index's page; at least, when the rest goes to overflow pages. */
const MAX_TABLE_LOCAL = PAGE_SIZE_BYTES - 35;
const MAX_INDEX_LOCAL = Math.floor(((PAGE_SIZE_BYTES - 12) * 64) / 255) - 23;
const MIN_LOCAL = Math.floor(((PAGE_SIZE_BYTES - 12) * 32) / 255) - 23;
/** Content of one overflow page; before it the number of the next. */
export const OVERFLOW_CONTENT_BYTES = PAGE_SIZE_BYTES - 4;

export type PageKind = 'index-interior' | 'table-interior' | 'index-leaf' | 'table-leaf';

/** A row's record, or an index entry's: what of it lies in this page, and where the rest begins. */
export interface Payload {
  readonly local: Uint8Array;
  readonly sizeBytes: number;
  /** First overflow page, 0: all of it is local. */
  readonly overflowPage: number;
}

export interface TableRow extends Payload {
  readonly rowid: bigint;
}

/** Children are one more than keys; child i holds the rowids ≤ key i that are above key i − 1. */
export interface TableInterior {
  readonly children: readonly number[];
  readonly keys: readonly bigint[];
}

/** Entries lie between children, on interior pages too: child i before entry i. No children on a leaf. */
export interface IndexPage {
  readonly children: readonly number[];
  readonly entries: readonly Payload[];
}

/** Where a payload goes on. */
export interface OverflowChain {
  readonly firstPage: number;
  readonly pages: number;
}

export function chainOf({ local, sizeBytes, overflowPage }: Payload): OverflowChain {
  const pages = Math.ceil((sizeBytes - local.length) / OVERFLOW_CONTENT_BYTES);
  return { firstPage: overflowPage, pages: overflowPage === 0 ? 0 : pages };
}

/** What the first byte says it is. */
export function kindOfPage(page: number, data: Uint8Array): PageKind | null {
  switch (data[headerAt(page)]) {
    case TYPE.indexInterior:
      return 'index-interior';
    case TYPE.tableInterior:
      return 'table-interior';
    case TYPE.indexLeaf:
      return 'index-leaf';
    case TYPE.tableLeaf:
      return 'table-leaf';
    default:
      return null;
  }
}

export function parseTableLeaf(page: number, data: Uint8Array): readonly TableRow[] | null {
  if (kindOfPage(page, data) !== 'table-leaf') return null;
  const rows: TableRow[] = [];
  for (const cell of cellOffsets(page, data, LEAF_HEADER_BYTES) ?? [-1]) {
    const size = varint(data, cell);
    const rowid = size === null ? null : varint(data, size.end);
    if (size === null || rowid === null) return null;
    const payload = payloadAt(data, rowid.end, Number(size.value), MAX_TABLE_LOCAL);
    if (payload === null) return null;
    rows.push({ rowid: rowid.value, ...payload });
  }
  return rows;
}

export function parseTableInterior(page: number, data: Uint8Array): TableInterior | null {
  if (kindOfPage(page, data) !== 'table-interior') return null;
  const children: number[] = [];
  const keys: bigint[] = [];
  for (const cell of cellOffsets(page, data, INTERIOR_HEADER_BYTES) ?? [-1]) {
    const key = varint(data, cell + 4);
    if (cell < 0 || key === null) return null;
    children.push(u32(data, cell));
    keys.push(key.value);
  }
  children.push(u32(data, headerAt(page) + 8));
  return children.every((child) => child > 1) ? { children, keys } : null;
}

export function parseIndexPage(page: number, data: Uint8Array): IndexPage | null {
  const kind = kindOfPage(page, data);
  if (kind !== 'index-leaf' && kind !== 'index-interior') return null;
  const isInterior = kind === 'index-interior';
  const children: number[] = [];
  const entries: Payload[] = [];
  const headerBytes = isInterior ? INTERIOR_HEADER_BYTES : LEAF_HEADER_BYTES;
  for (const cell of cellOffsets(page, data, headerBytes) ?? [-1]) {
    const at = isInterior ? cell + 4 : cell;
    const size = cell < 0 ? null : varint(data, at);
    const payload = size === null ? null : payloadAt(data, size.end, Number(size.value), MAX_INDEX_LOCAL);
    if (payload === null) return null;
    if (isInterior) children.push(u32(data, cell));
    entries.push(payload);
  }
  if (isInterior) children.push(u32(data, headerAt(page) + 8));
  return children.every((child) => child > 1) ? { children, entries } : null;
}

/** Which child a rowid is under. */
export function childFor({ children, keys }: TableInterior, rowid: bigint): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] as bigint) < rowid) low = middle + 1;
    else high = middle;
  }
  return children[low] as number;
}

/** A variable-length integer: seven bits a byte, eight in the ninth; two's complement of 64 bits. */
export function varint(
  data: Uint8Array,
  at: number,
): { readonly value: bigint; readonly end: number } | null {
  if (at < 0) return null;
  let low = 0;
  for (let i = 0; i < 4; i += 1) {
    const byte = data[at + i];
    if (byte === undefined) return null;
    low = low * 128 + (byte & 0x7f);
    if (byte < 0x80) return { value: BigInt(low), end: at + i + 1 };
  }
  let value = BigInt(low);
  for (let i = 4; i < 9; i += 1) {
    const byte = data[at + i];
    if (byte === undefined) return null;
    if (i === 8) return { value: BigInt.asIntN(64, (value << 8n) | BigInt(byte)), end: at + 9 };
    value = (value << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) return { value, end: at + i + 1 };
  }
  return null;
}

function headerAt(page: number): number {
  return page === 1 ? FILE_HEADER_BYTES : 0;
}

/** null when they do not make sense. */
function cellOffsets(page: number, data: Uint8Array, headerBytes: number): readonly number[] | null {
  if (data.length !== PAGE_SIZE_BYTES) return null;
  const header = headerAt(page);
  const count = u16(data, header + 3);
  const first = header + headerBytes;
  if (first + 2 * count > PAGE_SIZE_BYTES) return null;
  const offsets: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const offset = u16(data, first + 2 * i);
    if (offset < first + 2 * count || offset + 4 > PAGE_SIZE_BYTES) return null;
    offsets.push(offset);
  }
  return offsets;
}

function payloadAt(data: Uint8Array, at: number, sizeBytes: number, maxLocal: number): Payload | null {
  if (sizeBytes < 0) return null;
  if (sizeBytes <= maxLocal) {
    const end = at + sizeBytes;
    if (end > PAGE_SIZE_BYTES) return null;
    return { local: data.subarray(at, end), sizeBytes, overflowPage: 0 };
  }
  const surplus = MIN_LOCAL + ((sizeBytes - MIN_LOCAL) % OVERFLOW_CONTENT_BYTES);
  const end = at + (surplus <= maxLocal ? surplus : MIN_LOCAL);
  if (end + 4 > PAGE_SIZE_BYTES) return null;
  const overflowPage = u32(data, end);
  return overflowPage < 2 ? null : { local: data.subarray(at, end), sizeBytes, overflowPage };
}
