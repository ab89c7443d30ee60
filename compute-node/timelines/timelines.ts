/** Timelines of the volumes that this compute node can reach. Each operation has a file of its own. */
import type { Moment } from '../../src/timeline/moment.ts';
import type { OpenedMoment, Timelines } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { ToldMoment } from './holder-access.ts';
import { MomentResolver, type ResolvedPoint } from './moment-resolver.ts';
import { OpenedPasts } from './opened-pasts.ts';
import { RecentMoments } from './recent-moments.ts';

export class TimelinesOnNode implements Pick<Timelines, 'resolve' | 'open'> {
  readonly #resolver: MomentResolver;
  readonly #pasts: OpenedPasts;
  readonly #recent: RecentMoments;

  constructor(context: TimelineContext) {
    this.#resolver = new MomentResolver(context);
    this.#pasts = new OpenedPasts(context);
    this.#recent = new RecentMoments(context.clock);
  }

  resolve(name: string, moment: Moment | null): Promise<ResolvedPoint> {
    return this.#resolver.resolve(name, moment);
  }

  async open(name: string, moment: Moment): Promise<OpenedMoment> {
    return this.#pasts.open(this.#recent.get(name, moment) ?? (await this.#resolveAndNote(name, moment)));
  }

  close(): void {
    this.#pasts.close();
  }

  /** Asked by another compute node: only of what is open here. */
  resolveHeld(name: string, moment: Moment | null): Promise<ToldMoment> {
    return this.#resolver.resolveHeld(name, moment);
  }

  async #resolveAndNote(name: string, moment: Moment): Promise<ResolvedPoint> {
    const resolved = await this.resolve(name, moment);
    this.#recent.note(moment, resolved);
    return resolved;
  }
}
