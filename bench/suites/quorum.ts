/**
 * One-row updates of about 100 bytes by primary key, each its own commit, acknowledged by four of six: by every way in, beside the floor (six bare
 * processes) and the peers that there are, over numbers of clients, the contenders taking turns.
 */
import { type Contender, contest, findStanding, standingsCharts, standingsTable } from '../contest.ts';
import { floorContender } from '../floor/floor.ts';
import { openPutPeers, openSqlPeers } from '../peers/open.ts';
import type { Suite } from '../suite.ts';
import { ratio } from '../target.ts';
import { contenderOf } from '../ways/crew.ts';
import { openWays } from '../ways/open.ts';
import type { SqlWay } from '../ways/way.ts';
import { anyId, fillTable, payload } from '../workloads/rows.ts';

const TABLE = 'bench_quorum';
const ROWS = 10_000;
const UPDATE = `UPDATE ${TABLE} SET v = ? WHERE id = ?`;

export const quorum: Suite = {
  name: 'quorum',
  about: 'commit latency and throughput of one-row updates, beside the floor and peers',
  run: async (context) => {
    const floor = await floorContender(context);
    const ways = await openWays(context);
    const sqlPeers = await openSqlPeers(context);
    const contenders: Contender[] = [floor];
    for (const way of [...ways, ...sqlPeers]) {
      await prepare(way);
      contenders.push(
        contenderOf(way, (client) => async () => {
          await client.run(UPDATE, [payload(), anyId(ROWS)]);
        }),
      );
    }
    contenders.push(...(await openPutPeers(context)));
    const standings = await contest({
      contenders,
      clients: context.load.clients ?? [1, 8, 32, 64, 256],
      load: context.load,
      say: context.say,
    });
    const at = (contender: string, clients: number) => findStanding(standings, contender, clients);
    const perSecond = (contender: string) => at(contender, 64)?.perSecond;
    const atLeast = (name: string, wanted: number, found: number | null) =>
      ({ name, wanted, is: 'at-least', unit: '×', found }) as const;
    const atMost = (name: string, wanted: number, found: number | null) =>
      ({ name, wanted, is: 'at-most', unit: '×', found }) as const;
    return {
      tables: [standingsTable('One-row updates', 'commits', standings)],
      charts: standingsCharts('commits', standings),
      targets: [
        atMost(
          "commit p50 at 1 client in process, to the floor's",
          1.6,
          ratio(at('in process', 1)?.p50Ms, at('floor', 1)?.p50Ms),
        ),
        atMost(
          "commit p50 at 1 client over WebSocket, to the floor's",
          2,
          ratio(at('WebSocket', 1)?.p50Ms, at('floor', 1)?.p50Ms),
        ),
        atMost(
          "commit p99 at 8 clients in process, to the floor's",
          3,
          ratio(at('in process', 8)?.p99Ms, at('floor', 8)?.p99Ms),
        ),
        atLeast(
          "updates at 64 clients in process, to PostgreSQL's",
          2,
          ratio(perSecond('in process'), perSecond('PostgreSQL')),
        ),
        atLeast(
          "updates at 64 clients over WebSocket, to PostgreSQL's",
          1.2,
          ratio(perSecond('WebSocket'), perSecond('PostgreSQL')),
        ),
        atLeast(
          "updates at 64 clients in process, to etcd's puts",
          2,
          ratio(perSecond('in process'), perSecond('etcd')),
        ),
      ],
      results: standings,
    };
  },
};

async function prepare(way: SqlWay): Promise<void> {
  const setup = await way.connect();
  await fillTable(setup, TABLE, ROWS);
  await setup.close();
}
