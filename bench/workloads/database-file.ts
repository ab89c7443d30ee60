/**
 * A SQLite database file of any size, written page by page as SQLite would have laid it out after loading rows in order of their keys: a gigabyte takes
 * seconds, where inserting it by SQL would take most of a benchmark's time. One table, `TABLE(id INTEGER PRIMARY KEY, v TEXT NOT NULL)`, ids from 1.
 *
 * The format is https://www.sqlite.org/fileformat2.html; test/unit/bench has SQLite itself check what comes out.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { PAYLOAD_CHARS, payload } from './rows.ts';

/** SQLite never uses the page that holds the byte at 1 GiB. */
const LOCK_BYTE_PAGE = 2 ** 30 / PAGE_SIZE_BYTES + 1;
const FILE_HEADER_BYTES = 100;
const LEAF = 0x0d;
const INTERIOR = 0x05;
const LEAF_HEADER_BYTES = 8;
const INTERIOR_HEADER_BYTES = 12;
const POINTER_BYTES = 2;
/** Of a rowid below 2 ** 28. */
const MAX_ROWID_BYTES = 4;
/** Length of the header, a NULL that stands for the rowid, and the text's type in two bytes. */
const RECORD_HEADER_BYTES = 4;
const MAX_ROW_BYTES = 2 + MAX_ROWID_BYTES + RECORD_HEADER_BYTES + PAYLOAD_CHARS + POINTER_BYTES;
const ROWS_PER_LEAF = Math.floor((PAGE_SIZE_BYTES - LEAF_HEADER_BYTES) / MAX_ROW_BYTES);
const CHILDREN_PER_INTERIOR =
  1 + Math.floor((PAGE_SIZE_BYTES - INTERIOR_HEADER_BYTES) / (4 + MAX_ROWID_BYTES + POINTER_BYTES));
const PAGES_PER_WRITE = 256;

export interface DatabaseFile {
  readonly rows: number;
  readonly sizeBytes: number;
}

/** A node of the tree of which its parent must know. */
interface Child {
  readonly page: number;
  readonly lastRowid: number;
}

/** At least `leaves` pages of rows, and what stands above them. */
export async function writeDatabaseFile(path: string, table: string, leaves: number): Promise<DatabaseFile> {
  const file = await open(path, 'wx');
  try {
    const pages = new PageWriter(file);
    // Its place; what it says is known at the end.
    await pages.add(new Uint8Array(PAGE_SIZE_BYTES));
    let level: Child[] = [];
    for (let leaf = 0; leaf < leaves; leaf++) {
      const firstRowid = leaf * ROWS_PER_LEAF + 1;
      const page = await pages.add(leafPage(firstRowid));
      level.push({ page, lastRowid: firstRowid + ROWS_PER_LEAF - 1 });
    }
    while (level.length > 1) {
      const above: Child[] = [];
      for (const children of evenly(level, CHILDREN_PER_INTERIOR)) {
        const page = await pages.add(interiorPage(children));
        above.push({ page, lastRowid: children[children.length - 1]!.lastRowid });
      }
      level = above;
    }
    const count = await pages.finish();
    await file.write(firstPage(table, level[0]!.page, count), 0, PAGE_SIZE_BYTES, 0);
    return { rows: leaves * ROWS_PER_LEAF, sizeBytes: count * PAGE_SIZE_BYTES };
  } finally {
    await file.close();
  }
}

/** Gives pages their numbers, and writes them in portions. */
class PageWriter {
  private readonly file: FileHandle;
  private buffered: Uint8Array[] = [];
  private count = 0;

  constructor(file: FileHandle) {
    this.file = file;
  }

  async add(page: Uint8Array): Promise<number> {
    if (this.count + 1 === LOCK_BYTE_PAGE) await this.append(new Uint8Array(PAGE_SIZE_BYTES));
    return this.append(page);
  }

  /** How many there are. */
  async finish(): Promise<number> {
    await this.file.appendFile(Buffer.concat(this.buffered));
    this.buffered = [];
    return this.count;
  }

  private async append(page: Uint8Array): Promise<number> {
    this.buffered.push(page);
    if (this.buffered.length === PAGES_PER_WRITE) {
      await this.file.appendFile(Buffer.concat(this.buffered));
      this.buffered = [];
    }
    return ++this.count;
  }
}

/** In groups of at most `most`, none of a single one: an interior page has two children at least. */
function* evenly<T>(items: readonly T[], most: number): Generator<readonly T[]> {
  const groups = Math.ceil(items.length / most);
  for (let i = 0; i < groups; i++) {
    yield items.slice(Math.floor((i * items.length) / groups), Math.floor(((i + 1) * items.length) / groups));
  }
}

function leafPage(firstRowid: number): Uint8Array {
  const page = new PageBytes(LEAF, LEAF_HEADER_BYTES);
  for (let rowid = firstRowid; rowid < firstRowid + ROWS_PER_LEAF; rowid++) {
    page.addCell(
      [
        ...varint(RECORD_HEADER_BYTES + PAYLOAD_CHARS),
        ...varint(rowid),
        ...recordHeader([0, textType(PAYLOAD_CHARS)]),
      ],
      payload(),
    );
  }
  return page.done();
}

function interiorPage(children: readonly Child[]): Uint8Array {
  const page = new PageBytes(INTERIOR, INTERIOR_HEADER_BYTES);
  for (const { page: child, lastRowid } of children.slice(0, -1)) {
    page.addCell([...u32(child), ...varint(lastRowid)]);
  }
  page.bytes.writeUInt32BE(children[children.length - 1]!.page, 8);
  return page.done();
}

function firstPage(table: string, rootPage: number, pages: number): Uint8Array {
  const page = new PageBytes(LEAF, LEAF_HEADER_BYTES, FILE_HEADER_BYTES);
  const sql = `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, v TEXT NOT NULL)`;
  const INT32 = 4;
  const texts = textType('table'.length);
  const header = recordHeader([
    texts,
    textType(table.length),
    textType(table.length),
    INT32,
    textType(sql.length),
  ]);
  const body = [...ascii(`table${table}${table}`), ...u32(rootPage), ...ascii(sql)];
  page.addCell([...varint(header.length + body.length), ...varint(1), ...header, ...body]);
  const { bytes } = page;
  bytes.write('SQLite format 3\0', 'latin1');
  bytes.writeUInt16BE(PAGE_SIZE_BYTES, 16);
  // Rollback journal; no reserved bytes; the payload fractions that there are.
  bytes.set([1, 1, 0, 64, 32, 32], 18);
  const fields: readonly (readonly [at: number, value: number])[] = [
    [24, 1], // change counter
    [28, pages],
    [40, 1], // schema cookie
    [44, 4], // schema format
    [56, 1], // UTF-8
    [92, 1], // the change counter that the size above is valid for
    [96, 3_054_001], // SQLite's version
  ];
  for (const [at, value] of fields) bytes.writeUInt32BE(value, at);
  return page.done();
}

/** A b-tree page: pointers grow from the header on, cells from the end downwards. */
class PageBytes {
  readonly bytes = Buffer.alloc(PAGE_SIZE_BYTES);
  private readonly headerAt: number;
  private pointerAt: number;
  private contentAt = PAGE_SIZE_BYTES;
  private cells = 0;

  constructor(type: number, headerBytes: number, headerAt = 0) {
    this.headerAt = headerAt;
    this.bytes[headerAt] = type;
    this.pointerAt = headerAt + headerBytes;
  }

  addCell(head: readonly number[], text = ''): void {
    this.contentAt -= head.length + text.length;
    this.bytes.set(head, this.contentAt);
    if (text !== '') this.bytes.write(text, this.contentAt + head.length, 'latin1');
    this.bytes.writeUInt16BE(this.contentAt, this.pointerAt);
    this.pointerAt += POINTER_BYTES;
    this.cells += 1;
  }

  done(): Uint8Array {
    this.bytes.writeUInt16BE(this.cells, this.headerAt + 3);
    this.bytes.writeUInt16BE(this.contentAt, this.headerAt + 5);
    return this.bytes;
  }
}

/** Its own length first, which is one byte here. */
function recordHeader(types: readonly number[]): number[] {
  const bytes = types.flatMap(varint);
  return [bytes.length + 1, ...bytes];
}

function textType(chars: number): number {
  return 13 + 2 * chars;
}

function varint(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}

function u32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}

function ascii(text: string): number[] {
  return [...Buffer.from(text, 'latin1')];
}
