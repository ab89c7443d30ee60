/** `bench scan`: a full scan of a table right after the compute node was started anew, so that every page comes from storage nodes. */
import { TidemarkError } from '../src/base/errors.ts';
import { WsConnection } from './drivers/ws.ts';
import type { Target } from './report.ts';
import type { BenchSubject, Say } from './subject.ts';

export interface ScanOptions {
  readonly megabytes: number;
}

export interface ScanResult {
  readonly dataBytes: number;
  readonly coldSeconds: number;
  readonly coldMegabytesPerSecond: number;
  /** The same once more, with whatever the page cache kept. */
  readonly warmSeconds: number;
}

const TABLE = 'bench_scan';
const ROW_BYTES = 1_000;
const ROWS_PER_INSERT = 5_000;

export async function benchScan(subject: BenchSubject, options: ScanOptions, say: Say): Promise<ScanResult> {
  const { restartCompute, target } = subject;
  if (restartCompute === null) {
    throw new TidemarkError('UNSUPPORTED', 'a cold scan needs a compute node that may be restarted', {
      nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
    });
  }
  const rows = Math.ceil((options.megabytes * 1_000_000) / ROW_BYTES);
  say(`Loading ${options.megabytes} MB…`);
  const loader = await WsConnection.open(target);
  await loader.execute(`DROP TABLE IF EXISTS ${TABLE}`);
  await loader.execute(`CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, x TEXT NOT NULL)`);
  for (let done = 0; done < rows; done += ROWS_PER_INSERT) {
    const count = Math.min(ROWS_PER_INSERT, rows - done);
    await loader.execute(
      `INSERT INTO ${TABLE}(x) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
       SELECT hex(randomblob(${ROW_BYTES / 2})) FROM n`,
    );
  }
  loader.close();
  say('Starting the compute node anew…');
  await restartCompute();
  say('Scanning…');
  const reader = await WsConnection.open(target);
  try {
    const cold = await scan(reader);
    const warm = await scan(reader);
    const wanted = rows * ROW_BYTES;
    if (cold.dataBytes !== wanted || warm.dataBytes !== wanted) {
      throw new TidemarkError(
        'CORRUPT',
        `the scan saw ${cold.dataBytes} and ${warm.dataBytes} bytes, not ${wanted}`,
      );
    }
    return {
      dataBytes: wanted,
      coldSeconds: cold.seconds,
      coldMegabytesPerSecond: wanted / 1_000_000 / cold.seconds,
      warmSeconds: warm.seconds,
    };
  } finally {
    await reader.execute(`DROP TABLE IF EXISTS ${TABLE}`).catch(() => undefined);
    reader.close();
  }
}

async function scan(
  connection: WsConnection,
): Promise<{ readonly seconds: number; readonly dataBytes: number }> {
  const startedMs = performance.now();
  const rows = await connection.execute(`SELECT sum(length(x)) FROM ${TABLE}`);
  return { seconds: (performance.now() - startedMs) / 1_000, dataBytes: Number(rows[0]?.[0]?.value) };
}

export function scanTargets(result: ScanResult): readonly Target[] {
  return [
    { name: 'cold scan', wanted: 40, is: 'at-least', unit: 'MB/s', found: result.coldMegabytesPerSecond },
  ];
}
