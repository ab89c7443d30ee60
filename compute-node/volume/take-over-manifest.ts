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
 * 3. Time is monotone over runs: a run opens with the last commit stamp known at its parent's closing.
 */
import { assert } from '../../src/base/assert.ts';
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
import { type ManifestValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import type { Run } from '../../src/timeline/run.ts';
import { closingTail, headRun } from '../../src/timeline/visibility.ts';

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
    lastCommitTimeMicros: 0,
  };
  return {
    format: REGISTER_FORMAT,
    volume: fields.volume,
    epoch: fields.epoch,
    pageSizeBytes: PAGE_SIZE_BYTES,
    pgPages: fields.pgPages,
    pgs: [{ pg: toPgIndex(0), configVersion: 1, members: fields.members, proposed: null }],
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

/** Step 5 of a take-over: the head run closed at `vdl`, a new one open under `epoch`. */
export function nextManifest(
  before: ManifestValue,
  found: { readonly vdl: Lsn; readonly tails: readonly Lsn[]; readonly lastCommitTimeMicros: number },
  epoch: Epoch,
  lal: number,
): ManifestValue {
  const head = headRun(before.runs);
  assert(
    compareEpochs(epoch, head.epoch) > 0,
    `a run of epoch ${head.epoch.number} cannot be followed by ${epoch.number}`,
  );
  if (isOrigin(before)) {
    assert(found.vdl === head.firstLsn - 1, `found VDL ${found.vdl} in a volume that nobody ever wrote to`);
    return { ...before, epoch, runs: [{ ...head, epoch, lastLsn: null, closingTails: null }] };
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
    lastCommitTimeMicros: Math.max(head.lastCommitTimeMicros, found.lastCommitTimeMicros),
  };
  const opened: Run = {
    id: toRunId(Math.max(...before.runs.map((run) => run.id)) + 1),
    epoch,
    firstLsn: toLsn(found.vdl + lal + 1),
    lastLsn: null,
    parent: { volume: before.volume, run: head.id, lsn: found.vdl },
    closingTails: null,
    lastCommitTimeMicros: closed.lastCommitTimeMicros,
  };
  return { ...before, epoch, runs: [...before.runs.slice(0, -1), closed, opened] };
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
