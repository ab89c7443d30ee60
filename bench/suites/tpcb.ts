/** TPC-B's transaction as one batch, beside PostgreSQL. The balances must agree at the end. */
import { TidemarkError } from '../../src/base/errors.ts';
import { contest, standingsCharts, standingsTable } from '../contest.ts';
import { openSqlPeers } from '../peers/open.ts';
import type { Suite } from '../suite.ts';
import { openWays } from '../ways/open.ts';
import type { SqlWay } from '../ways/way.ts';
import { tpcb as workload } from '../workloads/tpcb.ts';
import { prepareWorkload, workloadContender } from '../workloads/workload.ts';

export const tpcb: Suite = {
  name: 'tpcb',
  about: "TPC-B's transaction as one batch",
  run: async (context) => {
    const bank = context.isQuick ? workload(4, 1_000) : workload(10, 10_000);
    const ways = [
      ...(await openWays(context, ['in process', 'WebSocket'])),
      ...(await openSqlPeers(context)),
    ];
    for (const way of ways) {
      context.say(`filling ${way.name}…`);
      await prepareWorkload(bank, way);
    }
    const standings = await contest({
      contenders: ways.map((way) => workloadContender(bank, way)),
      clients: context.load.clients ?? (context.isQuick ? [32] : [1, 8, 32, 64]),
      load: { ...context.load, rounds: context.isQuick ? 1 : context.load.rounds },
      say: context.say,
    });
    for (const way of ways) await requireBalance(way);
    return {
      tables: [standingsTable('TPC-B', 'transactions', standings)],
      charts: context.isQuick ? [] : standingsCharts('transactions', standings).slice(0, 2),
      targets: [],
      results: standings,
    };
  },
};

async function requireBalance(way: SqlWay): Promise<void> {
  const client = await way.connect();
  const sum = (table: string, column: string) => `(SELECT coalesce(sum(${column}), 0) FROM bench_${table})`;
  const history = sum('history', 'delta');
  const agree = ['accounts', 'tellers', 'branches'].map((table) => `${sum(table, 'balance')} = ${history}`);
  const rows = await client.run(
    `SELECT 1 AS agree FROM (SELECT 1 AS one) AS t WHERE ${agree.join(' AND ')}`,
    [],
  );
  await client.close();
  if (rows !== 1) throw new TidemarkError('CORRUPT', `the balances of ${way.name} do not agree`);
}
