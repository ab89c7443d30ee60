/**
 * The part of a segment's log that is in memory: every record that is not yet in page form (LSN > `baseLsn`), as *pieces*. A piece is
 * what one chunk of the store holds: records of one run that follow each other by their backlinks.
 *
 *     … base | piece piece piece | gap | piece … gap … piece
 *            +------ chain ------+       +---- beyond ------+
 *                             SCL
 *
 * Invariants
 * 1. The chain follows the backlinks without a gap from baseLsn to scl; scl is a record's LSN, or baseLsn when the chain is empty.
 * 2. `beyond` is ascending, its pieces do not overlap, and none of them follows on scl.
 * 3. scl never goes down except by `cut`.
 * 4. `recordsOf(page)` are exactly the chain's records of that page, ascending.
 */
import { assert } from '../../src/base/assert.ts';
import { recordSizeBytes } from '../../src/log/codec.ts';
import { type Epoch, sameEpoch } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';

export interface Piece {
  readonly birthEpoch: Epoch;
  readonly records: readonly RedoRecord[];
}

/** What a record is to the log. `conflict`: it contradicts what is held, which cannot happen to honest copies of one chain. */
export type Standing = 'new' | 'known' | 'conflict';

export interface Cut {
  /** Pieces that lost records: their chunks go. */
  readonly removed: readonly Piece[];
  /** What is left of them: written back as chunks of their own. */
  readonly kept: readonly Piece[];
}

const NO_RECORDS: readonly RedoRecord[] = [];

export class HeldLog {
  private baseLsnValue: Lsn;
  private chain: Piece[] = [];
  private beyond: Piece[] = [];
  private readonly pages = new Map<PageNumber, RedoRecord[]>();
  private chainRecords = 0;
  private chainBytes = 0;
  private beyondBytesValue = 0;

  constructor(baseLsn: Lsn) {
    this.baseLsnValue = baseLsn;
  }

  /** The last record of the chain that is in page form; NO_LSN when none is. */
  get baseLsn(): Lsn {
    return this.baseLsnValue;
  }
  get scl(): Lsn {
    const last = this.chain[this.chain.length - 1];
    return last === undefined ? this.baseLsnValue : lastLsnOf(last);
  }
  get hasGap(): boolean {
    return this.beyond.length > 0;
  }
  get recordCount(): number {
    return this.chainRecords;
  }
  /** Bytes of the chain's records. */
  get bytes(): number {
    return this.chainBytes;
  }
  get beyondBytes(): number {
    return this.beyondBytesValue;
  }

  recordsOf(page: PageNumber): readonly RedoRecord[] {
    return this.pages.get(page) ?? NO_RECORDS;
  }

  /** Pages with records in the chain. */
  pageNumbers(): IterableIterator<PageNumber> {
    return this.pages.keys();
  }

  /** Everything held with LSN > lsn, the chain and beyond, ascending. */
  *piecesAbove(lsn: Lsn): Generator<Piece> {
    for (const pieces of [this.chain, this.beyond]) {
      for (let i = firstEndingAfter(pieces, lsn); i < pieces.length; i += 1) yield pieces[i] as Piece;
    }
  }

  countAbove(lsn: Lsn): number {
    let count = 0;
    for (const piece of this.piecesAbove(lsn)) {
      for (let i = piece.records.length - 1; i >= 0 && (piece.records[i] as RedoRecord).lsn > lsn; i -= 1)
        count += 1;
    }
    return count;
  }

  /**
   * Where `record` stands to what is held. One at or below baseLsn counts as known: it has been in the chain, and its bytes are not at
   * hand any more.
   */
  standing(record: RedoRecord, birthEpoch: Epoch): Standing {
    const { lsn, prevLsn } = record;
    if (lsn <= this.baseLsnValue) return 'known';
    const pieces = lsn <= this.scl ? this.chain : this.beyond;
    const index = firstEndingAfter(pieces, (lsn - 1) as Lsn);
    const next = pieces[index];
    if (next !== undefined && firstLsnOf(next) <= lsn) {
      const held = next.records[indexOf(next.records, lsn)];
      const isSame = held !== undefined && held.checksum === record.checksum && held.prevLsn === prevLsn;
      return isSame && sameEpoch(next.birthEpoch, birthEpoch) ? 'known' : 'conflict';
    }
    // Not held, yet the chain is without gaps, or its backlink skips what is held, or a held backlink skips it.
    if (pieces === this.chain || prevLsn < this.scl) return 'conflict';
    if (next !== undefined && (next.records[0] as RedoRecord).prevLsn < lsn) return 'conflict';
    const before = pieces[index - 1];
    return before !== undefined && prevLsn < lastLsnOf(before) ? 'conflict' : 'new';
  }

  /** Takes in a piece whose records all stand as 'new'. */
  add(piece: Piece): void {
    const bytes = sizeOf(piece);
    const first = piece.records[0] as RedoRecord;
    if (first.prevLsn === this.scl) {
      this.append(piece, bytes);
    } else {
      const at = firstEndingAfter(this.beyond, first.lsn);
      this.beyond.splice(at, 0, piece);
      this.beyondBytesValue += bytes;
    }
    this.joinBeyond();
  }

  /**
   * The longest stretch of whole pieces from the base on, all ending at or below `throughLsn` and all of one run as `runOf` tells, with
   * at least one piece and otherwise within the two bounds. Empty when the first piece reaches above `throughLsn`.
   */
  oldest(throughLsn: Lsn, maxRecords: number, maxBytes: number, runOf: (lsn: Lsn) => number | null): Piece[] {
    const taken: Piece[] = [];
    let records = 0;
    let bytes = 0;
    let run: number | null = null;
    for (const piece of this.chain) {
      if (lastLsnOf(piece) > throughLsn) break;
      const pieceRun = runOf(lastLsnOf(piece));
      const size = sizeOf(piece);
      if (
        taken.length > 0 &&
        (pieceRun !== run || records + piece.records.length > maxRecords || bytes + size > maxBytes)
      ) {
        break;
      }
      taken.push(piece);
      run = pieceRun;
      records += piece.records.length;
      bytes += size;
    }
    return taken;
  }

  /** The records up to `lsn`, the end of a piece of the chain, are in page form now. */
  release(lsn: Lsn): void {
    if (lsn <= this.baseLsnValue) return;
    const touched = new Set<PageNumber>();
    let count = 0;
    for (const piece of this.chain) {
      if (lastLsnOf(piece) > lsn) break;
      count += 1;
      this.chainRecords -= piece.records.length;
      this.chainBytes -= sizeOf(piece);
      for (const record of piece.records) touched.add(record.page);
    }
    assert(
      count > 0 && lastLsnOf(this.chain[count - 1] as Piece) === lsn,
      `release at ${lsn} is not the end of a piece`,
    );
    this.chain.splice(0, count);
    this.baseLsnValue = lsn;
    for (const page of touched) this.dropOfPage(page, (records) => records.slice(indexAfter(records, lsn)));
  }

  /** Removes every record that `exists` denies: what a committed manifest cut. What it removes of the chain must be its end. */
  cut(exists: (lsn: Lsn, birthEpoch: Epoch) => boolean): Cut {
    const removed: Piece[] = [];
    const kept: Piece[] = [];
    const sift = (piece: Piece): Piece | null => {
      const records = piece.records.filter((record) => exists(record.lsn, piece.birthEpoch));
      if (records.length === piece.records.length) return piece;
      removed.push(piece);
      if (records.length === 0) return null;
      const rest = { birthEpoch: piece.birthEpoch, records };
      kept.push(rest);
      return rest;
    };
    const chain = this.chain.map(sift);
    const firstTouched = this.chain.findIndex((piece, index) => chain[index] !== piece);
    if (firstTouched >= 0) {
      assert(
        chain.slice(firstTouched + 1).every((piece) => piece === null),
        'a manifest cuts the end of the chain, not its middle',
      );
      const end = chain[firstTouched] ?? null;
      this.chain = this.chain.slice(0, firstTouched);
      if (end !== null) this.chain.push(end);
      this.rebuildPages();
    }
    this.beyond = this.beyond.map(sift).filter((piece) => piece !== null);
    this.beyondBytesValue = this.beyond.reduce((sum, piece) => sum + sizeOf(piece), 0);
    this.joinBeyond();
    return { removed, kept };
  }

  /**
   * Everything up to `baseLsn` is in page form now, wherever it came from: what is held above it stays. Returns the LSN of a record
   * that contradicts the new base; null when there is none.
   */
  rebase(baseLsn: Lsn): Lsn | null {
    const pieces = [...this.piecesAbove(baseLsn)];
    this.reset(baseLsn);
    for (const { birthEpoch, records } of pieces) {
      const rest = records.slice(indexAfter(records, baseLsn));
      const first = rest[0] as RedoRecord;
      if (this.standing(first, birthEpoch) !== 'new') return first.lsn;
      this.add({ birthEpoch, records: rest });
    }
    return null;
  }

  /** Starts anew from another base; everything held is forgotten. */
  reset(baseLsn: Lsn): void {
    this.baseLsnValue = baseLsn;
    this.chain = [];
    this.beyond = [];
    this.beyondBytesValue = 0;
    this.rebuildPages();
  }

  private joinBeyond(): void {
    let joined = 0;
    for (const piece of this.beyond) {
      if ((piece.records[0] as RedoRecord).prevLsn !== this.scl) break;
      const bytes = sizeOf(piece);
      this.append(piece, bytes);
      this.beyondBytesValue -= bytes;
      joined += 1;
    }
    if (joined > 0) this.beyond.splice(0, joined);
  }

  private append(piece: Piece, bytes: number): void {
    this.chain.push(piece);
    this.chainRecords += piece.records.length;
    this.chainBytes += bytes;
    for (const record of piece.records) {
      const records = this.pages.get(record.page);
      if (records === undefined) this.pages.set(record.page, [record]);
      else records.push(record);
    }
  }

  private rebuildPages(): void {
    const chain = this.chain;
    this.chain = [];
    this.chainRecords = 0;
    this.chainBytes = 0;
    this.pages.clear();
    for (const piece of chain) this.append(piece, sizeOf(piece));
  }

  private dropOfPage(page: PageNumber, rest: (records: RedoRecord[]) => RedoRecord[]): void {
    const records = rest(this.pages.get(page) ?? []);
    if (records.length === 0) this.pages.delete(page);
    else this.pages.set(page, records);
  }
}

export function firstLsnOf(piece: Piece): Lsn {
  return piece.records[0]?.lsn ?? NO_LSN;
}

export function lastLsnOf(piece: Piece): Lsn {
  return piece.records[piece.records.length - 1]?.lsn ?? NO_LSN;
}

/** Index of the first of the ascending records with LSN > lsn. */
export function indexAfter(records: readonly { readonly lsn: Lsn }[], lsn: Lsn): number {
  let low = 0;
  let high = records.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((records[middle] as { lsn: Lsn }).lsn <= lsn) low = middle + 1;
    else high = middle;
  }
  return low;
}

function indexOf(records: readonly RedoRecord[], lsn: Lsn): number {
  const index = indexAfter(records, lsn) - 1;
  return records[index]?.lsn === lsn ? index : -1;
}

/** Index of the first of the ascending pieces that ends above `lsn`. */
function firstEndingAfter(pieces: readonly Piece[], lsn: Lsn): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (lastLsnOf(pieces[middle] as Piece) <= lsn) low = middle + 1;
    else high = middle;
  }
  return low;
}

const sizes = new WeakMap<Piece, number>();

function sizeOf(piece: Piece): number {
  const known = sizes.get(piece);
  if (known !== undefined) return known;
  let bytes = 0;
  for (const record of piece.records) bytes += recordSizeBytes(record);
  sizes.set(piece, bytes);
  return bytes;
}
