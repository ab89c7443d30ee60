/**
 * The source's side of copying pages (`pullPages`): raw page entries, for a newcomer's hydration (hydration.ts) and for repair. It keeps no
 * state between requests: a cursor says what the asker has, so that it may go on with another source at any moment.
 *
 * Why it may. Two copies of a page in page form differ in where bundles begin and end and in which images were made, never in the
 * records. So what a cursor means is told in records: all of the page's up to its LSN. A bundle that reaches over the cursor, or above
 * `throughLsn`, is cut to what lies between. Coalescing adds only above `throughLsn`. Collection and thinning in between take away only what no
 * read point at or above the floor (or pinned) needs; the floor they went by travels with every reply, and who copies adopts it before it
 * serves anything.
 *
 * Behind the last page the commit index follows (commit-index.ts), as entries of a page number that no page has.
 *
 * Invariants
 * 1. Only a segment that is intact and has coalesced through `throughLsn` is a source; rounds that are done again count from their end.
 * 2. Every entry sent was read with its checksum; damage ends the reply, it is never passed on.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import type { PageCursor, PageEntry, PullPagesRequest } from '../../src/messages/messages.ts';
import type { NodeContext, Request } from './context.ts';
import { BUNDLE, COMMIT_INDEX, IMAGE, type SegmentKeys, after, parsePageKey } from './keys.ts';
import { PageDamage, decodedFor } from './page-read.ts';
import { type Entries, type Program, readRange } from './program.ts';
import { refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';
import type { Bundle, ValueCodec } from './values.ts';

const EMPTY = new Uint8Array(0);
/** A reply stays below a message's limit whatever is asked for. */
const MAX_REPLY_BYTES = 900 * 1024;
/** A larger bundle travels in parts: each is a bundle of its own. */
const MAX_PART_BYTES = 256 * 1024;
/** Entries read from the store at a time: an image each, or a bundle of a whole round. */
const ENTRIES_PER_QUERY = 32;
/** Queries for one reply: pages with nothing to send must not hold it up for long. */
const MAX_QUERIES = 64;
/** Envelope, key fields and protobuf around a value. */
const ENTRY_OVERHEAD_BYTES = 40;
const MAX_LSN = Number.MAX_SAFE_INTEGER as Lsn;

export function onPullPages(ctx: NodeContext, { to, body }: Request<'pullPages'>): void {
  const refuseWith = (because: ReturnType<typeof refusal>) =>
    ctx.reply(to, refuse({ method: 'pullPages', body }, because, ctx));
  const segment = ctx.segments.kept(body.volume, body.pg);
  if (segment === null) {
    refuseWith(refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`));
    return;
  }
  if (ctx.copies.out >= ctx.limits.copiesOut) {
    refuseWith(refusal('OVERLOADED', 'this node gives others copies of pages already'));
    return;
  }
  ctx.run(answer(ctx, segment, { to, body }));
}

function* answer(ctx: NodeContext, segment: Segment, { to, body }: Request<'pullPages'>): Program<void> {
  ctx.copies.out += 1;
  try {
    const range = rangeOf(segment, body);
    const throughLsn = checkSource(segment, body.throughLsn, range);
    const copy = new Copy(ctx.values, segment, throughLsn, Math.min(body.maxBytes, MAX_REPLY_BYTES));
    const cursor = yield* copy.read(range, body.cursor);
    checkSource(segment, throughLsn, range);
    ctx.reply(to, {
      method: 'pullPages',
      body: {
        entries: copy.entries,
        cursor,
        throughLsn,
        highestPage: segment.highestPage,
        manifest: segment.manifest?.bytes ?? EMPTY,
        retention: segment.retentionValue,
        refusal: null,
      },
    });
  } catch (error) {
    const because = refusalOf(error);
    if (error instanceof PageDamage) ctx.doubtPages(segment, error.page, error.page, because.message);
    ctx.reply(to, refuse({ method: 'pullPages', body }, because, ctx));
  } finally {
    ctx.copies.out -= 1;
  }
}

/** Up to where the copy reaches. */
function checkSource(segment: Segment, throughLsn: Lsn, range: PageRange): Lsn {
  const { name, coalesced, pagesThrough } = segment;
  if (segment.manifest === null) throw new TidemarkError('BEHIND', `${name} has no manifest yet`);
  if (segment.isQuarantined) throw new TidemarkError('QUARANTINED', `${name} is not whole itself`);
  const { doubts } = segment;
  if (doubts.overlaps(range.first, range.last) || (range.withCommits && doubts.covers(COMMIT_INDEX)))
    throw new TidemarkError('QUARANTINED', `pages of ${name} are being repaired themselves`);
  if (pagesThrough < throughLsn || coalesced < segment.recoalesceThrough) {
    throw new TidemarkError('BEHIND', `${name} has pages through ${pagesThrough}, not ${throughLsn} yet`);
  }
  return throughLsn === NO_LSN ? coalesced : throughLsn;
}

interface PageRange {
  readonly first: PageNumber;
  readonly last: PageNumber;
  /** The commit index comes behind the pages. */
  readonly withCommits: boolean;
}

function rangeOf(segment: Segment, { firstPage, lastPage, pg }: PullPagesRequest): PageRange {
  const pgPages = segment.manifest?.value.pgPages ?? 0;
  const first = pg * pgPages + 1;
  const last = first + pgPages - 1;
  return {
    first: Math.max(first, firstPage) as PageNumber,
    last: (lastPage === 0 ? last : Math.min(last, lastPage)) as PageNumber,
    withCommits: lastPage === 0 || lastPage === COMMIT_INDEX,
  };
}

/** One reply in the making. */
class Copy {
  readonly entries: PageEntry[] = [];
  private readonly values: ValueCodec;
  private readonly segment: Segment;
  private readonly keys: SegmentKeys;
  private readonly throughLsn: Lsn;
  private readonly maxBytes: number;
  private bytes = 0;
  /** Of the last record in the last entry put. */
  private lastLsn: Lsn = NO_LSN;

  constructor(values: ValueCodec, segment: Segment, throughLsn: Lsn, maxBytes: number) {
    this.values = values;
    this.segment = segment;
    this.keys = segment.keys;
    this.throughLsn = throughLsn;
    this.maxBytes = maxBytes;
  }

  /** Returns where the next reply goes on, null at the end. */
  *read(range: PageRange, cursor: PageCursor | null): Program<PageCursor | null> {
    if (this.throughLsn === NO_LSN) return null;
    const isBehindPages = range.first > range.last || cursor?.page === COMMIT_INDEX;
    const next = isBehindPages ? cursor : yield* this.readPages(range, cursor);
    if (next !== null && !isBehindPages) return next;
    return range.withCommits ? yield* this.readCommits(next?.lsn ?? NO_LSN) : null;
  }

  private *readPages(range: PageRange, cursor: PageCursor | null): Program<PageCursor | null> {
    const { gte: from, lt } = this.keys.pagesBetween(range.first, range.last);
    let position = cursor;
    if (cursor !== null) {
      if (!(yield* this.rest(cursor))) return this.end();
      position = this.end() ?? cursor;
    }
    for (let queries = 0; queries < MAX_QUERIES; queries += 1) {
      const gte = position === null ? from : after(this.keyOf(position));
      const some = yield* readRange({ gte, lt, limit: ENTRIES_PER_QUERY });
      for (const entry of some) {
        const { page, lsn } = parsePageKey(entry.key);
        const count = this.entries.length;
        // What else the page has above throughLsn is passed over.
        if (lsn > this.throughLsn) position = { page, lsn: MAX_LSN, image: true };
        else if (this.take(entry)) position = this.end();
        else return this.entries.length > count ? this.end() : position;
      }
      if (some.length < ENTRIES_PER_QUERY) return null;
    }
    return position;
  }

  private *readCommits(afterLsn: Lsn): Program<PageCursor | null> {
    let position = afterLsn;
    for (;;) {
      const range = this.keys.commitsBetween((position + 1) as Lsn);
      const some = yield* readRange({ ...range, limit: ENTRIES_PER_QUERY });
      for (const { key, value } of some) {
        const all = this.decoded(COMMIT_INDEX, () => this.values.decodeCommits(key, value));
        const commits = all.filter(({ lsn }) => lsn > position && lsn <= this.throughLsn);
        const last = commits[commits.length - 1];
        if (last === undefined) return null;
        const entryKey = this.keys.commits(last.lsn);
        const isWhole = commits.length === all.length;
        const entry = isWhole ? value : this.values.encodeCommits(entryKey, commits);
        const isIn = this.put({ page: COMMIT_INDEX, lsn: last.lsn, image: false, value: entry });
        if (!isIn) return { page: COMMIT_INDEX, lsn: position, image: false };
        position = last.lsn;
      }
      if (some.length < ENTRIES_PER_QUERY) return null;
    }
  }

  /** What the bundle that the cursor falls into has above it; false when there is no room for all of that. */
  private *rest(cursor: PageCursor): Program<boolean> {
    if (cursor.lsn === MAX_LSN) return true;
    const { page } = cursor;
    const [entry] = yield* readRange({
      gte: this.keys.bundle(page, NO_LSN),
      lt: after(this.keyOf(cursor)),
      reverse: true,
      limit: 1,
    });
    if (entry === undefined || parsePageKey(entry.key).kind !== BUNDLE) return true;
    const bundle = this.decoded(page, () => this.values.decodeBundle(entry.key, entry.value));
    const from = bundle.records.findIndex(({ lsn }) => lsn > cursor.lsn);
    if (from < 0) return true;
    const prevLsn = bundle.records[from - 1]?.lsn ?? bundle.prevLsn;
    return this.putBundle(page, { prevLsn, records: bundle.records.slice(from) });
  }

  /** False: there was no room for it, or not for all of it. */
  private take({ key, value }: Entries[number]): boolean {
    const { page, lsn, kind } = parsePageKey(key);
    if (kind === IMAGE) {
      this.decoded(page, () => this.values.decodeImage(key, value));
      return this.put({ page, lsn, image: true, value });
    }
    const bundle = this.decoded(page, () => this.values.decodeBundle(key, value));
    const isWhole = (bundle.records[bundle.records.length - 1]?.lsn ?? lsn) <= this.throughLsn;
    if (isWhole && value.length <= MAX_PART_BYTES) {
      return this.put({ page, lsn, image: false, value }, bundle.records[bundle.records.length - 1]?.lsn);
    }
    return this.putBundle(page, bundle);
  }

  private putBundle(page: PageNumber, bundle: Bundle): boolean {
    let { prevLsn } = bundle;
    let part: Bundle['records'][number][] = [];
    let partBytes = 0;
    const flush = (): boolean => {
      const first = part[0];
      const last = part[part.length - 1];
      if (first === undefined || last === undefined) return true;
      const key = this.keys.bundle(page, first.lsn);
      const value = this.values.encodeBundle(key, { prevLsn, records: part });
      prevLsn = last.lsn;
      part = [];
      partBytes = 0;
      return this.put({ page, lsn: first.lsn, image: false, value }, last.lsn);
    };
    for (const record of bundle.records) {
      if (record.lsn > this.throughLsn) break;
      if (partBytes > 0 && partBytes + record.body.length > MAX_PART_BYTES && !flush()) return false;
      part.push(record);
      partBytes += record.body.length;
    }
    return flush();
  }

  /** `lastLsn`: of the bundle's last record. */
  private put(entry: PageEntry, lastLsn: Lsn = entry.lsn): boolean {
    const sizeBytes = entry.value.length + ENTRY_OVERHEAD_BYTES;
    if (this.entries.length > 0 && this.bytes + sizeBytes > this.maxBytes) return false;
    this.entries.push(entry);
    this.bytes += sizeBytes;
    this.lastLsn = lastLsn;
    return true;
  }

  private decoded<Value>(page: PageNumber, decode: () => Value): Value {
    return decodedFor(this.segment, page, decode);
  }

  /** The cursor behind what was put so far. */
  private end(): PageCursor | null {
    const last = this.entries[this.entries.length - 1];
    return last === undefined ? null : { page: last.page, lsn: this.lastLsn, image: last.image };
  }

  private keyOf({ page, lsn, image }: PageCursor): Uint8Array {
    return image ? this.keys.image(page, lsn) : this.keys.bundle(page, lsn);
  }
}
