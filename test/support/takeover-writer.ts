/**
 * A small writer for take-over tests, and the ledger of what writers sent and acknowledged. Written for clearness, not speed; it keeps the rules
 * that matter here: dense LSNs, backlinks, acks counted only from segments under its own epoch, VDL before acknowledgement, LAL.
 */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import { type Epoch, compareEpochs, formatEpoch } from '../../src/log/epoch.ts';
import {
  type Lsn,
  type NodeId,
  type PageNumber,
  type PgIndex,
  pgOfPage,
  toLsn,
  toPageNumber,
} from '../../src/log/lsn.ts';
import { applyChange, diffPage } from '../../src/log/page-diff.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import type { ManifestValue } from '../../src/register/values.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { VolumeTracker } from '../../src/quorum/volume-tracker.ts';
import { admits, visiblePath, isVisible, headRun } from '../../src/timeline/visibility.ts';
import type { TakenOver } from '../../compute-node/volume/taken-over.ts';
import type { SimCluster } from './takeover-cluster.ts';
import { VOLUME } from './takeover-fixtures.ts';

const APPEND_TIMEOUT_MS = 30;
const HEARTBEAT_MS = 12;
export const PAGES = 12;
const CLUSTER_ID = 'sim-cluster';

export interface SentRecord {
  readonly record: RedoRecord;
  readonly birthEpoch: Epoch;
}

export interface Commit {
  readonly epoch: Epoch;
  readonly lsns: readonly Lsn[];
  readonly micros: number;
}

export class Ledger {
  readonly sent = new Map<Lsn, SentRecord>();
  readonly acknowledged: Commit[] = [];

  note(record: RedoRecord, birthEpoch: Epoch): void {
    if (this.sent.has(record.lsn)) throw new Error(`LSN ${record.lsn} was given out twice`);
    this.sent.set(record.lsn, { record, birthEpoch });
  }

  /** Every acknowledged commit that the manifest does not keep in full. */
  lostBy(manifest: ManifestValue): readonly Commit[] {
    return this.acknowledged.filter(
      (commit) => !commit.lsns.every((lsn) => admits(manifest.runs, lsn, commit.epoch)),
    );
  }

  /** What the manifest's runs admit, oldest first. */
  surviving(manifest: ManifestValue): readonly SentRecord[] {
    return [...this.sent]
      .sort(([a], [b]) => a - b)
      .flatMap(([lsn, sent]) => (admits(manifest.runs, lsn, sent.birthEpoch) ? [sent] : []));
  }

  /** The pages as they are at the newest point that the manifest's head sees up to `through`. */
  replay(manifest: ManifestValue, through: Lsn): Map<PageNumber, Uint8Array> {
    const path = visiblePath(manifest.runs, headRun(manifest.runs).id, through, VOLUME);
    const pages = new Map<PageNumber, Uint8Array>();
    for (const { record } of this.surviving(manifest)) {
      if (!isVisible(path, VOLUME, record.lsn)) continue;
      pages.set(record.page, applyChange(pages.get(record.page) ?? null, record));
    }
    return pages;
  }
}

export class SimWriter {
  readonly takenOver: TakenOver;
  readonly #cluster: SimCluster;
  readonly #ledger: Ledger;
  readonly #tracker: VolumeTracker;
  readonly #tails: Lsn[];
  readonly #pages: Map<PageNumber, Uint8Array>;
  #pending: (Commit & { readonly cpl: Lsn })[] = [];
  #head: Lsn;
  #lastMicros: number;
  #sequence = 0;
  isRunning = true;
  deposedBy: Epoch | null = null;

  constructor(cluster: SimCluster, ledger: Ledger, takenOver: TakenOver) {
    this.#cluster = cluster;
    this.#ledger = ledger;
    this.takenOver = takenOver;
    this.#head = takenOver.vdl;
    this.#tails = [...takenOver.tails];
    this.#lastMicros = takenOver.lastCommitTimeMicros;
    this.#pages = ledger.replay(takenOver.manifest, takenOver.vdl);
    this.#tracker = new VolumeTracker(toLsn(takenOver.vdl + 1));
    for (const { pg, members, proposed } of takenOver.manifest.pgs)
      this.#tracker.addPg(pg, QuorumSet.of({ members, proposed }), this.#tails[pg] as Lsn);
    for (const { pg, nodeId, scl, incarnation } of takenOver.installed)
      this.#onScl(pg, nodeId, incarnation, scl);
    this.#heartbeat();
  }

  get headLsn(): Lsn {
    return this.#head;
  }
  get vdl(): Lsn {
    return this.#tracker.vdl;
  }
  get manifest(): ManifestValue {
    return this.takenOver.manifest;
  }

  tailOf(pg: PgIndex): Lsn {
    return this.#tracker.tailOf(pg);
  }

  stop(): void {
    this.isRunning = false;
  }

  /** One MTR of one to four pages, sent at once to everybody. */
  write(lal: number): void {
    const { random } = this.#cluster;
    const count = 1 + random.int(4);
    if (!this.isRunning || this.#head + count > this.vdl + lal) return;
    this.#lastMicros = Math.max(this.#lastMicros + 1, this.#cluster.now.wallMicros);
    const byPg = new Map<PgIndex, RedoRecord[]>();
    const lsns: Lsn[] = [];
    for (let i = 0; i < count; i += 1) {
      const record = this.#change(toPageNumber(1 + random.int(PAGES)), i === count - 1);
      const pg = pgOfPage(record.page, this.manifest.pgPages);
      byPg.set(pg, [...(byPg.get(pg) ?? []), record]);
      lsns.push(record.lsn);
    }
    this.#pending.push({ epoch: this.takenOver.epoch, lsns, micros: this.#lastMicros, cpl: this.#head });
    for (const [pg, records] of byPg) this.#send(pg, records);
  }

  #change(page: PageNumber, isCpl: boolean): RedoRecord {
    const { random } = this.#cluster;
    const { epoch, manifest } = this.takenOver;
    const pg = pgOfPage(page, manifest.pgPages);
    const base = this.#pages.get(page) ?? null;
    const next = base?.slice() ?? new Uint8Array(PAGE_SIZE_BYTES);
    // Always a change: the LSN itself is written somewhere.
    new DataView(next.buffer).setFloat64(8 * random.int(16), this.#head + 1);
    const change = diffPage(page, base, next);
    if (change === null) throw new Error('no change');
    this.#pages.set(page, next);
    const lsn = toLsn(this.#head + 1);
    const record = sealRecord(
      {
        ...change,
        lsn,
        prevLsn: this.#tails[pg] as Lsn,
        isCpl,
        commitTimeMicros: isCpl ? this.#lastMicros : 0,
      },
      recordContext(VOLUME, pg, epoch, nodeCrc32),
      nodeCrc32,
    );
    this.#head = lsn;
    this.#tails[pg] = lsn;
    this.#ledger.note(record, epoch);
    this.#tracker.onSent(pg, lsn, record.prevLsn, isCpl);
    return record;
  }

  #send(pg: PgIndex, records: readonly RedoRecord[]): void {
    const { epoch, manifest } = this.takenOver;
    const boxcar = encodeBoxcar({ volume: VOLUME, pg, birthEpoch: epoch, records }, nodeCrc32);
    for (const node of manifest.pgs[pg]?.members ?? []) this.#sendTo(node, pg, boxcar, 4);
  }

  #sendTo(node: NodeId, pg: PgIndex, boxcar: Uint8Array, tries: number): void {
    if (!this.isRunning || tries === 0) return;
    const { epoch } = this.takenOver;
    const body = {
      clusterId: CLUSTER_ID,
      volume: VOLUME,
      pg,
      epoch,
      configVersion: 1,
      vdl: this.vdl,
      tail: this.#tracker.tailOf(pg),
      boxcar,
      recovery: false,
    };
    this.#cluster.call(node, { method: 'append', body }, APPEND_TIMEOUT_MS, (reply) => {
      if (reply?.method !== 'append') this.#sendTo(node, pg, boxcar, tries - 1);
      else if (reply.body.refusal !== null) this.#onRefusal(reply.body.refusal.promised);
      else this.#onScl(pg, node, reply.body.incarnation, reply.body.scl);
    });
  }

  #heartbeat(): void {
    if (!this.isRunning) return;
    const { epoch, manifest } = this.takenOver;
    const pgs = manifest.pgs.map(({ pg }) => ({ pg, vdl: this.vdl, tail: this.#tracker.tailOf(pg) }));
    this.#sequence += 1;
    const volumes = [
      { volume: VOLUME, epoch, release: false, pgs, retention: new Uint8Array(0), keep: false },
    ];
    const body = {
      clusterId: CLUSTER_ID,
      sequence: this.#sequence,
      computeId: formatEpoch(epoch),
      computeUrl: '',
      volumes,
    };
    for (const node of new Set(manifest.pgs.flatMap(({ members }) => members))) {
      this.#cluster.call(node, { method: 'heartbeat', body }, APPEND_TIMEOUT_MS, (reply) => {
        if (reply?.method !== 'heartbeat') return;
        for (const grant of reply.body.grants) {
          if (grant.refusal !== null) this.#onRefusal(grant.refusal.promised);
          else for (const { pg, scl } of grant.pgs) this.#onScl(pg, node, reply.body.incarnation, scl);
        }
      });
    }
    this.#cluster.later(HEARTBEAT_MS, () => this.#heartbeat());
  }

  #onRefusal(promised: Epoch | null): void {
    if (promised === null || compareEpochs(promised, this.takenOver.epoch) <= 0) return;
    this.deposedBy = promised;
    this.isRunning = false;
  }

  #onScl(pg: PgIndex, node: NodeId, incarnation: string, scl: Lsn): void {
    if (!this.isRunning) return;
    const { vdl } = this.#tracker.onScl(pg, node, incarnation, scl, true);
    const durable = this.#pending.filter((commit) => commit.cpl <= vdl);
    this.#pending = this.#pending.slice(durable.length);
    this.#ledger.acknowledged.push(...durable);
  }
}
