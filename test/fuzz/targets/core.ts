/**
 * Six storage cores that talk to each other, under requests of any kind to any of them, with restarts between: nothing but a refusal or an answer
 * comes of them, every segment's invariants hold, and nobody goes round in circles.
 */
import type { NodeId } from '../../../src/log/lsn.ts';
import type { CoreLimits } from '../../../storage-node/core/limits.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { StorageCluster } from '../../support/storage-cluster.ts';
import { TestVolume } from '../../support/storage-volume.ts';
import { received, wireRequest } from '../requests.ts';
import type { Target } from '../target.ts';

const PAGES = 6;
/** A cluster and its volume live for so many inputs: then others with a history of their own take over. */
const INPUTS_PER_LIFE = 300;
const LIMITS: Partial<CoreLimits> = {
  roundRecords: 12,
  roundAgeMs: 100,
  chainRecords: 4,
  pageCacheBytes: 3 * 4096,
  collectIntervalMs: 100,
  roundsRemembered: 5,
};

export const core: Target = {
  name: 'core',
  weight: 12,
  concurrency: 1,
  open: async () => {
    let life = new Life();
    return {
      input: (random) => {
        if (life.inputs >= INPUTS_PER_LIFE) {
          life.check();
          life = new Life();
        }
        life.input(random);
      },
      check: () => life.check(),
      close: async () => {},
    };
  },
};

class Life {
  inputs = 0;
  private readonly cluster = new StorageCluster({ limits: LIMITS });
  private readonly volume = new TestVolume('vol00000', { pgPages: PAGES });

  constructor() {
    for (const node of this.cluster.nodeIds) this.cluster.ask(node, 'install', this.volume.install());
  }

  input(random: SeededRandom): void {
    this.inputs += 1;
    const node = random.pick(this.cluster.nodeIds);
    const request = wireRequest(random, this.volume);
    const body = received(request);
    if (body !== null) this.cluster.send(node, request.method, body as never, () => {});
    this.cluster.pump();
    if (random.chance(0.1)) this.cluster.advance(50 + random.below(500));
    if (random.chance(0.01)) this.restart(random, node);
  }

  check(): void {
    this.cluster.advance(1_000);
    for (const node of this.cluster.nodeIds) {
      for (const segment of this.cluster.core(node)?.segments.all() ?? []) segment.check();
    }
  }

  private restart(random: SeededRandom, node: NodeId): void {
    this.cluster.restart(node, { chance: () => random.next() });
    this.cluster.pump();
  }
}
