/** Many connections: one-row updates by 1 to 5,000 WebSockets, each with rows of its own; and all of them on one and the same row. */
import { contest, findStanding, type Standing, standingsCharts, standingsTable } from '../contest.ts';
import type { Suite, SuiteContext } from '../suite.ts';
import { ratio } from '../target.ts';
import { openWays } from '../ways/open.ts';
import { updates } from '../workloads/update.ts';
import { prepareWorkload, type Workload, workloadContender } from '../workloads/workload.ts';

const MOST = 5_000;
const HOT = 500;
const ROWS = 10_000;
/** So many take their time: each must have had its turn before counting begins. */
const LEAST_WARM_UP_MS = 2_000;
const LEAST_DURATION_MS = 3_000;

export const connections: Suite = {
  name: 'connections',
  about: 'one-row updates over up to 5,000 WebSockets',
  run: async (context) => {
    const standings = await overClients(context, updates('bench_connections', ROWS), [1, 8, 64, 500, MOST]);
    const best = Math.max(...standings.map(({ median }) => median.perSecond));
    return {
      tables: [standingsTable('Updates of rows of their own', 'commits', standings)],
      charts: standingsCharts('commits', standings).slice(0, 2),
      targets: [
        {
          name: `commits over ${MOST} connections, to the best number of them`,
          wanted: 0.9,
          is: 'at-least',
          unit: '×',
          found: ratio(findStanding(standings, 'WebSocket', MOST)?.perSecond, best),
        },
      ],
      results: standings,
    };
  },
};

export const hotrow: Suite = {
  name: 'hotrow',
  about: 'updates of one row by everybody',
  run: async (context) => {
    const standings = await overClients(
      context,
      updates('bench_hot', 1, () => 1),
      [1, 32, HOT, MOST],
    );
    return {
      tables: [standingsTable('Updates of one row', 'commits', standings)],
      charts: standingsCharts('commits', standings).slice(0, 2),
      targets: [
        {
          name: `commits on one row, ${MOST} clients to ${HOT}`,
          wanted: 0.9,
          is: 'at-least',
          unit: '×',
          found: ratio(
            findStanding(standings, 'WebSocket', MOST)?.perSecond,
            findStanding(standings, 'WebSocket', HOT)?.perSecond,
          ),
        },
      ],
      results: standings,
    };
  },
};

async function overClients(
  context: SuiteContext,
  workload: Workload,
  clients: readonly number[],
): Promise<Standing[]> {
  const [way] = await openWays(context, ['WebSocket']);
  await prepareWorkload(workload, way!);
  return contest({
    contenders: [workloadContender(workload, way!)],
    clients: context.load.clients ?? clients,
    load: {
      ...context.load,
      rounds: context.isQuick ? 1 : context.load.rounds,
      warmUpMs: Math.max(context.load.warmUpMs, LEAST_WARM_UP_MS),
      durationMs: Math.max(context.load.durationMs, LEAST_DURATION_MS),
    },
    say: context.say,
  });
}
