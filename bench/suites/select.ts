/** Point selects by primary key of a table that is in the page cache. */
import { contest, findStanding, standingsCharts, standingsTable } from '../contest.ts';
import type { Suite } from '../suite.ts';
import { contenderOf } from '../ways/crew.ts';
import { openWays } from '../ways/open.ts';
import { anyId, fillTable } from '../workloads/rows.ts';

const TABLE = 'bench_select';
const ROWS = 10_000;
const SELECT = `SELECT v FROM ${TABLE} WHERE id = ?`;

export const select: Suite = {
  name: 'select',
  about: 'point selects of cached rows',
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
          const rows = await client.run(SELECT, [anyId(ROWS)]);
          if (rows !== 1) throw new Error(`a select found ${rows} rows, not 1`);
        }),
      ),
      clients: context.load.clients ?? [1, 32],
      load: context.load,
      say: context.say,
    });
    return {
      tables: [standingsTable('Point selects', 'selects', standings)],
      charts: standingsCharts('selects', standings),
      targets: [
        {
          name: 'point selects at 32 clients over WebSocket',
          wanted: 8_000,
          is: 'at-least',
          unit: '/s',
          found: findStanding(standings, 'WebSocket', 32)?.perSecond ?? null,
        },
      ],
      results: standings,
    };
  },
};
