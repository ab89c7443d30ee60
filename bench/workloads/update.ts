/** The one-row update that most suites measure: about 100 bytes by primary key, a commit of its own. */
import { anyId, fillTable, payload } from './rows.ts';
import type { Workload } from './workload.ts';

/** `keyOf`: which row the client with this index changes; default: any. */
export function updates(table: string, rows: number, keyOf?: (index: number) => number): Workload {
  const sql = `UPDATE ${table} SET v = ? WHERE id = ?`;
  return {
    name: 'one-row update',
    prepare: (client) => fillTable(client, table, rows),
    operation: (client, index) => async () => {
      await client.run(sql, [payload(), keyOf?.(index) ?? anyId(rows)]);
    },
  };
}
