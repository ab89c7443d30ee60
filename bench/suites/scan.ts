/** A full scan of a table right after the compute node was started anew, so that every page comes from storage nodes; then once more. */
import { TidemarkError } from '../../src/base/errors.ts';
import { WsConnection } from '../drivers/ws.ts';
import { median } from '../contest.ts';
import type { Suite } from '../suite.ts';
import { WsClient } from '../ways/ws.ts';
import { fillTable } from '../workloads/rows.ts';

const TABLE = 'bench_scan';
const ROW_CHARS = 1_000;
const QUICK_ROWS = 50_000;
const FULL_ROWS = 200_000;

interface ScanRound {
  readonly coldSeconds: number;
  readonly warmSeconds: number;
}

export const scan: Suite = {
  name: 'scan',
  about: 'a full scan, cold (right after a start of the compute node) and warm',
  run: async (context) => {
    const { target, own } = await context.cluster();
    if (own === null || target === null) {
      throw new TidemarkError('UNSUPPORTED', 'a cold scan needs a compute node that may be restarted', {
        nextStep: 'Leave out --url: the benchmark then starts a cluster of its own.',
      });
    }
    const rows = context.isQuick ? QUICK_ROWS : FULL_ROWS;
    const megabytes = (rows * ROW_CHARS) / 1_000_000;
    context.say(`loading ${megabytes} MB…`);
    const loader = new WsClient(await WsConnection.open(target));
    await fillTable(loader, TABLE, rows, ROW_CHARS);
    loader.close();
    const rounds: ScanRound[] = [];
    for (let round = 0; round < context.load.rounds; round++) {
      context.say(`scan, round ${round + 1} of ${context.load.rounds}…`);
      await own.restartCompute();
      const reader = await WsConnection.open(target);
      rounds.push({
        coldSeconds: await scanOnce(reader, rows),
        warmSeconds: await scanOnce(reader, rows),
      });
      reader.close();
    }
    const cold = megabytes / median(rounds.map(({ coldSeconds }) => coldSeconds));
    const warm = megabytes / median(rounds.map(({ warmSeconds }) => warmSeconds));
    return {
      tables: [
        {
          title: `Scan of ${megabytes} MB, median of ${rounds.length}`,
          head: ['', 'MB/s'],
          rows: [
            ['cold', cold.toFixed(1)],
            ['warm', warm.toFixed(1)],
          ],
        },
      ],
      targets: [{ name: 'cold scan', wanted: 40, is: 'at-least', unit: 'MB/s', found: cold }],
      results: rounds,
    };
  },
};

/** Seconds. */
async function scanOnce(connection: WsConnection, rows: number): Promise<number> {
  const startedMs = performance.now();
  const found = Number((await connection.execute(`SELECT sum(length(v)) FROM ${TABLE}`))[0]?.[0]?.value);
  if (found !== rows * ROW_CHARS) {
    throw new TidemarkError('CORRUPT', `the scan saw ${found} bytes, not ${rows * ROW_CHARS}`);
  }
  return (performance.now() - startedMs) / 1_000;
}
