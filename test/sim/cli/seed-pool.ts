/** Worker processes that run seeds, each one at a time. A worker that dies is a failure of the seed it ran. */
import { type ChildProcess, fork } from 'node:child_process';
import type { FaultWeights } from '../faults/plan.ts';
import type { SeedResult } from '../run-seed.ts';
import type { SeedReport } from './seed-worker.ts';

const WORKER = new URL('./seed-worker.js', import.meta.url);
/**
 * A run makes much that is soon forgotten: a large nursery spares it the copying. Errors are ordinary answers here, and where they came from is
 * asked only of a run that failed, which is played again for it.
 */
const NODE_OPTIONS = ['--max-semi-space-size=32', '--stack-trace-limit=0'];

export class SeedPool {
  readonly #workers: ChildProcess[];

  constructor(workers: number, weights: FaultWeights | null) {
    this.#workers = Array.from({ length: workers }, () =>
      fork(WORKER, [JSON.stringify(weights)], { execArgv: NODE_OPTIONS }),
    );
  }

  /** `cpuMs`: what the run cost its processor. */
  async run(seeds: readonly number[], onResult: (result: SeedResult, cpuMs: number) => void): Promise<void> {
    const waiting = [...seeds];
    await Promise.all(this.#workers.map((worker) => runAll(worker, waiting, onResult)));
  }

  close(): void {
    for (const worker of this.#workers) worker.kill();
  }
}

function runAll(
  worker: ChildProcess,
  waiting: number[],
  onResult: (result: SeedResult, cpuMs: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let running: number | undefined;
    const next = (): void => {
      running = waiting.shift();
      if (running === undefined) resolve();
      else worker.send(running);
    };
    worker.on('message', (report) => {
      const { result, cpuMs } = report as SeedReport;
      onResult(result, cpuMs);
      next();
    });
    worker.on('exit', (code, signal) => {
      if (running !== undefined) reject(new Error(`seed ${running} ended its process: ${signal ?? code}`));
    });
    next();
  });
}
