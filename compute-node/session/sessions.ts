/** Every stream of the process, whatever protocol and volume it belongs to: counted, bounded, and closed together at the end. */
import type { EngineConnection } from '../engine/api.ts';
import { SessionError } from './errors.ts';
import type { SessionLimits } from './limits.ts';
import type { Scheduler } from './scheduler.ts';
import { SessionStream } from './session-stream.ts';

export class Sessions {
  readonly limits: SessionLimits;
  readonly scheduler: Scheduler;
  readonly #streams = new Set<SessionStream>();

  constructor(limits: SessionLimits, scheduler: Scheduler) {
    this.limits = limits;
    this.scheduler = scheduler;
  }

  get count(): number {
    return this.#streams.size;
  }

  /** Streams with a request running or waiting. */
  get busyCount(): number {
    let count = 0;
    for (const stream of this.#streams) if (stream.isBusy) count += 1;
    return count;
  }

  /** Throws OVERLOADED past `maxStreams`. */
  open(connect: () => Promise<EngineConnection>): SessionStream {
    if (this.#streams.size >= this.limits.maxStreams) {
      throw new SessionError(
        'OVERLOADED',
        `${this.limits.maxStreams} streams are open on this compute node, which is its limit`,
        'close streams that are not needed, or try again later',
      );
    }
    const stream: SessionStream = new SessionStream({
      connect,
      limits: this.limits,
      scheduler: this.scheduler,
      onClosed: () => this.#streams.delete(stream),
    });
    this.#streams.add(stream);
    return stream;
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => stream.close()));
  }
}
