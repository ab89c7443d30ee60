import { describe, expect, it } from 'vitest';
import type { Engine } from '../../../compute-node/engine/api.ts';
import type { AdministeredVolume } from '../../../compute-node/volume/open-volume.ts';
import { type OpenedVolume, VolumeRegistry } from '../../../compute-node/volume-registry.ts';
import { silentLogger } from '../../../src/adapters/logger.ts';
import { TidemarkError } from '../../../src/base/errors.ts';

interface Opening {
  readonly name: string;
  readonly onEnded: (reason: Error) => void;
  readonly closed: string[];
}

function registryOf(openings: Opening[], maxOpenVolumes = 10): VolumeRegistry {
  return new VolumeRegistry({
    maxOpenVolumes,
    logger: silentLogger,
    open: async (name, onEnded) => {
      const closed: string[] = [];
      openings.push({ name, onEnded, closed });
      const engine = { status: () => ({ connections: 0 }), close: async () => void closed.push('engine') };
      const log = { close: async () => void closed.push('log') };
      return {
        name,
        engine: engine as unknown as Engine,
        log: log as unknown as AdministeredVolume,
      } satisfies OpenedVolume;
    },
  });
}

describe('the volumes open on a compute node', () => {
  it('opens a volume once for all who ask', async () => {
    const openings: Opening[] = [];
    const registry = registryOf(openings);
    const [one, two] = await Promise.all([registry.get('main'), registry.get('main')]);
    expect(one).toBe(two);
    expect(openings.length).toBe(1);
  });

  it.each(['DEPOSED', 'UNAVAILABLE'] as const)(
    'opens it anew after its engine ended with %s',
    async (code) => {
      const openings: Opening[] = [];
      const registry = registryOf(openings);
      const first = await registry.get('main');
      openings[0]?.onEnded(new TidemarkError(code, 'over'));
      const second = await registry.get('main');
      expect(second).not.toBe(first);
      expect(openings[0]?.closed).toEqual(['engine', 'log']);
      // Heard twice, or late, it does not touch the next one.
      openings[0]?.onEnded(new TidemarkError(code, 'over'));
      expect(await registry.get('main')).toBe(second);
    },
  );

  it('opens it anew when its engine ended before it was fully open', async () => {
    const openings: Opening[] = [];
    const registry = registryOf(openings);
    const opening = registry.get('main');
    while (openings.length === 0) await Promise.resolve();
    openings[0]?.onEnded(new TidemarkError('UNAVAILABLE', 'broke at once'));
    const first = await opening;
    expect(await registry.get('main')).not.toBe(first);
  });

  it('closes the least recently used idle volume to make room', async () => {
    const openings: Opening[] = [];
    const registry = registryOf(openings, 2);
    await registry.get('a');
    await registry.get('b');
    await registry.get('a');
    await registry.get('c');
    expect(openings.map(({ closed }) => closed.length)).toEqual([0, 2, 0]);
  });
});
