import { afterEach, describe, expect, it } from 'vitest';
import type {
  Engine,
  EngineConnection,
  EngineLimits,
  ProgramEvent,
  SqlValue,
} from '../../../compute-node/engine/api.ts';
import { openEngine } from '../../../compute-node/engine/engine.ts';
import { stepOf, testLimits } from '../../support/core-harness.ts';
import { engineWorkerUrl } from '../../support/engine-worker.ts';
import { MemoryVolume, type MemoryVolumeOptions } from '../../support/memory-volume.ts';

const opened: Engine[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((engine) => engine.close()));
});

async function open(
  options: { readonly volume?: MemoryVolumeOptions; readonly limits?: Partial<EngineLimits> } = {},
) {
  const volume = new MemoryVolume(options.volume);
  const engine = await openEngine({
    volume,
    workerUrl: engineWorkerUrl,
    limits: { ...testLimits, ...options.limits },
  });
  opened.push(engine);
  return { volume, engine };
}

async function query(connection: EngineConnection, sql: string, ...args: SqlValue[]): Promise<SqlValue[][]> {
  const rows: SqlValue[][] = [];
  await connection.run([stepOf([sql, ...args])], {
    consistency: 'strong',
    onEvent: (event: ProgramEvent) => {
      if (event.kind === 'rows') for (const row of event.rows) rows.push([...row]);
      if (event.kind === 'step-error') throw new Error(`${event.error.code}: ${event.error.message}`);
    },
  });
  return rows;
}

describe('engine through the worker', () => {
  it('creates, inserts, selects', async () => {
    const { engine } = await open();
    const c = await engine.connect({ readonly: false });
    await query(c, 'CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)');
    await query(c, 'INSERT INTO t VALUES (?, ?)', 1n, 'a');
    expect(await query(c, 'SELECT * FROM t')).toEqual([[1n, 'a']]);
    await c.close();
  });
});
