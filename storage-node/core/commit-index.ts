/**
 * The commits of a segment: which LSN ended an MTR, and when it was stamped. Page history forgets both, and moments are named by them
 * (design section 7, "Time"): a time means the newest commit stamped by then, an LSN the newest commit at or below it.
 *
 * A commit belongs to the segment that holds its last record, the CPL; who wants the volume's newest asks every PG. While records are in memory
 * they tell themselves; every coalescing round then writes its commits as one entry, about five bytes each.
 *
 * Invariants
 * 1. An entry's commits are of one run, ascending in LSN and in stamp (a writer's stamps are monotone), so both can be searched by halves.
 * 2. Entries go with the history below the floor; the newest below stays, so that the time of the floor can be told.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { KvOp } from '../../src/env/env.ts';
import { type Lsn, NO_LSN } from '../../src/log/lsn.ts';
import type { FindCommitRequest } from '../../src/messages/messages.ts';
import type { Run } from '../../src/timeline/run.ts';
import { runById } from '../../src/timeline/visibility.ts';
import type { NodeContext, Request } from './context.ts';
import type { Piece } from './held-log.ts';
import { COMMIT_INDEX } from './keys.ts';
import { type Program, readRange, writeStore } from './program.ts';
import { refusal, refusalOf, refuse } from './refusals.ts';
import type { Segment } from './segment.ts';
import type { Commit, ValueCodec } from './values.ts';

/** The index entry of one coalescing round; nothing when no MTR ended in it. */
export function commitOps(
  { values }: { readonly values: ValueCodec },
  segment: Segment,
  pieces: readonly Piece[],
): KvOp[] {
  const commits = pieces.flatMap(commitsIn);
  const last = commits[commits.length - 1];
  if (last === undefined) return [];
  const key = segment.keys.commits(last.lsn);
  return [{ type: 'put', key, value: values.encodeCommits(key, commits) }];
}

/** Drops what lies below the floor. */
export function* collectCommits(segment: Segment, floor: Lsn, batch: number): Program<void> {
  const below = segment.keys.commitsBetween(NO_LSN, (floor - 1) as Lsn);
  const [newest] = yield* readRange({ ...below, reverse: true, limit: 1 });
  if (newest === undefined) return;
  for (;;) {
    const entries = yield* readRange({ gte: below.gte, lt: newest.key, limit: batch });
    if (entries.length === 0) return;
    yield* writeStore(entries.map(({ key }) => ({ type: 'del', key })));
  }
}

export function onFindCommit(ctx: NodeContext, { to, body }: Request<'findCommit'>): void {
  const segment = ctx.segments.get(body.volume, body.pg);
  if (segment === null) {
    const because = refusal('NO_SEGMENT', `no segment of ${body.volume}/${body.pg} here`);
    ctx.reply(to, refuse({ method: 'findCommit', body }, because, ctx));
    return;
  }
  ctx.run(answer(ctx, segment, { to, body }));
}

function* answer(ctx: NodeContext, segment: Segment, { to, body }: Request<'findCommit'>): Program<void> {
  try {
    const run = checkedRun(segment, body);
    const found = newestInMemory(segment, run, body) ?? (yield* newestInStore(ctx, segment, run, body));
    const { lsn, commitTimeMicros } = found ?? { lsn: NO_LSN, commitTimeMicros: 0 };
    ctx.reply(to, { method: 'findCommit', body: { lsn, commitTimeMicros, refusal: null } });
  } catch (error) {
    const because = refusalOf(error);
    if (because.code === 'CORRUPT') ctx.doubtPages(segment, COMMIT_INDEX, COMMIT_INDEX, because.message);
    ctx.reply(to, refuse({ method: 'findCommit', body }, because, ctx));
  }
}

function checkedRun(segment: Segment, { run: runId, requiredScl, throughLsn }: FindCommitRequest): Run {
  const run = segment.manifest === null ? null : runById(segment.manifest.value.runs, runId);
  if (run === null) throw new TidemarkError('BEHIND', `${segment.name} does not know run ${runId}`);
  if (segment.isQuarantined) {
    throw new TidemarkError('QUARANTINED', `${segment.name} is in quarantine: what it lacks proves nothing`);
  }
  if (segment.doubts.covers(COMMIT_INDEX)) {
    throw new TidemarkError(
      'QUARANTINED',
      `the commits of ${segment.name} are being repaired from its peers`,
    );
  }
  if (segment.scl < requiredScl && !(requiredScl <= throughLsn && segment.holdsThrough(throughLsn))) {
    throw new TidemarkError(
      'BEHIND',
      `${segment.name} is complete to ${segment.scl}, ${requiredScl} is needed`,
    );
  }
  return run;
}

type Bounds = Pick<FindCommitRequest, 'throughLsn' | 'throughMicros'>;

function newestInMemory(segment: Segment, run: Run, bounds: Bounds): Commit | null {
  let newest: Commit | null = null;
  for (const piece of segment.held.piecesAbove(Math.max(segment.coalesced, run.firstLsn - 1) as Lsn)) {
    for (const commit of commitsIn(piece)) {
      if (!isWithin(run, bounds, commit)) return newest;
      newest = commit;
    }
  }
  return newest;
}

/**
 * By halves over the run's LSNs: the last entry that begins within the bounds. The newest entry is looked at first, as the present is what
 * is asked for most.
 */
function* newestInStore(
  { values }: { readonly values: ValueCodec },
  segment: Segment,
  run: Run,
  bounds: Bounds,
): Program<Commit | null> {
  const newestOf = (commits: readonly Commit[]): Commit | null =>
    commits.findLast((commit) => isWithin(run, bounds, commit)) ?? null;
  const highest = Math.min(bounds.throughLsn, run.lastLsn ?? segment.coalesced, segment.coalesced) as Lsn;
  let low = run.firstLsn as number;
  let high = highest as number;
  let middle = high;
  let best: Commit | null = null;
  while (low <= high) {
    const [entry] = yield* readRange({ ...segment.keys.commitsBetween(middle as Lsn), limit: 1 });
    const commits = entry === undefined ? [] : values.decodeCommits(entry.key, entry.value);
    const first = commits[0];
    if (first !== undefined && isWithin(run, bounds, first)) {
      best = newestOf(commits);
      low = (commits[commits.length - 1] as Commit).lsn + 1;
    } else {
      high = middle - 1;
    }
    middle = Math.floor((low + high) / 2);
  }
  return best;
}

function isWithin(run: Run, { throughLsn, throughMicros }: Bounds, commit: Commit): boolean {
  return (
    commit.lsn >= run.firstLsn &&
    (run.lastLsn === null || commit.lsn <= run.lastLsn) &&
    commit.lsn <= throughLsn &&
    commit.commitTimeMicros <= throughMicros
  );
}

function commitsIn(piece: Piece): Commit[] {
  return piece.records.flatMap(({ lsn, isCpl, commitTimeMicros }) =>
    isCpl ? [{ lsn, commitTimeMicros }] : [],
  );
}
