/**
 * Which read point a moment names, asked of whoever knows (the rules: src/timeline/resolve-moment.ts).
 *
 * 1. Open here: this writer knows how far the volume is durable, once it has confirmed that it still is the writer.
 * 2. Not open here: snapshots and everything in closed runs follow from the registers; nobody is disturbed.
 * 3. What lies in the open run is asked of the compute node that holds the volume.
 * 4. When nobody holds it, it is taken over first: a crashed writer's last commits may have been reported to nobody (design section 7).
 */
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn, PgIndex } from '../../src/log/lsn.ts';
import { decodeManifest, decodeRetention } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import type { ManifestValue, RetentionValue } from '../../src/register/values.ts';
import { isKept } from '../../src/timeline/kept.ts';
import type { Moment } from '../../src/timeline/moment.ts';
import {
  type AgoFrom,
  ANY_TIME,
  floorPoint,
  foundPoint,
  type KnownHistory,
  type MomentPlan,
  planMoment,
  requireKept,
} from '../../src/timeline/resolve-moment.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import { headRun, runById } from '../../src/timeline/visibility.ts';
import type { NamedVolume } from '../driver/directory.ts';
import { type Commit, type CommitBounds, findCommit } from '../driver/find-commit.ts';
import type { OpenedVolume } from '../volume-registry.ts';
import type { ResolvedMoment } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { ToldMoment } from './holder-access.ts';

/** A moment with what its volume's registers said when it was resolved. */
export interface ResolvedPoint extends ResolvedMoment {
  readonly named: NamedVolume;
  readonly manifest: ManifestValue;
  readonly retention: RetentionValue;
  /** By PG: with this SCL a segment holds all that the point needs. */
  readonly requiredScls: readonly Lsn[];
}

/** A volume as known at one time. */
export interface Known {
  readonly named: NamedVolume;
  readonly manifest: ManifestValue;
  readonly retention: RetentionValue;
  readonly history: KnownHistory;
  readonly tailOf: (pg: PgIndex, at: Lsn) => Lsn;
}

type Find = Extract<MomentPlan, { kind: 'find' }>;

/** Lost the volume in the middle of it: whoever has it now is asked. */
const MAX_ATTEMPTS = 3;

export class MomentResolver {
  readonly #context: TimelineContext;

  constructor(context: TimelineContext) {
    this.#context = context;
  }

  /** `moment` null: now. Rejects as Timelines.resolve does. */
  async resolve(name: string, moment: Moment | null, agoFrom: AgoFrom = 'instant'): Promise<ResolvedPoint> {
    for (let attempt = 1; ; attempt += 1) {
      const opening = this.#context.openHere(name);
      try {
        if (opening !== null) return await this.#fromWriter(await opening, moment, agoFrom);
        return await this.#fromRegisters(name, moment, agoFrom);
      } catch (error) {
        if (attempt === MAX_ATTEMPTS || !mayBeElsewhereNow(error, opening !== null)) throw error;
      }
    }
  }

  /** For other compute nodes: only what this one has open. */
  async resolveHeld(name: string, moment: Moment | null, agoFrom: AgoFrom): Promise<ToldMoment> {
    const opening = this.#context.openHere(name);
    if (opening === null) {
      throw new TidemarkError('UNAVAILABLE', `volume '${name}' is not open on this compute node any more`, {
        nextStep: 'Try again: whoever has it now is asked.',
      });
    }
    const { point, committedAtMicros, requiredScls } = await this.#fromWriter(await opening, moment, agoFrom);
    return { ...point, committedAtMicros, requiredScls };
  }

  /** As the registers say. */
  async known(name: string): Promise<Known> {
    return this.#knownOfRegisters(await this.#context.lookup(name), 0);
  }

  /** Stamp of the oldest moment that is kept; null when it is not known. */
  floorStamp(known: Known): Promise<number | null> {
    return this.stampOf(known, floorPoint(known.history)).catch(() => null);
  }

  /** Stamp of the newest commit that the point shows; null when there is none in its own volume. */
  async stampOf(known: Pick<Known, 'manifest' | 'tailOf'>, point: ReadPoint): Promise<number | null> {
    const { runs, volume } = known.manifest;
    let limit = point.lsn;
    for (let run = runById(runs, point.run); run !== null; ) {
      const throughLsn = Math.min(limit, run.lastLsn ?? limit) as Lsn;
      if (throughLsn >= run.firstLsn) {
        const bounds = { run: run.id, throughLsn, throughMicros: ANY_TIME };
        const commit = await this.#find(known, bounds);
        if (commit !== null) return commit.micros;
      }
      if (run.parent === null || run.parent.volume !== volume) return null;
      limit = run.parent.lsn;
      run = runById(runs, run.parent.run);
    }
    return null;
  }

  async #fromWriter(
    { name, log }: OpenedVolume,
    moment: Moment | null,
    agoFrom: AgoFrom,
  ): Promise<ResolvedPoint> {
    const { clock, lookup } = this.#context;
    const [named] = await Promise.all([lookup(name), log.confirmReadable()]);
    if (named.volume !== log.volume) {
      throw new TidemarkError('VOLUME_DROPPED', `volume '${name}' was dropped and made anew`, {
        nextStep: 'Try again.',
      });
    }
    const retention = await this.#retention(named);
    const { manifest, lastCommitMicros } = log.past;
    const known: Known = {
      named,
      manifest,
      retention,
      tailOf: (pg, at) => log.past.requiredScl(pg, at),
      history: {
        name,
        volume: log.volume,
        runs: manifest.runs,
        retention,
        durableLsn: log.vdl,
        isNewest: true,
        nowMicros: Math.max(clock.now().wallMicros, lastCommitMicros),
      },
    };
    const plan = planMoment(known.history, moment, agoFrom);
    if (plan.kind === 'find' && log.headLsn > log.vdl && (await this.#mayGrow(known, plan))) {
      await log.whenDurable(log.headLsn).catch((error: unknown) => {
        throw asUnsettled(name, error);
      });
      const history = { ...known.history, durableLsn: log.vdl };
      return this.#settle({ ...known, history }, planMoment(history, moment, agoFrom));
    }
    return this.#settle(known, plan);
  }

  async #fromRegisters(name: string, moment: Moment | null, agoFrom: AgoFrom): Promise<ResolvedPoint> {
    const { clock, holder, holders, lookup, volume } = this.#context;
    const named = await lookup(name);
    const known = await this.#knownOfRegisters(named, clock.now().wallMicros);
    const plan = planMoment(known.history, moment, agoFrom);
    if (plan.kind !== 'unknown') return this.#settle(known, plan);
    const holding = await holder(named);
    if (holding === null) return this.#fromWriter(await volume(name), moment, agoFrom);
    return this.#asTold(named, await holders.resolve(holding.url, name, moment, agoFrom));
  }

  /** The holder may have moved on since the registers were looked at. */
  async #asTold(named: NamedVolume, told: ToldMoment): Promise<ResolvedPoint> {
    const { manifest, retention } = await this.#knownOfRegisters(named, 0);
    const { volume, run, lsn, committedAtMicros, requiredScls } = told;
    if (volume !== named.volume || runById(manifest.runs, run) === null) {
      throw new TidemarkError('UNAVAILABLE', `volume '${named.name}' changed hands meanwhile`, {
        nextStep: 'Try again.',
      });
    }
    const point = { volume, run, lsn };
    return { name: named.name, point, committedAtMicros, named, manifest, retention, requiredScls };
  }

  async #knownOfRegisters(named: NamedVolume, wallMicros: number): Promise<Known> {
    const { registers } = this.#context.directory;
    const [{ content }, retention] = await Promise.all([
      registers.readVolume('manifest', named.volume, placeOf(named)),
      this.#retention(named),
    ]);
    if (content.value === null) throw notMade(named, 'manifest');
    const manifest = decodeManifest(content.value);
    const head = headRun(manifest.runs);
    return {
      named,
      manifest,
      retention,
      tailOf: (_pg, at) => at,
      history: {
        name: named.name,
        volume: named.volume,
        runs: manifest.runs,
        retention,
        durableLsn: (head.firstLsn - 1) as Lsn,
        isNewest: false,
        nowMicros: Math.max(wallMicros, head.openedAtMicros),
      },
    };
  }

  async #retention(named: NamedVolume): Promise<RetentionValue> {
    const { registers } = this.#context.directory;
    const { content } = await registers.readVolume('retention', named.volume, placeOf(named));
    if (content.value === null) throw notMade(named, 'retention');
    const retention = decodeRetention(content.value);
    if (!retention.dropped) return retention;
    throw new TidemarkError('VOLUME_DROPPED', `volume '${named.name}' was dropped`, {
      nextStep: 'List the volumes with `tidemark volumes`.',
    });
  }

  /** Whether commits within the plan's bounds may be on their way still: none is when a later one is durable already. */
  async #mayGrow(known: Known, { run, throughLsn, throughMicros }: Find): Promise<boolean> {
    if (runById(known.manifest.runs, run)?.lastLsn !== null || throughMicros === ANY_TIME) return false;
    const newest = await this.#find(known, { run, throughLsn, throughMicros: ANY_TIME });
    return newest === null || newest.micros <= throughMicros;
  }

  async #settle(known: Known, plan: MomentPlan): Promise<ResolvedPoint> {
    const { named, manifest, retention, history } = known;
    if (plan.kind === 'unknown') {
      throw new TidemarkError('UNAVAILABLE', `volume '${named.name}' is being opened`, {
        nextStep: 'Try again.',
      });
    }
    let point: ReadPoint;
    let stamp: number | null;
    if (plan.kind === 'point') {
      point = plan.point;
      await this.#requireKept(known, point);
      stamp = await this.stampOf(known, point);
    } else {
      const commit = await this.#find(known, plan);
      point = foundPoint(history, plan, commit?.lsn ?? null);
      await this.#requireKept(known, point);
      stamp = commit === null ? await this.stampOf(known, point) : commit.micros;
    }
    const requiredScls = manifest.pgs.map(({ pg }) => requiredScl(known, point, pg));
    return { name: named.name, point, committedAtMicros: stamp, named, manifest, retention, requiredScls };
  }

  async #requireKept(known: Known, point: ReadPoint): Promise<void> {
    const { history } = known;
    if (isKept(history.runs, history.retention, point)) return;
    // The window is named as well as it can be: not knowing its time is no other error.
    requireKept(history, point, await this.floorStamp(known));
  }

  #find(
    { manifest, tailOf }: Pick<Known, 'manifest' | 'tailOf'>,
    bounds: CommitBounds,
  ): Promise<Commit | null> {
    const { clients, clock, timers, directory } = this.#context;
    const { clusterId } = directory.cluster;
    return findCommit({ clients, clusterId, clock, timers }, manifest, bounds, (pg) =>
      tailOf(pg, bounds.throughLsn),
    );
  }
}

/** The volume changed hands, or was closed here, in the middle of it. */
function mayBeElsewhereNow(error: unknown, wasHere: boolean): boolean {
  if (isTidemarkError(error, 'DEPOSED') || isTidemarkError(error, 'VOLUME_HELD')) return true;
  return wasHere && isTidemarkError(error, 'UNAVAILABLE');
}

/** Nothing was written by who asks, so no outcome of theirs is unknown. */
function asUnsettled(name: string, error: unknown): unknown {
  if (!isTidemarkError(error, 'OUTCOME_UNKNOWN')) return error;
  return new TidemarkError('NO_QUORUM', `commits of that time to ${name} still wait for their write quorum`, {
    nextStep:
      'Check with `tidemark status` that four storage nodes of six are up, or name an earlier moment.',
  });
}

function requiredScl({ manifest, tailOf }: Known, { run, lsn }: ReadPoint, pg: PgIndex): Lsn {
  const closing = runById(manifest.runs, run)?.closingTails;
  return closing === null || closing === undefined
    ? tailOf(pg, lsn)
    : (Math.min(lsn, closing[pg] ?? 0) as Lsn);
}

function notMade(named: NamedVolume, register: string): TidemarkError {
  return new TidemarkError('CORRUPT', `the ${register} register of volume '${named.name}' is empty`, {
    nextStep: 'Keep the data directories of the storage nodes as they are and report this.',
  });
}
