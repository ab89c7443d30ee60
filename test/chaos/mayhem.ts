/**
 * Faults drawn from a seed: kills (SIGKILL), pauses (SIGSTOP, later SIGCONT), stops, and, where the disks have a power supply, power cuts; of
 * single processes, of zones, of majorities, of everything at once; each undone after a random time.
 */
import { STORAGE_NODES, type StorageNodeName } from '../support/real-cluster.ts';
import type { SeededRandom } from '../support/seeded-random.ts';
import { ALL, COMPUTE_NODES, isCompute, type Stage, zoneOf } from './stage.ts';

export interface MayhemOptions {
  readonly stage: Stage;
  readonly random: SeededRandom;
  /** Share of the faults that are power cuts. */
  readonly powerShare: number;
  readonly isOver: () => boolean;
  /** All runs again; resolves when the load is served again. */
  readonly onHealed: () => Promise<void>;
}

/** Longest pause before a fault is undone, and before the next. */
const MAX_PAUSE_MS = 600;

export async function mayhem(options: MayhemOptions): Promise<void> {
  const { stage, random, isOver, onHealed } = options;
  while (!isOver()) {
    if (random.chance(options.powerShare)) await cutPower(stage, random);
    else await fault(stage, random);
    await stage.sleep(random.below(MAX_PAUSE_MS));
    if (random.chance(0.7)) {
      await stage.heal();
      await onHealed();
    } else {
      await healSome(stage, random);
    }
    await stage.sleep(random.below(MAX_PAUSE_MS));
  }
  await stage.heal();
}

async function healSome(stage: Stage, random: SeededRandom): Promise<void> {
  for (const name of stage.paused) if (random.chance(0.5)) await stage.resume(name);
  for (const name of stage.killed) if (!isCompute(name) && random.chance(0.5)) await stage.start(name);
}

async function fault(stage: Stage, random: SeededRandom): Promise<void> {
  const one = random.pick(STORAGE_NODES);
  const zone = zoneOf(one);
  const some = STORAGE_NODES.filter(() => random.chance(0.5));
  const compute = random.pick(COMPUTE_NODES);
  switch (random.below(13)) {
    case 0:
    case 1:
      return stage.kill([one]);
    case 2:
      return stage.kill(zone);
    case 3:
      return stage.kill(some);
    case 4:
      return stage.kill(ALL);
    case 5:
      return stage.kill(STORAGE_NODES);
    case 6:
      return stage.pause(zone);
    case 7:
      return stage.pause(some);
    case 8:
      return stage.kill([compute]);
    case 9:
    case 10: {
      // Long enough for the other compute node to take over.
      await stage.pause([random.pick(COMPUTE_NODES)]);
      return stage.sleep(1_000 + random.below(2_500));
    }
    case 11:
      return stage.stop(random.chance(0.5) ? compute : one);
    default:
      return stage.kill([compute, one]);
  }
}

/** One machine, two, a zone, any, all six at once; now and then the compute nodes as well. */
async function cutPower(stage: Stage, random: SeededRandom): Promise<void> {
  const one = random.pick(STORAGE_NODES);
  const nodes = [
    [one],
    STORAGE_NODES.filter((node) => node === one || random.chance(0.2)),
    zoneOf(one),
    STORAGE_NODES.filter(() => random.chance(0.6)),
    STORAGE_NODES,
    STORAGE_NODES,
  ][random.below(6)] as readonly StorageNodeName[];
  const notices = random.chance(0.5);
  const dark = random.chance(0.3) ? stage.kill(COMPUTE_NODES) : null;
  await stage.cutPower(nodes.length === 0 ? [one] : nodes, { notices });
  await dark;
}
