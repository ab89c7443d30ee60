/** Storage nodes whose disks are put back to old images, one and two at a time, between crashes and take-overs. See test/support/forgetful-life.ts. */
import { ForgetfulLife } from '../../../support/forgetful-life.ts';
import type { Arena } from './arena.ts';

const STEPS = 40;

export const memory: Arena = {
  async runSeed(seed) {
    const life = new ForgetfulLife(seed);
    for (let i = 0; i < STEPS && life.faults.length === 0; i += 1) life.step();
    life.finish();
    return life.faults;
  },
};
