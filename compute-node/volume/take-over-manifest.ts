/**
 * The manifests a take-over writes. Pure values in, pure values out.
 *
 * A volume is created with an *origin run*: run 0, empty and already closed (first LSN 1, last LSN 0), which says that nobody has
 * ever written. The first take-over opens that very run under its own epoch; every later one closes the head and opens the next.
 *
 * Invariants
 * 1. A run is opened at (where its parent was closed) + LAL + 1: its writer never allocated past VDL + LAL, so no LSN is ever
 *    given out twice, whatever ghosts a deposed writer left behind.
 * 2. An origin run is opened at its own first LSN, because no LSN of it was ever given out.
 * 3. Time is monotone over runs: a run opens later than the last commit stamp known at the closing before it, and its commits are later still.
 *    So every time names one run: the last one opened by then.
 */
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { type Epoch, compareEpochs } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type VolumeId,
  toLsn,
  toPgIndex,
  toRunId,
} from '../../src/log/lsn.ts';
import { FIRST_CONFIG_VERSION, type ManifestValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import type { Run, RunParent } from '../../src/timeline/run.ts';
import { closingTail, headRun, runById } from '../../src/timeline/visibility.ts';

const FIRST_LSN = toLsn(1);

/** What a new volume's manifest register holds before anybody has written to the volume. */
export function originManifest(fields: {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly pgPages: number;
  readonly members: readonly NodeId[];
}): ManifestValue {
  const origin: Run = {
    id: toRunId(0),
    epoch: fields.epoch,
    firstLsn: FIRST_LSN,
    lastLsn: NO_LSN,
    parent: null,
    closingTails: [NO_LSN],
    openedAtMicros: 0,
    lastCommitTimeMicros: 0,
  };
  return {
    format: REGISTER_FORMAT,
    volume: fields.volume,
    epoch: fields.epoch,
    pageSizeBytes: PAGE_SIZE_BYTES,
    pgPages: fields.pgPages,
    pgs: [{ pg: toPgIndex(0), configVersion: FIRST_CONFIG_VERSION, members: fields.members, proposed: null }],
    inheritedPgs: 0,
    runs: [origin],
  };
}

/**
 * What a clone's manifest register holds before anybody has written to the clone: PGs and their members as the parent has them now, and an origin
 * run that shows the parent's point. Its LSNs go on from there, so that along a page's history, over all ancestors, they ascend.
 */
export function cloneManifest(fields: {
  readonly volume: VolumeId;
  readonly epoch: Epoch;
  readonly parent: ManifestValue;
  readonly at: RunParent;
  /** Of the newest commit that the point shows. */
  readonly lastCommitTimeMicros: number;
}): ManifestValue {
  const { parent, at, volume, epoch, lastCommitTimeMicros } = fields;
  const pgs = parent.pgs.map(({ pg, members }) => ({
    pg,
    configVersion: FIRST_CONFIG_VERSION,
    members,
    proposed: null,
  }));
  const origin: Run = {
    id: toRunId(0),
    epoch,
    firstLsn: toLsn(at.lsn + 1),
    lastLsn: at.lsn,
    parent: at,
    closingTails: pgs.map(() => NO_LSN),
    openedAtMicros: 0,
    lastCommitTimeMicros,
  };
  const { pageSizeBytes, pgPages } = parent;
  return {
    format: REGISTER_FORMAT,
    volume,
    epoch,
    pageSizeBytes,
    pgPages,
    pgs,
    inheritedPgs: pgs.length,
    runs: [origin],
  };
}

/** True while nobody has ever opened a run of this volume. */
export function isOrigin(manifest: ManifestValue): boolean {
  const head = headRun(manifest.runs);
  return manifest.runs.length === 1 && head.lastLsn !== null && head.lastLsn < head.firstLsn;
}

/** tail(PG, head's first − 1) of every PG: where each PG's chain of the head run begins. */
export function tailsBeforeHead(manifest: ManifestValue): readonly Lsn[] {
  const previous = manifest.runs.at(-2);
  return manifest.pgs.map(
    (config) => (previous === undefined ? null : closingTail(previous, config.pg)) ?? NO_LSN,
  );
}

/** What a take-over found in the log. */
export interface FoundLog {
  readonly vdl: Lsn;
  readonly tails: readonly Lsn[];
  readonly lastCommitTimeMicros: number;
}

/** The term that begins with the new manifest. */
export interface NewTerm {
  readonly epoch: Epoch;
  readonly lal: number;
  /** The new writer's clock. */
  readonly wallMicros: number;
  /** Backtrack: where the new run goes on from, instead of the closed run's end. A point of this volume, on one of its runs. */
  readonly rewindTo: Omit<RunParent, 'volume'> | null;
}

/** Step 5 of a take-over: the head run closed at the VDL found, a new one open under the term's epoch. */
export function nextManifest(before: ManifestValue, found: FoundLog, term: NewTerm): ManifestValue {
  const { epoch, lal } = term;
  const head = headRun(before.runs);
  assert(
    compareEpochs(epoch, head.epoch) > 0,
    `a run of epoch ${head.epoch.number} cannot be followed by ${epoch.number}`,
  );
  const lastStamp = Math.max(head.lastCommitTimeMicros, found.lastCommitTimeMicros);
  const openedAtMicros = Math.max(lastStamp + 1, term.wallMicros);
  const opening = {
    epoch,
    lastLsn: null,
    closingTails: null,
    openedAtMicros,
    lastCommitTimeMicros: openedAtMicros,
  };
  if (isOrigin(before)) {
    assert(found.vdl === head.firstLsn - 1, `found VDL ${found.vdl} in a volume that nobody ever wrote to`);
    return { ...before, epoch, runs: [{ ...head, ...opening }] };
  }
  assert(head.lastLsn === null, `the head run of volume ${before.volume} is closed`);
  assert(
    found.vdl >= head.firstLsn - 1,
    `VDL ${found.vdl} lies before the head run (first ${head.firstLsn})`,
  );
  assert(found.tails.length === before.pgs.length, 'one tail per PG');
  const closed: Run = {
    ...head,
    lastLsn: found.vdl,
    closingTails: found.tails,
    lastCommitTimeMicros: lastStamp,
  };
  const runs = [...before.runs.slice(0, -1), closed];
  const from = term.rewindTo ?? { run: head.id, lsn: found.vdl };
  checkOnRun(runs, from);
  const opened: Run = {
    ...opening,
    id: toRunId(Math.max(...before.runs.map((run) => run.id)) + 1),
    firstLsn: toLsn(found.vdl + lal + 1),
    parent: { volume: before.volume, ...from },
  };
  return { ...before, epoch, runs: [...runs, opened] };
}

function checkOnRun(runs: readonly Run[], { run: id, lsn }: Omit<RunParent, 'volume'>): void {
  const run = runById(runs, id);
  if (run === null || lsn < run.firstLsn - 1 || lsn > (run.lastLsn ?? run.firstLsn - 1)) {
    throw new TidemarkError('CUT', `LSN ${lsn} is not of run ${id}`, {
      nextStep: 'Name a time, or the LSN of a commit that exists.',
    });
  }
}

/**
 * Whether `a` was written after `b`, judging by content alone: a later epoch, or in the same term (one writer, which only ever
 * adds) more runs, more PGs or newer members.
 */
export function isNewerManifest(a: ManifestValue, b: ManifestValue): boolean {
  const byEpoch = compareEpochs(a.epoch, b.epoch);
  if (byEpoch !== 0) return byEpoch > 0;
  return growth(a) > growth(b);
}

/** Grows with every change a writer makes to its manifest within one term. */
function growth(manifest: ManifestValue): number {
  return manifest.runs.length + manifest.pgs.reduce((sum, config) => sum + config.configVersion, 0);
}
