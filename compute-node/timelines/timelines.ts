/** Timelines of the volumes that this compute node can reach. Each operation has a file of its own. */
import type { Moment } from '../../src/timeline/moment.ts';
import type { AgoFrom } from '../../src/timeline/resolve-moment.ts';
import type {
  Backtracked,
  Clone,
  HistoryWindow,
  OpenedMoment,
  Snapshot,
  Timelines,
  VolumeNode,
} from './api.ts';
import { Backtracks } from './backtrack.ts';
import { type CloneSource, cloneVolume } from './clone.ts';
import type { TimelineContext } from './context.ts';
import { Drops } from './drops.ts';
import { HistoryWindows } from './history-window.ts';
import type { ToldMoment } from './holder-access.ts';
import { MomentResolver, type ResolvedPoint } from './moment-resolver.ts';
import { type OpenedPoint, OpenedPasts } from './opened-pasts.ts';
import { RecentMoments } from './recent-moments.ts';
import { Snapshots } from './snapshots.ts';
import { volumeTree } from './volume-tree.ts';

export class TimelinesOnNode implements Timelines {
  readonly #context: TimelineContext;
  readonly #resolver: MomentResolver;
  readonly #pasts: OpenedPasts;
  readonly #recent: RecentMoments;
  readonly #snapshots: Snapshots;
  readonly #windows: HistoryWindows;
  readonly #backtracks: Backtracks;
  readonly #drops: Drops;

  constructor(context: TimelineContext) {
    this.#context = context;
    this.#resolver = new MomentResolver(context);
    this.#pasts = new OpenedPasts(context);
    this.#recent = new RecentMoments(context.clock);
    this.#snapshots = new Snapshots(context, this.#resolver);
    this.#windows = new HistoryWindows(context, this.#resolver);
    this.#backtracks = new Backtracks(context, this.#resolver);
    this.#drops = new Drops(context);
    this.#drops.start();
  }

  resolve(name: string, moment: Moment | null): Promise<ResolvedPoint> {
    return this.#resolver.resolve(name, moment);
  }

  async open(name: string, moment: Moment): Promise<OpenedMoment> {
    return this.#pasts.open(this.#recent.get(name, moment) ?? (await this.#resolveAndNote(name, moment)));
  }

  /** What is resolved already, by its point. */
  openPoint(resolved: ResolvedPoint): Promise<OpenedPoint> {
    return this.#pasts.open(resolved);
  }

  clone(source: CloneSource, newName: string): Promise<Clone> {
    const giveUp = this.#drops.clearAway.bind(this.#drops);
    return cloneVolume({ context: this.#context, resolver: this.#resolver, giveUp }, source, newName);
  }

  drop(name: string, options?: { readonly force?: boolean }): Promise<{ readonly name: string }> {
    this.#recent.forget(name);
    // What was asked for in the middle of it was noted after.
    return this.#drops.drop(name, options).finally(() => this.#recent.forget(name));
  }

  /** Looks for volumes that were dropped, or never finished, and clears away what is left of them. */
  sweep(): Promise<void> {
    return this.#drops.sweep();
  }

  backtrack(name: string, to: Moment): Promise<Backtracked> {
    return this.#backtracks.backtrack(name, to);
  }

  createSnapshot(name: string, snapshot: string, moment: Moment | null): Promise<Snapshot> {
    return this.#snapshots.create(name, snapshot, moment);
  }

  dropSnapshot(name: string, snapshot: string): Promise<Snapshot> {
    return this.#snapshots.drop(name, snapshot);
  }

  snapshots(name: string): Promise<readonly Snapshot[]> {
    return this.#snapshots.list(name);
  }

  window(name: string): Promise<HistoryWindow> {
    return this.#windows.read(name);
  }

  setWindow(name: string, windowMs: number): Promise<HistoryWindow> {
    return this.#windows.set(name, windowMs);
  }

  volumes(): Promise<readonly VolumeNode[]> {
    return volumeTree(this.#context);
  }

  async close(): Promise<void> {
    await this.#drops.stop();
    this.#pasts.close();
  }

  /** Asked by another compute node: only of what is open here. */
  resolveHeld(name: string, moment: Moment | null, agoFrom: AgoFrom): Promise<ToldMoment> {
    return this.#resolver.resolveHeld(name, moment, agoFrom);
  }

  async #resolveAndNote(name: string, moment: Moment): Promise<ResolvedPoint> {
    const resolved = await this.#resolver.resolve(name, moment, 'second');
    this.#recent.note(moment, resolved);
    return resolved;
  }
}
