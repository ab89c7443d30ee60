/** Where read points come from: their paths over clones' parents, by the registers, which outlive a dropped parent's name. */
import { TidemarkError } from '../../src/base/errors.ts';
import type { Lsn, PgIndex, VolumeId } from '../../src/log/lsn.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import type { ManifestValue, RetentionValue } from '../../src/register/values.ts';
import type { LsnStretch } from '../../src/timeline/ancestry.ts';
import { isKept } from '../../src/timeline/kept.ts';
import type { ReadPoint, Run } from '../../src/timeline/run.ts';
import {
  type VisibleStretch,
  closingTail,
  runById,
  visiblePathAcross,
} from '../../src/timeline/visibility.ts';
import type { NamedVolume } from '../driver/directory.ts';
import type { TimelineContext } from '../timelines/context.ts';
import type { ResolvedPoint } from '../timelines/moment-resolver.ts';

export class Lineage {
  readonly #context: TimelineContext;
  /** Runs only grow at their end; what is asked of parents lies below. */
  readonly #runs = new Map<VolumeId, readonly Run[]>();

  constructor(context: TimelineContext) {
    this.#context = context;
  }

  async pathOf({ point, manifest }: ResolvedPoint): Promise<readonly VisibleStretch[]> {
    this.#runs.set(manifest.volume, manifest.runs);
    await this.#learnParents(manifest.runs);
    const path = visiblePathAcross((volume) => this.#runs.get(volume) ?? null, point);
    if (path !== null) return path;
    throw new TidemarkError('CORRUPT', `volume '${manifest.volume}' goes on from a run that does not exist`);
  }

  /** What a segment must hold of its PG to know the stretch, which is on the way to `side`. */
  requiredScl({ point, requiredScls }: ResolvedPoint, pg: PgIndex, stretch: LsnStretch): Lsn {
    const isEnd =
      stretch.volume === point.volume && stretch.run === point.run && stretch.throughLsn === point.lsn;
    if (isEnd) return Math.min(stretch.throughLsn, requiredScls[pg] ?? stretch.throughLsn) as Lsn;
    const run = runById(this.#runs.get(stretch.volume) ?? [], stretch.run);
    const tail = run === null ? null : closingTail(run, pg);
    return Math.min(stretch.throughLsn, tail ?? stretch.throughLsn) as Lsn;
  }

  /** Any point by its volume's id. Rejects GONE when it is not kept, VOLUME_DROPPED when its volume is not any more. */
  async resolve(point: ReadPoint): Promise<ResolvedPoint> {
    const named = await this.#named(point.volume);
    const [manifest, retention] = await Promise.all([this.#manifest(named), this.#retention(named)]);
    if (retention.dropped) {
      throw new TidemarkError(
        'VOLUME_DROPPED',
        `volume '${named.name}', which both descend from, was dropped`,
        {
          nextStep: 'Their common past cannot be opened any more.',
        },
      );
    }
    if (!isKept(manifest.runs, retention, point)) throw gone(named, point);
    const run = runById(manifest.runs, point.run);
    const requiredScls = manifest.pgs.map(({ pg }) => {
      const tail = run === null ? null : closingTail(run, pg);
      return Math.min(point.lsn, tail ?? point.lsn) as Lsn;
    });
    return { name: named.name, named, point, manifest, retention, requiredScls, committedAtMicros: null };
  }

  /**
   * A point of a parent as the start of one of its clones, which is there still when the parent is not: the clone's first run, before its first record.
   * null: none was made from it.
   */
  async asBranchOf(clones: readonly ResolvedPoint[], point: ReadPoint): Promise<ResolvedPoint | null> {
    const named = await this.#named(point.volume).catch(() => null);
    const isThere = named !== null && !(await this.#retention(named)).dropped;
    if (isThere) return null;
    for (const clone of clones) {
      const [first] = clone.manifest.runs;
      const parent = first?.parent;
      if (first === undefined || parent === null || parent === undefined) continue;
      if (parent.volume !== point.volume || parent.run !== point.run || parent.lsn !== point.lsn) continue;
      const start = {
        volume: clone.manifest.volume,
        run: first.id,
        lsn: (first.firstLsn - 1) as Lsn,
      };
      if (!isKept(clone.manifest.runs, clone.retention, start)) continue;
      const requiredScls = clone.manifest.pgs.map(() => start.lsn);
      return { ...clone, point: start, requiredScls, committedAtMicros: null };
    }
    return null;
  }

  async #retention(named: NamedVolume): Promise<RetentionValue> {
    const { registers } = this.#context.directory;
    const { content } = await registers.readVolume('retention', named.volume, placeOf(named));
    if (content.value !== null) return decodeRetention(content.value);
    throw new TidemarkError('CORRUPT', `the retention register of volume '${named.name}' is empty`);
  }

  async #learnParents(runs: readonly Run[]): Promise<void> {
    for (const { parent } of runs) {
      if (parent === null || this.#runs.has(parent.volume)) continue;
      const manifest = await this.#manifest(await this.#named(parent.volume));
      this.#runs.set(parent.volume, manifest.runs);
      await this.#learnParents(manifest.runs);
    }
  }

  async #named(volume: VolumeId): Promise<NamedVolume> {
    const named = await this.#context.directory.records.read(volume);
    if (named !== null) return named;
    throw new TidemarkError('VOLUME_DROPPED', `there is no volume ${volume} any more`);
  }

  async #manifest(named: NamedVolume): Promise<ManifestValue> {
    const { registers } = this.#context.directory;
    const { content } = await registers.readVolume('manifest', named.volume, placeOf(named));
    if (content.value !== null) return decodeManifest(content.value);
    throw new TidemarkError('CORRUPT', `the manifest register of volume '${named.name}' is empty`);
  }
}

function gone(named: NamedVolume, { lsn }: ReadPoint): TidemarkError {
  return new TidemarkError('GONE', `LSN ${lsn} of volume '${named.name}' is not kept any more`, {
    nextStep: 'See with `tidemark volumes` how far back each volume reaches.',
  });
}
