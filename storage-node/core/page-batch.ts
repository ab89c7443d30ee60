/**
 * One reply of a copy of pages (`pullPages`) on its way into the store, for hydration and for repair: what it brings replaces what lies here in the
 * stretch that it covers.
 *
 * Invariants
 * 1. Nothing is taken over unseen: an entry's checksum, its place behind the ones before it, and that its records exist by the manifest's runs and lie
 *    at or below the copy's LSN.
 * 2. Nothing is deleted here before its replacement has come: both are one batch.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { KvOp, KvRange } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type PageNumber, pgOfPage } from '../../src/log/lsn.ts';
import type { PageCursor, PageEntry } from '../../src/messages/messages.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { runOf } from '../../src/timeline/visibility.ts';
import { COMMIT_INDEX, after, compareKeys } from './keys.ts';
import { type Program, readRange } from './program.ts';
import type { Segment } from './segment.ts';
import type { ValueCodec } from './values.ts';

const NOTHING = new Uint8Array(0);
/** Own entries looked at in one step, when old ones are replaced. */
const ENTRIES_PER_QUERY = 64;

/** What is copied as a whole: pages of the PG, and its commit index when the last is that. */
export interface CopyScope {
  readonly first: PageNumber;
  readonly last: PageNumber;
  readonly throughLsn: Lsn;
}

export class PageBatch {
  readonly ops: KvOp[] = [];
  bytes = 0;
  highestPage = 0;
  private readonly values: ValueCodec;
  private readonly segment: Segment;
  private readonly manifest: ManifestValue;
  private readonly scope: CopyScope;
  private readonly cursor: PageCursor | null;
  private readonly keys = new Set<string>();
  private before: PageCursor | null;
  private next: PageCursor | null = null;

  /** `cursor`: where the reply goes on; null: at the scope's beginning. */
  constructor(
    values: ValueCodec,
    segment: Segment,
    manifest: ManifestValue,
    scope: CopyScope,
    cursor: PageCursor | null,
  ) {
    this.values = values;
    this.segment = segment;
    this.manifest = manifest;
    this.scope = scope;
    this.cursor = cursor;
    this.before = cursor;
  }

  /** Throws when the entry is not what it should be. */
  take(entry: PageEntry): void {
    const { page, lsn, image, value } = entry;
    const { keys } = this.segment;
    const key = this.keyOf(entry);
    if (!this.isOurs(page) || !isBehind(this.before, entry))
      throw new TidemarkError('CORRUPT', `page ${page} at ${lsn} is out of place in a copy`);
    let lastLsn = lsn;
    if (page === COMMIT_INDEX) {
      const commits = this.values.decodeCommits(key, value);
      if (commits[commits.length - 1]?.lsn !== lsn)
        throw new TidemarkError('CORRUPT', `commits under ${lsn}`);
      for (const commit of commits) this.admit(commit.lsn);
    } else if (image) {
      const { isRecord, isKept } = this.values.decodeImage(key, value);
      this.admit(lsn);
      // Whatever of the page came before may be collectable once the floor has passed this.
      if ((isRecord || isKept) && this.before?.page === page)
        this.ops.push({ type: 'put', key: keys.garbage(lsn, page), value: NOTHING });
    } else {
      const { records } = this.values.decodeBundle(key, value);
      if (records[0]?.lsn !== lsn)
        throw new TidemarkError('CORRUPT', `a bundle of page ${page} under ${lsn}`);
      for (const record of records) this.admit(record.lsn);
      lastLsn = records[records.length - 1]?.lsn ?? lsn;
    }
    this.ops.push({ type: 'put', key, value: new Uint8Array(value) });
    this.keys.add(textOf(key));
    this.bytes += value.length;
    if (page !== COMMIT_INDEX) this.highestPage = Math.max(this.highestPage, page);
    this.before = { page, lsn: lastLsn, image };
  }

  /** Where the reply says that it ends; at or behind its last entry. */
  end(cursor: PageCursor | null): void {
    const last = this.before;
    const isOnward = cursor === null || isBehind(this.cursor, cursor);
    const coversAll = cursor === null || last === null || last === this.cursor || !isBehind(cursor, last);
    if (!isOnward || !coversAll) throw new TidemarkError('CORRUPT', 'a copy that does not go on');
    this.next = cursor;
  }

  /** What lies here in the stretch that the reply covers, and is not in it. */
  *replaced(): Program<KvOp[]> {
    const { keys } = this.segment;
    const { cursor, next } = this;
    const from = cursor === null ? null : after(this.keyOf(cursor));
    const to = next === null ? null : after(this.keyOf(next));
    const ops: KvOp[] = [];
    const isInCommits = cursor?.page === COMMIT_INDEX;
    const reachesCommits = next === null || next.page === COMMIT_INDEX;
    const { first, last } = this.pagesInScope();
    if (!isInCommits && first <= last) {
      const pages = keys.pagesBetween(first, last);
      yield* this.others({ gte: from ?? pages.gte, lt: reachesCommits ? pages.lt : (to ?? pages.lt) }, ops);
    }
    if (reachesCommits && this.scope.last === COMMIT_INDEX) {
      const commits = keys.commitsBetween(NO_LSN);
      yield* this.others({ gte: (isInCommits ? from : null) ?? commits.gte, lt: to ?? commits.lt }, ops);
    }
    return ops;
  }

  private *others(range: KvRange, ops: KvOp[]): Program<void> {
    let rest = range;
    while (compareKeys(rest.gte, rest.lt) < 0) {
      const some = yield* readRange({ ...rest, limit: ENTRIES_PER_QUERY });
      for (const { key } of some) if (!this.keys.has(textOf(key))) ops.push({ type: 'del', key });
      const last = some[some.length - 1];
      if (last === undefined || some.length < ENTRIES_PER_QUERY) return;
      rest = { ...rest, gte: after(last.key) };
    }
  }

  private pagesInScope(): { readonly first: PageNumber; readonly last: PageNumber } {
    const { pgPages } = this.manifest;
    const last = (this.segment.pg + 1) * pgPages;
    return { first: this.scope.first, last: Math.min(last, this.scope.last) as PageNumber };
  }

  private isOurs(page: PageNumber): boolean {
    if (page < this.scope.first || page > this.scope.last) return false;
    return page === COMMIT_INDEX || pgOfPage(page, this.manifest.pgPages) === this.segment.pg;
  }

  /** A record that is in no run does not exist, and was not there when its page was put together. */
  private admit(lsn: Lsn): void {
    const isCopied = lsn <= this.scope.throughLsn;
    if (!isCopied || runOf(this.manifest.runs, lsn) === null)
      throw new TidemarkError('CUT', `record ${lsn} in a copy`);
  }

  private keyOf({ page, lsn, image }: PageCursor): Uint8Array {
    const { keys } = this.segment;
    if (page === COMMIT_INDEX) return keys.commits(lsn);
    return image ? keys.image(page, lsn) : keys.bundle(page, lsn);
  }
}

function isBehind(cursor: PageCursor | null, next: PageCursor): boolean {
  if (cursor === null || next.page !== cursor.page) return cursor === null || next.page > cursor.page;
  return next.lsn > cursor.lsn || (next.lsn === cursor.lsn && next.image && !cursor.image);
}

function textOf(key: Uint8Array): string {
  return String.fromCharCode(...key);
}
