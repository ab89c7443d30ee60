/**
 * Step 3 of a take-over (design section 6): from what the fenced segments report, where the volume's durable log ends. A pure
 * function of one manifest and the reports at hand; called again whenever a report comes or goes.
 *
 * Why the answer is right. A record that was acknowledged is on four of its PG's six. Three intact inventories of the six meet every
 * four (3 + 4 > 6), and after the fence nothing can be added. So what three intact segments all lack was never durable, and what
 * anyone holds may be kept: keeping more than was acknowledged is allowed, keeping less is not. While a PG's members change there are two
 * sets of six: its writer may have counted by the old one alone or by both, so promises and inventories are needed from each.
 *
 * Invariants
 * 1. Only what the manifest's runs admit exists; everything else is a ghost and is not even looked at.
 * 2. No verdict without, in every PG, four promises and three intact inventories of each member set.
 * 3. The verdict's VDL is never below any VDL that a segment was told, nor below the head run's first − 1; where the records at hand do
 *    not reach that far without a gap, there is no verdict but a shortage: more nodes must answer, and nothing is ever cut on a guess.
 * 4. Above the highest reported VDL the log is dense over all PGs (one writer gave the LSNs of a run without a gap), so VCL is the end of
 *    the unbroken sequence, and every record's backlink must name its PG's tail at that point.
 */
import type { Lsn, NodeId, PgIndex } from '../../src/log/lsn.ts';
import { toLsn } from '../../src/log/lsn.ts';
import { sameEpoch } from '../../src/log/epoch.ts';
import type { InventoryEntry } from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import { admits, headRun } from '../../src/timeline/visibility.ts';
import { tailsBeforeHead } from './take-over-manifest.ts';

/** One fenced segment: its promise is durable. */
export interface SegmentReport {
  readonly nodeId: NodeId;
  /** True: what is above `vdl` and not in `entries` was never held. */
  readonly intact: boolean;
  readonly scl: Lsn;
  /** Highest VDL the segment was told, and tail(PG, vdl) that came with it. */
  readonly vdl: Lsn;
  readonly tail: Lsn;
  /** All records held above `vdl`; null while the inventory is still being fetched. */
  readonly entries: readonly InventoryEntry[] | null;
}

export interface PgReports {
  readonly pg: PgIndex;
  readonly segments: readonly SegmentReport[];
}

export type Shortage =
  /** Fewer than four promises of one member set. */
  | { readonly kind: 'promises'; readonly pg: PgIndex; readonly have: number }
  /** Fewer than three intact inventories of one member set. */
  | { readonly kind: 'inventories'; readonly pg: PgIndex; readonly have: number }
  /** Something that must be durable is in no inventory. */
  | { readonly kind: 'missing'; readonly pg: PgIndex | null; readonly detail: string }
  /** Two segments hold different records under one LSN: no number of further answers can settle it. */
  | { readonly kind: 'conflict'; readonly pg: PgIndex; readonly detail: string };

export interface DurableLog {
  readonly kind: 'durable';
  /** Everything up to here was durable already: max(head run's first − 1, highest reported VDL). */
  readonly provenLsn: Lsn;
  readonly vcl: Lsn;
  readonly vdl: Lsn;
  /** tail(PG, vdl) by position of the PG in the manifest. */
  readonly tails: readonly Lsn[];
  /** Newest commit stamp among the records listed up to `vdl`, 0 when there is none. */
  readonly lastCommitTimeMicros: number;
  /** False: the commit at `vdl` is in no inventory, because it was reported durable long since. */
  readonly isLastCommitListed: boolean;
  /** Per PG (by position), ascending: the records in (provenLsn, vdl]. */
  readonly records: readonly (readonly InventoryEntry[])[];
}

export type Verdict = DurableLog | { readonly kind: 'shortage'; readonly shortages: readonly Shortage[] };

/** `pgs` in the manifest's order, one per PG. */
export function computeDurable(manifest: ManifestValue, pgs: readonly PgReports[]): Verdict {
  const shortages = pgs.flatMap((pg, position) =>
    quorumShortages(QuorumSet.of(manifest.pgs[position] as PgConfig), pg),
  );
  if (shortages.length > 0) return { kind: 'shortage', shortages };

  const beforeHead = toLsn(headRun(manifest.runs).firstLsn - 1);
  const reportedVdl = Math.max(...pgs.flatMap((pg) => pg.segments.map((segment) => segment.vdl)));
  const proven = toLsn(Math.max(beforeHead, reportedVdl));

  const chains = pgs.map((pg, position) =>
    followToProven(manifest, pg, beforeHead, tailsBeforeHead(manifest)[position] as Lsn, proven),
  );
  for (const chain of chains) shortages.push(...chain.shortages);
  if (proven > beforeHead && !chains.some((chain) => chain.tail === proven)) {
    const detail = `the record at the highest reported VDL, ${proven}, is in no inventory`;
    shortages.push({ kind: 'missing', pg: null, detail });
  }
  if (shortages.length > 0) return { kind: 'shortage', shortages };
  return followDense(chains, proven);
}

function quorumShortages(quorum: QuorumSet, { pg, segments }: PgReports): Shortage[] {
  const promised = new Set(segments.map(({ nodeId }) => nodeId));
  const listed = segments.filter((segment) => segment.intact && segment.entries !== null);
  const intact = new Set(listed.map(({ nodeId }) => nodeId));
  const hasPromised = (node: NodeId) => promised.has(node);
  const isIntact = (node: NodeId) => intact.has(node);
  if (!quorum.isWriteQuorum(hasPromised)) return [{ kind: 'promises', pg, have: quorum.least(hasPromised) }];
  if (!quorum.isReadQuorum(isIntact)) return [{ kind: 'inventories', pg, have: quorum.least(isIntact) }];
  return [];
}

/** One PG's part of the log: what is held of it, and its tail at the proven LSN. */
interface Chain {
  readonly pg: PgIndex;
  readonly tail: Lsn;
  /** Commit stamp of the newest CPL seen at or below the proven LSN, 0 when none is listed. */
  readonly lastCommitTimeMicros: number;
  /** The record at the proven LSN is this PG's, and listed. */
  readonly isProvenListed: boolean;
  /** Ascending, above the proven LSN. */
  readonly beyond: readonly InventoryEntry[];
  readonly shortages: readonly Shortage[];
}

/**
 * The PG's chain from the best known (LSN, tail) up to the proven LSN. All of it is durable, so a gap here is data missing, not an end.
 * PGs are told the VDL one by one: the best known point of this one may lie below what another was told.
 */
function followToProven(
  manifest: ManifestValue,
  reports: PgReports,
  beforeHead: Lsn,
  tailBeforeHead: Lsn,
  proven: Lsn,
): Chain {
  const { pg, segments } = reports;
  const shortages: Shortage[] = [];
  const missing = (detail: string) => shortages.push({ kind: 'missing', pg, detail });

  let known: { readonly lsn: Lsn; readonly tail: Lsn } = { lsn: beforeHead, tail: tailBeforeHead };
  for (const segment of segments) {
    if (segment.vdl > known.lsn) known = { lsn: segment.vdl, tail: segment.tail };
    else if (segment.vdl === known.lsn && segment.vdl > beforeHead && segment.tail !== known.tail) {
      const detail = `${segment.nodeId} was told tail ${segment.tail} for VDL ${segment.vdl}, another segment ${known.tail}`;
      shortages.push({ kind: 'conflict', pg, detail });
    }
  }

  const { records, conflicts } = union(manifest, reports);
  shortages.push(...conflicts);
  let tail = known.tail;
  let lastCommitTimeMicros = 0;
  const beyond: InventoryEntry[] = [];
  for (const record of records) {
    if (record.lsn > proven) beyond.push(record);
    else {
      if (record.lsn > known.lsn) {
        if (record.prevLsn !== tail)
          missing(`record ${record.prevLsn}, which ${record.lsn} follows, is in no inventory`);
        tail = record.lsn;
      }
      if (record.isCpl) lastCommitTimeMicros = Math.max(lastCommitTimeMicros, record.commitTimeMicros);
    }
  }
  if (segments.every((segment) => denies(segment, tail)))
    missing(`no segment that answered holds record ${tail}, which is durable`);
  const isProvenListed = records.some((record) => record.lsn === proven);
  return { pg, tail, lastCommitTimeMicros, isProvenListed, beyond, shortages };
}

/**
 * Whether the segment proves that it does not hold `lsn`, which is durable. One that was told a VDL beyond it lists nothing down there: it
 * may hold it beyond a gap.
 */
function denies(segment: SegmentReport, lsn: Lsn): boolean {
  if (segment.scl >= lsn || segment.vdl >= lsn) return false;
  return segment.entries?.every((entry) => entry.lsn !== lsn) === true;
}

/** Everything any segment of the PG holds and the runs admit, ascending, each record once. */
function union(
  manifest: ManifestValue,
  reports: PgReports,
): { readonly records: readonly InventoryEntry[]; readonly conflicts: readonly Shortage[] } {
  const byLsn = new Map<Lsn, InventoryEntry>();
  const conflicts: Shortage[] = [];
  for (const segment of reports.segments) {
    for (const entry of segment.entries ?? []) {
      if (!admits(manifest.runs, entry.lsn, entry.birthEpoch)) continue;
      const known = byLsn.get(entry.lsn);
      if (known === undefined) byLsn.set(entry.lsn, entry);
      else if (!sameRecord(known, entry)) {
        const detail = `${segment.nodeId} holds another record ${entry.lsn} than the segments before it`;
        conflicts.push({ kind: 'conflict', pg: reports.pg, detail });
      }
    }
  }
  return { records: [...byLsn.values()].sort((a, b) => a.lsn - b.lsn), conflicts };
}

export function sameRecord(a: InventoryEntry, b: InventoryEntry): boolean {
  return (
    a.lsn === b.lsn &&
    a.checksum === b.checksum &&
    a.prevLsn === b.prevLsn &&
    a.isCpl === b.isCpl &&
    a.commitTimeMicros === b.commitTimeMicros &&
    sameEpoch(a.birthEpoch, b.birthEpoch)
  );
}

/** Above the proven LSN: the unbroken sequence over all PGs, cut back to its last CPL. */
function followDense(chains: readonly Chain[], proven: Lsn): Verdict {
  const owners = new Map<number, { readonly position: number; readonly record: InventoryEntry }>();
  for (const [position, chain] of chains.entries()) {
    for (const record of chain.beyond) {
      const other = owners.get(record.lsn);
      if (other !== undefined) {
        const detail = `record ${record.lsn} is also held by PG ${(chains[other.position] as Chain).pg}`;
        return { kind: 'shortage', shortages: [{ kind: 'conflict', pg: chain.pg, detail }] };
      }
      owners.set(record.lsn, { position, record });
    }
  }

  const tailsAtVcl = chains.map((chain) => chain.tail);
  let vcl: number = proven;
  let vdl = proven;
  for (let next = owners.get(vcl + 1); next !== undefined; next = owners.get(vcl + 1)) {
    const { position, record } = next;
    if (record.prevLsn !== tailsAtVcl[position]) {
      const pg = (chains[position] as Chain).pg;
      const detail = `record ${record.lsn} follows ${record.prevLsn}, the PG's tail before it is ${tailsAtVcl[position]}`;
      return { kind: 'shortage', shortages: [{ kind: 'missing', pg, detail }] };
    }
    tailsAtVcl[position] = record.lsn;
    vcl = record.lsn;
    if (record.isCpl) vdl = record.lsn;
  }

  const records = chains.map((chain) => chain.beyond.filter((record) => record.lsn <= vdl));
  const stamps = records.flat().map((record) => record.commitTimeMicros);
  return {
    kind: 'durable',
    provenLsn: proven,
    vcl: toLsn(vcl),
    vdl,
    tails: chains.map((chain, position) => records[position]?.at(-1)?.lsn ?? chain.tail),
    lastCommitTimeMicros: maxOf([...chains.map((chain) => chain.lastCommitTimeMicros), ...stamps]),
    isLastCommitListed: vdl > proven || chains.some((chain) => chain.isProvenListed),
    records,
  };
}

/** Math.max of arrays longer than an argument list may be. */
function maxOf(values: readonly number[]): number {
  return values.reduce((max, value) => Math.max(max, value), 0);
}
