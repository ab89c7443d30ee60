/**
 * Trees of one side, and which pages are in them. Whether a page belongs to a tree is found by looking for one of the page's own keys there: the way
 * down passes through the page, or the page is not part of it. What a page's bytes look like proves nothing: freed pages keep theirs.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import {
  OVERFLOW_CONTENT_BYTES,
  type OverflowChain,
  type Payload,
  childFor,
  kindOfPage,
  parseIndexPage,
  parseTableInterior,
  parseTableLeaf,
} from './btree-cells.ts';
import { u32 } from '../engine/sqlite-header.ts';
import type { PagePair, SideIndex } from './pages.ts';
import { type KeyColumn, type RawValue, compareKeys, decodeRecord, prefixBytes } from './record.ts';

export type Tree =
  | { readonly kind: 'rowid'; readonly rootPage: number }
  | { readonly kind: 'key'; readonly rootPage: number; readonly columns: readonly KeyColumn[] };

/** A rowid, or the columns of a key. */
export type TreeKey = bigint | readonly RawValue[];

export interface Entry extends Payload {
  readonly key: TreeKey;
}

export interface Node {
  readonly children: readonly number[];
  /** Rows of a leaf; of an index's interior page too. */
  readonly entries: readonly Entry[];
  readonly childOf: (key: TreeKey) => number | null;
}

const NO_PAGE = new Uint8Array(4);
/** No tree of SQLite is deeper. */
const MAX_DEPTH = 20;

export class TreeReader {
  readonly #pages: PagePair;
  readonly #side: SideIndex;

  constructor(pages: PagePair, side: SideIndex) {
    this.#pages = pages;
    this.#side = side;
  }

  /** The page as one of the tree; null when it cannot be. */
  async parse(tree: Tree, page: number, data: Uint8Array): Promise<Node | null> {
    if (tree.kind === 'rowid') return parseOfTable(page, data);
    const parsed = parseIndexPage(page, data);
    if (parsed === null) return null;
    const entries: Entry[] = [];
    try {
      for (const payload of parsed.entries) {
        const key = await this.#keyOf(payload, tree.columns.length);
        entries.push({ ...payload, key });
      }
    } catch (error) {
      if (error instanceof TidemarkError && error.code === 'CORRUPT') return null;
      throw error;
    }
    const childOf = (key: TreeKey): number | null => {
      for (const [index, entry] of entries.entries()) {
        const compared = compareKeys(
          key as readonly RawValue[],
          entry.key as readonly RawValue[],
          tree.columns,
        );
        // The entry itself lies on this page, not below it.
        if (compared === 0) return null;
        if (compared < 0) return parsed.children[index] ?? null;
      }
      return parsed.children[entries.length] ?? null;
    };
    return { children: parsed.children, entries, childOf };
  }

  /** Any key under the page; null when there is none. */
  async someKey(tree: Tree, page: number, data: Uint8Array): Promise<TreeKey | null> {
    let at = page;
    let bytes = data;
    for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
      const node = await this.parse(tree, at, bytes);
      if (node === null) return null;
      const [first] = node.entries;
      if (first !== undefined) return first.key;
      if (tree.kind === 'rowid' && kindOfPage(at, bytes) === 'table-interior') {
        const key = parseTableInterior(at, bytes)?.keys[0];
        if (key !== undefined) return key;
      }
      const [child] = node.children;
      if (child === undefined) return null;
      at = child;
      bytes = await this.#pages.readOne(this.#side, child);
    }
    return null;
  }

  /**
   * Of the questions whether `page` lies on the way to `key` in `tree`, those that are answered yes, by index. All go down together, a level at a
   * time.
   */
  async onTheWay(
    questions: readonly { readonly tree: Tree; readonly page: number; readonly key: TreeKey }[],
  ): Promise<ReadonlySet<number>> {
    const found = new Set<number>();
    let open = questions.map(({ tree }, index) => ({ index, at: tree.rootPage }));
    for (let depth = 0; open.length > 0 && depth < MAX_DEPTH; depth += 1) {
      for (const { index, at } of open) if (at === questions[index]?.page) found.add(index);
      open = open.filter(({ index }) => !found.has(index));
      const data = await this.#pages.read(
        this.#side,
        open.map(({ at }) => at),
      );
      const nodes = new Map<string, Node | null>();
      const next: typeof open = [];
      for (const { index, at } of open) {
        const question = questions[index];
        const bytes = data.get(at);
        if (question === undefined || bytes === undefined) continue;
        const name = `${question.tree.rootPage}/${at}`;
        let node = nodes.get(name);
        if (node === undefined) {
          node = await this.parse(question.tree, at, bytes);
          nodes.set(name, node);
        }
        const child = node?.childOf(question.key) ?? null;
        if (child !== null) next.push({ index, at: child });
      }
      open = next;
    }
    return found;
  }

  /** The pages of each chain, first to last. All go on together, a page at a time. */
  async pagesOf(chains: readonly OverflowChain[]): Promise<readonly (readonly number[])[]> {
    const found = chains.map((): number[] => []);
    let open = chains.map(({ firstPage }, index) => ({ index, at: firstPage }));
    for (;;) {
      open = open.filter(
        ({ index, at }) => at > 1 && (found[index]?.length ?? 0) < (chains[index]?.pages ?? 0),
      );
      if (open.length === 0) return found;
      for (const { index, at } of open) found[index]?.push(at);
      const going = open.filter(({ index }) => (found[index]?.length ?? 0) < (chains[index]?.pages ?? 0));
      const data = await this.#pages.read(
        this.#side,
        going.map(({ at }) => at),
      );
      open = going.map(({ index, at }) => ({ index, at: u32(data.get(at) ?? NO_PAGE, 0) }));
    }
  }

  async #keyOf(payload: Payload, columns: number): Promise<readonly RawValue[]> {
    let record = payload.local;
    let page = payload.overflowPage;
    while (prefixBytes(record, columns) > record.length && page > 1 && record.length < payload.sizeBytes) {
      const data = await this.#pages.readOne(this.#side, page);
      const rest = Math.min(OVERFLOW_CONTENT_BYTES, payload.sizeBytes - record.length);
      const longer = new Uint8Array(record.length + rest);
      longer.set(record);
      longer.set(data.subarray(4, 4 + rest), record.length);
      record = longer;
      page = u32(data, 0);
    }
    return decodeRecord(record, columns);
  }
}

function parseOfTable(page: number, data: Uint8Array): Node | null {
  const interior = parseTableInterior(page, data);
  if (interior !== null) {
    return {
      children: interior.children,
      entries: [],
      childOf: (key) => childFor(interior, key as bigint),
    };
  }
  const rows = parseTableLeaf(page, data);
  if (rows === null) return null;
  return { children: [], entries: rows.map((row) => ({ ...row, key: row.rowid })), childOf: () => null };
}
