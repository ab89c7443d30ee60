/** Memory of every process under full load: half an hour of it, or ten seconds with --quick (which say little). */
import { TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import { measure } from '../contest.ts';
import { processMemoryBytes } from '../process-io.ts';
import type { Chart, Suite } from '../suite.ts';
import { ratio } from '../target.ts';
import { contenderOf } from '../ways/crew.ts';
import { openWays } from '../ways/open.ts';
import { updates } from '../workloads/update.ts';
import { prepareWorkload } from '../workloads/workload.ts';

const CLIENTS = 64;
const QUICK_MS = 10_000;
const FULL_MS = 30 * 60_000;
const SAMPLES = 60;

interface Sample {
  readonly atSeconds: number;
  readonly compute: number;
  /** Of the largest. */
  readonly storage: number;
}

export const memory: Suite = {
  name: 'memory',
  about: 'memory over time, 64 clients over WebSocket at full load',
  run: async (context) => {
    const { own } = await context.cluster();
    if (own === null) {
      throw new TidemarkError('UNSUPPORTED', 'memory is read of processes of this machine', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const [way] = await openWays(context, ['WebSocket']);
    const workload = updates('bench_memory', 10_000);
    await prepareWorkload(workload, way!);
    const durationMs = context.isQuick ? QUICK_MS : FULL_MS;
    const samples: Sample[] = [];
    const startedMs = performance.now();
    const bytesOf = (name: string): number => processMemoryBytes(own.pid(name)) ?? Number.NaN;
    const timer = setInterval(() => {
      samples.push({
        atSeconds: Math.round((performance.now() - startedMs) / 1_000),
        compute: bytesOf('compute'),
        storage: Math.max(...own.nodes.map(({ nodeId }) => bytesOf(nodeId))),
      });
    }, durationMs / SAMPLES);
    const contender = contenderOf(way!, (client, index) => workload.operation(client, index));
    try {
      await measure(contender, CLIENTS, { warmUpMs: 0, durationMs });
    } finally {
      clearInterval(timer);
    }
    const [half, end] = [samples[Math.floor(samples.length / 2)], samples.at(-1)];
    const growth = (pick: (sample: Sample) => number): number | null =>
      context.isQuick ? null : ratio(end && pick(end), half && pick(half));
    return {
      tables: [
        {
          title: 'Resident memory, MiB',
          head: ['', 'at half time', 'at the end'],
          rows: (['compute', 'storage'] as const).map((name) => [
            name === 'compute' ? 'compute node' : 'largest storage node',
            ((half?.[name] ?? Number.NaN) / MIB).toFixed(0),
            ((end?.[name] ?? Number.NaN) / MIB).toFixed(0),
          ]),
        },
      ],
      charts: [chartOf(samples)],
      targets: (['compute', 'storage'] as const).map((name) => ({
        name: `memory of the ${name === 'compute' ? 'compute node' : 'largest storage node'} at the end, to half time`,
        wanted: 1.1,
        is: 'at-most',
        unit: '×',
        found: growth((sample) => sample[name]),
      })),
      results: samples,
    };
  },
};

function chartOf(samples: readonly Sample[]): Chart {
  const line = (name: string, pick: (sample: Sample) => number) => ({
    name,
    points: samples.map((sample) => [sample.atSeconds, pick(sample) / MIB] as const),
  });
  return {
    title: 'resident memory',
    xLabel: 'seconds',
    yLabel: 'MiB',
    series: [line('compute node', ({ compute }) => compute), line('storage node', ({ storage }) => storage)],
  };
}
