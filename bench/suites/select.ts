/** Point selects by primary key of a table that is in the page cache, beside PostgreSQL, and beside what `@libsql/client` reaches against an empty server. */
import { startChild } from '../children/child.ts';
import { type Contender, contest, findStanding, standingsCharts, standingsTable } from '../contest.ts';
import { openSqlPeers } from '../peers/open.ts';
import type { Suite, SuiteContext } from '../suite.ts';
import { ratio } from '../target.ts';
import { contenderOf } from '../ways/crew.ts';
import { libsqlWay } from '../ways/libsql.ts';
import { openWays } from '../ways/open.ts';
import { anyId, fillTable } from '../workloads/rows.ts';
import { prepareWorkload, type Workload, workloadContender } from '../workloads/workload.ts';

const TABLE = 'bench_select';
const ROWS = 10_000;
const SELECT = `SELECT v FROM ${TABLE} WHERE id = ?`;
const EMPTY = '@libsql/client, empty server';

const workload: Workload = {
  name: 'point select',
  prepare: (client) => fillTable(client, TABLE, ROWS),
  operation: (client) => async () => {
    const rows = await client.run(SELECT, [anyId(ROWS)]);
    if (rows !== 1) throw new Error(`a select found ${rows} rows, not 1`);
  },
};

export const select: Suite = {
  name: 'select',
  about: 'point selects of cached rows',
  run: async (context) => {
    const ways = [...(await openWays(context)), ...(await openSqlPeers(context))];
    for (const way of ways) await prepareWorkload(workload, way);
    const standings = await contest({
      contenders: [...ways.map((way) => workloadContender(workload, way)), await emptyServer(context)],
      clients: context.load.clients ?? (context.isQuick ? [1, 32] : [1, 8, 32, 64, 256]),
      load: context.load,
      say: context.say,
    });
    const at32 = (contender: string) => findStanding(standings, contender, 32)?.perSecond;
    const target = (name: string, wanted: number, of: string, to: string) =>
      ({ name, wanted, is: 'at-least', unit: '×', found: ratio(at32(of), at32(to)) }) as const;
    return {
      tables: [standingsTable('Point selects', 'selects', standings)],
      charts: standingsCharts('selects', standings),
      targets: [
        target("selects at 32 clients in process, to PostgreSQL's", 1.5, 'in process', 'PostgreSQL'),
        target("selects at 32 clients over WebSocket, to PostgreSQL's", 0.5, 'WebSocket', 'PostgreSQL'),
        target('selects at 32 by @libsql/client, to what it does alone', 0.7, '@libsql/client', EMPTY),
      ],
      results: standings,
    };
  },
};

async function emptyServer(context: SuiteContext): Promise<Contender> {
  const child = await startChild<{ port: number }>('floor/empty-server', []);
  context.closeLater(() => child.stop());
  const httpOrigin = `http://127.0.0.1:${child.ready.port}`;
  const way = await libsqlWay({ httpOrigin, volume: 'main', authToken: null });
  context.closeLater(() => way.close());
  return {
    ...contenderOf(way, (client) => async () => {
      await client.run(SELECT, [anyId(ROWS)]);
    }),
    name: EMPTY,
  };
}
