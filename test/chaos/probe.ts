/**
 * Questions to a compute node that may not know yet that it was deposed. A beacon is written without pause at whichever compute node serves; every read
 * that was asked after one of its numbers was acknowledged must show that number, wherever it is answered, or fail. Every write must be there at the end
 * when it was acknowledged, and must not be when it was refused.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@libsql/client';
import { codeOf, connect, isRefusal } from './workload/connection.ts';

/** Longer than any pause. */
const ANSWER_TIMEOUT_MS = 20_000;
const BEACON_TIMEOUT_MS = 2_000;

export interface ProbeFigures {
  readonly asked: number;
  /** Reads that were answered, all of them with what had been acknowledged before. */
  readonly answered: number;
  readonly acknowledgedWrites: number;
  readonly refused: number;
  readonly staleReads: number;
  readonly lostWrites: number;
}

export class Probe {
  readonly #urls: readonly string[];
  readonly #report: (violation: string) => void;
  /** Open before anything happens to the node: what is sent through them is read by it first of all when it wakes up. */
  readonly #sockets: ReadonlyMap<string, Client>;
  readonly #asked: Promise<void>[] = [];
  readonly #writes = new Map<number, 'acknowledged' | 'refused' | 'unknown'>();
  readonly #beacon: Promise<void>;
  #isOver = false;
  #sent = 0;
  #acknowledged = 0;
  #acknowledgedMs = performance.now();
  #write = 0;
  #figures = { asked: 0, answered: 0, acknowledgedWrites: 0, refused: 0, staleReads: 0, lostWrites: 0 };

  static async start(urls: readonly string[], report: (violation: string) => void): Promise<Probe> {
    const db = connect(urls[0] as string);
    await db.execute('CREATE TABLE beacon(number INTEGER PRIMARY KEY)');
    await db.execute('CREATE TABLE probe(id INTEGER PRIMARY KEY)');
    db.close();
    return new Probe(urls, report);
  }

  private constructor(urls: readonly string[], report: (violation: string) => void) {
    this.#urls = urls;
    this.#report = report;
    this.#sockets = new Map(urls.map((url) => [url, connect(url.replace('http', 'ws'), ANSWER_TIMEOUT_MS)]));
    this.#beacon = this.#shine();
  }

  /** Highest number of the beacon that was acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Since a number of the beacon was last acknowledged. */
  get silentMs(): number {
    return performance.now() - this.#acknowledgedMs;
  }

  /** Sends questions, and does not wait for the answers. */
  ask(url: string, count: number): void {
    const socket = this.#sockets.get(url) as Client;
    for (let i = 0; i < count; i += 1) {
      const http = connect(url, ANSWER_TIMEOUT_MS);
      this.#asked.push(
        Promise.all([this.#read(socket), this.#read(http), this.#insert(i % 2 === 0 ? socket : http)]).then(
          () => http.close(),
        ),
      );
    }
  }

  /** When all answers are here, and everything was looked at. */
  async finish(): Promise<ProbeFigures> {
    await Promise.all(this.#asked);
    this.#isOver = true;
    await this.#beacon;
    for (const socket of this.#sockets.values()) socket.close();
    const there = new Set(await this.#ids());
    for (const [id, outcome] of this.#writes) {
      if (outcome === 'acknowledged' && !there.has(id)) {
        this.#figures.lostWrites += 1;
        this.#report(
          `write ${id} was acknowledged by a compute node that may have been deposed, and is lost`,
        );
      }
      if (outcome === 'refused' && there.has(id)) this.#report(`write ${id} was refused and is there`);
    }
    return this.#figures;
  }

  async #read(client: Client): Promise<void> {
    const least = this.#acknowledged;
    this.#figures.asked += 1;
    try {
      const { rows } = await client.execute('SELECT max(number) AS newest FROM beacon');
      const newest = Number(rows[0]?.newest ?? 0);
      this.#figures.answered += 1;
      if (newest >= least) return;
      this.#figures.staleReads += 1;
      this.#report(
        `a strong read showed the beacon at ${newest} when ${least} had been acknowledged before it was asked`,
      );
    } catch {
      this.#figures.refused += 1;
    }
  }

  async #insert(client: Client): Promise<void> {
    this.#write += 1;
    const id = this.#write;
    this.#figures.asked += 1;
    this.#writes.set(id, 'unknown');
    try {
      await client.execute({ sql: 'INSERT INTO probe VALUES (?)', args: [id] });
      this.#writes.set(id, 'acknowledged');
      this.#figures.acknowledgedWrites += 1;
    } catch (error) {
      if (isRefusal(codeOf(error))) this.#writes.set(id, 'refused');
      this.#figures.refused += 1;
    }
  }

  async #shine(): Promise<void> {
    for (let turn = 0; !this.#isOver; turn += 1) {
      const client = connect(this.#urls[turn % this.#urls.length] as string, BEACON_TIMEOUT_MS);
      try {
        for (;;) {
          this.#sent += 1;
          const number = this.#sent;
          await client.execute({ sql: 'INSERT INTO beacon VALUES (?)', args: [number] });
          this.#acknowledged = number;
          this.#acknowledgedMs = performance.now();
          if (this.#isOver) break;
          await sleep(1);
        }
      } catch {
        await sleep(10);
      } finally {
        client.close();
      }
    }
  }

  async #ids(): Promise<number[]> {
    for (let attempt = 0; ; attempt += 1) {
      const db = connect(this.#urls[attempt % this.#urls.length] as string, ANSWER_TIMEOUT_MS);
      try {
        return (await db.execute('SELECT id FROM probe')).rows.map((row) => Number(row.id));
      } catch (error) {
        if (attempt === 20) throw error;
        await sleep(250);
      } finally {
        db.close();
      }
    }
  }
}
