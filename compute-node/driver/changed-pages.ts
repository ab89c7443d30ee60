/**
 * Pages of a volume with records in given stretches of LSNs, over all its PGs (storage-node/core/change-index.ts). A clone's nodes are asked for stretches
 * of its parents, too: they have them as bases, even when the parent is gone.
 */
import type { Lsn, PageNumber, PgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import type { LsnStretch } from '../../src/timeline/ancestry.ts';
import { type AskOptions, askSegment } from './ask-segment.ts';

/**
 * `requiredScl`: with it a segment holds all of its PG in the stretch; at or below the stretch's beginning: the PG has nothing in it. Rejects NO_QUORUM when
 * nobody of a PG can answer.
 */
export async function changedPages(
  options: AskOptions,
  { pgs }: Pick<ManifestValue, 'pgs'>,
  stretches: readonly LsnStretch[],
  requiredScl: (pg: PgIndex, stretch: LsnStretch) => Lsn,
): Promise<ReadonlySet<PageNumber>> {
  const pages = new Set<PageNumber>();
  const questions = stretches.flatMap((stretch) =>
    pgs.flatMap((config) => {
      const scl = requiredScl(config.pg, stretch);
      return scl <= stretch.afterLsn ? [] : [askPg(options, config, stretch, scl, pages)];
    }),
  );
  await Promise.all(questions);
  return pages;
}

async function askPg(
  options: AskOptions,
  config: PgConfig,
  { volume, afterLsn, throughLsn }: LsnStretch,
  requiredScl: Lsn,
  pages: Set<PageNumber>,
): Promise<void> {
  const { nodes } = QuorumSet.of(config);
  let afterPage = 0 as PageNumber;
  for (;;) {
    const range = { volume, pg: config.pg, afterLsn, throughLsn, requiredScl, afterPage };
    const request = { clusterId: options.clusterId, ...range };
    const reply = await askSegment(options, nodes, 'changedPages', request, 'which pages changed');
    for (const page of reply.pages) pages.add(page);
    const last = reply.pages[reply.pages.length - 1];
    if (reply.done || last === undefined) return;
    afterPage = last;
  }
}
