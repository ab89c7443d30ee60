/**
 * The load of a trial, as the rest of the harness sees it: clients that write and read through all faults, that know what they were promised,
 * and that judge at the end whether it was kept.
 */
import type { Client } from '@libsql/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { SeededRandom } from '../support/seeded-random.ts';
import {
  ACCOUNTS,
  balanceIn,
  connect,
  LEDGER_PARTS,
  OPENING_BALANCE,
  Reader,
  SCHEMA,
  Writer,
} from './clients.ts';
import { Ledger } from './ledger.ts';

export interface LoadOptions {
  readonly urls: readonly string[];
  readonly seed: number;
  readonly writers?: number;
  readonly readers?: number;
  /** For the trial's story. */
  readonly tell: (event: string) => void;
  readonly report: (violation: string) => void;
}

export interface Judgement {
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
  readonly reads: number;
  /** Acknowledged transactions that are not there, or not whole. */
  readonly lost: number;
  readonly duplicated: number;
  /** Refused ones that are there, and such as nobody made. */
  readonly invented: number;
  /** What clients were told, counted. */
  readonly codes: Readonly<Record<string, number>>;
}

export class Load {
  readonly #options: LoadOptions;
  readonly #ledger = new Ledger();
  readonly #readers: readonly Reader[];
  readonly #clients: readonly Promise<void>[];
  #isOver = false;

  static async start(options: LoadOptions): Promise<Load> {
    const setup = connect(options.urls[0] as string);
    await setup.batch([...SCHEMA], 'write');
    setup.close();
    return new Load(options);
  }

  private constructor(options: LoadOptions) {
    const { urls, seed, writers = 6, readers = 3, tell, report } = options;
    this.#options = options;
    const optionsOf = (id: number) => ({
      id,
      urls,
      random: new SeededRandom(seed * 1_000 + id),
      ledger: this.#ledger,
      report,
      tell,
      isOver: () => this.#isOver,
    });
    this.#readers = Array.from({ length: readers }, (_, i) => new Reader(optionsOf(writers + i)));
    const all = [...Array.from({ length: writers }, (_, id) => new Writer(optionsOf(id))), ...this.#readers];
    this.#clients = all.map((client) => client.run());
  }

  /** Transactions acknowledged so far, of each client that writes. */
  acknowledged(): readonly number[] {
    return this.#ledger.clients.map((_, client) => this.#ledger.bounds(client).least);
  }

  get readers(): number {
    return this.#readers.length;
  }

  /** Reads answered so far. */
  answered(): number {
    return this.#readers.reduce((sum, reader) => sum + reader.looks, 0);
  }

  /** Ends the clients without a judgement. */
  async abandon(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  /** Ends the clients, and looks at everything. */
  async judge(): Promise<Judgement> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    const { urls, report } = this.#options;
    const ledger = this.#ledger;
    const db = await whoeverServes(urls);
    const { rows } = await db.execute(
      'SELECT client, number, count(*) AS parts, count(DISTINCT part) AS different FROM ledger GROUP BY client, number',
    );
    const found = new Map(rows.map((row) => [`${row.client}/${row.number}`, Number(row.parts)]));
    const { rows: counts } = await db.execute('SELECT client, n FROM progress');
    const [lost, invented, duplicated]: [string[], string[], string[]] = [[], [], []];
    for (const [client, outcomes] of ledger.clients.entries()) {
      let there = 0;
      for (const [number, outcome] of outcomes.entries()) {
        const name = `${client}/${number}`;
        const parts = found.get(name) ?? 0;
        found.delete(name);
        if (parts > 0) there += 1;
        if (outcome === 'pending') report(`transaction ${name} never ended`);
        if (outcome === 'acknowledged' && parts !== LEDGER_PARTS) lost.push(name);
        if (outcome === 'refused' && parts > 0) invented.push(name);
        if (parts !== 0 && parts !== LEDGER_PARTS)
          report(`transaction ${name} has ${parts} of ${LEDGER_PARTS} rows`);
      }
      const applied = Number(counts.find((row) => Number(row.client) === client)?.n ?? 0);
      for (let extra = there; extra < applied; extra += 1) duplicated.push(`of client ${client}`);
      if (applied < there) report(`client ${client} counted ${applied} of its ${there} transactions`);
    }
    invented.push(...found.keys());
    for (const name of lost) report(`transaction ${name} was acknowledged and is lost`);
    for (const name of duplicated) report(`a transaction ${name} was applied twice`);
    for (const name of invented)
      report(`transaction ${name} is there although it was refused, or never made`);
    const { rows: totals } = await db.execute('SELECT sum(balance) AS total FROM account');
    if (balanceIn(totals[0]) !== ACCOUNTS * OPENING_BALANCE)
      report(`the balance is ${balanceIn(totals[0])} at the end`);
    const { rows: integrity } = await db.execute('PRAGMA integrity_check');
    for (const row of integrity)
      if (row.integrity_check !== 'ok') report(`integrity: ${row.integrity_check}`);
    db.close();
    return {
      acknowledged: ledger.count('acknowledged'),
      refused: ledger.count('refused'),
      unknown: ledger.count('unknown'),
      reads: this.answered(),
      lost: lost.length,
      duplicated: duplicated.length,
      invented: invented.length,
      codes: Object.fromEntries(ledger.codes),
    };
  }
}

async function whoeverServes(urls: readonly string[]): Promise<Client> {
  for (let attempt = 0; ; attempt += 1) {
    const db = connect(urls[attempt % urls.length] as string, 30_000);
    try {
      await db.execute('SELECT 1 FROM account');
      return db;
    } catch (error) {
      db.close();
      if (attempt === 20) throw error;
      await sleep(250);
    }
  }
}
