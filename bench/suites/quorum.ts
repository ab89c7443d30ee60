/**
 * One-row updates of about 100 bytes by primary key, each its own commit, acknowledged by four of six: by every way in, over numbers of clients, the
 * contenders taking turns.
 */
import { contest, findStanding, standingsCharts, standingsTable } from '../contest.ts';
import type { Suite } from '../suite.ts';
import { contenderOf } from '../ways/crew.ts';
import { openWays } from '../ways/open.ts';
import { anyId, fillTable, payload } from '../workloads/rows.ts';

const TABLE = 'bench_quorum';
const ROWS = 10_000;
const UPDATE = `UPDATE ${TABLE} SET v = ? WHERE id = ?`;

export const quorum: Suite = {
  name: 'quorum',
  about: 'commit latency and throughput of one-row updates',
  run: async (context) => {
    const ways = await openWays(context);
    for (const way of ways) {
      const setup = await way.connect();
      await fillTable(setup, TABLE, ROWS);
      await setup.close();
    }
    const standings = await contest({
      contenders: ways.map((way) =>
        contenderOf(way, (client) => async () => {
          await client.run(UPDATE, [payload(), anyId(ROWS)]);
        }),
      ),
      clients: context.load.clients ?? [1, 8, 32, 64, 256],
      load: context.load,
      say: context.say,
    });
    return {
      tables: [standingsTable('One-row updates', 'commits', standings)],
      charts: standingsCharts('commits', standings),
      targets: [
        {
          name: 'commit p50 at 1 client over WebSocket',
          wanted: 2.5,
          is: 'at-most',
          unit: 'ms',
          found: findStanding(standings, 'WebSocket', 1)?.p50Ms ?? null,
        },
        {
          name: 'commits at 64 clients over WebSocket',
          wanted: 4_000,
          is: 'at-least',
          unit: '/s',
          found: findStanding(standings, 'WebSocket', 64)?.perSecond ?? null,
        },
      ],
      results: standings,
    };
  },
};
