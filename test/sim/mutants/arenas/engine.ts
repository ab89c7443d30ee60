/**
 * The SQL engine, over a volume that hardens when it likes: random SQL gives what plain SQLite gives (test/support/random-sql.ts), and of
 * transactions that read a counter before others have changed it none gets its write through.
 */
import { CoreHarness } from '../../../support/core-harness.ts';
import { compareWithPlainSqlite } from '../../../support/random-sql.ts';
import { SeededRandom } from '../../../support/seeded-random.ts';
import type { Arena } from './arena.ts';

const CONNECTIONS = 4;
const ROUNDS = 60;

export const engine: Arena = {
  async runSeed(seed) {
    await compareWithPlainSqlite(seed);
    return lostUpdates(seed);
  },
};

/** Every connection adds 1 to what it has read; whatever was committed must be in the sum. */
async function lostUpdates(seed: number): Promise<readonly string[]> {
  const random = new SeededRandom(seed);
  const harness = await CoreHarness.create();
  const connections = Array.from({ length: CONNECTIONS }, () => harness.connect());
  const [first] = connections as [number];
  harness.ok(first, 'CREATE TABLE counter (n INTEGER)', 'INSERT INTO counter VALUES (0)');
  const read = new Map<number, number>();
  let committed = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    if (random.chance(0.2)) harness.volume.hold();
    if (random.chance(0.3)) harness.volume.release();
    const connection = random.pick(connections);
    const seen = read.get(connection);
    if (seen === undefined) {
      harness.ok(connection, 'BEGIN');
      read.set(connection, Number(harness.rows(connection, 'SELECT n FROM counter')[0]?.[0]));
      continue;
    }
    read.delete(connection);
    const failed = harness.errorOf(connection, 'UPDATE counter SET n = ?', BigInt(seen + 1)) !== null;
    harness.ok(connection, failed ? 'ROLLBACK' : 'COMMIT');
    if (!failed) committed += 1;
  }
  for (const connection of read.keys()) harness.ok(connection, 'ROLLBACK');
  harness.volume.release();
  const sum = Number(harness.rows(first, 'SELECT n FROM counter')[0]?.[0]);
  return sum === committed ? [] : [`${committed} transactions committed, the counter shows ${sum}`];
}
