/**
 * Commit latency over the round trip between zones: everything between the compute node and the storage nodes is held back by a proxy (the nodes among
 * themselves are not). What a commit must cost is one round trip to the fourth of six, which here is every one's.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { startChild } from '../children/child.ts';
import { contest, findStanding, type Standing, standingsTable } from '../contest.ts';
import type { Suite, SuiteContext } from '../suite.ts';
import { inProcessWay } from '../ways/in-process.ts';
import type { SqlWay } from '../ways/way.ts';
import { updates } from '../workloads/update.ts';
import { prepareWorkload, workloadContender } from '../workloads/workload.ts';

const WORKLOAD = updates('bench_latency', 1_000);
const CLIENTS: readonly number[] = [1, 8];
const ROUND_TRIPS_MS = [0.5, 1, 2] as const;

export const latency: Suite = {
  name: 'latency',
  about: 'commit latency over injected round trips between compute node and storage nodes, in process',
  run: async (context) => {
    const { own } = await context.cluster({ withoutCompute: true });
    if (own === null) {
      throw new TidemarkError('UNSUPPORTED', 'delays are put before storage nodes of this machine', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const ports = own.nodes.map(({ address }) => address.split(':').at(-1)!);
    const proxy = await startChild<{ ports: readonly number[] }>('children/delay-proxy', ports);
    context.closeLater(() => proxy.stop());
    // The first to come tells the cluster where its nodes are: behind the proxy.
    const way = await inProcessWay(
      own.nodes.map((node, i) => ({ ...node, address: `127.0.0.1:${proxy.ready.ports[i]}` })),
    );
    context.closeLater(() => way.close());
    await prepareWorkload(WORKLOAD, way);
    const results: { readonly roundTripMs: number; readonly standings: readonly Standing[] }[] = [];
    for (const roundTripMs of [0, ...ROUND_TRIPS_MS]) {
      proxy.tell({ delayMs: roundTripMs / 2 });
      results.push({ roundTripMs, standings: await measureAt(context, way, roundTripMs) });
    }
    const clients = context.load.clients ?? CLIENTS;
    return {
      tables: results.map(({ roundTripMs, standings }) =>
        standingsTable(
          roundTripMs === 0 ? 'Without a delay' : `Round trip of ${roundTripMs} ms more`,
          'commits',
          standings,
        ),
      ),
      charts: [
        {
          title: 'half of the commits answered within, over the round trip',
          xLabel: 'ms more',
          yLabel: 'ms',
          series: clients.map((count) => ({
            name: `${count} clients`,
            points: results.map(
              ({ roundTripMs, standings }) =>
                [roundTripMs, findStanding(standings, 'in process', count)?.p50Ms ?? Number.NaN] as const,
            ),
          })),
        },
      ],
      targets: [],
      results,
    };
  },
};

async function measureAt(context: SuiteContext, way: SqlWay, roundTripMs: number): Promise<Standing[]> {
  return contest({
    contenders: [workloadContender(WORKLOAD, way)],
    clients: context.load.clients ?? CLIENTS,
    load: { ...context.load, rounds: context.isQuick ? 1 : context.load.rounds },
    say: (text) => context.say(`${roundTripMs} ms: ${text}`),
  });
}
