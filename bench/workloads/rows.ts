/** The table of the simple workloads: rows of about a hundred bytes by integer key, the size class of a small business row. */
import { randomBytes } from 'node:crypto';
import type { SqlClient } from '../ways/way.ts';

export const PAYLOAD_CHARS = 100;
const ROWS_PER_INSERT = 5_000;
const ROWS_PER_STATEMENT = 100;

/** Payloads share nothing with each other, so that an update changes all of the row; cut from one text, so that they cost nothing. */
const RANDOM_TEXT = randomBytes(384 * 1024).toString('base64');

export function payload(chars = PAYLOAD_CHARS): string {
  const from = Math.floor(Math.random() * (RANDOM_TEXT.length - chars));
  return RANDOM_TEXT.slice(from, from + chars);
}

/** From 1 to `count`. */
export function anyId(count: number): number {
  return 1 + Math.floor(Math.random() * count);
}

/** `table(id INTEGER PRIMARY KEY, v TEXT)`, filled with `rows` rows of `chars` characters. */
export async function fillTable(
  client: SqlClient,
  table: string,
  rows: number,
  chars = PAYLOAD_CHARS,
): Promise<void> {
  await client.run(`DROP TABLE IF EXISTS ${table}`, []);
  await client.run(`CREATE TABLE ${table} (id INTEGER PRIMARY KEY, v TEXT NOT NULL)`, []);
  const insert = insertSql(table);
  for (let done = 0; done < rows; done += ROWS_PER_INSERT) {
    const statements = [];
    for (let id = done + 1; id <= Math.min(rows, done + ROWS_PER_INSERT); id += ROWS_PER_STATEMENT) {
      const ids = Array.from({ length: Math.min(ROWS_PER_STATEMENT, rows - id + 1) }, (_, i) => id + i);
      const args = ids.flatMap((each) => [each, payload(chars)]);
      statements.push({ sql: insert(ids.length), args });
    }
    await client.batch(statements, 'write');
  }
}

/** Plain SQL, so that every peer takes it. */
function insertSql(table: string): (rows: number) => string {
  const texts = new Map<number, string>();
  return (rows) => {
    const known = texts.get(rows);
    if (known !== undefined) return known;
    const text = `INSERT INTO ${table} VALUES ${new Array<string>(rows).fill('(?, ?)').join(', ')}`;
    texts.set(rows, text);
    return text;
  };
}
