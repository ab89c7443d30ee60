/** The in-process client: the compute node runs in this process, on the suite's storage nodes, with a volume of its own. */
import { open } from '../../client/open.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import { LibsqlClient } from './libsql.ts';
import type { SqlWay } from './way.ts';

const VOLUME = 'bench-in-process';

export async function inProcessWay(nodes: readonly ClusterNode[]): Promise<SqlWay> {
  const client = await open({ nodes, volume: VOLUME, create: true, concurrency: 0 });
  return {
    name: 'in process',
    connect: async () => new LibsqlClient(client),
    close: () => client.close(),
  };
}
