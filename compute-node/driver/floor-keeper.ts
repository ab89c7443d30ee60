/**
 * Raises a volume's retention floor as the history window moves on (design section 7): a compare-and-set on the retention register,
 * ordered there with pins, then told to the storage nodes with the heartbeats until each has answered one that carried it.
 *
 * Where the window begins is known from the VDLs that this writer has seen; of the time before its term the storage nodes are asked.
 *
 * Invariants
 * 1. The floor is never above the window's start, nor above a read point that somebody here still reads at.
 * 2. A new writer raises no floor for READER_EXPIRY_MS: by then whoever reads has told it so.
 */
import { isTidemarkError } from '../../src/base/errors.ts';
import type { Now } from '../../src/env/env.ts';
import type { Logger } from '../../src/adapters/logger.ts';
import type { Lsn, NodeId } from '../../src/log/lsn.ts';
import { decodeRetention, encodeRetention } from '../../src/register/codec.ts';
import { placeOf, type RegisterPlace } from '../../src/register/place.ts';
import type { NameValue, RetentionValue } from '../../src/register/values.ts';
import { LiveReadPoints } from '../volume/live-read-points.ts';
import { FloorWindow } from '../volume/writer-floor.ts';
import type { Registers } from './registers.ts';

/** Between attempts: a share of the window, so that a short window (tests) is kept too. */
const MIN_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 60_000;
const PAUSES_PER_WINDOW = 10;
/** Who reads tells so more often than that. A window that is shorter lasts no longer for that. */
export const READER_EXPIRY_MS = 30_000;
const MICROS_PER_MS = 1_000;

const NOTHING_NEW = new Uint8Array(0);

export class FloorKeeper {
  readonly #registers: Pick<Registers, 'changeVolume'>;
  readonly #name: NameValue;
  readonly #logger: Logger;
  readonly #window: FloorWindow;
  readonly #openedAtMs: number;
  readonly #readers = new LiveReadPoints();
  readonly #newestAt: (micros: number) => Promise<Lsn>;
  #place: RegisterPlace;
  readonly #onCommitted: (bytes: Uint8Array) => void;
  readonly #onDropped: () => void;
  #lookedAtMs: number;
  #retention: RetentionValue;
  #bytes: Uint8Array | null = null;
  /** Nodes that have answered a heartbeat with the present value. */
  #told = new Set<NodeId>();
  /** Sequence of the first heartbeat that carried it to the node. */
  #tellingSince = new Map<NodeId, number>();
  #dueAtMs: number;
  #isRaising = false;

  constructor(options: {
    readonly registers: Pick<Registers, 'changeVolume'>;
    readonly name: NameValue;
    readonly retention: RetentionValue;
    /** What readers see as the newest at opening. */
    readonly openedAtLsn: Lsn;
    readonly nowMs: number;
    readonly logger: Logger;
    /** What the volume showed at a time before the opening. */
    readonly newestAt: (micros: number) => Promise<Lsn>;
    readonly onCommitted: (bytes: Uint8Array) => void;
    readonly onDropped: () => void;
  }) {
    this.#registers = options.registers;
    this.#name = options.name;
    this.#place = placeOf(options.name);
    this.#retention = options.retention;
    this.#logger = options.logger;
    this.#openedAtMs = options.nowMs;
    this.#window = new FloorWindow(options.openedAtLsn, options.nowMs);
    this.#newestAt = options.newestAt;
    this.#onCommitted = options.onCommitted;
    this.#onDropped = options.onDropped;
    this.#lookedAtMs = options.nowMs;
    this.#dueAtMs = options.nowMs + this.#pauseMs();
  }

  /** The volume's registers have moved: the old place leads there, too, while its nodes last. */
  setPlace(place: RegisterPlace): void {
    this.#place = place;
  }

  get floor(): Lsn {
    return this.#retention.floor;
  }

  onDurable(vdl: Lsn, nowMs: number): void {
    this.#window.onDurable(vdl, nowMs, this.#retention.windowMs);
  }

  /** Of the engine. */
  reportReadPoint(lowest: Lsn): void {
    this.#readers.report(lowest);
  }

  /** Of a reader beside it. */
  holdReadPoint(holder: string, lsn: Lsn, untilMs: number): void {
    this.#readers.hold(holder, lsn, untilMs);
  }

  /** The window was set anew. */
  noteWindow(windowMs: number, nowMs: number): void {
    this.#retention = { ...this.#retention, windowMs };
    this.#dueAtMs = Math.min(this.#dueAtMs, nowMs + this.#pauseMs());
  }

  /** What the heartbeat `sequence` to a node carries. */
  retentionFor(node: NodeId, sequence: number): Uint8Array {
    if (this.#bytes === null || this.#told.has(node)) return NOTHING_NEW;
    if (!this.#tellingSince.has(node)) this.#tellingSince.set(node, sequence);
    return this.#bytes;
  }

  onHeartbeatAnswered(node: NodeId, sequence: number): void {
    const since = this.#tellingSince.get(node);
    if (since !== undefined && sequence >= since) this.#told.add(node);
  }

  /** Raises the floor when it is time and there is something to raise. */
  async tick(now: Now): Promise<void> {
    const nowMs = now.monotonicMs;
    if (this.#isRaising || nowMs < this.#dueAtMs) return;
    this.#dueAtMs = nowMs + this.#pauseMs();
    this.#isRaising = true;
    try {
      await this.#lookIfDue(nowMs);
      const { windowMs } = this.#retention;
      if (nowMs - this.#openedAtMs < Math.min(READER_EXPIRY_MS, windowMs)) return;
      if (!this.#window.covers(nowMs - windowMs)) await this.#learnStart(now, windowMs);
      const wanted = this.#window.floorAt(nowMs, windowMs, this.#readers.lowest(nowMs));
      if (wanted !== null && wanted > this.#retention.floor) await this.#raise(nowMs);
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#logger.log('warn', 'the retention floor could not be raised; tried again later', { error });
    } finally {
      this.#isRaising = false;
    }
  }

  /** Others may have set another window, or dropped the volume, without a word to this writer. */
  async #lookIfDue(nowMs: number): Promise<void> {
    if (nowMs - this.#lookedAtMs < MAX_PAUSE_MS) return;
    this.#lookedAtMs = nowMs;
    const { volume } = this.#retention;
    const { content } = await this.#registers.changeVolume('retention', volume, this.#place, () => null);
    if (content.value === null) return;
    const { dropped, windowMs } = decodeRetention(content.value);
    if (dropped) this.#onDropped();
    else this.noteWindow(windowMs, nowMs);
  }

  async #learnStart({ monotonicMs, wallMicros }: Now, windowMs: number): Promise<void> {
    const lsn = await this.#newestAt(wallMicros - windowMs * MICROS_PER_MS);
    this.#window.learn(lsn, monotonicMs - windowMs);
  }

  async #raise(nowMs: number): Promise<void> {
    const { name } = this.#name;
    const { volume } = this.#retention;
    const { content } = await this.#registers.changeVolume('retention', volume, this.#place, (bytes) => {
      if (bytes === null) return null;
      const current = decodeRetention(bytes);
      // The window may have been made longer meanwhile.
      const floor = this.#window.floorAt(nowMs, current.windowMs, this.#readers.lowest(nowMs));
      if (current.dropped || floor === null || floor <= current.floor) return null;
      return encodeRetention({ ...current, floor });
    });
    if (content.value === null) return;
    this.#retention = decodeRetention(content.value);
    this.#bytes = content.value;
    this.#told = new Set();
    this.#tellingSince = new Map();
    this.#onCommitted(content.value);
    this.#logger.log('debug', 'raised the retention floor', { name, floor: this.#retention.floor });
  }

  #pauseMs(): number {
    return Math.min(MAX_PAUSE_MS, Math.max(MIN_PAUSE_MS, this.#retention.windowMs / PAUSES_PER_WINDOW));
  }
}
