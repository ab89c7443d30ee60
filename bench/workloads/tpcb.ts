/** TPC-B's transaction, as pgbench runs it: three balances and a history row, of which the branch is what everybody wants. */
import type { SqlClient } from '../ways/way.ts';
import { anyId } from './rows.ts';
import type { Workload } from './workload.ts';

const TELLERS_PER_BRANCH = 10;
const ROWS_PER_INSERT = 200;

export function tpcb(branches: number, accountsPerBranch: number): Workload {
  const accounts = branches * accountsPerBranch;
  const tellers = branches * TELLERS_PER_BRANCH;
  return {
    name: 'TPC-B',
    prepare: async (client) => {
      for (const [table, rows] of [
        ['accounts', accounts],
        ['tellers', tellers],
        ['branches', branches],
      ] as const) {
        await fill(client, `bench_${table}`, rows);
      }
      await client.run('DROP TABLE IF EXISTS bench_history', []);
      await client.run(
        'CREATE TABLE bench_history (tid INTEGER, bid INTEGER, aid INTEGER, delta INTEGER, filler TEXT)',
        [],
      );
    },
    operation: (client) => async () => {
      const [account, teller, branch] = [anyId(accounts), anyId(tellers), anyId(branches)];
      const delta = anyId(10_000) - 5_000;
      const add = (table: string, id: number) => ({
        sql: `UPDATE bench_${table} SET balance = balance + ? WHERE id = ?`,
        args: [delta, id],
      });
      await client.batch(
        [
          add('accounts', account),
          { sql: 'SELECT balance FROM bench_accounts WHERE id = ?', args: [account] },
          add('tellers', teller),
          add('branches', branch),
          {
            sql: "INSERT INTO bench_history VALUES (?, ?, ?, ?, '                      ')",
            args: [teller, branch, account, delta],
          },
        ],
        'write',
      );
    },
  };
}

async function fill(client: SqlClient, table: string, rows: number): Promise<void> {
  await client.run(`DROP TABLE IF EXISTS ${table}`, []);
  await client.run(`CREATE TABLE ${table} (id INTEGER PRIMARY KEY, balance INTEGER, filler TEXT)`, []);
  const filler = ' '.repeat(80);
  for (let done = 0; done < rows; ) {
    const count = Math.min(ROWS_PER_INSERT, rows - done);
    const values = new Array<string>(count).fill(`(?, 0, '${filler}')`).join(', ');
    await client.run(
      `INSERT INTO ${table} VALUES ${values}`,
      Array.from({ length: count }, (_, i) => done + i + 1),
    );
    done += count;
  }
}
