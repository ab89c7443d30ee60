/** YCSB's core workloads A to F (Cooper et al., SoCC 2010): a table of ten fields of 100 bytes, keys by a Zipf distribution. */
import type { SqlClient } from '../ways/way.ts';
import { payload } from './rows.ts';
import { scramble, zipf } from './skew.ts';
import type { Workload } from './workload.ts';

const TABLE = 'usertable';
const FIELDS = 10;
const FIELD_CHARS = 100;
const MAX_SCAN_ROWS = 100;
const ROWS_PER_INSERT = 20;

type Kind = 'read' | 'update' | 'insert' | 'scan' | 'read-modify-write';

interface Mix {
  readonly about: string;
  readonly shares: readonly (readonly [Kind, number])[];
  /** Newest first, instead of the same ones over and over. */
  readonly latest: boolean;
}

export const MIXES: Readonly<Record<string, Mix>> = {
  A: {
    about: 'half reads, half updates',
    shares: [
      ['read', 0.5],
      ['update', 0.5],
    ],
    latest: false,
  },
  B: {
    about: '95 % reads, 5 % updates',
    shares: [
      ['read', 0.95],
      ['update', 0.05],
    ],
    latest: false,
  },
  C: { about: 'reads', shares: [['read', 1]], latest: false },
  D: {
    about: '95 % reads of the newest, 5 % inserts',
    shares: [
      ['read', 0.95],
      ['insert', 0.05],
    ],
    latest: true,
  },
  E: {
    about: '95 % short scans, 5 % inserts',
    shares: [
      ['scan', 0.95],
      ['insert', 0.05],
    ],
    latest: false,
  },
  F: {
    about: 'half reads, half read-modify-writes',
    shares: [
      ['read', 0.5],
      ['read-modify-write', 0.5],
    ],
    latest: false,
  },
};

const COLUMNS = Array.from({ length: FIELDS }, (_, i) => `field${i}`);
const INSERT = `INSERT INTO ${TABLE} (id, ${COLUMNS.join(', ')}) VALUES `;
const VALUES = `(?${', ?'.repeat(FIELDS)})`;
const SELECT = `SELECT ${COLUMNS.join(', ')} FROM ${TABLE} WHERE id = ?`;
const SCAN = `SELECT ${COLUMNS.join(', ')} FROM ${TABLE} WHERE id >= ? ORDER BY id LIMIT ?`;

/** One table for all mixes; keys grow with the inserts of all of them. */
export class Ycsb {
  private rows: number;
  private readonly next: () => number;
  private readonly startRows: number;

  constructor(rows: number) {
    this.startRows = rows;
    this.rows = rows;
    this.next = zipf(rows);
  }

  workload(name: string): Workload {
    const mix = MIXES[name]!;
    return {
      name: `${name}: ${mix.about}`,
      prepare: (client) => this.prepare(client),
      operation: (client) => () => this.perform(client, mix),
    };
  }

  private async prepare(client: SqlClient): Promise<void> {
    await client.run(`DROP TABLE IF EXISTS ${TABLE}`, []);
    const columns = COLUMNS.map((name) => `${name} TEXT`).join(', ');
    await client.run(`CREATE TABLE ${TABLE} (id INTEGER PRIMARY KEY, ${columns})`, []);
    for (let id = 0; id < this.startRows; id += ROWS_PER_INSERT) {
      const ids = Array.from({ length: Math.min(ROWS_PER_INSERT, this.startRows - id) }, (_, i) => id + i);
      await client.run(INSERT + ids.map(() => VALUES).join(', '), ids.flatMap(rowOf));
    }
  }

  private async perform(client: SqlClient, mix: Mix): Promise<void> {
    const key = this.key(mix);
    const field = `field${Math.floor(Math.random() * FIELDS)}`;
    const update = {
      sql: `UPDATE ${TABLE} SET ${field} = ? WHERE id = ?`,
      args: [payload(FIELD_CHARS), key],
    };
    switch (pick(mix)) {
      case 'read':
        await client.run(SELECT, [key]);
        return;
      case 'update':
        await client.run(update.sql, update.args);
        return;
      case 'insert':
        await client.run(INSERT + VALUES, rowOf(this.rows++));
        return;
      case 'scan':
        await client.run(SCAN, [key, 1 + Math.floor(Math.random() * MAX_SCAN_ROWS)]);
        return;
      case 'read-modify-write':
        await client.batch([{ sql: SELECT, args: [key] }, update], 'write');
        return;
    }
  }

  private key({ latest }: Mix): number {
    return latest ? this.rows - 1 - this.next() : scramble(this.next(), this.startRows);
  }
}

function rowOf(id: number): (string | number)[] {
  return [id, ...COLUMNS.map(() => payload(FIELD_CHARS))];
}

function pick({ shares }: Mix): Kind {
  let left = Math.random();
  for (const [kind, share] of shares) {
    left -= share;
    if (left < 0) return kind;
  }
  return shares[0]![0];
}
