/**
 * A volume for tests of storage nodes: makes the records of a writer (and of several, one after the other), their manifests, and knows by plain
 * replay what every page must be at every read point. Slow and simple on purpose: the oracle that clever things are compared with.
 */
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { encodeBoxcar, recordContext, sealRecord } from '../../src/log/codec.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  type PgIndex,
  type RunId,
  type VolumeId,
  pgOfPage,
  toLsn,
} from '../../src/log/lsn.ts';
import { applyChange, diffPage } from '../../src/log/page-diff.ts';
import type { RedoRecord } from '../../src/log/record.ts';
import { encodeManifest, encodeRetention } from '../../src/register/codec.ts';
import { type ManifestValue, REGISTER_FORMAT, type RetentionValue } from '../../src/register/values.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import { isVisible, visiblePath } from '../../src/timeline/visibility.ts';
import { TEST_CLUSTER, TEST_NODES } from './storage-cluster.ts';
import type { AppendRequest, InstallRequest } from '../../src/messages/messages.ts';

export interface TestRecord {
  readonly record: RedoRecord;
  readonly pg: PgIndex;
  readonly epoch: Epoch;
  readonly run: RunId;
}

/** Gap between runs: stands for LAL, small so that scripts can be read. */
export const TEST_LAL = 100;

export class TestVolume {
  readonly volume: VolumeId;
  readonly pgPages: number;
  readonly pgCount: number;
  epoch: Epoch;
  runs: Run[];
  readonly log: TestRecord[] = [];
  configVersion = 1;
  members: readonly NodeId[] = TEST_NODES.map((node) => node.nodeId);
  proposed: readonly NodeId[] | null = null;
  private nextLsn = 1;
  private head: RunId = 0 as RunId;

  /** A clone shows, beneath its own records, what its parent was at the branch point. */
  private readonly parent: { readonly of: TestVolume; readonly at: ReadPoint } | null = null;

  constructor(
    name = 'vol00000',
    { pgPages = 8, pgCount = 1, cloneOf = null as { of: TestVolume; run: RunId; lsn: Lsn } | null } = {},
  ) {
    if (cloneOf !== null) {
      const { of, run, lsn } = cloneOf;
      this.parent = { of, at: { volume: of.volume, run, lsn } };
    }
    this.volume = name as VolumeId;
    this.pgPages = pgPages;
    this.pgCount = pgCount;
    this.epoch = { number: 1, writerId: 'w1' };
    this.runs = [openRun(0, this.epoch, 1, this.parent?.at ?? null)];
  }

  get headRun(): RunId {
    return this.head;
  }
  get lastLsn(): Lsn {
    return (this.nextLsn - 1) as Lsn;
  }

  manifest(): ManifestValue {
    return {
      format: REGISTER_FORMAT,
      volume: this.volume,
      epoch: this.epoch,
      pageSizeBytes: PAGE_SIZE_BYTES,
      pgPages: this.pgPages,
      pgs: Array.from({ length: this.pgCount }, (_, pg) => ({
        pg: pg as PgIndex,
        configVersion: this.configVersion,
        members: this.members,
        proposed: this.proposed,
      })),
      inheritedPgs: this.parent === null ? 0 : Math.min(this.pgCount, this.parent.of.pgCount),
      runs: [...this.runs],
    };
  }

  /** One record of `page`: some bytes of it change (an image when the page is new at the head, or when asked). */
  write(
    page: number,
    fill: number,
    { image = false, offset = (fill * 37) % 4000, length = 1 + (fill % 23), isCpl = true } = {},
  ): TestRecord {
    const pageNumber = page as PageNumber;
    const base = image
      ? null
      : this.replay({ volume: this.volume, run: this.head, lsn: this.lastLsn }, pageNumber);
    const next = base === null ? new Uint8Array(PAGE_SIZE_BYTES).fill(page & 0xff) : new Uint8Array(base);
    for (let at = offset; at < Math.min(offset + length, PAGE_SIZE_BYTES); at += 1) {
      next[at] = ((next[at] as number) + 1 + (fill % 200)) & 0xff;
    }
    const change = diffPage(pageNumber, base, next);
    if (change === null) throw new Error('a write changes something');
    const pg = pgOfPage(pageNumber, this.pgPages);
    const lsn = toLsn(this.nextLsn++);
    const record = sealRecord(
      {
        ...change,
        lsn,
        prevLsn: this.tail(pg, (lsn - 1) as Lsn),
        isCpl,
        commitTimeMicros: isCpl ? lsn * 10 : 0,
      },
      recordContext(this.volume, pg, this.epoch, nodeCrc32),
      nodeCrc32,
    );
    const made = { record, pg, epoch: this.epoch, run: this.head };
    this.log.push(made);
    return made;
  }

  writeMany(count: number, pages: number): TestRecord[] {
    return Array.from({ length: count }, () => {
      const lsn = this.nextLsn;
      return this.write(1 + ((lsn * 7 + Math.floor(lsn / 3)) % pages), lsn * 3);
    });
  }

  /** The PG's last record at or below `lsn`. */
  tail(pg: PgIndex | number, lsn: Lsn): Lsn {
    return this.log.findLast((made) => made.pg === pg && made.record.lsn <= lsn)?.record.lsn ?? NO_LSN;
  }

  /** A take-over by a new writer that found `vdl`: what lies above is cut, here too. */
  takeOver(writerId: string, vdl: Lsn = this.lastLsn, parent: { run: RunId; lsn: Lsn } | null = null): void {
    this.epoch = { number: this.epoch.number + 1, writerId };
    this.branch(vdl, parent);
  }

  /** Closes the head run at `vdl` and opens the next one, from there or (backtrack) from an older point. */
  branch(vdl: Lsn = this.lastLsn, parent: { run: RunId; lsn: Lsn } | null = null): void {
    const closing = this.runs[this.runs.length - 1] as Run;
    while ((this.log[this.log.length - 1]?.record.lsn ?? 0) > vdl) this.log.pop();
    const closed: Run = {
      ...closing,
      lastLsn: Math.max(vdl, closing.firstLsn - 1) as Lsn,
      closingTails: Array.from({ length: this.pgCount }, (_, pg) => this.tail(pg, vdl)),
    };
    const firstLsn = (closed.lastLsn as number) + TEST_LAL + 1;
    const from = parent ?? { run: closing.id, lsn: closed.lastLsn as Lsn };
    const next = openRun(closing.id + 1, this.epoch, firstLsn, { volume: this.volume, ...from });
    this.runs = [...this.runs.slice(0, -1), closed, next];
    this.head = next.id;
    this.nextLsn = firstLsn;
  }

  /** From now on `leaving` is to be replaced. */
  propose(leaving: NodeId, newcomer: NodeId): void {
    this.proposed = this.members.map((node) => (node === leaving ? newcomer : node));
    this.configVersion += 1;
  }

  endChange(keep: 'new' | 'old'): void {
    if (keep === 'new') this.members = this.proposed ?? this.members;
    this.proposed = null;
    this.configVersion += 1;
  }

  /** Plain replay of everything visible at the read point; null: the page does not exist there. */
  replay(point: ReadPoint, page: number): Uint8Array | null {
    const path = visiblePath(this.runs, point.run, point.lsn, this.volume);
    let bytes = this.parent === null ? null : this.parent.of.replay(this.parent.at, page);
    for (const { record } of this.log) {
      if (record.page !== page || !isVisible(path, this.volume, record.lsn)) continue;
      bytes = applyChange(bytes, record);
    }
    return bytes;
  }

  boxcar(records: readonly TestRecord[]): Uint8Array {
    const first = records[0];
    if (first === undefined) throw new Error('an empty boxcar');
    return encodeBoxcar(
      {
        volume: this.volume,
        pg: first.pg,
        birthEpoch: first.epoch,
        records: records.map(({ record }) => record),
      },
      nodeCrc32,
    );
  }

  append(
    records: readonly TestRecord[],
    { vdl = NO_LSN, epoch = this.epoch, recovery = false, pg = records[0]?.pg ?? (0 as PgIndex) } = {},
  ): AppendRequest {
    return {
      clusterId: TEST_CLUSTER,
      volume: this.volume,
      pg,
      epoch,
      configVersion: this.configVersion,
      vdl,
      tail: this.tail(pg, vdl),
      boxcar: records.length === 0 ? new Uint8Array(0) : this.boxcar(records),
      recovery,
    };
  }

  install(pg = 0, retention: RetentionValue | null = null, epoch = this.epoch): InstallRequest {
    return {
      clusterId: TEST_CLUSTER,
      volume: this.volume,
      pg: pg as PgIndex,
      epoch,
      manifest: encodeManifest(this.manifest()),
      retention: retention === null ? new Uint8Array(0) : encodeRetention(retention),
    };
  }

  fence(pg = 0, epoch = this.epoch) {
    return {
      clusterId: TEST_CLUSTER,
      volume: this.volume,
      pg: pg as PgIndex,
      epoch,
      configVersion: this.configVersion,
    };
  }

  retention(floor: Lsn | number, pins: RetentionValue['pins'] = []): RetentionValue {
    return {
      format: REGISTER_FORMAT,
      volume: this.volume,
      floor: floor as Lsn,
      windowMs: 1_000,
      dropped: false,
      pins,
    };
  }

  readPages(pages: readonly number[], at: { run?: RunId; lsn: Lsn; requiredScl?: Lsn; pg?: number }) {
    const pg = (at.pg ?? 0) as PgIndex;
    return {
      requestId: 1,
      clusterId: TEST_CLUSTER,
      volume: this.volume,
      pg,
      run: at.run ?? this.head,
      lsn: at.lsn,
      requiredScl: at.requiredScl ?? this.tail(pg, at.lsn),
      pages: pages as readonly PageNumber[],
    };
  }
}

function openRun(id: number, epoch: Epoch, firstLsn: number, parent: Run['parent']): Run {
  return {
    id: id as RunId,
    epoch,
    firstLsn: toLsn(firstLsn),
    lastLsn: null,
    parent,
    closingTails: null,
    openedAtMicros: 0,
    lastCommitTimeMicros: 0,
  };
}
