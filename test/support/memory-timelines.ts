/**
 * Volumes and their past as plain lists, for tests of what stands in front of timelines: names, snapshots and refusals behave as the contract says
 * (compute-node/timelines/api.ts), what is in the volumes is nobody's business here. LSN N was committed N seconds after the epoch; below `floor`
 * nothing is kept.
 */
import type {
  Backtracked,
  Clone,
  HistoryWindow,
  OpenedMoment,
  ResolvedMoment,
  Snapshot,
  Timelines,
  VolumeNode,
} from '../../compute-node/timelines/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { VOLUME_NAME_PATTERN } from '../../src/base/limits.ts';
import { toLsn, toRunId, type VolumeId } from '../../src/log/lsn.ts';
import { formatMoment, type Moment } from '../../src/timeline/moment.ts';

const SECOND = 1_000_000;

interface Held {
  readonly volume: VolumeId;
  readonly parent: ResolvedMoment | null;
  readonly snapshots: Map<string, number>;
  head: number;
}

export class MemoryTimelines implements Timelines {
  readonly #volumes = new Map<string, Held>();
  /** What was asked, in order. */
  readonly calls: string[] = [];
  readonly inUse = new Set<string>();
  floor = 10;
  windowMs = 3_600_000;
  #made = 0;

  constructor(names: readonly string[] = ['main'], head = 100) {
    for (const name of names) this.#add(name, null, head);
  }

  async resolve(name: string, moment: Moment | null): Promise<ResolvedMoment> {
    const held = this.#held(name);
    const lsn = this.#lsnOf(name, held, moment);
    const point = { volume: held.volume, run: toRunId(0), lsn: toLsn(lsn) };
    return { name, point, committedAtMicros: lsn * SECOND };
  }

  async open(): Promise<OpenedMoment> {
    throw new TidemarkError('UNSUPPORTED', 'nothing is in these volumes');
  }

  async clone(
    source: { readonly name: string; readonly moment: Moment | null },
    newName: string,
  ): Promise<Clone> {
    this.calls.push(`clone ${textOf(source.name, source.moment)} ${newName}`);
    const from = await this.resolve(source.name, source.moment);
    checkName(newName);
    if (this.#volumes.has(newName))
      throw new TidemarkError('VOLUME_EXISTS', `there is a volume '${newName}' already`);
    const { volume } = this.#add(newName, from, from.point.lsn);
    return { name: newName, volume, from };
  }

  async drop(name: string, options: { readonly force?: boolean } = {}): Promise<{ readonly name: string }> {
    this.calls.push(`drop ${name}${options.force === true ? ' force' : ''}`);
    this.#held(name);
    if (this.inUse.has(name) && options.force !== true)
      throw new TidemarkError('IN_USE', `volume '${name}' is open`, { nextStep: 'Close its sessions.' });
    this.#volumes.delete(name);
    return { name };
  }

  async backtrack(name: string, to: Moment): Promise<Backtracked> {
    this.calls.push(`backtrack ${textOf(name, to)}`);
    const resolved = await this.resolve(name, to);
    const held = this.#held(name);
    const undo = `lsn:${held.head}`;
    held.head = resolved.point.lsn;
    return { name, to: resolved, undo };
  }

  async createSnapshot(name: string, snapshot: string, moment: Moment | null): Promise<Snapshot> {
    this.calls.push(`snapshot ${textOf(name, moment)} ${snapshot}`);
    const { point } = await this.resolve(name, moment);
    checkName(snapshot);
    const { snapshots } = this.#held(name);
    if (snapshots.has(snapshot))
      throw new TidemarkError('SNAPSHOT_EXISTS', `'${name}' has a snapshot '${snapshot}' already`);
    snapshots.set(snapshot, point.lsn);
    return snapshotOf(name, snapshot, point.lsn);
  }

  async dropSnapshot(name: string, snapshot: string): Promise<Snapshot> {
    this.calls.push(`drop snapshot ${name} ${snapshot}`);
    const { snapshots } = this.#held(name);
    const lsn = snapshots.get(snapshot);
    if (lsn === undefined) throw noSnapshot(name, snapshot);
    snapshots.delete(snapshot);
    return snapshotOf(name, snapshot, lsn);
  }

  async snapshots(name: string): Promise<readonly Snapshot[]> {
    return [...this.#held(name).snapshots].map(([snapshot, lsn]) => snapshotOf(name, snapshot, lsn));
  }

  async window(name: string): Promise<HistoryWindow> {
    const { head } = this.#held(name);
    return {
      windowMs: this.windowMs,
      floorLsn: toLsn(this.floor),
      oldestMicros: this.floor * SECOND,
      newestLsn: toLsn(head),
      newestMicros: head * SECOND,
    };
  }

  async setWindow(name: string, windowMs: number): Promise<HistoryWindow> {
    this.calls.push(`window ${name} ${windowMs}`);
    if (windowMs > 72 * 3_600_000) throw new TidemarkError('BAD_REQUEST', 'a window is 72 h at most');
    this.windowMs = windowMs;
    return this.window(name);
  }

  async volumes(): Promise<readonly VolumeNode[]> {
    const nameOf = new Map([...this.#volumes].map(([name, { volume }]) => [volume, name]));
    return [...this.#volumes].map(([name, { volume, parent, snapshots }]) => ({
      name,
      volume,
      parent: parent === null ? null : { ...parent.point, name: nameOf.get(parent.point.volume) ?? null },
      ownBytes: 4_096,
      sharedBytes: parent === null ? 0 : 8_192,
      windowMs: this.windowMs,
      snapshots: snapshots.size,
    }));
  }

  #add(name: string, parent: ResolvedMoment | null, head: number): Held {
    this.#made += 1;
    const volume = `volume${this.#made}` as VolumeId;
    const held: Held = { volume, parent, snapshots: new Map(), head };
    this.#volumes.set(name, held);
    return held;
  }

  #held(name: string): Held {
    const held = this.#volumes.get(name);
    if (held === undefined) throw new TidemarkError('VOLUME_NOT_FOUND', `there is no volume '${name}'`);
    return held;
  }

  #lsnOf(name: string, { head, snapshots }: Held, moment: Moment | null): number {
    if (moment === null) return head;
    if (moment.kind === 'snapshot') {
      const lsn = snapshots.get(moment.name);
      if (lsn === undefined) throw noSnapshot(name, moment.name);
      return lsn;
    }
    const lsn =
      moment.kind === 'lsn'
        ? moment.lsn
        : moment.kind === 'ago'
          ? head - Math.round(moment.micros / SECOND)
          : Math.floor(moment.micros / SECOND);
    if (lsn > 1_000) throw new TidemarkError('IN_FUTURE', 'that moment lies in the future');
    if (lsn < this.floor)
      throw new TidemarkError('GONE', `history begins at LSN ${this.floor}`, {
        nextStep: 'Name a later one.',
      });
    return lsn;
  }
}

function textOf(name: string, moment: Moment | null): string {
  return moment === null ? name : `${name}@${formatMoment(moment)}`;
}

function snapshotOf(volume: string, name: string, lsn: number): Snapshot {
  return { name, volume, lsn: toLsn(lsn), committedAtMicros: lsn * SECOND };
}

function noSnapshot(name: string, snapshot: string): TidemarkError {
  return new TidemarkError('SNAPSHOT_NOT_FOUND', `'${name}' has no snapshot '${snapshot}'`);
}

function checkName(name: string): void {
  if (!VOLUME_NAME_PATTERN.test(name)) throw new TidemarkError('BAD_NAME', `'${name}' cannot be a name`);
}
