/**
 * Comparing moments of volumes that this compute node can reach, and what is done with what they differ in: merges (merge.ts) and rows brought back
 * (restore-rows.ts).
 */
import { seenOnlyBy } from '../../src/timeline/ancestry.ts';
import { splitMoment } from '../../src/timeline/moment.ts';
import { changedPages } from '../driver/changed-pages.ts';
import type { TimelineContext } from '../timelines/context.ts';
import type { ResolvedPoint } from '../timelines/moment-resolver.ts';
import type { TimelinesOnNode } from '../timelines/timelines.ts';
import { type DiffEvent, diff } from './diff.ts';
import { EngineSide } from './engine-side.ts';
import { Lineage } from './lineage.ts';
import { type MergeOutcome, type MergeRequest, merge } from './merge.ts';
import { type RestoreOutcome, type RestoreRequest, restoreRows } from './restore-rows.ts';

/** Names of volumes, each with a moment or not: `dev`, `main@-15m`. */
export interface DiffWish {
  readonly from: string;
  readonly to: string;
  /** Only this table; null: all. */
  readonly table: string | null;
}

export class Differences {
  readonly context: TimelineContext;
  readonly #timelines: Pick<TimelinesOnNode, 'resolve' | 'openPoint'>;

  constructor(context: TimelineContext, timelines: Pick<TimelinesOnNode, 'resolve' | 'openPoint'>) {
    this.context = context;
    this.#timelines = timelines;
  }

  /** What to put on top of `from` to have `to`. Rejects as Timelines.resolve does. */
  async *compare({ from, to, table }: DiffWish): AsyncGenerator<DiffEvent> {
    const [left, right] = await Promise.all([this.resolve(from), this.resolve(to)]);
    yield* this.comparePoints(new Lineage(this.context), left, right, table);
  }

  resolve(text: string): Promise<ResolvedPoint> {
    const { name, moment } = splitMoment(text);
    return this.#timelines.resolve(name, moment);
  }

  async *comparePoints(
    lineage: Lineage,
    left: ResolvedPoint,
    right: ResolvedPoint,
    table: string | null,
  ): AsyncGenerator<DiffEvent> {
    const points = [left, right] as const;
    const [pages, ...opened] = await Promise.all([
      this.#changedPages(lineage, left, right),
      ...points.map((point) => this.openSide(point)),
    ]);
    const [a, b] = opened;
    if (a === undefined || b === undefined) return;
    try {
      yield* diff({ sides: [a.side, b.side], changedPages: pages, table });
    } finally {
      await Promise.all(opened.map(({ close }) => close()));
    }
  }

  async openSide(
    point: ResolvedPoint,
  ): Promise<{ readonly side: EngineSide; readonly close: () => Promise<void> }> {
    const { engine, log, release } = await this.#timelines.openPoint(point);
    try {
      const side = await EngineSide.open(log, engine);
      const close = async (): Promise<void> => {
        await side.close();
        release();
      };
      return { side, close };
    } catch (error) {
      release();
      throw error;
    }
  }

  merge(request: MergeRequest): Promise<MergeOutcome> {
    return merge(this, request);
  }

  restoreRows(request: RestoreRequest): Promise<RestoreOutcome> {
    return restoreRows(this, request);
  }

  /** Pages with records that one of the two sees and the other does not. */
  async #changedPages(
    lineage: Lineage,
    left: ResolvedPoint,
    right: ResolvedPoint,
  ): Promise<ReadonlySet<number>> {
    const { clients, clock, timers, directory } = this.context;
    const options = { clients, clock, timers, clusterId: directory.cluster.clusterId };
    const [path, other] = [await lineage.pathOf(left), await lineage.pathOf(right)];
    const [ofLeft, ofRight] = await Promise.all([
      changedPages(options, left.manifest, seenOnlyBy(path, other), (pg, stretch) =>
        lineage.requiredScl(left, pg, stretch),
      ),
      changedPages(options, right.manifest, seenOnlyBy(other, path), (pg, stretch) =>
        lineage.requiredScl(right, pg, stretch),
      ),
    ]);
    return new Set<number>([...ofLeft, ...ofRight]);
  }
}
