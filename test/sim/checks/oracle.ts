/**
 * What is true, by plain bookkeeping: every record that any writer ever handed over with the page as it was after it, every manifest that was
 * committed, every VDL that was told. Whatever the cluster says is compared with it at once.
 *
 * Checked here (design section 13, "every step"): no LSN is given twice; VDL never regresses, over all writers; what was acknowledged is on
 * four disks of its PG and in no cut; a page that is served for (run, LSN), by any node, is the replay of the visible records.
 */
import { Buffer } from 'node:buffer';
import { type Epoch, compareEpochs, formatEpoch, sameEpoch } from '../../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type PageNumber,
  pgOfPage,
  type RunId,
  type VolumeId,
} from '../../../src/log/lsn.ts';
import type { PageChange } from '../../../src/log/record.ts';
import type { PageVersion, ReadPagesReply, ReadPagesRequest } from '../../../src/messages/messages.ts';
import type { ManifestValue } from '../../../src/register/values.ts';
import type { Run } from '../../../src/timeline/run.ts';
import { headRun, isVisible, runOf, visiblePath } from '../../../src/timeline/visibility.ts';
import type { OpenVolume, SubmittedMtr } from '../../../compute-node/volume/open-volume.ts';
import type { TakenOver } from '../../../compute-node/volume/taken-over.ts';
import { compareManifests } from '../../../storage-node/core/manifests.ts';
import { readPointAt } from '../../../compute-node/volume/read-point.ts';
import { WRITE_QUORUM } from '../../../src/quorum/quorum.ts';
import type { World } from '../world/world.ts';
import type { Durability } from './durability.ts';

interface KnownRecord {
  readonly lsn: Lsn;
  readonly page: PageNumber;
  readonly epoch: Epoch;
  readonly isCpl: boolean;
  readonly commitTimeMicros: number;
  /** The page after it. */
  readonly image: Uint8Array;
}

interface KnownVolume {
  readonly records: Map<Lsn, KnownRecord>;
  /** By page, in the order of handing over, which is that of LSNs. */
  readonly byPage: Map<PageNumber, KnownRecord[]>;
  /** As committed last; closed runs never change again. */
  runs: readonly Run[];
  manifest: ManifestValue | null;
  highestSent: Lsn;
  /** Highest VDL that any writer told. */
  vdl: Lsn;
  /** Of the newest commit that was told durable. */
  commitTimeMicros: number;
  /** `pg/configVersion` of a proposed change of members → records that were complete before anybody had heard of it. */
  readonly completeBefore: Map<string, ReadonlySet<Lsn>>;
}

export class Oracle {
  readonly #world: World;
  readonly #durability: Durability;
  readonly #volumes = new Map<VolumeId, KnownVolume>();
  readsChecked = 0;

  constructor(world: World, durability: Durability) {
    this.#world = world;
    this.#durability = durability;
  }

  vdlOf(volume: VolumeId): Lsn {
    return this.#of(volume).vdl;
  }

  manifestOf(volume: VolumeId): ManifestValue | null {
    return this.#of(volume).manifest;
  }

  /** The record lies in a run of its own epoch: it was not cut. */
  exists(volume: VolumeId, lsn: Lsn): boolean {
    const known = this.#of(volume);
    const epoch = known.records.get(lsn)?.epoch;
    const run = runOf(known.runs, lsn);
    return epoch !== undefined && run !== null && sameEpoch(run.epoch, epoch);
  }

  get volumes(): readonly VolumeId[] {
    return [...this.#volumes.keys()];
  }

  /** Pages that were ever written. */
  pagesOf(volume: VolumeId): readonly PageNumber[] {
    return [...this.#of(volume).byPage.keys()];
  }

  /** The PG's last record at or below `lsn` that exists: what a segment must hold to serve a read there. */
  tailOf(volume: VolumeId, pg: number, lsn: Lsn): Lsn {
    const known = this.#of(volume);
    const { manifest } = known;
    let tail = NO_LSN;
    for (const [page, records] of manifest === null ? [] : known.byPage) {
      if (manifest === null || pgOfPage(page, manifest.pgPages) !== pg) continue;
      const last = records.findLast((record) => record.lsn <= lsn && exists(known.runs, record));
      if (last !== undefined) tail = Math.max(tail, last.lsn) as Lsn;
    }
    return tail;
  }

  /** Pages that have any visible record at the newest VDL, with what they must be. */
  *pagesAtVdl(volume: VolumeId): Generator<PageVersion> {
    const known = this.#of(volume);
    if (known.manifest === null) return;
    const point = readPointAt(known.manifest, known.vdl);
    if (point === null) return;
    for (const page of known.byPage.keys()) yield this.#expected(volume, point.run, point.lsn, page);
  }

  /** The manifest register chose a value: from now on its runs are what exists. */
  onManifestChosen(manifest: ManifestValue): void {
    const known = this.#of(manifest.volume);
    if (known.manifest !== null && compareManifests(manifest, known.manifest) <= 0) return;
    const name = `the manifest of epoch ${formatEpoch(manifest.epoch)}`;
    const head = headRun(manifest.runs);
    // The origin: nobody ever wrote. The first take-over opens that very run.
    if (manifest.runs.every((run) => run.lastLsn === 0)) return;
    const isNewRun = known.runs.every((run) => run.id !== head.id);
    if (isNewRun && known.highestSent !== NO_LSN && head.firstLsn <= known.highestSent)
      this.#violate(
        'lsn-reuse',
        `${name} opens a run at ${head.firstLsn}; LSN ${known.highestSent} was given already`,
      );
    for (const old of known.runs) {
      const now = manifest.runs.find((run) => run.id === old.id);
      if (now === undefined) this.#violate('runs', `${name} forgets run ${old.id}`);
      else if (old.lastLsn !== null && now.lastLsn !== old.lastLsn)
        this.#violate('runs', `${name} has run ${old.id} end at ${now.lastLsn} rather than ${old.lastLsn}`);
    }
    if (known.records.has(known.vdl) && runOf(manifest.runs, known.vdl) === null)
      this.#violate('lost', `${name} cuts VDL ${known.vdl}, which had been told`);
    known.manifest = manifest;
    known.runs = manifest.runs;
  }

  /** An acceptor is the first to have accepted it: what is complete by the members that were may go on being so. */
  onManifestHeardOf({ volume, pgPages, pgs }: ManifestValue): void {
    const known = this.#of(volume);
    for (const { pg, configVersion, members, proposed } of pgs) {
      const name = `${pg}/${configVersion}`;
      if (proposed === null || known.completeBefore.has(name)) continue;
      const complete = [...known.records.values()].filter(
        ({ lsn, page }) =>
          lsn > known.vdl &&
          pgOfPage(page, pgPages) === pg &&
          this.#durability.count(volume, pg, lsn, members) >= WRITE_QUORUM,
      );
      known.completeBefore.set(name, new Set(complete.map(({ lsn }) => lsn)));
    }
  }

  onTakenOver({ manifest, epoch, vdl, closedAtLsn, lastCommitTimeMicros, installed }: TakenOver): void {
    const known = this.#of(manifest.volume);
    const name = `the take-over of epoch ${formatEpoch(epoch)}`;
    if (known.manifest === null || compareEpochs(epoch, known.manifest.epoch) > 0) {
      this.#violate('manifest', `${name} opens with a manifest that was not committed`);
      return;
    }
    if (compareEpochs(epoch, known.manifest.epoch) < 0) return;
    if (vdl !== headRun(manifest.runs).firstLsn - 1) this.#violate('vdl', `${name} starts with VDL ${vdl}`);
    if (known.records.has(known.vdl) && closedAtLsn < known.vdl)
      this.#violate(
        'lost',
        `${name} closed the run before it at ${closedAtLsn}; VDL ${known.vdl} had been told`,
      );
    if (lastCommitTimeMicros < known.commitTimeMicros)
      this.#violate('commit-time', `${name} goes on from an older commit stamp than one that was given out`);
    for (const { pg, members, proposed } of manifest.pgs) {
      const nodes = new Set(installed.filter((each) => each.pg === pg).map(({ nodeId }) => nodeId));
      for (const set of proposed === null ? [members] : [members, proposed])
        if (set.filter((node) => nodes.has(node)).length < 4)
          this.#violate('install', `${name} opens with ${nodes.size} installs of PG ${pg}`);
    }
    for (let lsn = closedAtLsn; ; lsn = (lsn - 1) as Lsn) {
      const below = known.records.get(lsn);
      if (below === undefined || lsn <= known.vdl) break;
      this.#checkOnDisks(manifest.volume, known, below);
    }
    known.vdl = Math.max(known.vdl, vdl) as Lsn;
  }

  /** A writer handed an MTR over; `frames` are the pages after it. */
  onSubmitted(
    { volume, epoch }: OpenVolume,
    { firstLsn, commitTimeMicros }: SubmittedMtr,
    changes: readonly PageChange[],
    frames: readonly Uint8Array[],
  ): void {
    const known = this.#of(volume);
    const before = known.records.get((firstLsn - 1) as Lsn);
    if (before !== undefined && sameEpoch(before.epoch, epoch) && before.commitTimeMicros >= commitTimeMicros)
      this.#violate('commit-time', `the MTR at ${firstLsn} is stamped no later than the one before it`);
    for (const [index, { page }] of changes.entries()) {
      const lsn = (firstLsn + index) as Lsn;
      if (known.records.has(lsn)) this.#violate('lsn-reuse', `LSN ${lsn} was given twice`);
      const image = (frames[index] as Uint8Array).slice();
      const isCpl = index === changes.length - 1;
      const record = { lsn, page, epoch, isCpl, commitTimeMicros, image };
      known.records.set(lsn, record);
      const ofPage = known.byPage.get(page);
      if (ofPage === undefined) known.byPage.set(page, [record]);
      else ofPage.push(record);
      known.highestSent = Math.max(known.highestSent, lsn) as Lsn;
    }
  }

  /** A writer says that all up to `vdl` is durable. */
  onVdl(volume: VolumeId, epoch: Epoch, vdl: Lsn): void {
    const known = this.#of(volume);
    const record = known.records.get(vdl);
    if (record === undefined || !record.isCpl || !sameEpoch(record.epoch, epoch))
      this.#violate('vdl', `VDL ${vdl} of epoch ${formatEpoch(epoch)} is not the end of an MTR of it`);
    if (record !== undefined)
      known.commitTimeMicros = Math.max(known.commitTimeMicros, record.commitTimeMicros);
    if (runOf(known.runs, vdl) === null)
      this.#violate('lost', `VDL ${vdl} is in no run: it was cut before it was told`);
    for (let lsn = vdl; ; lsn = (lsn - 1) as Lsn) {
      const below = known.records.get(lsn);
      if (below === undefined || lsn <= known.vdl || !sameEpoch(below.epoch, epoch)) break;
      this.#checkOnDisks(volume, known, below);
    }
    known.vdl = Math.max(known.vdl, vdl) as Lsn;
  }

  /** A compute node got a page for a read at `at`. */
  onRead({ volume, epoch }: OpenVolume, at: Lsn, version: PageVersion): void {
    const known = this.#of(volume);
    const { manifest } = known;
    // A deposed writer may still read its own past; what it gets was checked where it was served.
    if (manifest === null || !sameEpoch(manifest.epoch, epoch)) return;
    const point = readPointAt(manifest, at);
    if (point !== null) this.#compare(volume, point.run, point.lsn, version, 'a compute node');
  }

  onServed(node: string, request: ReadPagesRequest, reply: ReadPagesReply): void {
    if (reply.refusal !== null) return;
    for (const version of reply.pages) this.#compare(request.volume, request.run, request.lsn, version, node);
  }

  #compare(volume: VolumeId, run: RunId, lsn: Lsn, version: PageVersion, who: string): void {
    this.readsChecked += 1;
    const expected = this.#expected(volume, run, lsn, version.page);
    if (expected.lsn === version.lsn && Buffer.compare(expected.data, version.data) === 0) return;
    this.#violate(
      'wrong-read',
      `${who}: page ${version.page} of ${volume} at run ${run}, LSN ${lsn} is version ${version.lsn}` +
        `${version.lsn === expected.lsn ? ' with other bytes' : ''}; it should be ${expected.lsn}`,
    );
  }

  #expected(volume: VolumeId, run: RunId, lsn: Lsn, page: PageNumber): PageVersion {
    const known = this.#of(volume);
    const path = visiblePath(known.runs, run, lsn, volume);
    const record = known.byPage
      .get(page)
      ?.findLast(
        (candidate) =>
          isVisible(path, volume, candidate.lsn) &&
          sameEpoch(runOf(known.runs, candidate.lsn)?.epoch ?? candidate.epoch, candidate.epoch),
      );
    return { page, lsn: record?.lsn ?? NO_LSN, data: record?.image ?? new Uint8Array(0) };
  }

  #checkOnDisks(
    volume: VolumeId,
    { manifest, completeBefore }: KnownVolume,
    { lsn, page }: KnownRecord,
  ): void {
    if (manifest === null) return;
    const pg = pgOfPage(page, manifest.pgPages);
    const config = manifest.pgs[pg];
    if (config === undefined) {
      this.#violate(
        'manifest',
        `record ${lsn} of PG ${pg} is called durable; no committed manifest names that PG`,
      );
      return;
    }
    // Two sets while the members change: it takes four of each, save for what the old one had alone before.
    const wasComplete = completeBefore.get(`${pg}/${config.configVersion}`)?.has(lsn) === true;
    const isOneSet = config.proposed === null || wasComplete;
    for (const members of isOneSet ? [config.members] : [config.members, config.proposed ?? []]) {
      const count = this.#durability.count(volume, pg, lsn, members);
      if (count < WRITE_QUORUM)
        this.#violate(
          'acked-too-early',
          `record ${lsn} is called durable, and is on ${count} disks of ${members.join(' ')}`,
        );
    }
  }

  #of(volume: VolumeId): KnownVolume {
    let known = this.#volumes.get(volume);
    if (known === undefined) {
      known = {
        records: new Map(),
        byPage: new Map(),
        runs: [],
        manifest: null,
        highestSent: NO_LSN,
        vdl: NO_LSN,
        commitTimeMicros: 0,
        completeBefore: new Map(),
      };
      this.#volumes.set(volume, known);
    }
    return known;
  }

  #violate(rule: string, message: string): void {
    this.#world.violate(rule, message);
  }
}

function exists(runs: readonly Run[], record: KnownRecord): boolean {
  const run = runOf(runs, record.lsn);
  return run !== null && sameEpoch(run.epoch, record.epoch);
}
