/**
 * Drops (design section 7): the name goes at once. The retention register then says dropped for ever, with the pins of clones alone; storage nodes are
 * told, which ends a writer elsewhere; and when the last of those pins has gone, so have the data, the pin in the volume's own parent, and at last
 * the volume's record.
 *
 * Each step is committed before the next one, and finds what it has to do from the registers alone: after a crash any compute node goes on, for it
 * looks every SWEEP_INTERVAL_MS for volumes that have a record and no name. That is also how what is left of a half-made volume or clone goes away.
 *
 * Invariants
 * 1. A volume's pin in its parent goes only once its own retention register says dropped with no pin: nothing reads the parent through it any more.
 * 2. The record goes last, when every storage node of the cluster has answered that it keeps nothing of the volume.
 * 3. A volume without a name that is not dropped yet may be one that is being made: it is left alone for ORPHAN_AGE_MS. Then the register of its
 *    name is asked once more: a list alone takes nobody's name away.
 */
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Timer } from '../../src/env/env.ts';
import type { Lsn, NodeId, VolumeId } from '../../src/log/lsn.ts';
import { decodeManifest, decodeRetention, encodeRetention } from '../../src/register/codec.ts';
import { placeOf } from '../../src/register/place.ts';
import { REGISTER_FORMAT, type RetentionValue } from '../../src/register/values.ts';
import type { NamedVolume } from '../driver/directory.ts';
import { volumeDropped } from '../volume/writer-errors.ts';
import type { TimelineContext } from './context.ts';
import { keyPrefix } from './opened-pasts.ts';
import { childOf, clonePin, isClonePin, type Pin, unpin } from './pins.ts';

const SWEEP_INTERVAL_MS = 30_000;
const ORPHAN_AGE_MS = 120_000;
const CALL_TIMEOUT_MS = 2_000;
/** Nothing is kept but what is pinned. */
const END_OF_HISTORY = Number.MAX_SAFE_INTEGER as Lsn;

/** Volumes that each storage node keeps something of; null: it did not answer. */
type Holdings = ReadonlyMap<NodeId, ReadonlySet<VolumeId> | null>;

export class Drops {
  readonly #context: TimelineContext;
  readonly #orphanAgeMs: number;
  /** Since when volumes have been seen without a name. */
  readonly #namelessSinceMs = new Map<VolumeId, number>();
  /** Dropped and not pinned, as far as known here; the value that says so. Nothing changes that any more. */
  readonly #over = new Map<VolumeId, Uint8Array>();
  #timer: Timer | null = null;
  #sweeping: Promise<void> | null = null;

  constructor(context: TimelineContext, orphanAgeMs = ORPHAN_AGE_MS) {
    this.#context = context;
    this.#orphanAgeMs = orphanAgeMs;
  }

  start(): void {
    this.#timer = this.#context.timers.every(SWEEP_INTERVAL_MS, () => void this.sweep());
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#sweeping;
  }

  async drop(name: string, { force = false }: { readonly force?: boolean } = {}): Promise<{ name: string }> {
    const named = await this.#context.lookup(name);
    if (!force) await this.#refuseIfInUse(named);
    await this.#context.directory.takeName(named);
    this.#context.logger.log('info', 'dropped a volume', { name, volume: named.volume });
    // From here on it is dropped: what fails is tried again by the sweep.
    try {
      await this.#context.closeHere(name, volumeDropped(name));
      await this.#context.endPasts(keyPrefix(named.volume), volumeDropped(name));
      await this.clearAway(named);
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#context.logger.log('warn', 'clearing away a dropped volume goes on later', { name, error });
    }
    return { name };
  }

  /** As far as it goes now. The volume is dropped, or its making has failed. `standing`: volumes of which it is known that they have a record. */
  async clearAway(named: NamedVolume, standing: ReadonlySet<VolumeId> = new Set()): Promise<void> {
    await this.#context.directory.takeName(named);
    const { bytes, value } = await this.#markDropped(named);
    await this.#tell(named, bytes);
    if (value.pins.length > 0) {
      await this.#unpinGivenUp(named, value.pins, standing);
      return;
    }
    const parent = await this.#unpinFromParent(named);
    this.#over.set(named.volume, bytes);
    await this.#endIfGone(named, await this.#holdings());
    if (parent !== null && !(await this.#isNamed(parent))) await this.clearAway(parent);
  }

  /**
   * A clone that was given up while whoever made it stood still for long may have been pinned after all. Its record was given up for good: it will never be.
   * The next sweep finds what is left.
   */
  async #unpinGivenUp(
    named: NamedVolume,
    pins: readonly Pin[],
    standing: ReadonlySet<VolumeId>,
  ): Promise<void> {
    const { registers, records } = this.#context.directory;
    for (const pin of pins) {
      const child = childOf(pin) as VolumeId;
      if (standing.has(child) || (await records.read(child)) !== null) continue;
      await unpin(registers, named, pin.name);
    }
  }

  /** Invariant 2. */
  async #endIfGone({ volume }: NamedVolume, holdings: Holdings): Promise<void> {
    if (![...holdings.values()].every((kept) => kept?.has(volume) === false)) return;
    await this.#context.directory.records.giveUp(volume);
    this.#over.delete(volume);
    this.#namelessSinceMs.delete(volume);
  }

  /** Looks for what others have left. Never rejects. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweep()
      .catch((error: unknown) => {
        if (!isTidemarkError(error)) throw error;
        this.#context.logger.log('warn', 'dropped volumes could not be looked for; tried again later', {
          error,
        });
      })
      .finally(() => {
        this.#sweeping = null;
      });
    return this.#sweeping;
  }

  async #sweep(): Promise<void> {
    const { directory, clock } = this.#context;
    // In this order: a volume that has been given its name in between has one.
    const records = await directory.records.list();
    const named = await directory.list();
    const names = new Set(named.map(({ volume }) => volume));
    const standing = new Set(records.map(({ volume }) => volume));
    const nameless = records.filter(({ volume }) => !names.has(volume));
    for (const volume of [...this.#namelessSinceMs.keys()])
      if (!nameless.some((record) => record.volume === volume)) this.#namelessSinceMs.delete(volume);
    const nowMs = clock.now().monotonicMs;
    const holdings = nameless.length === 0 ? new Map() : await this.#holdings();
    for (const one of named) {
      if (standing.has(one.volume)) continue;
      await this.#logged(one, () => this.#clearEmptyName(one));
    }
    for (const record of nameless) {
      const sinceMs = this.#namelessSinceMs.get(record.volume) ?? nowMs;
      this.#namelessSinceMs.set(record.volume, sinceMs);
      await this.#logged(record, async () => {
        const over = this.#over.get(record.volume);
        if (over !== undefined) {
          const isHeld = [...holdings.values()].some((kept) => kept?.has(record.volume) === true);
          if (isHeld) await this.#tell(record, over);
          await this.#endIfGone(record, holdings);
        } else if (await this.#isLeft(record, nowMs - sinceMs)) {
          await this.clearAway(record, standing);
        }
      });
    }
  }

  /** One that fails keeps no other from being cleared away. */
  async #logged({ name }: NamedVolume, clear: () => Promise<void>): Promise<void> {
    try {
      await clear();
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#context.logger.log('warn', 'a dropped volume could not be cleared away; tried again later', {
        name,
        error,
      });
    }
  }

  /** A volume that was given up while whoever made it stood still for long may have been given its name after all: it leads to nothing. */
  async #clearEmptyName(named: NamedVolume): Promise<void> {
    if ((await this.#context.directory.records.read(named.volume)) !== null) return;
    if (await this.#isDropped(named)) await this.clearAway(named);
  }

  async #refuseIfInUse(named: NamedVolume): Promise<void> {
    const { name } = named;
    const opened = await this.#context.openHere(name)?.catch(() => null);
    if (opened != null) {
      const { connections } = opened.engine.status();
      if (connections > 0) throw inUse(name, `${connections} connections to it are open here`);
      return;
    }
    const holder = await this.#context.holder(named);
    if (holder !== null && holder.computeId !== this.#context.computeId)
      throw inUse(name, `compute node ${holder.computeId} at ${holder.url} holds it`);
  }

  /**
   * Nobody is at work on it any more. The list of names came from as few as three storage nodes, of which one may have lost what it had accepted: a volume
   * that is not dropped is given up only when its name's own register, read with a quorum, leads elsewhere.
   */
  async #isLeft(record: NamedVolume, namelessMs: number): Promise<boolean> {
    if (await this.#isDropped(record)) return true;
    return namelessMs >= this.#orphanAgeMs && !(await this.#isNamed(record));
  }

  async #isDropped(named: NamedVolume): Promise<boolean> {
    const { registers } = this.#context.directory;
    const { content } = await registers.readVolume('retention', named.volume, placeOf(named));
    return content.value !== null && decodeRetention(content.value).dropped;
  }

  async #isNamed({ name, volume }: NamedVolume): Promise<boolean> {
    return (await this.#context.directory.lookup(name))?.volume === volume;
  }

  /** For ever: it also keeps a writer that takes the volume over from opening it. */
  async #markDropped(named: NamedVolume): Promise<{ bytes: Uint8Array; value: RetentionValue }> {
    const { registers } = this.#context.directory;
    const { content } = await registers.changeVolume('retention', named.volume, placeOf(named), (bytes) => {
      const current = bytes === null ? null : decodeRetention(bytes);
      if (current?.dropped === true) return null;
      const pins = current?.pins.filter(isClonePin) ?? [];
      const windowMs = current?.windowMs ?? 0;
      const { volume } = named;
      return encodeRetention({
        format: REGISTER_FORMAT,
        volume,
        floor: END_OF_HISTORY,
        windowMs,
        dropped: true,
        pins,
      });
    });
    const bytes = content.value as Uint8Array;
    return { bytes, value: decodeRetention(bytes) };
  }

  /** Whoever does not answer is told by a later sweep. */
  async #tell({ volume }: NamedVolume, retention: Uint8Array): Promise<void> {
    const { clients, directory } = this.#context;
    const { clusterId, nodes } = directory.cluster;
    const request = { clusterId, volume, retention };
    await Promise.allSettled(
      nodes.map(({ nodeId }) =>
        clients.get(nodeId)?.call('tellRetention', request, { timeoutMs: CALL_TIMEOUT_MS }),
      ),
    );
  }

  /** Returns the parent; null: it has none, or nothing of it is left. */
  async #unpinFromParent(named: NamedVolume): Promise<NamedVolume | null> {
    const { registers, records } = this.#context.directory;
    const { content } = await registers.readVolume('manifest', named.volume, placeOf(named));
    const origin = content.value === null ? undefined : decodeManifest(content.value).runs[0];
    const parentId = origin?.parent?.volume ?? named.volume;
    if (parentId === named.volume) return null;
    const parent = await records.read(parentId);
    if (parent === null) return null;
    await unpin(registers, parent, clonePin(named.volume));
    return parent;
  }

  async #holdings(): Promise<Holdings> {
    const { clients, directory } = this.#context;
    const { clusterId, nodes } = directory.cluster;
    const kept = nodes.map(async ({ nodeId }): Promise<[NodeId, ReadonlySet<VolumeId> | null]> => {
      try {
        const status = await clients
          .get(nodeId)
          ?.call('status', { clusterId }, { timeoutMs: CALL_TIMEOUT_MS });
        if (status === undefined || status.refusal !== null) return [nodeId, null];
        return [nodeId, new Set(status.segments.map(({ volume }) => volume))];
      } catch (error) {
        if (!isTidemarkError(error)) throw error;
        return [nodeId, null];
      }
    });
    return new Map(await Promise.all(kept));
  }
}

function inUse(name: string, why: string): TidemarkError {
  return new TidemarkError('IN_USE', `volume '${name}' is in use: ${why}`, {
    nextStep: 'Close what uses it, or drop it by force: what is open then ends with VOLUME_DROPPED.',
  });
}
