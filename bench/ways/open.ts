/** The ways into the suite's cluster, those that there are: a cluster at --url has no storage nodes to open a volume over. */
import { TidemarkError } from '../../src/base/errors.ts';
import type { BenchCluster, SuiteContext } from '../suite.ts';
import { httpWay } from './http.ts';
import { inProcessWay } from './in-process.ts';
import { libsqlWay } from './libsql.ts';
import type { SqlWay } from './way.ts';
import { wsWay } from './ws.ts';

export const WAYS = ['in process', 'WebSocket', 'HTTP', '@libsql/client'] as const;
export type WayName = (typeof WAYS)[number];

export async function openWays(
  context: SuiteContext,
  names: readonly WayName[] = WAYS,
): Promise<readonly SqlWay[]> {
  const cluster = await context.cluster();
  const ways: SqlWay[] = [];
  for (const name of names) {
    const way = await openWay(name, cluster);
    if (way === null) continue;
    context.closeLater(() => way.close());
    ways.push(way);
  }
  return ways;
}

/** Null: there is no such way into this cluster. */
async function openWay(name: WayName, { target, own }: BenchCluster): Promise<SqlWay | null> {
  if (name === 'in process') return own === null ? null : inProcessWay(own.nodes);
  if (target === null) throw new TidemarkError('INTERNAL', 'the cluster has no compute node');
  switch (name) {
    case 'WebSocket':
      return wsWay(target);
    case 'HTTP':
      return httpWay(target);
    case '@libsql/client':
      return libsqlWay(target);
  }
}
