/** Take-overs over a bad network, against writers that live on. See test/support/takeover-life.ts. */
import { TakeOverLife } from '../../../support/takeover-life.ts';
import type { Arena } from './arena.ts';

const STEPS = 60;

export const takeOver: Arena = {
  async runSeed(seed) {
    const life = new TakeOverLife(seed);
    for (let i = 0; i < STEPS && life.faults.length === 0; i += 1) life.step();
    life.finish();
    return life.faults;
  },
};
