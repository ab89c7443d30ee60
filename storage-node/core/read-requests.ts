/**
 * Page reads: whether this segment can serve a read point at all, before and after the pages are put together (page-read.ts). A segment that
 * cannot says why: BEHIND, GONE, CUT, QUARANTINED; never an older page in silence.
 */
import { TidemarkError, isTidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type { PageVersion, ReadPagesRequest, Refusal } from '../../src/messages/messages.ts';
import { isKept } from '../../src/timeline/kept.ts';
import { runById } from '../../src/timeline/visibility.ts';
import type { NodeContext, Request } from './context.ts';
import { configOf } from './manifests.ts';
import { PageDamage, levelsOf, readPages } from './page-read.ts';
import type { Program } from './program.ts';
import { refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';

/** The read point of a request, and what a segment must hold to serve it. */
export type AskedPoint = Pick<ReadPagesRequest, 'volume' | 'run' | 'lsn' | 'requiredScl'>;

export function onReadPages(ctx: NodeContext, request: Request<'readPages'>): void {
  const { to, body } = request;
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null) {
    const because = refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`);
    ctx.reply(to, refuse({ method: 'readPages', body }, because, ctx));
    return;
  }
  ctx.run(answer(ctx, segment, request));
}

function* answer(ctx: NodeContext, segment: Segment, { to, body }: Request<'readPages'>): Program<void> {
  try {
    checkSize(ctx, segment, body);
    checkPoint(segment, body);
    const pages = yield* read(ctx, segment, body);
    // The floor may have risen, and collection begun, while the store was read.
    checkFloor(segment, body);
    if (!segment.isInForce) throw new TidemarkError('NO_SEGMENT', `${segment.name} has left this node`);
    ctx.reply(to, {
      method: 'readPages',
      body: { requestId: body.requestId, pages, scl: tellableScl(segment), refusal: null },
    });
  } catch (error) {
    ctx.reply(to, refuse({ method: 'readPages', body }, whyNot(ctx, segment, body, error), ctx));
  }
}

/** Collection may have taken what the read was looking for: then the floor has passed it, and nothing is damaged. */
export function whyNot(ctx: NodeContext, segment: Segment, body: AskedPoint, error: unknown): Refusal {
  if (!(error instanceof PageDamage)) return refusalOf(error);
  try {
    checkFloor(segment, body);
  } catch (gone) {
    return refusalOf(gone);
  }
  for (const damaged of error.segments) ctx.doubtPages(damaged, error.page, error.page, error.message);
  return refusalOf(error);
}

function* read(ctx: NodeContext, segment: Segment, body: ReadPagesRequest): Program<readonly PageVersion[]> {
  const point = { volume: body.volume, run: body.run, lsn: body.lsn };
  const segmentOf = (volume: Segment['volume']) => ctx.segments.kept(volume, body.pg);
  const levels = levelsOf(point, segmentOf);
  try {
    return yield* readPages(ctx, point, levels, body.pages);
  } catch (error) {
    if (!isTidemarkError(error, 'CORRUPT')) throw error;
    // What was kept in memory may itself be what is wrong: once more without it.
    ctx.cache.dropSegment(segment.name);
    return yield* readPages(ctx, point, levels, body.pages);
  }
}

function checkSize(ctx: NodeContext, segment: Segment, { pages, pg }: ReadPagesRequest): void {
  if (pages.length > ctx.limits.maxReadPages) {
    throw new TidemarkError(
      'TOO_LARGE',
      `${pages.length} pages asked for, at most ${ctx.limits.maxReadPages} fit a reply`,
    );
  }
  const manifest = segment.manifest?.value;
  if (manifest === undefined || configOf(manifest, pg) === null) return;
  const first = pg * manifest.pgPages + 1;
  const stray = pages.find((page) => page < first || page >= first + manifest.pgPages);
  if (stray !== undefined)
    throw new TidemarkError('BAD_REQUEST', `page ${stray} is not of protection group ${pg}`);
}

export function checkPoint(segment: Segment, body: AskedPoint): void {
  const manifest = segment.manifest?.value;
  if (manifest === undefined) throw new TidemarkError('BEHIND', `${segment.name} has no manifest yet`);
  const run = runById(manifest.runs, body.run);
  const head = manifest.runs[manifest.runs.length - 1];
  if (run === null) {
    if (head !== undefined && body.run > head.id) {
      throw new TidemarkError('BEHIND', `${segment.name} does not know run ${body.run} yet`);
    }
    throw new TidemarkError('CUT', `there is no run ${body.run}`);
  }
  if (body.lsn < run.firstLsn - 1 || (run.lastLsn !== null && body.lsn > run.lastLsn)) {
    throw new TidemarkError('CUT', `LSN ${body.lsn} is not of run ${body.run}`);
  }
  checkFloor(segment, body);
  if (segment.quarantine?.kind === 'conflict') {
    throw new TidemarkError('QUARANTINED', `${segment.name} distrusts itself: ${segment.quarantine.reason}`);
  }
  if (!segment.isHydrated) throw new TidemarkError('QUARANTINED', `${segment.name} is being hydrated`);
  // A reader that is not the writer knows the tail no better than the LSN; the segment may.
  const isHeld = body.requiredScl <= body.lsn && segment.holdsThrough(body.lsn);
  const asked = isHeld ? NO_LSN : body.requiredScl;
  const requiredScl = Math.max(asked, body.lsn >= segment.vdl ? segment.tail : 0);
  if (segment.scl < requiredScl) {
    const code = segment.isQuarantined ? 'QUARANTINED' : 'BEHIND';
    throw new TidemarkError(code, `${segment.name} is complete to ${segment.scl}, ${requiredScl} is needed`);
  }
}

function checkFloor(segment: Segment, { volume, run, lsn }: AskedPoint): void {
  const { retention, manifest } = segment;
  if (retention === null || manifest === null) return;
  if (isKept(manifest.value.runs, retention, { volume, run, lsn })) return;
  throw new TidemarkError('GONE', `history below ${retention.floor} is not kept`);
}

/**
 * What a page reply may say of the SCL: it is sent without waiting for what is on its way to the disk, so only what lies at or below the
 * VDL, which a write quorum holds whatever happens here.
 */
function tellableScl(segment: Segment): Lsn {
  return Math.min(segment.scl, segment.tail) as Lsn;
}
