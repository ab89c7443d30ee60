/**
 * The network between processes: for each ordered pair a link with its delays and whatever faults lie on it just now. A fault is put on by
 * adding to a link's counts and taken off by subtracting, so that any number of them can overlap.
 */
import type { SimProcess } from './process.ts';
import type { Chance } from './random.ts';
import type { World } from './world.ts';

export interface Link {
  readonly from: string;
  readonly to: string;
  /** How many times slower than most it is. */
  readonly factor: number;
  /** > 0: nothing arrives. */
  cuts: number;
  /** > 0: what is on a stream waits, and nobody notices. */
  stalls: number;
  /** Shares of unary messages. */
  loss: number;
  duplication: number;
  /** Up to so much is added to every message, differently for each: unary ones overtake each other. */
  jitterMs: number;
  /** Typical extra delay with a heavy tail. */
  slownessMs: number;
  /** > 0: so long a byte takes. */
  msPerByte: number;
  /** When something was put on it last, or taken off. */
  changedAtMs: number;
}

/** A connection that is up, as far as what happens around it goes. */
export interface Watcher {
  onLinksChanged(): void;
  onStopped(process: SimProcess): void;
  onEnded(process: SimProcess): void;
  /** The connection between the two breaks, if it is this one. */
  onReset(one: string, other: string): void;
}

/** The network of a run, before anything goes wrong in it. */
export interface NetworkShape {
  /** Of one message on a link that is as fast as most. */
  readonly typicalMs: number;
  readonly longestMs: number;
}

/** How much slower than most a link may be by nature. */
const SLOWEST_LINK = 12;
const LONGEST_SLOW_DELAY_MS = 3_000;

export class Links {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #shape: NetworkShape;
  readonly #links = new Map<string, Link>();
  readonly watchers = new Set<Watcher>();

  constructor(world: World, shape: NetworkShape) {
    this.#world = world;
    this.#shape = shape;
    this.#chance = world.chance('network');
  }

  between(from: string, to: string): Link {
    const key = `${from}>${to}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = {
        from,
        to,
        factor: this.#world.chance(`link ${key}`).heavyTailed(0.5, SLOWEST_LINK),
        cuts: 0,
        stalls: 0,
        loss: 0,
        duplication: 0,
        jitterMs: 0,
        slownessMs: 0,
        msPerByte: 0,
        changedAtMs: 0,
      };
      this.#links.set(key, link);
    }
    return link;
  }

  /** Puts something on links, or takes it off, and tells whoever waits for one. */
  change(links: readonly Link[], apply: (link: Link) => void): void {
    for (const link of links) {
      apply(link);
      link.changedAtMs = this.#world.nowMs;
    }
    for (const watcher of [...this.watchers]) watcher.onLinksChanged();
  }

  resetBetween(one: string, other: string): void {
    for (const watcher of [...this.watchers]) watcher.onReset(one, other);
  }

  /** Its connections notice when it stops or ends. */
  watch(process: SimProcess): void {
    process.onStopped = () => {
      for (const watcher of [...this.watchers]) watcher.onStopped(process);
    };
    process.onEnded = () => {
      for (const watcher of [...this.watchers]) watcher.onEnded(process);
    };
  }

  /** Both ways were without any fault since then. */
  isCleanSince(one: string, other: string, sinceMs: number): boolean {
    return [this.between(one, other), this.between(other, one)].every(
      (link) =>
        link.changedAtMs <= sinceMs &&
        link.cuts + link.stalls + link.loss + link.jitterMs + link.slownessMs + link.msPerByte < 1e-9,
    );
  }

  delayMs(link: Link, sizeBytes: number): number {
    const chance = this.#chance;
    let delayMs = 0.02 + chance.heavyTailed(this.#shape.typicalMs * link.factor, this.#shape.longestMs);
    if (link.jitterMs > 0) delayMs += chance.next() * link.jitterMs;
    if (link.slownessMs > 0) delayMs += chance.heavyTailed(link.slownessMs, LONGEST_SLOW_DELAY_MS);
    return delayMs + link.msPerByte * sizeBytes;
  }

  /** Whether a unary message gets lost on its way. */
  loses(link: Link): boolean {
    return link.cuts > 0 || (link.loss > 0 && this.#chance.chance(link.loss));
  }

  duplicates(link: Link): boolean {
    return link.duplication > 0 && this.#chance.chance(link.duplication);
  }

  between01(): number {
    return this.#chance.next();
  }

  get world(): World {
    return this.#world;
  }
}
