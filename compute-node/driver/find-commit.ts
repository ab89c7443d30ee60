/**
 * The newest commit of a volume within bounds, over all its PGs: one segment per PG is asked (ask-segment.ts;
 * storage-node/core/commit-index.ts). A commit belongs to the PG of its last record, so the newest of all PGs' is the volume's.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { type Lsn, NO_LSN, type NodeId, type PgIndex, type RunId } from '../../src/log/lsn.ts';
import type { FindCommitRequest } from '../../src/messages/messages.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { closingTail, runById } from '../../src/timeline/visibility.ts';
import { type AskOptions, askSegment } from './ask-segment.ts';

export interface Commit {
  readonly lsn: Lsn;
  readonly micros: number;
}

export interface CommitBounds {
  readonly run: RunId;
  readonly throughLsn: Lsn;
  readonly throughMicros: number;
}

/**
 * `tailOf`: with that SCL a segment holds all of its PG up to `throughLsn` on the open run (the writer knows better than its last LSN). null: the run
 * has no such commit. Rejects NO_QUORUM when nobody of a PG can answer.
 */
export async function findCommit(
  options: AskOptions,
  manifest: ManifestValue,
  bounds: CommitBounds,
  tailOf: (pg: PgIndex) => Lsn = () => bounds.throughLsn,
): Promise<Commit | null> {
  const run = runById(manifest.runs, bounds.run);
  if (run === null) throw new TidemarkError('CUT', `there is no run ${bounds.run}`);
  const found = await Promise.all(
    manifest.pgs.map((config): Promise<Commit | null> => {
      const closing = closingTail(run, config.pg);
      if (closing !== null && closing < run.firstLsn) return Promise.resolve(null);
      const requiredScl = Math.min(bounds.throughLsn, closing ?? tailOf(config.pg)) as Lsn;
      const request = {
        clusterId: options.clusterId,
        volume: manifest.volume,
        pg: config.pg,
        ...bounds,
        requiredScl,
      };
      return askPg(options, QuorumSet.of(config).nodes, request);
    }),
  );
  return found.reduce((newest, commit) => {
    if (commit === null) return newest;
    return newest === null || commit.lsn > newest.lsn ? commit : newest;
  }, null);
}

async function askPg(
  options: AskOptions,
  nodes: readonly NodeId[],
  request: FindCommitRequest,
): Promise<Commit | null> {
  const reply = await askSegment(options, nodes, 'findCommit', request, 'what was committed when');
  return reply.lsn === NO_LSN ? null : { lsn: reply.lsn, micros: reply.commitTimeMicros };
}
