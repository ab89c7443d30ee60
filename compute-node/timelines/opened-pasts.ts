/**
 * Moments opened read-only: a log client at a fixed read point with an SQL engine in front, kept in the registry beside the volumes, one for all
 * who name the same point.
 *
 * An open moment holds the volume's floor while this compute node is the writer, for HOLD_MS after each use of it; after that, or when another
 * compute node writes the volume, its history may be collected like any other's, and a read that needs it ends with GONE. A new term of this
 * same compute node is told again within the time that a new writer raises no floor (floor-keeper.ts).
 */
import type { Timer } from '../../src/env/env.ts';
import type { Lsn, VolumeId } from '../../src/log/lsn.ts';
import { decodeManifest } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import type { ManifestValue, PgConfig } from '../../src/register/values.ts';
import type { ReadPoint } from '../../src/timeline/run.ts';
import type { NamedVolume } from '../driver/directory.ts';
import { READER_EXPIRY_MS } from '../driver/floor-keeper.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import { readPointAt } from '../volume/read-point.ts';
import type { OpenedPast } from '../volume-registry.ts';
import type { OpenedMoment } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { ResolvedPoint } from './moment-resolver.ts';
import { PastLog, runsSeenBy } from './past-log.ts';

/** How long a use of a moment keeps its history from being collected. */
const HOLD_MS = 15 * 60_000;
const TELL_INTERVAL_MS = READER_EXPIRY_MS / 3;

/** An open moment with its pages, for who looks below SQL. */
export interface OpenedPoint extends OpenedMoment {
  readonly log: OpenVolume;
}

/** An open moment, as the writer of its volume is to know it. */
interface Reader {
  readonly name: string;
  readonly lsn: Lsn;
  readonly untilMs: number;
}

export class OpenedPasts {
  readonly #context: TimelineContext;
  readonly #readers = new Map<string, Reader>();
  readonly #timer: Timer;

  constructor(context: TimelineContext) {
    this.#context = context;
    this.#timer = context.timers.every(TELL_INTERVAL_MS, () => this.#tellAll());
  }

  close(): void {
    this.#timer.cancel();
  }

  async open(resolved: ResolvedPoint): Promise<OpenedPoint> {
    const { name, point, committedAtMicros, manifest } = resolved;
    const key = sharedKey(manifest, point);
    const reader = { name, lsn: seenAs(manifest, point).lsn, untilMs: this.#nowMs() + HOLD_MS };
    await this.#hold(key, reader);
    const { past, release } = await this.#context.holdPast(key, (onEnded) =>
      this.#open(resolved, key, onEnded),
    );
    // The one before under that key may have come to its end meanwhile.
    if (this.#readers.get(key) !== reader) await this.#hold(key, reader);
    return { name, point, committedAtMicros, engine: past.engine, log: past.log, release };
  }

  async #open(resolved: ResolvedPoint, key: string, onEnded: (reason: Error) => void): Promise<OpenedPast> {
    const { name, named, point, manifest, requiredScls } = resolved;
    const { clock, links, timers } = this.#context;
    const log = new PastLog({
      name: `${name}@lsn:${point.lsn}`,
      point,
      manifest,
      requiredScls,
      links,
      clock,
      timers,
      readMembers: () => this.#members(named),
      onClosed: () => void this.#forget(key),
    });
    try {
      return { name: log.name, log, engine: await this.#context.openPastEngine(log, onEnded) };
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  #hold(key: string, reader: Reader): Promise<void> {
    this.#readers.set(key, reader);
    return this.#tell(key);
  }

  /** The volume's writer, when that is this compute node. Once a reader's time is over it holds nothing any more. */
  async #tell(key: string): Promise<void> {
    const reader = this.#readers.get(key);
    if (reader === undefined) return;
    const { name, lsn, untilMs } = reader;
    const opened = await this.#context.openHere(name)?.catch(() => null);
    opened?.log.past.holdReadPoint(key, lsn, untilMs - this.#nowMs());
  }

  #tellAll(): void {
    for (const [key, { untilMs }] of [...this.#readers]) {
      void this.#tell(key);
      if (untilMs <= this.#nowMs()) this.#readers.delete(key);
    }
  }

  async #forget(key: string): Promise<void> {
    const reader = this.#readers.get(key);
    if (reader === undefined) return;
    const ended = { ...reader, untilMs: 0 };
    this.#readers.set(key, ended);
    await this.#tell(key);
    // Somebody may have opened it again meanwhile.
    if (this.#readers.get(key) === ended) this.#readers.delete(key);
  }

  #nowMs(): number {
    return this.#context.clock.now().monotonicMs;
  }

  async #members(named: NamedVolume): Promise<readonly PgConfig[]> {
    const { registers } = this.#context.directory;
    const { content } = await registers.readVolume('manifest', named.volume, placeOf(named));
    return content.value === null ? [] : decodeManifest(content.value).pgs;
  }
}

/** What the keys of a volume's moments begin with. */
export function keyPrefix(volume: VolumeId): string {
  return `${volume}@`;
}

/** Two read points with one key are asked for alike, and show the same bytes. */
function sharedKey(manifest: ManifestValue, point: ReadPoint): string {
  const { run, lsn } = seenAs(manifest, point);
  return `${keyPrefix(manifest.volume)}${run}:${lsn}`;
}

/** As storage nodes are asked for it (past-log.ts). */
function seenAs({ volume, runs }: ManifestValue, point: ReadPoint): Pick<ReadPoint, 'run' | 'lsn'> {
  return readPointAt({ volume, runs: runsSeenBy(runs, point) }, point.lsn) ?? point;
}
