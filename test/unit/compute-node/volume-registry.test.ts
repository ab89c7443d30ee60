import { describe, expect, it } from 'vitest';
import type { Engine } from '../../../compute-node/engine/api.ts';
import type { AdministeredVolume } from '../../../compute-node/volume/open-volume.ts';
import { type OpenedPast, type OpenedVolume, VolumeRegistry } from '../../../compute-node/volume-registry.ts';
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

  it('counts moments with the volumes, and closes the longest idle of either', async () => {
    const openings: Opening[] = [];
    const registry = registryOf(openings, 2);
    const closed: string[] = [];
    const open = (name: string) => async () => pastOf(name, closed);
    await registry.get('a');
    const first = await registry.holdPast('v@1', open('v@1'));
    await registry.get('b');
    expect(openings[0]?.closed).toEqual(['engine', 'log']);
    // One that is held is not idle; one that is not, is.
    first.release();
    await registry.get('c');
    expect(closed).toEqual(['v@1']);
    const held = await registry.holdPast('v@2', open('v@2'));
    await registry.holdPast('v@3', open('v@3'));
    await expect(registry.get('d')).rejects.toMatchObject({ code: 'OVERLOADED' });
    held.release();
    held.release();
    await registry.get('d');
    expect(closed).toEqual(['v@1', 'v@2']);
    expect(registry.opened().map(({ name }) => name)).toEqual(['d']);
    expect(registry.openedPasts().map(({ name }) => name)).toEqual(['v@3']);
  });

  it('opens a moment once for all who name it, and again after it could not be opened', async () => {
    const registry = registryOf([]);
    let openings = 0;
    const open = async () => {
      openings += 1;
      if (openings === 1) throw new TidemarkError('NO_QUORUM', 'not now');
      return pastOf('v@1', []);
    };
    await expect(registry.holdPast('v@1', open)).rejects.toMatchObject({ code: 'NO_QUORUM' });
    const [one, two] = await Promise.all([registry.holdPast('v@1', open), registry.holdPast('v@1', open)]);
    expect(one.past).toBe(two.past);
    expect(openings).toBe(2);
  });

  it('closes moments that were idle for a while, and those of one volume on demand', async () => {
    const registry = registryOf([]);
    const closed: string[] = [];
    const over = new TidemarkError('VOLUME_DROPPED', 'it was dropped');
    const hold = (name: string) => registry.holdPast(name, async () => pastOf(name, closed));
    const [a, b] = [await hold('v@1'), await hold('v@2')];
    await hold('w@1');
    a.release();
    registry.closeIdlePasts();
    b.release();
    (await hold('v@2')).release();
    registry.closeIdlePasts();
    await Promise.resolve();
    expect(closed).toEqual(['v@1']);
    await registry.endPasts('v@', over);
    expect(closed).toEqual(['v@1', 'v@2']);
    await registry.endPasts('w@', over);
    expect(closed).toEqual(['v@1', 'v@2', 'w@1']);
  });
});

function pastOf(name: string, closed: string[]): OpenedPast {
  const engine = { status: () => ({ connections: 0 }), close: async () => void closed.push(name) };
  return {
    name,
    engine: engine as unknown as Engine,
    log: { close: async () => {} } as unknown as AdministeredVolume,
  };
}
