/** Every mutant, kept for ever: a rule once proven stays proven. */
import type { Mutant } from './mutant.ts';
import { MEMBERS } from './table/members.ts';
import { PEERS_MEMORY } from './table/peers-memory.ts';
import { QUORUM_SETS_AND_DAMAGE } from './table/quorum-sets-and-damage.ts';
import { READS_AND_HISTORY } from './table/reads-and-history.ts';
import { REGISTERS_AND_LEASES } from './table/registers-and-leases.ts';
import { STORAGE } from './table/storage.ts';
import { TAKE_OVER_MUTANTS } from './table/take-over.ts';
import { WRITE_PATH } from './table/write-path.ts';

export const MUTANTS: readonly Mutant[] = [
  ...WRITE_PATH,
  ...TAKE_OVER_MUTANTS,
  ...REGISTERS_AND_LEASES,
  ...STORAGE,
  ...PEERS_MEMORY,
  ...MEMBERS,
  ...READS_AND_HISTORY,
  ...QUORUM_SETS_AND_DAMAGE,
];
