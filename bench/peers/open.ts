/** The peers that this machine has: what a user would run instead, with as many durable copies. Those that are missing are left out, and said. */
import type { Contender } from '../contest.ts';
import type { SuiteContext } from '../suite.ts';
import type { SqlWay } from '../ways/way.ts';
import { etcdContender } from './etcd.ts';
import { postgresWay } from './postgres.ts';

/** Those that speak SQL. */
export async function openSqlPeers(context: SuiteContext): Promise<readonly SqlWay[]> {
  const postgres = context.peers === 'none' ? null : await postgresWay(context);
  return postgres === null ? [] : [postgres];
}

/** Those that only put. */
export async function openPutPeers(context: SuiteContext): Promise<readonly Contender[]> {
  const etcd = context.peers === 'none' ? null : await etcdContender(context);
  return etcd === null ? [] : [etcd];
}
