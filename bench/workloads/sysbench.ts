/** The transactions of sysbench's OLTP scripts (oltp_read_only, oltp_write_only, oltp_read_write) with its defaults: one table, an index on k. */
import type { Mode, SqlClient, SqlStatement } from '../ways/way.ts';
import { anyId, payload } from './rows.ts';
import type { Workload } from './workload.ts';

const TABLE = 'sbtest';
const POINT_SELECTS = 10;
const RANGE_ROWS = 100;
const C_CHARS = 120;
const PAD_CHARS = 60;
const ROWS_PER_INSERT = 50;

export type Mix = 'read-only' | 'write-only' | 'read-write';
/** All statements in one request, or one request for each. */
export type Style = 'batch' | 'interactive';

export async function prepareSysbench(client: SqlClient, rows: number): Promise<void> {
  await client.run(`DROP TABLE IF EXISTS ${TABLE}`, []);
  await client.run(
    `CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, k INTEGER NOT NULL, c TEXT NOT NULL, pad TEXT NOT NULL)`,
    [],
  );
  for (let done = 0; done < rows; ) {
    const count = Math.min(ROWS_PER_INSERT, rows - done);
    const values = new Array<string>(count).fill('(?, ?, ?, ?)').join(', ');
    const args = Array.from({ length: count }, (_, i) => rowOf(done + i + 1, rows)).flat();
    await client.run(`INSERT INTO ${TABLE} (id, k, c, pad) VALUES ${values}`, args);
    done += count;
  }
  await client.run(`CREATE INDEX ${TABLE}_k ON ${TABLE} (k)`, []);
}

export function sysbench(mix: Mix, style: Style, rows: number): Workload {
  const mode: Mode = mix === 'read-only' ? 'read' : 'write';
  return {
    name: `${mix}, ${style}`,
    prepare: (client) => prepareSysbench(client, rows),
    operation: (client) => async () => {
      const statements = statementsOf(mix, rows);
      if (style === 'batch') return client.batch(statements, mode);
      return client.transaction(async (run) => {
        for (const { sql, args } of statements) await run(sql, args);
      }, mode);
    },
  };
}

function statementsOf(mix: Mix, rows: number): SqlStatement[] {
  const statements: SqlStatement[] = [];
  if (mix !== 'write-only') {
    for (let i = 0; i < POINT_SELECTS; i++) {
      statements.push({ sql: `SELECT c FROM ${TABLE} WHERE id = ?`, args: [anyId(rows)] });
    }
    for (const [what, order] of [
      ['c', ''],
      ['sum(k)', ''],
      ['c', ' ORDER BY c'],
      ['DISTINCT c', ' ORDER BY c'],
    ] as const) {
      const from = anyId(Math.max(1, rows - RANGE_ROWS));
      const sql = `SELECT ${what} FROM ${TABLE} WHERE id BETWEEN ? AND ?${order}`;
      statements.push({ sql, args: [from, from + RANGE_ROWS - 1] });
    }
  }
  if (mix !== 'read-only') {
    const replaced = anyId(rows);
    statements.push(
      { sql: `UPDATE ${TABLE} SET k = k + 1 WHERE id = ?`, args: [anyId(rows)] },
      { sql: `UPDATE ${TABLE} SET c = ? WHERE id = ?`, args: [payload(C_CHARS), anyId(rows)] },
      { sql: `DELETE FROM ${TABLE} WHERE id = ?`, args: [replaced] },
      { sql: `INSERT INTO ${TABLE} (id, k, c, pad) VALUES (?, ?, ?, ?)`, args: rowOf(replaced, rows) },
    );
  }
  return statements;
}

function rowOf(id: number, rows: number): (string | number)[] {
  return [id, anyId(rows), payload(C_CHARS), payload(PAD_CHARS)];
}
