/** How a machine's disk behaves just now. Faults change it. */
import type { Chance } from '../world/random.ts';
import type { World } from '../world/world.ts';

export class DiskState {
  readonly #world: World;
  /** Every write and sync is refused with EIO. */
  failsWrites = false;
  /** As the gauges tell it. */
  isNearlyFull = false;
  /** How many times slower than usual. */
  slowness = 1;
  /** Nothing comes back before. */
  stalledUntilMs = 0;

  constructor(world: World) {
    this.#world = world;
  }

  delayMs(chance: Chance, typicalMs: number): number {
    const stallMs = Math.max(0, this.stalledUntilMs - this.#world.nowMs);
    return stallMs + chance.heavyTailed(typicalMs, typicalMs * 30) * this.slowness;
  }
}
