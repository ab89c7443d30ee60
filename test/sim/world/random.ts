/**
 * Streams of chance derived from one seed by name: each part of the simulation draws from its own, so that a new part, or a fault that is left
 * out, changes no draw of the others.
 */
import { SeededRandom } from '../../support/seeded-random.ts';

export class Chance extends SeededRandom {
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** Integer in [low, high]. */
  integer(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** Mostly near `typical`, seldom many times that: Pareto with shape 1.5, cut off at `most`. */
  heavyTailed(typical: number, most: number): number {
    return Math.min(most, typical * (1 - this.next()) ** (-1 / 1.5));
  }

  /** `count` different ones, in random order. */
  some<T>(choices: readonly T[], count: number): T[] {
    const rest = [...choices];
    const taken: T[] = [];
    while (taken.length < count && rest.length > 0) taken.push(...rest.splice(this.below(rest.length), 1));
    return taken;
  }
}

export function derive(seed: number, name: string): Chance {
  return new Chance(hashText(name, seed));
}

/** FNV-1a with a final mix, from any start. */
export function hashText(text: string, start = 0): number {
  let hash = (0x811c9dc5 ^ start) | 0;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) | 0;
}
