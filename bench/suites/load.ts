/** Filling an empty table: rows of 100 bytes in batches of a thousand, one after another, by every way in that one would use for it. */
import { figure } from '../report.ts';
import type { Suite } from '../suite.ts';
import { openSqlPeers } from '../peers/open.ts';
import { openWays } from '../ways/open.ts';
import { PAYLOAD_CHARS, payload } from '../workloads/rows.ts';

const TABLE = 'bench_load';
const QUICK_ROWS = 50_000;
const FULL_ROWS = 1_000_000;
const ROWS_PER_STATEMENT = 100;
const STATEMENTS_PER_BATCH = 10;

export const load: Suite = {
  name: 'load',
  about: 'bulk load in batches of a thousand rows',
  run: async (context) => {
    const rows = context.isQuick ? QUICK_ROWS : FULL_ROWS;
    const ways = [
      ...(await openWays(context, ['in process', 'WebSocket'])),
      ...(await openSqlPeers(context)),
    ];
    const results: { readonly way: string; readonly rows: number; readonly seconds: number }[] = [];
    for (const way of ways) {
      context.say(`${way.name}, ${rows.toLocaleString('en')} rows…`);
      const client = await way.connect();
      await client.run(`DROP TABLE IF EXISTS ${TABLE}`, []);
      await client.run(`CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, v TEXT NOT NULL)`, []);
      const startedMs = performance.now();
      for (let done = 0; done < rows; done += ROWS_PER_STATEMENT * STATEMENTS_PER_BATCH) {
        await client.batch(batchFrom(done), 'write');
      }
      results.push({ way: way.name, rows, seconds: (performance.now() - startedMs) / 1_000 });
      await client.close();
    }
    return {
      tables: [
        {
          title: `${rows.toLocaleString('en')} rows of ${PAYLOAD_CHARS} bytes`,
          head: ['', 'rows/s', 'MB/s', 'seconds'],
          rows: results.map(({ way, seconds }) => [
            way,
            figure(rows / seconds),
            figure((rows * PAYLOAD_CHARS) / seconds / 1e6),
            seconds.toFixed(2),
          ]),
        },
      ],
      targets: [],
      results,
    };
  },
};

function batchFrom(done: number) {
  const sql = `INSERT INTO ${TABLE} VALUES ${new Array<string>(ROWS_PER_STATEMENT).fill('(?, ?)').join(', ')}`;
  return Array.from({ length: STATEMENTS_PER_BATCH }, (_, statement) => ({
    sql,
    args: Array.from({ length: ROWS_PER_STATEMENT }, (__, row) => [
      done + statement * ROWS_PER_STATEMENT + row + 1,
      payload(),
    ]).flat(),
  }));
}
