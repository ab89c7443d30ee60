/**
 * From pages that differ to keys of rows that may: reads the changed pages and what hangs on them, never the whole database.
 *
 * Why no row is missed. Take a row of one side that the other has not, or has otherwise; it lies in a page P of its table's tree.
 * 1. P changed: its rows are looked at.
 * 2. P did not change, and is in the table's tree on the other side, too: then the row is there in the same bytes, and only its overflow pages
 *    can differ. Those are accounted for: every changed page that may be part of an overflow chain is found to be free, or part of
 *    an index, or of a row that is looked at; while one is not, the tables are gone through to find whose it is.
 * 3. P did not change and is not in the other side's tree: take the lowest changed page Q above P (if none changed, the trees begin at
 *    different roots). Q's child towards P hangs on no changed page of the other side's tree, nor is it the root there: everything below
 *    it that did not change is looked at.
 * That a changed page belongs to a tree is found from the root down (trees.ts).
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import { LOCK_BYTE_PAGE, databasePages, u32 } from '../engine/sqlite-header.ts';
import { type OverflowChain, type PageKind, chainOf, kindOfPage } from './btree-cells.ts';
import type { PagePair, SideIndex } from './pages.ts';
import { SIDES } from './pages.ts';
import type { RawValue } from './record.ts';
import { type Entry, type Tree, type TreeKey, TreeReader } from './trees.ts';

/** A table as its tree lies on each side; null: not there. */
export interface TreePair {
  readonly id: string;
  readonly sides: readonly [Tree | null, Tree | null];
}

/** Keys of rows that may differ, each with the bytes of the larger of its two records; or that all rows must be compared. */
export type ChangedKeys = ReadonlyMap<string, ChangedKey> | 'all';

export interface ChangedKey {
  readonly key: TreeKey;
  readonly sizeBytes: number;
}

export interface FindOptions {
  readonly pages: PagePair;
  readonly tables: readonly TreePair[];
  /** Other trees of each side, whose overflow pages are of no interest; asked for only when it matters. */
  readonly indexes: (side: SideIndex) => Promise<readonly Tree[]>;
  /** Of one table. */
  readonly maxKeys: number;
  /** Of all tables. */
  readonly maxHeldBytes: number;
}

/** Changed pages read at a time. */
const BATCH_PAGES = 512;
/** Past so many keys of one table its rows are compared in order instead: that needs no memory. */
export const MAX_CHANGED_KEYS = 100_000;
/** Past so many bytes of rows of all tables, the table that has the most of them is compared in order. */
export const MAX_HELD_BYTES = 128 * MIB;
/** What holding a row costs beyond its bytes, about. */
const HELD_ROW_BYTES = 400;
/** Chains only spare looking for whose pages they are: past so many it is looked for. */
const MAX_CHAINS = 200_000;
/** SQLite's format: pages that fit one pointer map page (auto_vacuum). */
const POINTER_MAP_STRIDE = Math.floor(4_096 / 5) + 1;
const HEADER = { firstTrunk: 32, largestRoot: 52 } as const;

export async function findChangedKeys(options: FindOptions): Promise<ReadonlyMap<string, ChangedKeys>> {
  const search = new Search(options);
  await search.readChanged();
  await search.readDetached();
  await search.accountForOverflow();
  return search.result();
}

interface Chain {
  readonly side: SideIndex;
  readonly chain: OverflowChain;
}

interface Found {
  /** What was met of the row on each side. */
  readonly entries: [Entry | null, Entry | null];
}

class TableSearch {
  readonly pair: TreePair;
  readonly #maxKeys: number;
  readonly found = new Map<string, Found>();
  /** Rows that are the same in their pages and go on in overflow pages. */
  readonly sameSoFar = new Map<string, Found>();
  /** Children of changed pages, per side. */
  readonly children: readonly [Set<number>, Set<number>] = [new Set(), new Set()];
  isAll = false;
  /** Of the rows in `found` and `sameSoFar`. */
  heldBytes = 0;
  /** Overflow chains of rows that are not held, as all will be compared. */
  #chains: Chain[] = [];

  constructor(pair: TreePair, maxKeys: number) {
    this.pair = pair;
    this.#maxKeys = maxKeys;
    const [left, right] = pair.sides;
    if (left?.rootPage === right?.rootPage) return;
    if (left !== null) this.children[0].add(left.rootPage);
    if (right !== null) this.children[1].add(right.rootPage);
  }

  take(side: SideIndex, entry: Entry): void {
    if (this.isAll) {
      if (entry.overflowPage !== 0 && this.#chains.length < MAX_CHAINS)
        this.#chains.push({ side, chain: chainOf(entry) });
      return;
    }
    const name = nameOf(entry.key);
    const found = this.found.get(name) ?? { entries: [null, null] };
    this.#hold(found, side, entry);
    const [left, right] = found.entries;
    if (left !== null && right !== null && isSameCell(left, right)) {
      this.found.delete(name);
      if (left.overflowPage !== 0) this.sameSoFar.set(name, found);
      else this.heldBytes -= costOf(left) + costOf(right);
      return;
    }
    this.found.set(name, found);
    if (this.found.size > this.#maxKeys) this.compareAll();
  }

  /** A row to be looked at whatever its own page says. */
  mark(side: SideIndex, entry: Entry): void {
    if (this.isAll) return;
    const name = nameOf(entry.key);
    const found = this.found.get(name) ?? { entries: [null, null] };
    if (found.entries[side] === null) this.#hold(found, side, entry);
    this.found.set(name, found);
    if (this.found.size > this.#maxKeys) this.compareAll();
  }

  /** A copy: the page is not kept for a row of it. */
  #hold({ entries }: Found, side: SideIndex, entry: Entry): void {
    const before = entries[side];
    this.heldBytes += costOf(entry) - (before === null ? 0 : costOf(before));
    entries[side] = { ...entry, local: new Uint8Array(entry.local) };
  }

  compareAll(): void {
    this.isAll = true;
    this.heldBytes = 0;
    for (const { entries } of [...this.found.values(), ...this.sameSoFar.values()]) {
      for (const side of SIDES) {
        const entry = entries[side];
        if (entry !== null) this.take(side, entry);
      }
    }
    this.found.clear();
    this.sameSoFar.clear();
  }

  *chains(): Generator<Chain> {
    yield* this.#chains;
    for (const { entries } of this.found.values()) {
      for (const side of SIDES) {
        const entry = entries[side];
        if (entry !== null) yield { side, chain: chainOf(entry) };
      }
    }
  }

  result(): ChangedKeys {
    if (this.isAll) return 'all';
    const keys = new Map<string, ChangedKey>();
    for (const [name, { entries }] of this.found) {
      const key = (entries[0] ?? entries[1])?.key;
      const sizeBytes = Math.max(entries[0]?.sizeBytes ?? 0, entries[1]?.sizeBytes ?? 0);
      if (key !== undefined) keys.set(name, { key, sizeBytes });
    }
    return keys;
  }
}

class Search {
  readonly #pages: PagePair;
  readonly #options: FindOptions;
  readonly #readers: readonly [TreeReader, TreeReader];
  readonly #tables: readonly TableSearch[];
  /** Changed pages that may be overflow pages of rows, per side. */
  readonly #unexplained: readonly [Set<number>, Set<number>] = [new Set(), new Set()];
  readonly #changedIndexPages: readonly [Set<number>, Set<number>] = [new Set(), new Set()];

  constructor(options: FindOptions) {
    this.#options = options;
    this.#pages = options.pages;
    this.#readers = [new TreeReader(options.pages, 0), new TreeReader(options.pages, 1)];
    this.#tables = options.tables.map((pair) => new TableSearch(pair, options.maxKeys));
  }

  result(): ReadonlyMap<string, ChangedKeys> {
    return new Map(this.#tables.map((table) => [table.pair.id, table.result()]));
  }

  async readChanged(): Promise<void> {
    const all = [...this.#pages.changed].sort((a, b) => a - b);
    for (let at = 0; at < all.length; at += BATCH_PAGES) {
      const batch = all.slice(at, at + BATCH_PAGES);
      for (const side of SIDES) await this.#readBatch(side, batch);
    }
  }

  /** Called after each batch of pages, which cannot bring many bytes. */
  #boundHeld(): void {
    const { maxHeldBytes } = this.#options;
    for (;;) {
      let total = 0;
      let largest = this.#tables[0];
      for (const table of this.#tables) {
        total += table.heldBytes;
        if (table.heldBytes > (largest?.heldBytes ?? 0)) largest = table;
      }
      if (total <= maxHeldBytes || largest === undefined) return;
      largest.compareAll();
    }
  }

  async #readBatch(side: SideIndex, batch: readonly number[]): Promise<void> {
    const size = databasePages(await this.#pages.readOne(side, 1));
    // What lies beyond the end is no part of the database, whatever it held once.
    const data = await this.#pages.read(
      side,
      batch.filter((page) => page <= size),
    );
    const questions: { table: TableSearch; tree: Tree; page: number; key: TreeKey }[] = [];
    for (const [page, bytes] of data) {
      const kind = kindOfPage(page, bytes);
      if (page !== 1 && mayBeOverflow(bytes, kind, size)) this.#unexplained[side].add(page);
      if (kind === null) continue;
      if (!isOfTable(kind)) this.#changedIndexPages[side].add(page);
      let rowid: TreeKey | null | undefined;
      for (const table of this.#tables) {
        const tree = table.pair.sides[side];
        if (tree === null || (tree.kind === 'rowid') !== isOfTable(kind)) continue;
        // A rowid is the same whatever table it is of.
        const known = tree.kind === 'rowid' ? rowid : undefined;
        const key = known === undefined ? await this.#readers[side].someKey(tree, page, bytes) : known;
        if (tree.kind === 'rowid') rowid = key;
        if (key !== null) questions.push({ table, tree, page, key });
      }
    }
    const answers = await this.#readers[side].onTheWay(questions);
    for (const [index, { table, tree, page }] of questions.entries()) {
      const bytes = data.get(page);
      if (!answers.has(index) || bytes === undefined) continue;
      const node = await this.#readers[side].parse(tree, page, bytes);
      this.#unexplained[side].delete(page);
      for (const child of node?.children ?? []) table.children[side].add(child);
      for (const entry of node?.entries ?? []) table.take(side, entry);
    }
    this.#boundHeld();
  }

  /** What hangs on a side's changed pages and on none of the other's. */
  async readDetached(): Promise<void> {
    for (const table of this.#tables) {
      for (const side of SIDES) {
        const others = table.children[side === 0 ? 1 : 0];
        let pages = [...table.children[side]].filter((page) => !others.has(page));
        while (pages.length > 0) {
          // Changed ones were read already.
          const batch = pages.splice(0, BATCH_PAGES).filter((page) => !this.#pages.changed.has(page));
          pages = [...pages, ...(await this.#readAll(table, side, batch))];
        }
      }
    }
  }

  async #readAll(table: TableSearch, side: SideIndex, batch: readonly number[]): Promise<readonly number[]> {
    const children: number[] = [];
    const tree = table.pair.sides[side];
    if (tree === null) return children;
    for (const [page, bytes] of await this.#pages.read(side, batch)) {
      const node = await this.#readers[side].parse(tree, page, bytes);
      if (node === null) throw brokenTree(page);
      children.push(...node.children);
      for (const entry of node.entries) table.take(side, entry);
    }
    this.#boundHeld();
    return children;
  }

  async accountForOverflow(): Promise<void> {
    if (this.#isAllExplained) return;
    await this.#explainByRows();
    for (const side of SIDES) await this.#explainFree(side);
    if (this.#isAllExplained) return;
    for (const side of SIDES) await this.#explainByIndexes(side);
    if (this.#isAllExplained) return;
    for (const side of SIDES) await this.#searchOwners(side);
  }

  get #isAllExplained(): boolean {
    return this.#unexplained.every((pages) => pages.size === 0);
  }

  /** Chains of the rows that were met. A row that is the same but for a page of its chain is looked at, too. */
  async #explainByRows(): Promise<void> {
    for (const table of this.#tables) {
      const chains = [...table.chains()];
      for (const side of SIDES) {
        const ofSide = chains.flatMap((chain) => (chain.side === side ? [chain.chain] : []));
        await this.#explainBy(side, ofSide);
      }
      const same = [...table.sameSoFar.values()];
      for (const side of SIDES) {
        const entries = same.flatMap(({ entries: both }) => both[side] ?? []);
        for (const entry of await this.#touched(side, entries)) table.mark(side, entry);
      }
    }
  }

  /** Those with a changed page in their chains. */
  async #touched(side: SideIndex, entries: readonly Entry[]): Promise<readonly Entry[]> {
    const isTouched = await this.#explainBy(side, entries.map(chainOf));
    return entries.filter((_, index) => isTouched[index]);
  }

  /** Of each chain whether a changed page is in it. */
  async #explainBy(side: SideIndex, chains: readonly OverflowChain[]): Promise<readonly boolean[]> {
    const pages = await this.#readers[side].pagesOf(chains);
    return pages.map((chain) => {
      for (const page of chain) this.#unexplained[side].delete(page);
      return chain.some((page) => this.#pages.changed.has(page));
    });
  }

  /**
   * Rows whose overflow pages alone changed: found by going through the tables until every changed page is somebody's. What is left then
   * belongs to no row.
   */
  async #searchOwners(side: SideIndex): Promise<void> {
    const left = this.#unexplained[side];
    for (const table of this.#tables) {
      const tree = table.pair.sides[side];
      if (tree === null || table.isAll) continue;
      let pages = [tree.rootPage];
      while (pages.length > 0 && left.size > 0) {
        const children: number[] = [];
        const long: Entry[] = [];
        for (const [page, bytes] of await this.#pages.read(side, pages.splice(0, BATCH_PAGES))) {
          const node = await this.#readers[side].parse(tree, page, bytes);
          if (node === null) throw brokenTree(page);
          children.push(...node.children);
          long.push(...node.entries.filter(({ overflowPage }) => overflowPage !== 0));
        }
        for (const entry of await this.#touched(side, long)) table.mark(side, entry);
        this.#boundHeld();
        pages = [...pages, ...children];
      }
    }
  }

  /** Free pages and pointer maps. */
  async #explainFree(side: SideIndex): Promise<void> {
    const pages = this.#unexplained[side];
    if (pages.size === 0) return;
    const first = await this.#pages.readOne(side, 1);
    const hasPointerMaps = u32(first, HEADER.largestRoot) !== 0;
    for (const page of pages) {
      const isPointerMap = hasPointerMaps && (page - 2) % POINTER_MAP_STRIDE === 0;
      if (isPointerMap || page === LOCK_BYTE_PAGE) pages.delete(page);
    }
    const seen = new Set<number>();
    for (let trunk = u32(first, HEADER.firstTrunk); trunk > 1 && pages.size > 0 && !seen.has(trunk); ) {
      seen.add(trunk);
      pages.delete(trunk);
      const data = await this.#pages.readOne(side, trunk);
      const count = Math.min(u32(data, 4), data.length / 4 - 2);
      for (let i = 0; i < count; i += 1) pages.delete(u32(data, 8 + 4 * i));
      trunk = u32(data, 0);
    }
  }

  /** Chains of entries of indexes, whose pages never change without the entry's own page. */
  async #explainByIndexes(side: SideIndex): Promise<void> {
    if (this.#unexplained[side].size === 0) return;
    const reader = this.#readers[side];
    const trees = await this.#options.indexes(side);
    const changed = [...this.#changedIndexPages[side]];
    for (let at = 0; at < changed.length; at += BATCH_PAGES) {
      const data = await this.#pages.read(side, changed.slice(at, at + BATCH_PAGES));
      const questions: { tree: Tree; page: number; key: TreeKey }[] = [];
      for (const [page, bytes] of data) {
        for (const tree of trees) {
          const key = await reader.someKey(tree, page, bytes);
          if (key !== null) questions.push({ tree, page, key });
        }
      }
      for (const index of await reader.onTheWay(questions)) {
        const question = questions[index];
        const bytes = question === undefined ? undefined : data.get(question.page);
        if (question === undefined || bytes === undefined) continue;
        this.#unexplained[side].delete(question.page);
        const node = await reader.parse(question.tree, question.page, bytes);
        await this.#explainBy(side, (node?.entries ?? []).map(chainOf));
      }
    }
  }
}

function isOfTable(kind: PageKind): boolean {
  return kind === 'table-leaf' || kind === 'table-interior';
}

/** An overflow page begins with the number of the next one: it looks like a page of a tree only in a database of more than 2^25 pages. */
function mayBeOverflow(data: Uint8Array, kind: PageKind | null, size: number): boolean {
  return kind === null || u32(data, 0) <= size;
}

/** Hangs on a page of the tree: to go on without it would be to miss its rows. */
function brokenTree(page: number): TidemarkError {
  return new TidemarkError('CORRUPT', `page ${page} is part of a table's tree, and is no page of one`, {
    nextStep: 'See what PRAGMA integrity_check says of both moments.',
  });
}

function nameOf(key: TreeKey): string {
  return typeof key === 'bigint' ? key.toString() : key.map(textOf).join(' ');
}

function textOf(value: RawValue): string {
  switch (value.kind) {
    case 'null':
      return 'n';
    case 'integer':
      return `i${value.value}`;
    case 'real':
      return `r${value.value}`;
    default:
      return `${value.kind === 'text' ? 't' : 'b'}${Buffer.from(value.bytes.buffer, value.bytes.byteOffset, value.bytes.byteLength).toString('hex')}`;
  }
}

function costOf({ local }: Entry): number {
  return HELD_ROW_BYTES + local.length;
}

function isSameCell(a: Entry, b: Entry): boolean {
  return (
    a.sizeBytes === b.sizeBytes && a.overflowPage === b.overflowPage && Buffer.compare(a.local, b.local) === 0
  );
}
