/** A workload: its tables, and what one client does again and again. Written once, for every way in and every peer that speaks SQL. */
import type { Contender } from '../contest.ts';
import { contenderOf } from '../ways/crew.ts';
import type { SqlClient, SqlWay } from '../ways/way.ts';

export interface Workload {
  readonly name: string;
  prepare(client: SqlClient): Promise<void>;
  operation(client: SqlClient, index: number): () => Promise<void>;
}

export async function prepareWorkload(workload: Pick<Workload, 'prepare'>, way: SqlWay): Promise<void> {
  const setup = await way.connect();
  try {
    await workload.prepare(setup);
  } finally {
    await setup.close();
  }
}

export function workloadContender(workload: Workload, way: SqlWay): Contender {
  return contenderOf(way, (client, index) => workload.operation(client, index));
}
