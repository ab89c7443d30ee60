/**
 * What a segment makes of manifests. Manifests of one volume form a sequence: the epoch's holder alone writes them, each extending the
 * one before: the open head may be closed, runs and PGs are added, nothing else changes. A segment checks that before it lets one
 * cut its records, whoever sent it.
 */
import { type Epoch, compareEpochs, sameEpoch } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type NodeId, type PgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import type { Run } from '../../src/timeline/run.ts';
import { closingTail, headRun, runOf } from '../../src/timeline/visibility.ts';

/** > 0: `a` is the later one. Manifests of one epoch order by what they added. */
export function compareManifests(a: ManifestValue, b: ManifestValue): number {
  const byEpoch = compareEpochs(a.epoch, b.epoch);
  if (byEpoch !== 0) return byEpoch;
  return a.runs.length - b.runs.length || configSum(a) - configSum(b) || closedRuns(a) - closedRuns(b);
}

/** What a segment already holds for durable, which no committed manifest can cut. */
export interface Durable {
  readonly vdl: Lsn;
  /** A record's LSN, or NO_LSN. */
  readonly coalesced: Lsn;
}

/** null when `next` extends `known` and cuts nothing that is durable; else why not. */
export function whyNotExtends(known: ManifestValue, next: ManifestValue, durable: Durable): string | null {
  if (next.volume !== known.volume) return `it is of volume ${next.volume}`;
  if (next.pgPages !== known.pgPages || next.pageSizeBytes !== known.pageSizeBytes)
    return 'its page layout differs';
  if (next.inheritedPgs !== known.inheritedPgs) return 'it descends from its parent otherwise';
  if (next.pgs.length < known.pgs.length) return 'it has fewer protection groups';
  for (const [index, run] of known.runs.entries()) {
    const same = next.runs[index];
    if (same === undefined) return `it lacks run ${run.id}`;
    if (same.id !== run.id || same.firstLsn !== run.firstLsn || !sameEpoch(same.epoch, run.epoch)) {
      return `its run ${run.id} is another one`;
    }
    if (run.lastLsn !== null && same.lastLsn !== run.lastLsn) return `its run ${run.id} was closed elsewhere`;
  }
  const { vdl, coalesced } = durable;
  const isAtRunsStart = next.runs.some((run) => run.firstLsn === vdl + 1);
  if (vdl !== NO_LSN && !isAtRunsStart && runOf(next.runs, vdl) === null)
    return `it cuts the durable LSN ${vdl}`;
  if (coalesced !== NO_LSN && runOf(next.runs, coalesced) === null)
    return `it cuts the coalesced record ${coalesced}`;
  return null;
}

export function configOf(manifest: ManifestValue, pg: PgIndex): PgConfig | null {
  return manifest.pgs[pg] ?? null;
}

/** The nodes that keep a segment of the PG: its members, and those that are to follow while they change. */
export function hostsOf(manifest: ManifestValue, pg: PgIndex): readonly NodeId[] {
  const config = configOf(manifest, pg);
  return config === null ? [] : QuorumSet.of(config).nodes;
}

export function peersOf(manifest: ManifestValue, pg: PgIndex, self: NodeId): readonly NodeId[] {
  return hostsOf(manifest, pg).filter((member) => member !== self);
}

/** What a committed manifest proves durable: all before the head run, and the PG's last record there. */
export function provenBy(manifest: ManifestValue, pg: PgIndex): { readonly vdl: Lsn; readonly tail: Lsn } {
  const head = headRun(manifest.runs);
  const before = manifest.runs[manifest.runs.length - 2];
  if (head.lastLsn !== null) return { vdl: head.lastLsn, tail: closingTail(head, pg) ?? NO_LSN };
  return {
    vdl: (head.firstLsn - 1) as Lsn,
    tail: before === undefined ? NO_LSN : (closingTail(before, pg) ?? NO_LSN),
  };
}

/** The newest LSN of the PG that still exists at or below `lsn`, a record that was held once: itself, or the tail where its run was cut. */
export function clampToRuns(runs: readonly Run[], pg: PgIndex, lsn: Lsn): Lsn {
  let clamped = NO_LSN;
  for (const run of runs) {
    if (run.firstLsn > lsn) break;
    clamped = run.lastLsn === null || lsn <= run.lastLsn ? lsn : (closingTail(run, pg) ?? NO_LSN);
  }
  return clamped;
}

export function isInstalledAt(manifest: ManifestValue | null, epoch: Epoch): boolean {
  return manifest !== null && sameEpoch(manifest.epoch, epoch);
}

function configSum(manifest: ManifestValue): number {
  return manifest.pgs.reduce((sum, config) => sum + config.configVersion + 1, 0);
}

function closedRuns(manifest: ManifestValue): number {
  return manifest.runs.filter((run) => run.lastLsn !== null).length;
}
