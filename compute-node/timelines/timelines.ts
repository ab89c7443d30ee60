/** Timelines of the volumes that this compute node can reach. Each operation has a file of its own. */
import type { Moment } from '../../src/timeline/moment.ts';
import type { OpenedMoment, Timelines } from './api.ts';
import type { TimelineContext } from './context.ts';
import type { ToldMoment } from './holder-access.ts';
import { MomentResolver, type ResolvedPoint } from './moment-resolver.ts';
import { OpenedPasts } from './opened-pasts.ts';

export class TimelinesOnNode implements Pick<Timelines, 'resolve' | 'open'> {
  readonly #resolver: MomentResolver;
  readonly #pasts: OpenedPasts;

  constructor(context: TimelineContext) {
    this.#resolver = new MomentResolver(context);
    this.#pasts = new OpenedPasts(context);
  }

  resolve(name: string, moment: Moment | null): Promise<ResolvedPoint> {
    return this.#resolver.resolve(name, moment);
  }

  async open(name: string, moment: Moment): Promise<OpenedMoment> {
    return this.#pasts.open(await this.resolve(name, moment));
  }

  close(): void {
    this.#pasts.close();
  }

  /** Asked by another compute node: only of what is open here. */
  resolveHeld(name: string, moment: Moment | null): Promise<ToldMoment> {
    return this.#resolver.resolveHeld(name, moment);
  }
}
