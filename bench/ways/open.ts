/** The ways into the suite's cluster, those that there are: a cluster at --url has no storage nodes to open a volume over. */
import { TidemarkError } from '../../src/base/errors.ts';
import type { SuiteContext } from '../suite.ts';
import { httpWay } from './http.ts';
import { libsqlWay } from './libsql.ts';
import type { SqlWay } from './way.ts';
import { wsWay } from './ws.ts';

export async function openWays(context: SuiteContext): Promise<readonly SqlWay[]> {
  const { target } = await context.cluster();
  if (target === null) throw new TidemarkError('INTERNAL', 'the cluster has no compute node');
  const ways = [wsWay(target), httpWay(target), await libsqlWay(target)];
  for (const way of ways) context.closeLater(() => way.close());
  return ways;
}
