/**
 * Scrub: all that is stored is looked at from time to time, in the background and a little at a time, so that damage is found while there are
 * enough intact copies to repair it from. (The store's files are checked by the driver meanwhile: table-scrub.ts.)
 *
 * A step takes some pages of one segment, or some chunks of its log (log-scrub.ts):
 * 1. Every stored value of theirs must pass its checksum, and every record at or above the floor must follow one that is there.
 * 2. Their digest at a durable read point is compared with those of peers, until three copies agree. A copy that three others outvote is
 *    wrong: its pages are in doubt, and repaired (repair.ts). Of three that agree at most two can be wrong otherwise, never in the same way.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN, type NodeId, type PageNumber } from '../../src/log/lsn.ts';
import type { ScrubReply } from '../../src/messages/messages.ts';
import { headRun } from '../../src/timeline/visibility.ts';
import type { NodeContext, Request } from './context.ts';
import { digestOf, pagesFrom } from './digests.ts';
import { BUNDLE, COMMIT_INDEX, after, parsePageKey } from './keys.ts';
import { LogWalk } from './log-scrub.ts';
import { peersOf } from './manifests.ts';
import { PageDamage } from './page-read.ts';
import { type Entries, type Program, callPeer, readRange } from './program.ts';
import { NO_SCRUB } from './refusals.ts';
import type { Segment } from './segment.ts';

const PAGES_PER_STEP = 64;
const ENTRIES_PER_QUERY = 64;
/** Copies that must agree. */
const MAJORITY = 3;
const MAX_FINDINGS = 50;

interface Place {
  readonly segment: Segment;
  /** Comes after the pages. */
  readonly log: LogWalk;
  nextPage: number;
  readonly lastPage: number;
}

type Counted = Pick<
  ScrubReply,
  'checkedPages' | 'totalPages' | 'damagedPages' | 'unequalRanges' | 'startedMicros'
>;
const NOTHING_COUNTED: Counted = {
  checkedPages: 0,
  totalPages: 0,
  damagedPages: 0,
  unequalRanges: 0,
  startedMicros: 0,
};

/** The scrub of one node. */
export class Scrub {
  digestsUnderWay = 0;
  private counted: { -readonly [Field in keyof Counted]: Counted[Field] } = { ...NOTHING_COUNTED };
  private places: Place[] = [];
  private findings: string[] = [];
  private finishedMicros = 0;
  private isRunning = false;
  private isStepping = false;
  private nextStepMs = 0;
  private nextStartMs = Number.POSITIVE_INFINITY;
  private peerCursor = 0;

  get lastFinishedMicros(): number {
    return this.isRunning ? 0 : this.finishedMicros;
  }

  /** The first one by itself comes after `delayMs`. */
  schedule(ctx: NodeContext, delayMs: number): void {
    this.nextStartMs = ctx.now.monotonicMs + delayMs;
  }

  /** Nothing if one runs already. */
  start(ctx: NodeContext, onlyVolume: string): void {
    if (this.isRunning) return;
    this.isRunning = true;
    this.nextStartMs = ctx.now.monotonicMs + ctx.limits.scrubIntervalMs;
    this.findings = [];
    this.finishedMicros = 0;
    this.places = [...ctx.segments.all()]
      .filter(({ volume }) => onlyVolume === '' || volume === onlyVolume)
      .flatMap((segment) => placeOf(segment));
    const totalPages = this.places.reduce((sum, { nextPage, lastPage }) => sum + lastPage - nextPage + 1, 0);
    this.counted = { ...NOTHING_COUNTED, totalPages, startedMicros: ctx.now.wallMicros };
    ctx.log('info', 'scrub begins', { segments: this.places.length, pages: totalPages });
  }

  /** On every tick. */
  goOn(ctx: NodeContext): void {
    const nowMs = ctx.now.monotonicMs;
    if (nowMs >= this.nextStartMs) this.start(ctx, '');
    if (!this.isRunning || this.isStepping || nowMs < this.nextStepMs) return;
    const place = this.places[0];
    if (place === undefined) {
      this.finish(ctx);
      return;
    }
    this.isStepping = true;
    this.nextStepMs = nowMs + ctx.limits.scrubStepMs;
    ctx.run(this.step(ctx, place));
  }

  reply(ctx: NodeContext): ScrubReply {
    const { counted, isRunning: running, findings, finishedMicros } = this;
    let pagesInDoubt = 0;
    for (const segment of ctx.segments.all()) pagesInDoubt += pagesInDoubtOf(segment);
    return { ...NO_SCRUB, ...counted, running, pagesInDoubt, finishedMicros, findings: [...findings] };
  }

  private finish(ctx: NodeContext): void {
    this.isRunning = false;
    this.finishedMicros = ctx.now.wallMicros;
    const { checkedPages, damagedPages, unequalRanges } = this.counted;
    ctx.log(damagedPages + unequalRanges > 0 ? 'warn' : 'info', 'scrub is over', {
      checkedPages,
      damagedPages,
      unequalRanges,
    });
  }

  private *step(ctx: NodeContext, place: Place): Program<void> {
    try {
      const isOver =
        place.nextPage <= place.lastPage
          ? yield* this.lookAtPages(ctx, place)
          : yield* this.lookAtLog(ctx, place);
      if (isOver) this.places = this.places.filter((other) => other !== place);
    } finally {
      this.isStepping = false;
    }
  }

  private *lookAtLog(ctx: NodeContext, { segment, log }: Place): Program<boolean> {
    const findings = isScrubbable(segment) ? yield* log.step(ctx) : null;
    for (const finding of findings ?? []) {
      this.found(finding);
      ctx.log('warn', 'damage of the log', { segment: segment.name, finding });
    }
    return findings === null;
  }

  private *lookAtPages(ctx: NodeContext, place: Place): Program<boolean> {
    const { segment } = place;
    const count = Math.min(PAGES_PER_STEP, place.lastPage - place.nextPage + 1);
    const first = place.nextPage as PageNumber;
    const last = (first + count - 1) as PageNumber;
    try {
      if (isScrubbable(segment) && !segment.doubts.overlaps(first, last)) {
        yield* this.checkStored(ctx, segment, first, last);
        if (!segment.doubts.overlaps(first, last)) yield* this.compare(ctx, segment, first, count);
        if (last === place.lastPage) yield* this.checkCommits(ctx, segment);
      }
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      if (error instanceof PageDamage) {
        for (const damaged of error.segments)
          this.damaged(ctx, damaged, error.page, error.page, error.message);
      }
    }
    this.counted.checkedPages += count;
    place.nextPage += count;
    return false;
  }

  private *checkCommits(ctx: NodeContext, segment: Segment): Program<void> {
    let range = segment.keys.commitsBetween(NO_LSN, segment.coalesced);
    for (;;) {
      const entries = yield* readRange({ ...range, limit: ENTRIES_PER_QUERY });
      for (const { key, value } of entries) {
        try {
          ctx.values.decodeCommits(key, value);
        } catch (error) {
          if (!isTidemarkError(error)) throw error;
          this.damaged(ctx, segment, COMMIT_INDEX, COMMIT_INDEX, `${segment.name}: ${error.message}`);
          return;
        }
      }
      const end = entries[entries.length - 1];
      if (end === undefined || entries.length < ENTRIES_PER_QUERY) return;
      range = { ...range, gte: after(end.key) };
    }
  }

  private *checkStored(
    ctx: NodeContext,
    segment: Segment,
    first: PageNumber,
    last: PageNumber,
  ): Program<void> {
    let range = segment.keys.pagesBetween(first, last);
    const walk = new HistoryWalk(ctx, segment);
    for (;;) {
      const entries = yield* readRange({ ...range, limit: ENTRIES_PER_QUERY });
      for (const entry of entries) {
        const { page } = parsePageKey(entry.key);
        const fault = walk.faultOf(entry);
        if (fault !== null && !segment.doubts.covers(page)) this.damaged(ctx, segment, page, page, fault);
      }
      const end = entries[entries.length - 1];
      if (end === undefined || entries.length < ENTRIES_PER_QUERY) return;
      range = { ...range, gte: after(end.key) };
    }
  }

  private *compare(ctx: NodeContext, segment: Segment, first: PageNumber, count: number): Program<void> {
    const manifest = segment.manifest?.value;
    if (manifest === undefined || segment.scl < segment.tail) return;
    const { volume, pg, vdl, tail } = segment;
    const point = { volume, run: headRun(manifest.runs).id, lsn: vdl };
    const own = yield* digestOf(ctx, segment, point, pagesFrom(first, count));
    const votes = new Map<number, NodeId[]>([[own, [ctx.options.nodeId]]]);
    const peers = peersOf(manifest, pg, ctx.options.nodeId);
    this.peerCursor += 1;
    const body = {
      clusterId: ctx.clusterId,
      ...point,
      pg,
      requiredScl: tail,
      firstPage: first,
      pageCount: count,
    };
    for (let asked = 0; asked < peers.length && winnerOf(votes) === null; asked += 1) {
      const peer = peers[(this.peerCursor + asked) % peers.length] as NodeId;
      const digest = yield* askDigest(peer, body);
      if (digest !== null) votes.set(digest, [...(votes.get(digest) ?? []), peer]);
    }
    this.judge(ctx, segment, own, votes, first, (first + count - 1) as PageNumber);
  }

  private judge(
    ctx: NodeContext,
    segment: Segment,
    own: number,
    votes: ReadonlyMap<number, readonly NodeId[]>,
    first: PageNumber,
    last: PageNumber,
  ): void {
    const winner = winnerOf(votes);
    const where = `pages ${first} to ${last} of ${segment.name}`;
    if (winner === null) {
      if (votes.size === 1) return;
      this.counted.unequalRanges += 1;
      this.found(`${where} differ between copies, and no three agree`);
      return;
    }
    if (winner !== own) {
      const agreeing = votes.get(winner)?.join(', ');
      this.damaged(ctx, segment, first, last, `${where} differ from what ${agreeing} agree on`);
      return;
    }
    // The others find it themselves; here it is only told.
    const others = [...votes].flatMap(([digest, nodes]) => (digest === winner ? [] : nodes));
    if (others.length > 0) this.found(`${where} differ at ${others.join(', ')}`);
  }

  private damaged(
    ctx: NodeContext,
    segment: Segment,
    first: PageNumber,
    last: PageNumber,
    why: string,
  ): void {
    this.counted.damagedPages += last - first + 1;
    this.found(why);
    ctx.doubtPages(segment, first, last, why);
  }

  private found(finding: string): void {
    if (this.findings.length < MAX_FINDINGS) this.findings.push(finding);
  }
}

export function onScrub(ctx: NodeContext, { to, body }: Request<'scrub'>): void {
  if (body.start) ctx.scrub.start(ctx, body.onlyVolume);
  ctx.reply(to, { method: 'scrub', body: ctx.scrub.reply(ctx) });
}

function placeOf(segment: Segment): readonly Place[] {
  const pages = pagesOf(segment);
  if (pages === null) return [];
  let last = Math.min(segment.highestPage, pages.last);
  for (const page of segment.held.pageNumbers()) last = Math.max(last, page);
  return last < pages.first
    ? []
    : [{ segment, log: new LogWalk(segment), nextPage: pages.first, lastPage: last }];
}

function pagesOf({ manifest, pg }: Segment): { readonly first: number; readonly last: number } | null {
  if (manifest === null) return null;
  const { pgPages } = manifest.value;
  return { first: pg * pgPages + 1, last: (pg + 1) * pgPages };
}

export function pagesInDoubtOf(segment: Segment): number {
  const pages = pagesOf(segment) ?? { first: 0, last: Number.POSITIVE_INFINITY };
  const commits = segment.doubts.covers(COMMIT_INDEX) ? 1 : 0;
  return segment.doubts.intervals.reduce(
    (sum, { first, last }) =>
      sum + Math.max(0, Math.min(last, pages.last) - Math.max(first, pages.first) + 1),
    commits,
  );
}

function isScrubbable(segment: Segment): boolean {
  return (
    segment.isInForce &&
    segment.manifest !== null &&
    segment.isHydrated &&
    !segment.isQuarantined &&
    !segment.isRepairing
  );
}

function winnerOf(votes: ReadonlyMap<number, readonly NodeId[]>): number | null {
  for (const [digest, nodes] of votes) if (nodes.length >= MAJORITY) return digest;
  return null;
}

/** null: this peer cannot say. */
function* askDigest(peer: NodeId, body: Request<'digestPages'>['body']): Program<number | null> {
  try {
    const answer = yield* callPeer(peer, { method: 'digestPages', body });
    return answer.method === 'digestPages' && answer.body.refusal === null ? answer.body.digest : null;
  } catch (error) {
    if (isTidemarkError(error, 'UNAVAILABLE')) return null;
    throw error;
  }
}

/** Walks through the entries of pages in key order and tells what is wrong with them. */
export class HistoryWalk {
  private readonly ctx: Pick<NodeContext, 'values'>;
  private readonly segment: Pick<Segment, 'name' | 'floor' | 'coalesced'>;
  /**
   * Fixed for the whole walk: were it to move on between two queries, records that a round wrote meanwhile would be missed below those
   * that came after them.
   */
  private readonly throughLsn: Lsn;
  private page: PageNumber | null = null;
  private lastLsn: Lsn = NO_LSN;

  constructor(ctx: Pick<NodeContext, 'values'>, segment: Pick<Segment, 'name' | 'floor' | 'coalesced'>) {
    this.ctx = ctx;
    this.segment = segment;
    this.throughLsn = segment.coalesced;
  }

  faultOf({ key, value }: Entries[number]): string | null {
    const { segment } = this;
    const { page, lsn, kind } = parsePageKey(key);
    if (page !== this.page) {
      this.page = page;
      this.lastLsn = NO_LSN;
    }
    // Written meanwhile, or left over from rounds that are done again: not read before they are replaced.
    if (lsn > this.throughLsn) return null;
    try {
      if (kind === BUNDLE) {
        const { prevLsn, records } = this.ctx.values.decodeBundle(key, value);
        return this.follow(page, lsn, prevLsn, records[records.length - 1]?.lsn ?? lsn);
      }
      const { isRecord, prevLsn } = this.ctx.values.decodeImage(key, value);
      return isRecord ? this.follow(page, lsn, prevLsn, lsn) : null;
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      return `page ${page} of ${segment.name}: ${error.message}`;
    }
  }

  private follow(page: PageNumber, lsn: Lsn, prevLsn: Lsn, lastLsn: Lsn): string | null {
    const before = this.lastLsn;
    this.lastLsn = lastLsn;
    // Below the floor there are lawful gaps.
    if (prevLsn <= before || prevLsn < Math.max(this.segment.floor, 1)) return null;
    return `page ${page} of ${this.segment.name}: record ${lsn} follows ${prevLsn}, which is missing`;
  }
}
