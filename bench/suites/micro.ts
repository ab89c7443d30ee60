/** The work per redo record and per acknowledgement, on one core, by tinybench: what a change of the code is felt in first. */
import { logTasks } from '../micro/log-tasks.ts';
import { quorumTasks } from '../micro/quorum-tasks.ts';
import type { MicroResult, MicroTask } from '../micro/task.ts';
import type { Suite } from '../suite.ts';

const QUICK_MS = 100;
const FULL_MS = 300;

export const micro: Suite = {
  name: 'micro',
  about: 'the work per redo record and per acknowledgement, on one core',
  run: async ({ isQuick, say }) => {
    const results: MicroResult[] = [];
    for (const task of [...logTasks(), ...quorumTasks()]) {
      say(`${task.name}…`);
      results.push(await measureTask(task, isQuick ? QUICK_MS : FULL_MS));
    }
    return {
      tables: [
        {
          title: 'On one core',
          head: ['', 'per second', 'of', 'p50 µs', 'p99 µs'],
          rows: results.map(({ name, unit, perS, p50Micros, p99Micros }) => [
            name,
            Math.round(perS).toLocaleString('en'),
            unit,
            p50Micros.toFixed(1),
            p99Micros.toFixed(1),
          ]),
        },
      ],
      targets: results.map(({ name, unit, perS, leastPerS }) => ({
        name,
        wanted: leastPerS,
        is: 'at-least',
        unit: `${unit}/s`,
        found: perS,
      })),
      results,
    };
  },
};

async function measureTask(task: MicroTask, timeMs: number): Promise<MicroResult> {
  // Not there where the package was installed without what is for development: then this suite fails, and the others run.
  const { Bench } = await import('tinybench');
  const bench = new Bench({ time: timeMs, warmupTime: timeMs / 3 });
  bench.add(task.name, () => {
    task.run();
  });
  await bench.run();
  const result = bench.tasks[0]?.result;
  if (result === undefined || result.state !== 'completed') {
    throw new Error(`${task.name} did not complete`, {
      cause: result !== undefined && 'error' in result ? result.error : undefined,
    });
  }
  return {
    name: task.name,
    unit: task.unit,
    // The median is what the machine can do; the mean is what else ran beside it.
    perS: (task.perCall * 1000) / result.latency.p50,
    leastPerS: task.leastPerS,
    p50Micros: result.latency.p50 * 1000,
    p99Micros: result.latency.p99 * 1000,
  };
}
