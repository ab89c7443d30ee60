/** Changes of head that somebody was told of: whoever asks after that must see the volume as it is since. */
import type { Lsn, VolumeId } from '../../../src/log/lsn.ts';
import type { World } from '../world/world.ts';

interface Backtrack {
  readonly closedAt: Lsn;
  readonly toldAtMs: number;
}

export class Heads {
  readonly #world: World;
  readonly #backtracks = new Map<VolumeId, Backtrack[]>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The run that ended at `closedAt` is not the head any more. */
  onBacktracked(volume: VolumeId, closedAt: Lsn, toldAtMs: number): void {
    const backtracks = this.#backtracks.get(volume) ?? [];
    this.#backtracks.set(volume, [...backtracks, { closedAt, toldAtMs }]);
  }

  /** Of a strong read, or of a commit. */
  onAnswer(who: string, volume: VolumeId, invokedAtMs: number, lsn: Lsn): void {
    for (const { closedAt, toldAtMs } of this.#backtracks.get(volume) ?? []) {
      if (invokedAtMs > toldAtMs && lsn <= closedAt)
        this.#world.violate(
          'undone',
          `${who} was shown lsn:${lsn} after ${volume} had been taken back at lsn:${closedAt}`,
        );
    }
  }
}
