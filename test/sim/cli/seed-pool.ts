/** Worker processes that run seeds, each one at a time. A worker that dies is a failure of the seed it ran. */
import { type ChildProcess, fork } from 'node:child_process';
import type { FaultWeights } from '../faults/plan.ts';
import type { SeedResult } from '../run-seed.ts';

const WORKER = new URL('./seed-worker.js', import.meta.url);

export class SeedPool {
  readonly #workers: ChildProcess[];

  constructor(workers: number, weights: FaultWeights | null) {
    this.#workers = Array.from({ length: workers }, () => fork(WORKER, [JSON.stringify(weights)]));
  }

  async run(seeds: readonly number[], onResult: (result: SeedResult) => void): Promise<void> {
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
  onResult: (result: SeedResult) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let running: number | undefined;
    const next = (): void => {
      running = waiting.shift();
      if (running === undefined) resolve();
      else worker.send(running);
    };
    worker.on('message', (result) => {
      onResult(result as SeedResult);
      next();
    });
    worker.on('exit', (code, signal) => {
      if (running !== undefined) reject(new Error(`seed ${running} ended its process: ${signal ?? code}`));
    });
    next();
  });
}
