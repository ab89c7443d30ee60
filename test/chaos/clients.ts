/**
 * The clients of a chaos round. Writers move money between accounts, add rows to a ledger and to a scratch table, count their
 * transactions, and now and then roll back or break a constraint on purpose. Readers check, in every answer, what must hold at every
 * moment. All of them go to whichever compute node serves them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, createClient, type InStatement, LibsqlError, type Row } from '@libsql/client';
import type { SeededRandom } from '../support/seeded-random.ts';
import { isRefusal, type Ledger } from './ledger.ts';

export const ACCOUNTS = 12;
export const OPENING_BALANCE = 1_000;
export const LEDGER_PARTS = 3;
const REQUEST_TIMEOUT_MS = 12_000;
/** Longer than a paused process or a missing quorum explains. */
const SLOW_MS = 7_000;

export const SCHEMA = [
  'CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)',
  `CREATE TABLE ledger(client INTEGER, number INTEGER, part INTEGER, body BLOB NOT NULL,
     PRIMARY KEY (client, number, part)) WITHOUT ROWID`,
  'CREATE TABLE progress(client INTEGER PRIMARY KEY, n INTEGER NOT NULL)',
  'CREATE TABLE scratch(id INTEGER PRIMARY KEY, client INTEGER, body TEXT NOT NULL)',
  'CREATE INDEX scratch_body ON scratch(body)',
  ...Array.from({ length: ACCOUNTS }, (_, id) => `INSERT INTO account VALUES (${id}, ${OPENING_BALANCE})`),
] as const;

export interface ChaosClientOptions {
  readonly id: number;
  readonly urls: readonly string[];
  readonly random: SeededRandom;
  readonly ledger: Ledger;
  /** For the round's story. */
  readonly tell: (event: string) => void;
  /** A rule was broken. */
  readonly report: (violation: string) => void;
  readonly isOver: () => boolean;
}

/** `fetch` with a limit: a paused process never answers. */
export function connect(url: string, timeoutMs = REQUEST_TIMEOUT_MS): Client {
  const withTimeout = (request: Request): Promise<Response> =>
    fetch(request, { signal: AbortSignal.timeout(timeoutMs) });
  return createClient({ url, fetch: withTimeout });
}

export function codeOf(error: unknown): string {
  if (error instanceof LibsqlError) return error.code;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ECONNREFUSED') return 'CONNECTION_REFUSED';
    if (cause.name === 'TimeoutError') return 'NO_ANSWER_IN_TIME';
  }
  return 'NETWORK';
}

export function balanceIn(row: Row | undefined): number {
  return Number(row?.total);
}

abstract class ChaosClient {
  protected readonly options: ChaosClientOptions;
  readonly #clients: Client[];
  #turn = 0;

  constructor(options: ChaosClientOptions) {
    this.options = options;
    const hasSocket = options.id % 3 === 1;
    this.#clients = options.urls.map((url) => connect(hasSocket ? url.replace('http', 'ws') : url));
    this.#turn = options.id % options.urls.length;
  }

  protected get db(): Client {
    return this.#clients[this.#turn % this.#clients.length] as Client;
  }

  protected async otherNode(): Promise<void> {
    this.#turn += 1;
    await sleep(20 + this.options.random.below(100));
  }

  async run(): Promise<void> {
    while (!this.options.isOver()) {
      const [startMs, turn] = [performance.now(), this.#turn];
      await this.act();
      const tookMs = performance.now() - startMs;
      if (tookMs < SLOW_MS) continue;
      const url = this.options.urls[turn % this.options.urls.length];
      this.options.tell(`client ${this.options.id} waited ${Math.round(tookMs)} ms at ${url}`);
    }
    for (const client of this.#clients) client.close();
  }

  protected abstract act(): Promise<void>;
}

export class Writer extends ChaosClient {
  protected async act(): Promise<void> {
    const { random, ledger, id } = this.options;
    const number = ledger.begin(id);
    const kind = random.below(10);
    // Before the commit is sent nothing can have happened.
    let isCommitSent = true;
    try {
      if (kind < 6) {
        await this.db.batch(this.#statements(number), 'write');
      } else if (kind === 6) {
        // Breaks a constraint after everything else was done.
        const conflict = `INSERT INTO account VALUES (${random.below(ACCOUNTS)}, 0)`;
        await this.db.batch([...this.#statements(number), conflict], 'write');
        this.options.report(`transaction ${id}/${number} was acknowledged although it breaks a constraint`);
      } else {
        isCommitSent = false;
        const transaction = await this.db.transaction('write');
        try {
          for (const statement of this.#statements(number)) await transaction.execute(statement);
          const { rows } = await transaction.execute('SELECT sum(balance) AS total FROM account');
          if (balanceIn(rows[0]) !== ACCOUNTS * OPENING_BALANCE)
            this.options.report(`a transaction saw the balance ${balanceIn(rows[0])}`);
          if (kind === 7) {
            await transaction.rollback();
            ledger.end(id, number, 'refused', 'ROLLBACK');
            return;
          }
          isCommitSent = true;
          await transaction.commit();
        } finally {
          transaction.close();
        }
      }
      ledger.end(id, number, 'acknowledged');
    } catch (error) {
      const code = codeOf(error);
      ledger.end(id, number, isCommitSent && !isRefusal(code) ? 'unknown' : 'refused', code);
      if (code !== 'SQLITE_CONSTRAINT' && code !== 'SQLITE_BUSY') await this.otherNode();
    }
    if (random.chance(0.1)) await sleep(random.below(50));
  }

  #statements(number: number): InStatement[] {
    const { random, id } = this.options;
    const amount = 1 + random.below(20);
    const [from, to] = [random.below(ACCOUNTS), random.below(ACCOUNTS)];
    const statements: InStatement[] = [
      { sql: 'UPDATE account SET balance = balance - ? WHERE id = ?', args: [amount, from] },
      { sql: 'UPDATE account SET balance = balance + ? WHERE id = ?', args: [amount, to] },
    ];
    for (let part = 0; part < LEDGER_PARTS; part += 1) {
      const size = random.chance(0.03) ? 20_000 : random.below(400);
      const body = new Uint8Array(size).fill(number % 251);
      statements.push({ sql: 'INSERT INTO ledger VALUES (?, ?, ?, ?)', args: [id, number, part, body] });
    }
    statements.push({
      sql: 'INSERT INTO progress VALUES (?, 1) ON CONFLICT(client) DO UPDATE SET n = n + 1',
      args: [id],
    });
    const body = random.id(4 + random.below(200));
    if (random.chance(0.5))
      statements.push({ sql: 'INSERT INTO scratch(client, body) VALUES (?, ?)', args: [id, body] });
    if (random.chance(0.1))
      statements.push({ sql: 'DELETE FROM scratch WHERE client = ? AND id % 3 = 0', args: [id] });
    return statements;
  }
}

/** One statement, so one snapshot: all that must agree. */
const LOOK = `SELECT (SELECT sum(balance) FROM account) AS total, (SELECT count(*) FROM ledger) AS parts,
  (SELECT coalesce(sum(n), 0) FROM progress) AS transactions,
  (SELECT json_group_object(client, n) FROM progress) AS progress`;

export class Reader extends ChaosClient {
  #seen = 0;
  looks = 0;

  protected async act(): Promise<void> {
    const { random, ledger, report, id } = this.options;
    const least = ledger.clients.map((_, client) => ledger.bounds(client).least);
    try {
      const rows = random.chance(0.7)
        ? (await this.db.execute(LOOK)).rows
        : (await this.db.batch([LOOK], 'read'))[0]?.rows;
      const row = rows?.[0];
      this.looks += 1;
      if (balanceIn(row) !== ACCOUNTS * OPENING_BALANCE)
        report(`reader ${id} saw the balance ${balanceIn(row)}`);
      const transactions = Number(row?.transactions);
      if (Number(row?.parts) !== LEDGER_PARTS * transactions)
        report(`reader ${id} saw ${row?.parts} ledger rows for ${transactions} transactions`);
      if (transactions < this.#seen) report(`reader ${id} went back from ${this.#seen} to ${transactions}`);
      this.#seen = transactions;
      const progress = JSON.parse(String(row?.progress)) as Record<string, number>;
      for (const [client, atLeast] of least.entries()) {
        const found = progress[client] ?? 0;
        const { most } = ledger.bounds(client);
        if (found < atLeast)
          report(`reader ${id} saw ${found} transactions of client ${client}, ${atLeast} were acknowledged`);
        if (found > most)
          report(`reader ${id} saw ${found} transactions of client ${client}, at most ${most} can be`);
      }
    } catch (error) {
      const code = codeOf(error);
      ledger.codes.set(`read ${code}`, (ledger.codes.get(`read ${code}`) ?? 0) + 1);
      await this.otherNode();
    }
    await sleep(random.below(40));
  }
}
