/**
 * Digests of page ranges: what the copies of a PG compare in a scrub (scrub.ts). As of one read point every copy must show the same bytes, whatever
 * its rounds, images and collections were. They are made from the store, not from cached versions: it is the store that is in question.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { PageNumber } from '../../src/log/lsn.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { NodeContext, Request } from './context.ts';
import { PageCache } from './page-memory.ts';
import { levelsOf, readPages } from './page-read.ts';
import type { Program } from './program.ts';
import { checkPoint, whyNot } from './read-requests.ts';
import { refusal, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';

/** Digests in the making for others at a time: the foreground comes first. */
const MAX_DIGESTS = 2;

export function onDigestPages(ctx: NodeContext, { to, body }: Request<'digestPages'>): void {
  const refuseWith = (because: ReturnType<typeof refusal>) =>
    ctx.reply(to, refuse({ method: 'digestPages', body }, because, ctx));
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null) refuseWith(refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`));
  else if (ctx.scrub.digestsUnderWay >= MAX_DIGESTS)
    refuseWith(refusal('OVERLOADED', 'other digests come first'));
  else ctx.run(answer(ctx, segment, { to, body }));
}

function* answer(ctx: NodeContext, segment: Segment, { to, body }: Request<'digestPages'>): Program<void> {
  ctx.scrub.digestsUnderWay += 1;
  try {
    if (body.pageCount > ctx.limits.maxReadPages) {
      throw new TidemarkError('TOO_LARGE', `${body.pageCount} pages are too many for a digest`);
    }
    checkPoint(segment, body);
    const digest = yield* digestOf(ctx, segment, body, pagesFrom(body.firstPage, body.pageCount));
    checkPoint(segment, body);
    ctx.reply(to, { method: 'digestPages', body: { digest, refusal: null } });
  } catch (error) {
    ctx.reply(to, refuse({ method: 'digestPages', body }, whyNot(ctx, segment, body, error), ctx));
  } finally {
    ctx.scrub.digestsUnderWay -= 1;
  }
}

/** Throws what a read of the pages would. */
export function* digestOf(
  ctx: NodeContext,
  segment: Segment,
  point: Pick<ReadPoint, 'volume' | 'run' | 'lsn'>,
  pages: readonly PageNumber[],
): Program<number> {
  const levels = levelsOf(point, (volume) => ctx.segments.kept(volume, segment.pg));
  const env = {
    limits: { ...ctx.limits, cacheFromRecords: Number.POSITIVE_INFINITY },
    values: ctx.values,
    cache: new PageCache(0),
  };
  let digest = 0;
  for (const { page, data } of yield* readPages(env, point, levels, pages)) {
    const name = new Uint8Array(8);
    new DataView(name.buffer).setUint32(0, page);
    new DataView(name.buffer).setUint32(4, data.length);
    digest = ctx.crc32(data, ctx.crc32(name, digest));
  }
  return digest;
}

export function pagesFrom(first: number, count: number): readonly PageNumber[] {
  return Array.from({ length: count }, (_, index) => (first + index) as PageNumber);
}
