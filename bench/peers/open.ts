/** The peers that this machine has: what a user would run instead, with as many durable copies. Those that are missing are left out, and said. */
import type { Contender } from '../contest.ts';
import type { SuiteContext } from '../suite.ts';
import type { SqlWay } from '../ways/way.ts';
import { postgresWay } from './postgres.ts';

export interface Peers {
  readonly sql: readonly SqlWay[];
  readonly others: readonly Contender[];
}

export async function openPeers(context: SuiteContext): Promise<Peers> {
  if (context.peers === 'none') return { sql: [], others: [] };
  const postgres = await postgresWay(context);
  return { sql: postgres === null ? [] : [postgres], others: [] };
}
