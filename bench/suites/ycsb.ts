/** YCSB A to F, in process and over WebSocket. */
import { contest, type Standing, standingsTable } from '../contest.ts';
import type { Suite } from '../suite.ts';
import { openWays } from '../ways/open.ts';
import { MIXES, Ycsb } from '../workloads/ycsb.ts';
import { prepareWorkload, workloadContender } from '../workloads/workload.ts';

const QUICK_ROWS = 2_000;
const FULL_ROWS = 100_000;

export const ycsb: Suite = {
  name: 'ycsb',
  about: 'YCSB A to F: mixes of reads, updates, inserts and scans of rows of 1 KB',
  run: async (context) => {
    const ways = await openWays(context, ['in process', 'WebSocket']);
    const tables = new Map(ways.map((way) => [way, new Ycsb(context.isQuick ? QUICK_ROWS : FULL_ROWS)]));
    for (const [way, table] of tables) {
      context.say(`filling ${way.name}…`);
      await prepareWorkload(table.workload('A'), way);
    }
    const standings: Standing[] = [];
    for (const mix of Object.keys(MIXES)) {
      const found = await contest({
        contenders: ways.map((way) => ({
          ...workloadContender(tables.get(way)!.workload(mix), way),
          name: `${mix} ${way.name}`,
        })),
        clients: context.load.clients ?? [32],
        load: { ...context.load, rounds: context.isQuick ? 1 : context.load.rounds },
        say: context.say,
      });
      standings.push(...found);
    }
    const about = Object.entries(MIXES).map(([name, mix]) => `${name}: ${mix.about}`);
    return {
      tables: [{ ...standingsTable('YCSB', 'operations', standings), note: `${about.join('; ')}.` }],
      targets: [],
      results: standings,
    };
  },
};
