/**
 * Which pages changed between two LSNs: what makes the difference of two read points cost what differs, not what there is (design section 7). Records
 * in memory tell themselves; every coalescing round writes one entry with its pages, about six bytes each.
 *
 * The index proves that it is whole: an entry names the end of the round before, so a hole shows, whether history was collected there, the
 * segment was copied from a peer, or the store lost it. Then the pages' own entries are gone through instead: slower, and as good, since whatever
 * shows a change to a read point is kept there as long as the read point is. So the index is neither copied nor repaired.
 *
 * Invariants
 * 1. No page with a record in the range is left out that a read point at or above the floor, or pinned, could see. Some more may be named.
 * 2. Entries go with the history below the floor, those that a pin's future begins in excepted.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import type { ChangedPagesRequest } from '../../src/messages/messages.ts';
import type { NodeContext, Request } from './context.ts';
import { BUNDLE, LAST_PAGE, after, parsePageKey, trailingLsn } from './keys.ts';
import { PageDamage, decodedFor } from './page-read.ts';
import { type Entries, type Program, readRange, writeStore } from './program.ts';
import { refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';
import type { RoundChanges, ValueCodec } from './values.ts';

/** Of one reply: five bytes each at most, well below a message's limit. */
const MAX_PAGES_PER_REPLY = 100_000;
/** Entries read from the store in one step. */
const ENTRIES_PER_QUERY = 64;

interface LsnRange {
  readonly afterLsn: Lsn;
  readonly throughLsn: Lsn;
}

/** The index entry of one coalescing round. */
export function changeOps(
  { values }: { readonly values: ValueCodec },
  segment: Segment,
  round: { readonly fromLsn: Lsn; readonly endLsn: Lsn },
  pages: ReadonlyMap<PageNumber, readonly RedoRecord[]>,
): KvOp[] {
  const spans = [...pages]
    .sort(([a], [b]) => a - b)
    .map(([page, records]) => ({
      page,
      firstLsn: records[0]?.lsn ?? NO_LSN,
      lastLsn: records[records.length - 1]?.lsn ?? NO_LSN,
    }));
  const key = segment.keys.changes(round.endLsn);
  return [{ type: 'put', key, value: values.encodeChanges(key, { fromLsn: round.fromLsn, spans }) }];
}

/** Drops what lies below the floor and below every pin. */
export function* collectChanges(segment: Segment, floor: Lsn, batch: number): Program<void> {
  const pins = segment.retention?.pins ?? [];
  const oldest = Math.min(
    floor,
    ...pins.filter(({ point }) => point.volume === segment.volume).map(({ point }) => point.lsn),
  );
  if (oldest <= 1) return;
  for (;;) {
    const range = segment.keys.changesBetween(NO_LSN, (oldest - 1) as Lsn);
    const entries = yield* readRange({ ...range, limit: batch });
    if (entries.length === 0) return;
    yield* writeStore(entries.map(({ key }) => ({ type: 'del', key })));
  }
}

/** A clone's parent is asked as well, where it is no member but a base. */
export function onChangedPages(ctx: NodeContext, { to, body }: Request<'changedPages'>): void {
  const segment = ctx.segments.kept(body.volume, body.pg);
  if (segment === null) {
    const because = refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`);
    ctx.reply(to, refuse({ method: 'changedPages', body }, because, ctx));
    return;
  }
  ctx.run(answer(ctx, segment, { to, body }));
}

function* answer(ctx: NodeContext, segment: Segment, { to, body }: Request<'changedPages'>): Program<void> {
  try {
    checkWhole(segment, body);
    const all = yield* changedPages(ctx.values, segment, body);
    const pages = [...all].filter((page) => page > body.afterPage).sort((a, b) => a - b);
    const done = pages.length <= MAX_PAGES_PER_REPLY;
    const reply = { pages: pages.slice(0, MAX_PAGES_PER_REPLY), done, refusal: null };
    ctx.reply(to, { method: 'changedPages', body: reply });
  } catch (error) {
    const because = refusalOf(error);
    if (error instanceof PageDamage) ctx.doubtPages(segment, error.page, error.page, because.message);
    ctx.reply(to, refuse({ method: 'changedPages', body }, because, ctx));
  }
}

function checkWhole(segment: Segment, { throughLsn, requiredScl }: ChangedPagesRequest): void {
  if (segment.manifest === null) throw new TidemarkError('BEHIND', `${segment.name} has no manifest yet`);
  if (!segment.isHydrated || segment.quarantine?.kind === 'conflict') {
    throw new TidemarkError('QUARANTINED', `${segment.name} is in quarantine: what it lacks proves nothing`);
  }
  if (segment.holdsThrough(throughLsn) || (requiredScl > NO_LSN && segment.scl >= requiredScl)) return;
  throw new TidemarkError('BEHIND', `${segment.name} is complete to ${segment.scl}, not ${throughLsn} yet`);
}

/** What is in memory is taken first, in one step with how far the store has the rest: rounds in between change nothing. */
function* changedPages(
  values: ValueCodec,
  segment: Segment,
  { afterLsn, throughLsn }: LsnRange,
): Program<ReadonlySet<PageNumber>> {
  const pages = new Set<PageNumber>();
  const { coalesced } = segment;
  for (const piece of segment.held.piecesAbove(afterLsn)) {
    for (const { lsn, page } of piece.records) if (lsn > afterLsn && lsn <= throughLsn) pages.add(page);
  }
  const stored = { afterLsn, throughLsn: Math.min(throughLsn, coalesced) as Lsn };
  if (stored.throughLsn <= afterLsn) return pages;
  const indexed = yield* fromIndex(values, segment, stored);
  for (const page of indexed ?? (yield* fromPages(values, segment, stored))) pages.add(page);
  return pages;
}

/** null: the index has a hole there. */
function* fromIndex(
  values: ValueCodec,
  segment: Segment,
  { afterLsn, throughLsn }: LsnRange,
): Program<ReadonlySet<PageNumber> | null> {
  const pages = new Set<PageNumber>();
  let covered = afterLsn;
  let range = segment.keys.changesBetween((afterLsn + 1) as Lsn);
  while (covered < throughLsn) {
    const entries = yield* readRange({ ...range, limit: ENTRIES_PER_QUERY });
    for (const { key, value } of entries) {
      const round = decodedRound(values, { key, value });
      if (round === null || round.fromLsn > covered) return null;
      for (const { page, firstLsn, lastLsn } of round.spans)
        if (firstLsn <= throughLsn && lastLsn > afterLsn) pages.add(page);
      covered = trailingLsn(key);
      if (covered >= throughLsn) return pages;
    }
    const last = entries[entries.length - 1];
    if (last === undefined) return null;
    range = { ...range, gte: after(last.key) };
  }
  return pages;
}

function decodedRound(values: ValueCodec, { key, value }: Entries[number]): RoundChanges | null {
  try {
    return values.decodeChanges(key, value);
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    return null;
  }
}

/** All that the store has of the segment's pages is looked at. */
function* fromPages(
  values: ValueCodec,
  segment: Segment,
  { afterLsn, throughLsn }: LsnRange,
): Program<ReadonlySet<PageNumber>> {
  const pages = new Set<PageNumber>();
  const isWithin = (lsn: Lsn) => lsn > afterLsn && lsn <= throughLsn;
  const { gte: from, lt } = segment.keys.pagesBetween(0 as PageNumber, LAST_PAGE);
  let gte = from;
  for (;;) {
    const entries = yield* readRange({ gte, lt, limit: ENTRIES_PER_QUERY });
    for (const { key, value } of entries) {
      const { page, lsn, kind } = parsePageKey(key);
      if (kind !== BUNDLE) {
        if (isWithin(lsn)) pages.add(page);
        continue;
      }
      if (lsn > throughLsn || pages.has(page)) continue;
      const { records } = decodedFor(segment, page, () => values.decodeBundle(key, value));
      if (records.some((record) => isWithin(record.lsn))) pages.add(page);
    }
    const last = entries[entries.length - 1];
    if (last === undefined || entries.length < ENTRIES_PER_QUERY) break;
    gte = after(last.key);
  }
  if (!segment.doubts.isEmpty)
    throw new TidemarkError('QUARANTINED', `pages of ${segment.name} are being repaired from its peers`);
  return pages;
}
