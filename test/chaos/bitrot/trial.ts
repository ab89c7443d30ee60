/**
 * What becomes of a node that starts from damaged files, with five intact peers: from its first moment it must not say anything wrong, and before
 * long it must be whole again.
 */
import { NO_EPOCH, compareEpochs, formatEpoch } from '../../../src/log/epoch.ts';
import type { PgIndex } from '../../../src/log/lsn.ts';
import type { ReadPagesRequest } from '../../../src/messages/messages.ts';
import { headRun } from '../../../src/timeline/visibility.ts';
import { type FoundDisk, StorageCluster, TEST_CLUSTER } from '../../support/storage-cluster.ts';
import { LIMITS, NODE, type NodeImage, PAGES_PER_PG, PG_COUNT } from './image.ts';

/** Virtual time for peers to be asked, gaps to be filled, pages to be copied. */
const HEALING_MS = 20_000;
const STEP_MS = 100;

export interface TrialOutcome {
  /** Empty: all is well. */
  readonly violations: readonly string[];
  /** Virtual time until nothing was in doubt any more. */
  readonly healedMs: number;
  /** Something was refused meanwhile. */
  readonly wasNoticed: boolean;
}

export function tryStart(image: NodeImage, found: FoundDisk): TrialOutcome {
  const trial = new Trial(image);
  try {
    trial.start(found);
    const healedMs = trial.heal();
    trial.checkWhole();
    trial.restart();
    trial.checkWhole();
    return { violations: trial.violations, healedMs, wasNoticed: trial.wasNoticed };
  } catch (error) {
    return {
      violations: [...trial.violations, (error as Error).stack ?? String(error)],
      healedMs: 0,
      wasNoticed: true,
    };
  }
}

class Trial {
  readonly violations: string[] = [];
  wasNoticed = false;
  private readonly image: NodeImage;
  private readonly cluster: StorageCluster;

  constructor(image: NodeImage) {
    this.image = image;
    this.cluster = new StorageCluster({ limits: LIMITS, disks: image.peers, absent: [NODE] });
  }

  start(found: FoundDisk): void {
    this.cluster.startFrom(NODE, found);
    this.checkSaid();
    this.cluster.pump();
    this.checkSaid();
  }

  heal(): number {
    for (let passedMs = 0; passedMs < HEALING_MS; passedMs += STEP_MS) {
      if (this.cluster.core(NODE)?.isIntact === true) return passedMs;
      this.cluster.advance(STEP_MS);
      if (passedMs % 500 === 0) this.checkSaid();
    }
    this.violations.push(`not whole after ${HEALING_MS} ms: ${this.stateText()}`);
    return HEALING_MS;
  }

  restart(): void {
    this.cluster.restart(NODE);
    this.heal();
  }

  /** Nothing wrong: no other bytes than those of the read point, no vouching for less than was acknowledged. */
  private checkSaid(): void {
    this.checkReads(true);
    this.checkCommits(true);
    this.checkClaims();
    this.checkRegisters();
  }

  checkWhole(): void {
    this.checkReads(false);
    this.checkCommits(false);
    this.checkClaims();
    for (const { pg, scl, promised } of this.image.segments) {
      const segment = this.cluster.core(NODE)?.segments.get(this.image.volume.volume, pg) ?? null;
      if (segment === null || segment.scl < scl || compareEpochs(segment.promised, promised) < 0) {
        this.violations.push(
          `PG ${pg} is not whole: SCL ${segment?.scl} of ${scl}, promised ${segment && formatEpoch(segment.promised)}`,
        );
      }
    }
  }

  private checkReads(mayRefuse: boolean): void {
    const { volume, points } = this.image;
    for (const point of points) {
      for (let pg = 0; pg < PG_COUNT; pg += 1) {
        const pages = Array.from({ length: PAGES_PER_PG }, (_, i) => pg * PAGES_PER_PG + i + 1);
        const asked = pages.map((page) => [page]);
        for (const some of mayRefuse ? asked : [pages])
          this.checkRead(volume.readPages(some, { ...point, pg }), mayRefuse);
      }
    }
  }

  private checkRead(request: ReadPagesRequest, mayRefuse: boolean): void {
    const { volume } = this.image;
    const reply = this.cluster.call(NODE, 'readPages', request);
    const where = `pages ${request.pages.join(', ')} at (${request.run}, ${request.lsn})`;
    if (reply === null || reply.refusal !== null) {
      this.wasNoticed = true;
      if (!mayRefuse)
        this.violations.push(`${where} are refused: ${reply?.refusal?.code} ${reply?.refusal?.message}`);
      return;
    }
    for (const { page, data } of reply.pages) {
      const expected = volume.replay({ volume: volume.volume, run: request.run, lsn: request.lsn }, page);
      if (Buffer.compare(data, expected ?? new Uint8Array(0)) !== 0)
        this.violations.push(`wrong bytes of page ${page}: ${where}`);
    }
  }

  /** Which commit a moment names: the newest of the PG at or below it. */
  private checkCommits(mayRefuse: boolean): void {
    const { volume, points, pinned } = this.image;
    for (const { run, lsn } of points.filter((point) => point !== pinned)) {
      for (let pg = 0 as PgIndex; pg < PG_COUNT; pg = (pg + 1) as PgIndex) {
        const reply = this.cluster.call(NODE, 'findCommit', {
          clusterId: TEST_CLUSTER,
          volume: volume.volume,
          pg,
          run,
          throughLsn: lsn,
          throughMicros: Number.MAX_SAFE_INTEGER,
          requiredScl: volume.tail(pg, lsn),
        });
        const where = `the commit at (${run}, ${lsn}) in PG ${pg}`;
        if (reply === null || reply.refusal !== null) {
          this.wasNoticed = true;
          if (!mayRefuse) this.violations.push(`${where} is refused: ${reply?.refusal?.message}`);
          continue;
        }
        const newest = volume.log.findLast(
          (made) => made.pg === pg && made.run === run && made.record.lsn <= lsn,
        );
        const expected = newest?.record.lsn ?? 0;
        if (reply.lsn !== expected) this.violations.push(`${where} is ${expected}, not ${reply.lsn}`);
      }
    }
  }

  /** What a take-over would be told now. It asks with the epoch that was promised, so that nothing changes. */
  private checkClaims(): void {
    const { volume, segments } = this.image;
    for (const { pg, scl, promised } of segments) {
      const body = { clusterId: TEST_CLUSTER, volume: volume.volume, pg, epoch: promised, configVersion: 1 };
      const stale = { ...body, epoch: { number: promised.number - 1, writerId: 'w1' } };
      if (this.cluster.call(NODE, 'fence', stale)?.promised === true) {
        this.violations.push(`PG ${pg} promises less than it had promised`);
      }
      const reply = this.cluster.call(NODE, 'fence', body);
      if (reply === null || reply.refusal !== null) {
        this.wasNoticed = true;
        continue;
      }
      if (!reply.intact) this.wasNoticed = true;
      else if (reply.scl < scl)
        this.violations.push(`PG ${pg} vouches for SCL ${reply.scl}, ${scl} was acknowledged`);
    }
  }

  /** An acceptor promises nothing below what it had promised. */
  private checkRegisters(): void {
    for (const [key, ballot] of this.image.registers) {
      const reply = this.cluster.call(NODE, 'registerPrepare', {
        clusterId: TEST_CLUSTER,
        key,
        ballot: NO_EPOCH,
      });
      if (reply === null || reply.refusal !== null) {
        this.wasNoticed = true;
        continue;
      }
      if (compareEpochs(reply.acceptedBallot ?? NO_EPOCH, ballot) < 0) {
        this.violations.push(`register ${key} shows less than was accepted`);
      }
    }
  }

  private stateText(): string {
    const core = this.cluster.core(NODE);
    const segments = [...(core?.segments.all() ?? [])].map(
      ({ name, scl, watermark, quarantine, doubts, manifest, coalesced }) =>
        `${name} SCL ${scl} of ${watermark}, in page form ${coalesced}, ${quarantine?.kind ?? 'no quarantine'}, ` +
        `${doubts.intervals.length} intervals in doubt, head ${manifest === null ? 'none' : headRun(manifest.value.runs).id}`,
    );
    const lines = this.cluster.logs
      .filter(({ node }) => node === NODE)
      .slice(-6)
      .map((line) => JSON.stringify(line));
    return [...segments, ...lines].join('; ');
  }
}
