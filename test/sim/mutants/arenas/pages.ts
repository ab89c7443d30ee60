/** Storage cores under random timelines: writes that some nodes miss, backtracks, pins, collection, crashes. See test/support/page-life.ts. */
import { PageLife } from '../../../support/page-life.ts';
import type { Arena } from './arena.ts';

const STEPS = 60;

export const pages: Arena = {
  async runSeed(seed) {
    const life = new PageLife(seed);
    for (let i = 0; i < STEPS; i += 1) life.step();
    life.settle();
    return [];
  },
};
