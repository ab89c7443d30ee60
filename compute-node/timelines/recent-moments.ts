/**
 * Read points of moments asked for a short while ago: over HTTP every statement opens its moment anew. A time or an LSN that has been always names
 * the same point; only the volume's name may lead elsewhere meanwhile, and its history be collected (reads then say GONE by themselves).
 */
import type { Clock } from '../../src/env/env.ts';
import { formatMoment, type Moment } from '../../src/timeline/moment.ts';
import type { ResolvedPoint } from './moment-resolver.ts';

const AGE_MS = 2_000;
const MAX_ENTRIES = 256;

interface Entry {
  readonly resolved: ResolvedPoint;
  readonly untilMs: number;
}

export class RecentMoments {
  readonly #clock: Clock;
  /** Oldest first. */
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get(name: string, moment: Moment): ResolvedPoint | null {
    const entry = this.#entries.get(keyOf(name, moment));
    return entry === undefined || entry.untilMs <= this.#nowMs() ? null : entry.resolved;
  }

  note(moment: Moment, resolved: ResolvedPoint): void {
    if (!isFixed(moment)) return;
    const key = keyOf(resolved.name, moment);
    this.#entries.delete(key);
    this.#entries.set(key, { resolved, untilMs: this.#nowMs() + AGE_MS });
    const oldest = this.#entries.keys().next();
    if (this.#entries.size > MAX_ENTRIES && oldest.done !== true) this.#entries.delete(oldest.value);
  }

  /** The volume of that name is another from now on, or none. */
  forget(name: string): void {
    for (const key of [...this.#entries.keys()]) if (key.startsWith(`${name}@`)) this.#entries.delete(key);
  }

  #nowMs(): number {
    return this.#clock.now().monotonicMs;
  }
}

/** Names the same point whenever it is asked for. A snapshot may be dropped and made anew, a while ago moves on. */
function isFixed({ kind }: Moment): boolean {
  return kind === 'time' || kind === 'lsn';
}

function keyOf(name: string, moment: Moment): string {
  return `${name}@${formatMoment(moment)}`;
}
