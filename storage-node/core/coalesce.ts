/**
 * Coalescing: records that are durable and held without a gap are brought into page form, in the background (design section 5).
 *
 * A *round* takes the oldest pieces of the chain and writes, as one atomic batch of the store: for every page its new delta records as a
 * bundle and its image records as images; for pages whose chain has grown long, the page made from them; the round's commits
 * (commit-index.ts), which pages it changed (change-index.ts); the progress of the segment; and a mark of the round. Then the records leave memory. Of images, the newest of a page stays, and inside the window one per so many
 * bytes of deltas; the others are only shortcuts and go when a newer one comes.
 *
 * Invariants
 * 1. A round ends at or below min(VDL, SCL), at the end of a piece, and lies in one run.
 * 2. Bundles and image records hold *all* records of a page; images made from them can be lost or thinned out without harm.
 * 3. Rounds form a chain (each names the end of the one before): the store's write-ahead log can lose a batch in its middle without a word, and
 *    recovery.ts goes back to the last unbroken round; `recoalesceThrough` then makes the rounds replace what was left over.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import type { KvOp } from '../../src/env/env.ts';
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import type { Run } from '../../src/timeline/run.ts';
import { headRun, isVisible, runOf, visiblePath } from '../../src/timeline/visibility.ts';
import { type Piece, indexAfter, lastLsnOf } from './held-log.ts';
import { changeOps } from './change-index.ts';
import { commitOps } from './commit-index.ts';
import { BUNDLE, parsePageKey } from './keys.ts';
import type { CoreLimits } from './limits.ts';
import type { PageHead } from './page-memory.ts';
import { type Level, PageDamage, type PageReadEnv, levelsOf, readPages } from './page-read.ts';
import { type Program, readRange, readRanges, writeStore } from './program.ts';
import type { Segment } from './segment.ts';

export interface CoalesceEnv extends PageReadEnv {
  readonly segmentOf: (volume: Segment['volume'], pg: Segment['pg']) => Segment | null;
  doubtPages(segment: Segment, first: PageNumber, last: PageNumber, why: string): void;
}

const NO_HEAD: PageHead = { newestLsn: NO_LSN, chainRecords: 0, sinceKeptBytes: 0, thinnableImageLsn: null };

/** Whether a round is worth its while now. */
export function isRoundDue(segment: Segment, limits: CoreLimits, nowMs: number): boolean {
  if (segment.quarantine?.kind === 'hydrating') return false;
  if (
    segment.isCoalescing ||
    segment.isRepairing ||
    segment.manifest === null ||
    segment.settledLsn <= segment.coalesced
  )
    return false;
  if (isBacklogFull(segment, limits)) return true;
  return segment.backlogSinceMs !== null && nowMs - segment.backlogSinceMs >= limits.roundAgeMs;
}

/** Enough records are waiting for a whole round. */
export function isBacklogFull(segment: Segment, limits: CoreLimits): boolean {
  return segment.held.recordCount >= limits.roundRecords || segment.held.bytes >= limits.roundBytes;
}

/** One round. Returns false when there was nothing to take. */
export function* coalesceRound(env: CoalesceEnv, segment: Segment, nowMs: number): Program<boolean> {
  const manifest = segment.manifest?.value;
  if (manifest === undefined) return false;
  const { limits } = env;
  const pieces = segment.held.oldest(
    segment.settledLsn,
    limits.roundRecords,
    limits.roundBytes,
    (lsn) => runOf(manifest.runs, lsn)?.id ?? null,
  );
  const last = pieces[pieces.length - 1];
  if (last === undefined) return false;
  const fromLsn = segment.coalesced;
  const endLsn = lastLsnOf(last);
  const run = runOf(manifest.runs, endLsn);
  if (run === null) throw new TidemarkError('CORRUPT', `record ${endLsn} is coalesced but in no run`);

  const pages = groupByPage(pieces);
  const heads = yield* findHeads(env, segment, run, [...pages.keys()], fromLsn);
  const round = new Round(env, segment, pages, heads);
  yield* round.makeImages(run, endLsn);
  // Leftovers first: a later put of the batch may renew a key.
  const ops = yield* leftovers(segment, [...pages.keys()], fromLsn);
  round.addOps(ops);
  segment.pageBytes = Math.max(0, segment.pageBytes + addedBytes(ops));
  const highestPage = Math.max(segment.highestPage, ...pages.keys());
  ops.push(
    ...roundOps(env, segment, fromLsn, endLsn, highestPage),
    ...commitOps(env, segment, pieces),
    ...changeOps(env, segment, { fromLsn, endLsn }, pages),
  );
  yield* writeStore(ops);

  segment.held.release(endLsn);
  segment.highestPage = highestPage;
  const forgotten = forgottenRound(env, segment);
  if (forgotten !== null) {
    segment.rounds.shift();
    segment.roundsFrom = forgotten;
  }
  segment.rounds.push(endLsn);
  segment.backlogSinceMs = segment.held.recordCount > 0 ? nowMs : null;
  round.remember(run);
  segment.check();
  return true;
}

/** Brings pages with long chains in memory up to date there, so that the next read of them is short. */
export function* freshenPages(env: CoalesceEnv, segment: Segment): Program<void> {
  const manifest = segment.manifest?.value;
  if (manifest === undefined) return;
  const pages: PageNumber[] = [];
  for (const page of segment.longChains) {
    if (pages.length >= env.limits.freshenPagesPerTick) break;
    segment.longChains.delete(page);
    if (chainInMemory(env, segment, page) > env.limits.chainRecords) pages.push(page);
  }
  if (pages.length === 0) return;
  const head = headRun(manifest.runs);
  const point = { volume: segment.volume, run: head.id, lsn: segment.settledLsn };
  try {
    yield* readPages(env, point, levels(env, segment, head, point.lsn), pages);
  } catch (error) {
    // Damage, or a clone's parent that is not here: whoever reads these pages is told.
    noteDamage(env, error);
  }
}

function noteDamage(env: CoalesceEnv, error: unknown): void {
  if (!isTidemarkError(error)) throw error;
  if (!(error instanceof PageDamage)) return;
  for (const segment of error.segments) env.doubtPages(segment, error.page, error.page, error.message);
}

function chainInMemory(env: CoalesceEnv, segment: Segment, page: PageNumber): number {
  const cachedLsn = env.cache.get(segment.name, page)?.lsn ?? NO_LSN;
  const records = segment.held.recordsOf(page);
  let count = 0;
  for (let i = records.length - 1; i >= 0 && (records[i] as RedoRecord).lsn > cachedLsn; i -= 1) count += 1;
  return count;
}

function levels(env: CoalesceEnv, segment: Segment, run: Run, lsn: Lsn): readonly Level[] {
  const point = { volume: segment.volume, run: run.id, lsn };
  return levelsOf(point, (volume) => env.segmentOf(volume, segment.pg));
}

function groupByPage(pieces: readonly Piece[]): Map<PageNumber, RedoRecord[]> {
  const pages = new Map<PageNumber, RedoRecord[]>();
  for (const piece of pieces) {
    for (const record of piece.records) {
      const records = pages.get(record.page);
      if (records === undefined) pages.set(record.page, [record]);
      else records.push(record);
    }
  }
  return pages;
}

/** What the store holds of each page: remembered, known to be nothing, or looked up. */
function* findHeads(
  env: CoalesceEnv,
  segment: Segment,
  run: Run,
  pages: readonly PageNumber[],
  upToLsn: Lsn,
): Program<Map<PageNumber, PageHead>> {
  const heads = new Map<PageNumber, PageHead>();
  const unknown: PageNumber[] = [];
  for (const page of pages) {
    const head =
      segment.heads.get(page) ??
      (page > segment.highestPage || upToLsn === NO_LSN || segment.doubts.covers(page) ? NO_HEAD : null);
    if (head === null) unknown.push(page);
    else heads.set(page, head);
  }
  const path = visiblePath(segment.manifest?.value.runs ?? [], run.id, upToLsn, segment.volume);
  const limit = env.limits.chainRecords + 1;
  const ranges = unknown.map((page) => ({
    ...segment.keys.pageEntries(page, NO_LSN, upToLsn),
    reverse: true,
    limit,
  }));
  // In portions: an image each can come back.
  for (let at = 0; at < ranges.length; at += limit) {
    const answers = yield* readRanges(ranges.slice(at, at + limit));
    for (const [index, entries] of answers.entries()) {
      const page = unknown[at + index] as PageNumber;
      try {
        heads.set(page, headFrom(env, segment, path, entries, upToLsn));
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
        // What this round writes of the page is replaced by its repair, which copies all of it.
        env.doubtPages(segment, page, page, error.message);
        heads.set(page, NO_HEAD);
      }
    }
  }
  return heads;
}

/** Entries newest first. When they do not reach down to a visible image, the chain is long enough to get one. */
function headFrom(
  env: CoalesceEnv,
  segment: Segment,
  path: ReturnType<typeof visiblePath>,
  entries: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
  upToLsn: Lsn,
): PageHead {
  let newestLsn = NO_LSN;
  let chainRecords = 0;
  let sinceKeptBytes = 0;
  for (const { key, value } of entries) {
    const { lsn, kind } = parsePageKey(key);
    if (kind === BUNDLE) {
      for (const record of env.values.decodeBundle(key, value).records.toReversed()) {
        if (record.lsn > upToLsn) continue;
        newestLsn = Math.max(newestLsn, record.lsn) as Lsn;
        sinceKeptBytes += record.body.length;
        if (isVisible(path, segment.volume, record.lsn)) chainRecords += 1;
      }
      continue;
    }
    const image = env.values.decodeImage(key, value);
    if (image.isRecord) newestLsn = Math.max(newestLsn, lsn) as Lsn;
    if (!isVisible(path, segment.volume, lsn)) continue;
    newestLsn = Math.max(newestLsn, lsn) as Lsn;
    const isThinnable = !image.isRecord && !image.isKept;
    return {
      newestLsn,
      chainRecords,
      sinceKeptBytes: sinceKeptBytes + image.sinceKeptBytes,
      thinnableImageLsn: isThinnable ? lsn : null,
    };
  }
  return { newestLsn, chainRecords, sinceKeptBytes, thinnableImageLsn: null };
}

/** Entries above the round's start that rounds behind a lost one have written. */
function* leftovers(segment: Segment, pages: readonly PageNumber[], fromLsn: Lsn): Program<KvOp[]> {
  if (fromLsn >= segment.recoalesceThrough) return [];
  const aboveLsn = (fromLsn + 1) as Lsn;
  const ops: KvOp[] = [];
  for (const page of pages) {
    const range = segment.keys.pageEntries(page, aboveLsn, segment.recoalesceThrough);
    for (const { key } of yield* readRange(range)) ops.push({ type: 'del', key });
  }
  return ops;
}

function roundOps(
  env: CoalesceEnv,
  segment: Segment,
  fromLsn: Lsn,
  endLsn: Lsn,
  highestPage: number,
): KvOp[] {
  const { keys, vdl, tail, collected, storedBytes, pageBytes } = segment;
  const forgotten = forgottenRound(env, segment);
  const progress = {
    vdl,
    tail,
    collected,
    storedBytes,
    pageBytes,
    highestPage,
    roundsFrom: forgotten ?? segment.roundsFrom,
    roundsThrough: endLsn,
  };
  const ops: KvOp[] = [
    { type: 'put', key: keys.round(endLsn), value: env.values.encodeRound(keys.round(endLsn), fromLsn) },
    { type: 'put', key: keys.progress, value: env.values.encodeProgress(keys.progress, progress) },
  ];
  if (forgotten !== null) ops.push({ type: 'del', key: keys.round(forgotten) });
  return ops;
}

/** What goes are images, of a page each. */
function addedBytes(ops: readonly KvOp[]): number {
  return ops.reduce((sum, op) => sum + (op.type === 'put' ? op.value.length : -PAGE_SIZE_BYTES), 0);
}

/** The oldest remembered round, when another one is one too many. */
function forgottenRound(env: CoalesceEnv, segment: Segment): Lsn | null {
  return segment.rounds.length >= env.limits.roundsRemembered ? (segment.rounds[0] ?? null) : null;
}

class Round {
  private readonly env: CoalesceEnv;
  private readonly segment: Segment;
  private readonly pages: ReadonlyMap<PageNumber, readonly RedoRecord[]>;
  private readonly heads: ReadonlyMap<PageNumber, PageHead>;
  private readonly made = new Map<PageNumber, Uint8Array>();
  private readonly nextHeads = new Map<PageNumber, PageHead>();

  constructor(
    env: CoalesceEnv,
    segment: Segment,
    pages: ReadonlyMap<PageNumber, readonly RedoRecord[]>,
    heads: ReadonlyMap<PageNumber, PageHead>,
  ) {
    this.env = env;
    this.segment = segment;
    this.pages = pages;
    this.heads = heads;
  }

  /** Makes the pages whose chain has become too long. A page that cannot be made keeps its records and its error is met by its readers. */
  *makeImages(run: Run, endLsn: Lsn): Program<void> {
    const { doubts } = this.segment;
    const due = [...this.pages.keys()].filter(
      (page) => this.chainAfter(page) > this.env.limits.chainRecords && !doubts.covers(page),
    );
    const batch = this.env.limits.maxReadPages;
    for (let at = 0; at < due.length; at += batch) {
      const pages = due.slice(at, at + batch);
      if (yield* this.make(run, endLsn, pages)) continue;
      // One page that cannot be made must not keep the others from it.
      for (const page of pages) yield* this.make(run, endLsn, [page]);
    }
  }

  private *make(run: Run, endLsn: Lsn, pages: readonly PageNumber[]): Program<boolean> {
    const point = { volume: this.segment.volume, run: run.id, lsn: endLsn };
    try {
      const own = levels(this.env, this.segment, run, endLsn);
      for (const version of yield* readPages(this.env, point, own, pages)) {
        if (version.lsn === lastOf(this.pages.get(version.page)).lsn)
          this.made.set(version.page, version.data);
      }
      return true;
    } catch (error) {
      noteDamage(this.env, error);
      return false;
    }
  }

  addOps(ops: KvOp[]): void {
    for (const [page, records] of this.pages) this.pageOps(page, records, ops);
  }

  /** After the batch is written: heads for the next round, and no cached version that misses what was just coalesced. */
  remember(run: Run): void {
    const { segment } = this;
    const manifest = segment.manifest?.value;
    const isHead = manifest !== undefined && headRun(manifest.runs).id === run.id;
    for (const [page, records] of this.pages) {
      const head = this.nextHeads.get(page);
      if (isHead && head !== undefined) segment.heads.put(page, head);
      this.renewCached(run, page, records);
    }
  }

  private renewCached(run: Run, page: PageNumber, records: readonly RedoRecord[]): void {
    const { segment, env } = this;
    if (!segment.isInForce) return;
    const lsn = lastOf(records).lsn;
    const cached = env.cache.get(segment.name, page);
    const made = this.made.get(page);
    if (cached !== null && cached.lsn >= lsn) return;
    if (made !== undefined) {
      env.cache.put(segment.name, page, { run: run.id, lsn, data: made, pending: [] });
      return;
    }
    if (cached === null) return;
    const since = records.slice(indexAfter(records, cached.lsn));
    const canFollow = cached.run === run.id && since.every((record) => record.kind === 'delta');
    if (canFollow && cached.pending.length + since.length <= 2 * env.limits.chainRecords) {
      // Copies: a body is a piece of the message it came in, which must not be kept for it.
      const pending = [...cached.pending, ...since.map((record) => new Uint8Array(record.body))];
      env.cache.put(segment.name, page, { ...cached, lsn, pending });
    } else {
      env.cache.drop(segment.name, page);
    }
  }

  private chainAfter(page: PageNumber): number {
    const records = this.pages.get(page) ?? [];
    const newestImage = records.findLastIndex((record) => record.kind === 'image');
    if (newestImage >= 0) return records.length - 1 - newestImage;
    return (this.heads.get(page) ?? NO_HEAD).chainRecords + records.length;
  }

  private pageOps(page: PageNumber, records: readonly RedoRecord[], ops: KvOp[]): void {
    const { segment, env } = this;
    const { keys } = segment;
    const head = this.heads.get(page) ?? NO_HEAD;
    let prevLsn = head.newestLsn;
    let { chainRecords, sinceKeptBytes, thinnableImageLsn } = head;
    let bundle: RedoRecord[] = [];
    const flush = () => {
      const first = bundle[0];
      if (first === undefined) return;
      const key = keys.bundle(page, first.lsn);
      ops.push({ type: 'put', key, value: env.values.encodeBundle(key, { prevLsn, records: bundle }) });
      prevLsn = lastOf(bundle).lsn;
      bundle = [];
    };
    for (const record of records) {
      if (record.kind === 'delta') {
        bundle.push(record);
        chainRecords += 1;
        sinceKeptBytes += record.body.length;
        continue;
      }
      flush();
      if (thinnableImageLsn !== null) ops.push({ type: 'del', key: keys.image(page, thinnableImageLsn) });
      this.putImage(
        page,
        record.lsn,
        { isRecord: true, isKept: true, prevLsn, sinceKeptBytes: 0, data: record.body },
        ops,
      );
      prevLsn = record.lsn;
      chainRecords = 0;
      sinceKeptBytes = 0;
      thinnableImageLsn = null;
    }
    flush();
    const data = this.made.get(page);
    if (data !== undefined) {
      const lsn = lastOf(records).lsn;
      const isKept = sinceKeptBytes >= env.limits.keptImageDeltaBytes;
      if (thinnableImageLsn !== null) ops.push({ type: 'del', key: keys.image(page, thinnableImageLsn) });
      if (isKept) sinceKeptBytes = 0;
      this.putImage(page, lsn, { isRecord: false, isKept, prevLsn: NO_LSN, sinceKeptBytes, data }, ops);
      chainRecords = 0;
      thinnableImageLsn = isKept ? null : lsn;
    }
    this.nextHeads.set(page, { newestLsn: prevLsn, chainRecords, sinceKeptBytes, thinnableImageLsn });
  }

  private putImage(
    page: PageNumber,
    lsn: Lsn,
    image: Parameters<CoalesceEnv['values']['encodeImage']>[1],
    ops: KvOp[],
  ): void {
    const { keys } = this.segment;
    const key = keys.image(page, lsn);
    ops.push({ type: 'put', key, value: this.env.values.encodeImage(key, image) });
    const hasHistory =
      (this.heads.get(page) ?? NO_HEAD).newestLsn !== NO_LSN || lsn !== this.pages.get(page)?.[0]?.lsn;
    if (hasHistory && (image.isRecord || image.isKept))
      ops.push({ type: 'put', key: keys.garbage(lsn, page), value: NOTHING });
  }
}

const NOTHING = new Uint8Array(0);

function lastOf(records: readonly RedoRecord[] | undefined): RedoRecord {
  const last = records?.[records.length - 1];
  if (last === undefined) throw new TidemarkError('INTERNAL', 'a page without records in a round');
  return last;
}
