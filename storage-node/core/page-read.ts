/**
 * Pages at a read point: the newest *visible* version plus the visible deltas since (design sections 5 and 7).
 *
 * A page's history lies in memory (records above `baseLsn` of the segment), in the store (bundles and images up to it) and, for a clone,
 * below that in its parents' segments on this same node. It is read newest first, until a visible image ends the search.
 *
 * Invariants
 * 1. Never an older page in silence: between the image found and the read point every record names the page's record before it
 *    (`prevLsn`), visible or not; a name that is not met means that something was lost: CORRUPT.
 * 2. Pages in doubt are not read: QUARANTINED, from the first look until they were copied anew.
 * 3. What is taken from memory is taken in one step, before the store is asked; the store is asked only for what was in page form in that
 *    step. So coalescing and thinning in between change nothing.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import type { KvRange } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type PageNumber, type VolumeId } from '../../src/log/lsn.ts';
import { applyChanges } from '../../src/log/page-diff.ts';
import type { RecordKind } from '../../src/log/record.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import { type VisibleStretch, headRun, isVisible, visiblePathAcross } from '../../src/timeline/visibility.ts';
import { indexAfter } from './held-log.ts';
import { BUNDLE, parsePageKey } from './keys.ts';
import type { CoreLimits } from './limits.ts';
import { type PageCache, pageOf } from './page-memory.ts';
import { type Entries, type Program, readRange, readRanges } from './program.ts';
import type { Segment } from './segment.ts';
import type { ValueCodec } from './values.ts';

/** Entries asked for per page at first, and then at a time: the head of a page is an image and a bundle or two. */
const FIRST_ENTRIES = 4;
const MORE_ENTRIES = 32;
/** From so many neighbouring pages on, one range over all of them is tried first. */
const MIN_NEIGHBOURS = 8;
const ENTRIES_PER_NEIGHBOUR = 2;

const EMPTY = new Uint8Array(0);

/** What a segment stores of a page is not right: CORRUPT to who asked, and pages to be copied from peers (repair.ts). */
export class PageDamage extends TidemarkError {
  readonly segments: readonly Segment[];
  readonly page: PageNumber;

  constructor(segments: readonly Segment[], page: PageNumber, message: string) {
    super('CORRUPT', message, { nextStep: 'Another copy of the page is read; this one is repaired.' });
    this.segments = segments;
    this.page = page;
  }
}

export interface PageReadEnv {
  readonly limits: CoreLimits;
  readonly values: ValueCodec;
  readonly cache: PageCache;
}

/** One volume's part of the read point's path. */
export interface Level {
  readonly segment: Segment;
  readonly path: readonly VisibleStretch[];
  /** Newest LSN that the read point sees of this volume. */
  readonly upToLsn: Lsn;
}

/** A record of the page, visible or not. `prevLsn` null: not known here. */
interface HistoryRecord {
  readonly lsn: Lsn;
  readonly prevLsn: Lsn | null;
  readonly kind: RecordKind;
  readonly body: Uint8Array;
}

interface Search {
  readonly page: PageNumber;
  /** Of the level being searched, newest first. */
  history: HistoryRecord[];
  /** Visible deltas found so far on all levels, newest first. */
  readonly deltas: HistoryRecord[];
  base: { readonly lsn: Lsn; readonly data: Uint8Array } | null;
  /** What is still to be read of the store on this level; null: nothing. A bundle and an image may share an LSN, so by key. */
  rest: KvRange | null;
}

/**
 * The path of `point`, by the volumes it goes through. Throws NO_SEGMENT when a parent's segment is not on this node, BEHIND when it does not
 * hold all it needs to. (That the first one does, the caller has seen.)
 */
export function levelsOf(
  point: ReadPoint,
  segmentOf: (volume: VolumeId) => Segment | null,
): readonly Level[] {
  const path = visiblePathAcross((volume) => runsOf(segmentOf(volume)), point);
  if (path === null) throw new TidemarkError('NO_SEGMENT', `a parent of ${point.volume} has no segment here`);
  const levels: Level[] = [];
  for (const { volume, lastLsn } of path) {
    if (levels[levels.length - 1]?.segment.volume === volume) continue;
    const segment = segmentOf(volume);
    if (segment === null) throw new TidemarkError('NO_SEGMENT', `the parent ${volume} has no segment here`);
    if (volume !== point.volume) checkParent(segment, lastLsn);
    levels.push({ segment, path, upToLsn: lastLsn });
  }
  return levels;
}

function runsOf(segment: Segment | null): readonly Run[] | null {
  return segment === null || segment.manifest === null ? null : segment.runs;
}

/** A clone's parent: all it has up to the branch point must be held here. */
function checkParent(base: Segment, upToLsn: Lsn): void {
  if (!base.holdsThrough(upToLsn) || base.quarantine?.kind === 'conflict' || !base.isHydrated) {
    throw new TidemarkError(
      'BEHIND',
      `the parent's ${base.name} is complete to ${base.scl}, ${upToLsn} is needed`,
    );
  }
}

/** The versions of `pages` at `point`, in their order. */
export function* readPages(
  env: PageReadEnv,
  point: ReadPoint,
  levels: readonly Level[],
  pages: readonly PageNumber[],
): Program<readonly PageVersion[]> {
  const searches = pages.map((page): Search => ({ page, history: [], deltas: [], base: null, rest: null }));
  const cacheable: Search[] = [];
  for (const level of levels) {
    const isOwn = level.segment.volume === point.volume;
    const open = searches.filter((search) => search.base === null);
    if (open.length === 0) break;
    for (const { page } of open) checkDoubts(level.segment, page);
    const baseLsn = level.segment.coalesced;
    for (const search of open) searchMemory(env, point, level, search, isOwn);
    if (isOwn && level.upToLsn >= baseLsn) cacheable.push(...open);
    yield* searchStore(
      env,
      level,
      open.filter((search) => search.base === null),
      Math.min(level.upToLsn, baseLsn) as Lsn,
    );
    for (const search of open) {
      checkDoubts(level.segment, search.page);
      finishLevel(level, search);
    }
  }
  const own = levels[0]?.segment.volume === point.volume ? levels[0] : undefined;
  return searches.map((search) => finish(env, point, own, search, cacheable, levels));
}

function checkDoubts(segment: Segment, page: PageNumber): void {
  if (!segment.doubts.covers(page)) return;
  throw new TidemarkError('QUARANTINED', `page ${page} of ${segment.name} is being repaired from its peers`);
}

function searchMemory(
  env: PageReadEnv,
  point: ReadPoint,
  level: Level,
  search: Search,
  isOwn: boolean,
): void {
  const { segment } = level;
  const records = segment.held.recordsOf(search.page);
  const cached = isOwn ? env.cache.get(segment.name, search.page) : null;
  const usable = cached !== null && cached.run === point.run && cached.lsn <= level.upToLsn ? cached : null;
  for (let i = indexAfter(records, level.upToLsn) - 1; i >= 0; i -= 1) {
    const record = records[i];
    if (record === undefined || (usable !== null && record.lsn <= usable.lsn)) break;
    // Before the oldest in memory comes the newest in page form, where that is remembered: a lost end of those shows.
    const inPageForm = usable === null ? (segment.heads.get(search.page)?.newestLsn ?? null) : null;
    const prevLsn = records[i - 1]?.lsn ?? inPageForm;
    const { lsn, kind, body } = record;
    if (kind === 'image' && isVisible(level.path, segment.volume, lsn)) {
      search.base = { lsn, data: body };
      return;
    }
    search.history.push({ lsn, prevLsn, kind, body });
  }
  if (usable !== null) search.base = { lsn: usable.lsn, data: pageOf(usable) };
}

/** Reads the store downwards from `fromLsn` for all searches together, until each has its image or nothing is left. */
function* searchStore(env: PageReadEnv, level: Level, searches: Search[], fromLsn: Lsn): Program<void> {
  if (fromLsn === NO_LSN) return;
  const { keys } = level.segment;
  for (const search of searches) search.rest = keys.pageEntries(search.page, NO_LSN, fromLsn);
  let open = searches.filter((search) => search.page <= level.segment.highestPage);
  if (areNeighbours(open)) {
    yield* searchNeighbours(env, level, open, fromLsn);
    open = open.filter((search) => search.base === null && search.rest !== null);
  }
  for (let limit = FIRST_ENTRIES; open.length > 0; limit = MORE_ENTRIES) {
    const ranges = open.flatMap(({ rest }) => (rest === null ? [] : [{ ...rest, reverse: true, limit }]));
    const answers = yield* readRanges(ranges);
    for (const [index, search] of open.entries()) {
      takeEntries(env, level, search, answers[index] ?? [], fromLsn, limit);
    }
    open = open.filter((search) => search.base === null && search.rest !== null);
  }
}

function areNeighbours(searches: readonly Search[]): boolean {
  if (searches.length < MIN_NEIGHBOURS) return false;
  return searches.every(
    (search, index) => index === 0 || search.page === (searches[index - 1] as Search).page + 1,
  );
}

/** A scan's case: one range over all pages answers for those whose whole history came back. */
function* searchNeighbours(env: PageReadEnv, level: Level, searches: Search[], fromLsn: Lsn): Program<void> {
  const [first, last] = [searches[0] as Search, searches[searches.length - 1] as Search];
  const limit = searches.length * ENTRIES_PER_NEIGHBOUR;
  const entries = yield* readRange({ ...level.segment.keys.pagesBetween(first.page, last.page), limit });
  const byPage = new Map<PageNumber, { key: Uint8Array; value: Uint8Array }[]>();
  for (const entry of entries) {
    const { page, lsn } = parsePageKey(entry.key);
    const list = byPage.get(page) ?? [];
    byPage.set(page, list);
    if (lsn <= fromLsn) list.push(entry);
  }
  const lastEntry = entries[entries.length - 1];
  const isCutOff = entries.length === limit && lastEntry !== undefined;
  const cutOffPage = isCutOff ? parsePageKey(lastEntry.key).page : null;
  for (const search of searches) {
    if (cutOffPage !== null && search.page >= cutOffPage) continue;
    takeEntries(
      env,
      level,
      search,
      (byPage.get(search.page) ?? []).reverse(),
      fromLsn,
      Number.POSITIVE_INFINITY,
    );
  }
}

/** `entries` newest first. Fewer than `limit` of them: the page has no older ones. */
function takeEntries(
  env: PageReadEnv,
  level: Level,
  search: Search,
  entries: Entries,
  fromLsn: Lsn,
  limit: number,
): void {
  const { segment } = level;
  for (const { key, value } of entries) {
    const { lsn, kind } = parsePageKey(key);
    if (search.rest !== null) search.rest = { ...search.rest, lt: key };
    if (kind === BUNDLE) {
      const bundle = decodedFor(segment, search.page, () => env.values.decodeBundle(key, value));
      for (let i = bundle.records.length - 1; i >= 0; i -= 1) {
        const record = bundle.records[i] as { lsn: Lsn; body: Uint8Array };
        if (record.lsn > fromLsn) continue;
        const prevLsn = bundle.records[i - 1]?.lsn ?? bundle.prevLsn;
        search.history.push({ ...record, prevLsn, kind: 'delta' });
      }
      continue;
    }
    const image = decodedFor(segment, search.page, () => env.values.decodeImage(key, value));
    if (isVisible(level.path, segment.volume, lsn)) {
      search.base = { lsn, data: image.data };
      return;
    }
    if (image.isRecord) search.history.push({ lsn, prevLsn: image.prevLsn, kind: 'image', body: image.data });
  }
  if (entries.length < limit) search.rest = null;
}

/** What decodes a stored value of the page; that it cannot be is damage of the page. */
export function decodedFor<Value>(segment: Segment, page: PageNumber, decode: () => Value): Value {
  try {
    return decode();
  } catch (error) {
    if (!isTidemarkError(error)) throw error;
    throw new PageDamage([segment], page, `page ${page} of ${segment.name}: ${error.message}`);
  }
}

/** Checks the level's history against loss and keeps what is visible of it. */
function finishLevel(level: Level, search: Search): void {
  const { history } = search;
  const visible = history.filter((record) => isVisible(level.path, level.segment.volume, record.lsn));
  const isShown = search.base !== null || visible.length > 0;
  for (const [index, record] of history.entries()) {
    const before = history[index + 1]?.lsn ?? search.base?.lsn ?? NO_LSN;
    if (record.prevLsn === null || record.prevLsn === before) continue;
    // Below records of a rewound stretch alone, what the read point does not see either may have been collected.
    if (!isShown && !isVisible(level.path, level.segment.volume, record.prevLsn)) continue;
    throw new PageDamage(
      [level.segment],
      search.page,
      `page ${search.page} of ${level.segment.name}: record ${record.lsn} follows ${record.prevLsn}, but ${before} was found before it`,
    );
  }
  search.deltas.push(...visible);
  search.history = [];
}

function finish(
  env: PageReadEnv,
  point: ReadPoint,
  own: Level | undefined,
  search: Search,
  cacheable: readonly Search[],
  levels: readonly Level[],
): PageVersion {
  const { page, base, deltas } = search;
  const lsn = deltas[0]?.lsn ?? base?.lsn ?? NO_LSN;
  if (own !== undefined) checkHead(point, own, page, lsn);
  if (base === null && deltas.length > 0) {
    throw new PageDamage(
      levels.map(({ segment }) => segment),
      page,
      `page ${page}: record ${deltas[deltas.length - 1]?.lsn} has no image to stand on`,
    );
  }
  if (base === null) return { page, lsn: NO_LSN, data: EMPTY };
  const data = applyChanges(base.data, deltas.toReversed()) as Uint8Array;
  // What was coalesced while the store was read may include newer records of the page.
  const isKept = own?.segment.isInForce === true;
  if (deltas.length >= env.limits.cacheFromRecords && isKept && cacheable.includes(search)) {
    if (own.upToLsn >= own.segment.coalesced && isVisible(own.path, own.segment.volume, lsn)) {
      env.cache.put(own.segment.name, page, { run: point.run, lsn, data, pending: [] });
    }
  }
  return { page, lsn, data };
}

/** A read of the head that ends on an older record than the one remembered for the page is damage, not an answer. */
function checkHead(point: ReadPoint, own: Level, page: PageNumber, lsn: Lsn): void {
  const { segment, path, upToLsn } = own;
  const manifest = segment.manifest;
  const head = segment.heads.get(page);
  if (manifest === null || head === null || headRun(manifest.value.runs).id !== point.run) return;
  if (head.newestLsn > upToLsn || head.newestLsn <= lsn || !isVisible(path, segment.volume, head.newestLsn))
    return;
  throw new PageDamage(
    [segment],
    page,
    `page ${page} of ${segment.name} ends at ${lsn}, but its record ${head.newestLsn} was held`,
  );
}
