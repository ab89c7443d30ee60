/** The arenas find nothing wrong with the product as it is. */
import { describe, expect, it } from 'vitest';
import { arenaOf } from './arenas/arenas.ts';

describe('the arenas of mutants', () => {
  it.each(['pages', 'members', 'take-over', 'copies', 'engine', 'output', 'memory', 'codec'] as const)(
    '%s is quiet over sound code',
    async (name) => {
      const arena = await arenaOf(name);
      for (let seed = 1; seed <= 4; seed += 1) expect(await arena.runSeed(seed), `seed ${seed}`).toEqual([]);
    },
  );
});
