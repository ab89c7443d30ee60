/** A thread with SQLite loaded is kept ready, one at most, and an engine that gets it is like any other. */
import { afterEach, expect, it } from 'vitest';
import { openEngine } from '../../../compute-node/engine/engine.ts';
import { EngineWorkers } from '../../../compute-node/engine/engine-workers.ts';
import { engineWorkerUrl } from '../../support/engine-worker.ts';
import { testLimits } from '../../support/core-harness.ts';
import { MemoryVolume } from '../../support/memory-volume.ts';

const workers = new EngineWorkers(engineWorkerUrl);
afterEach(() => workers.close());

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

it('is there soon after one was taken, and serves', async () => {
  expect(workers.hasSpare).toBe(false);
  for (let round = 0; round < 3; round += 1) {
    const opening = openEngine({
      volume: new MemoryVolume(),
      workerUrl: engineWorkerUrl,
      workers,
      limits: testLimits,
    });
    expect(workers.hasSpare).toBe(false);
    const engine = await opening;
    const connection = await engine.connect({ readonly: false });
    const rows: unknown[] = [];
    const statement = { sql: 'select 1 + 1', args: [], namedArgs: [], wantRows: true };
    await connection.run([{ statement, condition: null }], {
      consistency: 'strong',
      onEvent: (event) => {
        if (event.kind === 'rows') rows.push(...event.rows);
      },
    });
    expect(rows).toEqual([[2n]]);
    await engine.close();
    await until(() => workers.hasSpare);
  }
});
