/** sysbench's OLTP transactions, as batches (one request) and interactively (one request for each statement), beside PostgreSQL. */
import {
  type Contender,
  contest,
  findStanding,
  type Standing,
  standingsCharts,
  standingsTable,
} from '../contest.ts';
import { openSqlPeers } from '../peers/open.ts';
import type { Suite } from '../suite.ts';
import { ratio } from '../target.ts';
import { openWays } from '../ways/open.ts';
import { type Mix, prepareSysbench, type Style, sysbench as workload } from '../workloads/sysbench.ts';
import { prepareWorkload, workloadContender } from '../workloads/workload.ts';

const QUICK_ROWS = 10_000;
const FULL_ROWS = 100_000;
const MIXES: readonly Mix[] = ['read-only', 'read-write', 'write-only'];
const STYLES: readonly Style[] = ['batch', 'interactive'];

export const sysbench: Suite = {
  name: 'sysbench',
  about: "sysbench's read-only, read-write and write-only transactions, as batches and interactively",
  run: async (context) => {
    const rows = context.isQuick ? QUICK_ROWS : FULL_ROWS;
    const ways = [
      ...(await openWays(context, ['in process', 'WebSocket'])),
      ...(await openSqlPeers(context)),
    ];
    for (const way of ways) {
      context.say(`filling ${way.name}…`);
      await prepareWorkload({ prepare: (client) => prepareSysbench(client, rows) }, way);
    }
    const results: { readonly mix: Mix; readonly standings: readonly Standing[] }[] = [];
    for (const mix of MIXES) {
      const contenders: Contender[] = ways.flatMap((way) =>
        STYLES.map((style) => ({
          ...workloadContender(workload(mix, style, rows), way),
          name: `${way.name}, ${style}`,
        })),
      );
      const standings = await contest({
        contenders,
        clients: context.load.clients ?? (context.isQuick ? [32] : [1, 8, 32, 64]),
        load: context.load,
        say: (text) => context.say(`${mix}: ${text}`),
      });
      results.push({ mix, standings });
    }
    const writeOnly = results.at(-1)!.standings;
    const perSecond = (contender: string) => findStanding(writeOnly, contender, 32)?.perSecond;
    return {
      tables: results.map(({ mix, standings }) => standingsTable(mix, 'transactions', standings)),
      charts: context.isQuick
        ? []
        : results.flatMap(({ mix, standings }) =>
            standingsCharts(`${mix} transactions`, standings).slice(0, 1),
          ),
      targets: [
        {
          name: "write-only transactions as one batch, in process, 32 clients, to PostgreSQL's",
          wanted: 3,
          is: 'at-least',
          unit: '×',
          found: ratio(perSecond('in process, batch'), perSecond('PostgreSQL, interactive')),
        },
      ],
      results,
    };
  },
};
