/**
 * Micro benchmarks of the log and the quorum arithmetic, by tinybench.
 *
 *     node dist/bench/micro/main.js [--json FILE] [--check] [--only TEXT] [--time-ms N]
 *
 * Ends with one summary line. With --check it exits 1 when a figure falls short of its least.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Bench } from 'tinybench';
import { logTasks } from './log-tasks.ts';
import { quorumTasks } from './quorum-tasks.ts';
import type { MicroResult, MicroTask } from './task.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    check: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    'time-ms': { type: 'string', default: '300' },
  },
});

const timeMs = Number(values['time-ms']);
if (!(timeMs > 0)) {
  console.error(`--time-ms takes a number of milliseconds above 0, not ${values['time-ms']}`);
  process.exit(2);
}
const tasks = [...logTasks(), ...quorumTasks()].filter((task) => task.name.includes(values.only));
if (tasks.length === 0) {
  console.error(`no micro benchmark has "${values.only}" in its name`);
  process.exit(2);
}

const results: MicroResult[] = [];
for (const task of tasks) {
  const result = await measure(task);
  results.push(result);
  const short = result.perS < result.leastPerS ? `  below ${result.leastPerS.toLocaleString('en')}` : '';
  console.log(
    `${result.name.padEnd(34)}${Math.round(result.perS).toLocaleString('en').padStart(12)} ${result.unit}/s` +
      `   p50 ${result.p50Micros.toFixed(1)} µs   p99 ${result.p99Micros.toFixed(1)} µs${short}`,
  );
}

const shortfalls = results.filter((result) => result.perS < result.leastPerS);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ results }, null, 2)}\n`);
const verdict = shortfalls.length === 0 ? 'all reach their least' : `${shortfalls.length} fall short`;
console.log(`bench micro: ${results.length} figures, ${verdict}`);
if (values.check && shortfalls.length > 0) process.exitCode = 1;

async function measure(task: MicroTask): Promise<MicroResult> {
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
