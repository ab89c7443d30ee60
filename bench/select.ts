/** `bench select`: point selects by primary key of a table that is in the page cache, over WebSocket. */
import { WsConnection } from './drivers/ws.ts';
import { type LoadResult, runLoad } from './load.ts';
import type { Target } from './report.ts';
import type { BenchSubject, Say } from './subject.ts';

export interface SelectOptions {
  readonly clients: readonly number[];
  readonly durationMs: number;
  readonly warmUpMs: number;
  readonly rows: number;
}

const TABLE = 'bench_select';

export async function benchSelect(
  subject: BenchSubject,
  options: SelectOptions,
  say: Say,
): Promise<LoadResult[]> {
  const setup = await WsConnection.open(subject.target);
  await setup.execute(`DROP TABLE IF EXISTS ${TABLE}`);
  await setup.execute(`CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, v TEXT NOT NULL)`);
  await setup.execute(
    `INSERT INTO ${TABLE} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${options.rows})
     SELECT i, hex(randomblob(50)) FROM n`,
  );
  const results: LoadResult[] = [];
  try {
    for (const clients of options.clients) {
      say(`${clients} client${clients === 1 ? '' : 's'} over WebSocket…`);
      const connections = await Promise.all(
        Array.from({ length: clients }, () => WsConnection.open(subject.target)),
      );
      const operations = await Promise.all(
        connections.map(async (connection) => {
          await connection.request(
            JSON.stringify({ type: 'store_sql', sql_id: 1, sql: `SELECT v FROM ${TABLE} WHERE id = ?` }),
          );
          return async () => {
            const id = 1 + Math.floor(Math.random() * options.rows);
            await connection.request(
              `{"type":"execute","stream_id":1,"stmt":{"sql_id":1,"args":[{"type":"integer","value":"${id}"}]}}`,
            );
          };
        }),
      );
      results.push(await runLoad({ operations, warmUpMs: options.warmUpMs, durationMs: options.durationMs }));
      for (const connection of connections) connection.close();
    }
  } finally {
    await setup.execute(`DROP TABLE IF EXISTS ${TABLE}`).catch(() => undefined);
    setup.close();
  }
  return results;
}

export function selectTargets(results: readonly LoadResult[]): readonly Target[] {
  return [
    {
      name: 'point selects at 32 clients',
      wanted: 8_000,
      is: 'at-least',
      unit: '/s',
      found: results.find(({ clients }) => clients === 32)?.perSecond ?? null,
    },
  ];
}
