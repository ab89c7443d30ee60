/**
 * The newest commit of a volume within bounds, over all its PGs: one segment able to answer per PG is asked (storage-node/core/commit-index.ts), the
 * next one when it refuses, fails or is late. A commit belongs to the PG of its last record, so the newest of all PGs' is the volume's.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Clock, Timer, Timers } from '../../src/env/env.ts';
import { type Lsn, NO_LSN, type NodeId, type PgIndex, type RunId } from '../../src/log/lsn.ts';
import type { FindCommitReply, FindCommitRequest } from '../../src/messages/messages.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { closingTail, runById } from '../../src/timeline/visibility.ts';
import { pause } from './pause.ts';
import type { StorageNodeClients } from './registers.ts';

const CALL_TIMEOUT_MS = 2_000;
/** A node that has not answered after so long gets company. */
const HEDGE_MS = 50;
const RETRY_PAUSE_MS = 50;
const DEFAULT_TIMEOUT_MS = 5_000;

export interface Commit {
  readonly lsn: Lsn;
  readonly micros: number;
}

export interface FindCommitOptions {
  readonly clients: StorageNodeClients;
  readonly clusterId: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly timeoutMs?: number;
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
  options: FindCommitOptions,
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
  options: FindCommitOptions,
  nodes: readonly NodeId[],
  request: FindCommitRequest,
): Promise<Commit | null> {
  const { clock, timers, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const deadlineMs = clock.now().monotonicMs + timeoutMs;
  for (;;) {
    const { reply, problems } = await askInTurn(options, nodes, request);
    if (reply !== null)
      return reply.lsn === NO_LSN ? null : { lsn: reply.lsn, micros: reply.commitTimeMicros };
    if (clock.now().monotonicMs >= deadlineMs) {
      throw new TidemarkError(
        'NO_QUORUM',
        `no storage node of PG ${request.pg} could say what was committed when: ${problems.join('; ')}`,
        { nextStep: 'Check with `tidemark status` which storage nodes are reachable, then try again.' },
      );
    }
    await pause(timers, RETRY_PAUSE_MS);
  }
}

interface Round {
  /** null: all were asked in vain. */
  readonly reply: FindCommitReply | null;
  readonly problems: readonly string[];
}

/** Each node once: the next as soon as one cannot say, or is late. */
function askInTurn(
  { clients, timers }: FindCommitOptions,
  nodes: readonly NodeId[],
  request: FindCommitRequest,
): Promise<Round> {
  return new Promise((resolve) => {
    const problems: string[] = [];
    const left = [...nodes];
    let unanswered = 0;
    let hedge: Timer | null = null;
    let isOver = false;
    const end = (reply: FindCommitReply | null): void => {
      if (isOver) return;
      isOver = true;
      hedge?.cancel();
      resolve({ reply, problems });
    };
    const fail = (node: NodeId, why: string): void => {
      unanswered -= 1;
      problems.push(`${node}: ${why}`);
      if (!isOver) next();
    };
    const next = (): void => {
      hedge?.cancel();
      const node = left.shift();
      if (node === undefined) {
        if (unanswered === 0) end(null);
        return;
      }
      unanswered += 1;
      hedge = timers.after(HEDGE_MS, next);
      const client = clients.get(node);
      if (client === undefined) {
        fail(node, 'it is not connected');
        return;
      }
      client.call('findCommit', request, { timeoutMs: CALL_TIMEOUT_MS }).then(
        (reply) => {
          if (reply.refusal !== null) {
            fail(node, reply.refusal.message);
            return;
          }
          unanswered -= 1;
          end(reply);
        },
        (error: unknown) => fail(node, error instanceof Error ? error.message : String(error)),
      );
    };
    next();
  });
}
