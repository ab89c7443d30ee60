/** Storage cores while a PG's members change: newcomers, nodes that leave, lost disks. See test/support/member-life.ts. */
import { MemberLife } from '../../../support/member-life.ts';
import type { Arena } from './arena.ts';

const STEPS = 60;

export const members: Arena = {
  async runSeed(seed) {
    const life = new MemberLife(seed);
    for (let i = 0; i < STEPS; i += 1) life.step();
    life.finish();
    return [];
  },
};
