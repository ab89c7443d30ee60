/**
 * Full load, timed: clients that each insert rows one after the other over a WebSocket, as fast as they are acknowledged. Latencies are kept by phase;
 * at the end every acknowledged row must be there.
 */
import type { Client } from '@libsql/client';
import { connect } from './workload/connection.ts';
import { percentile } from './report.ts';

export interface PhaseFigures {
  readonly phase: string;
  readonly seconds: number;
  readonly commits: number;
  readonly commitsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Commits that failed: none may, with a quorum. */
  readonly failed: number;
  readonly peakComputeMiB: number;
}

interface Phase {
  readonly name: string;
  readonly startedMs: number;
  readonly latenciesMs: number[];
  failed: number;
  peakBytes: number;
}

export class Hammer {
  readonly #url: string;
  readonly #memoryBytes: () => Promise<number>;
  readonly #clients: Promise<void>[];
  readonly #acknowledged: number[];
  readonly finished: PhaseFigures[] = [];
  #phase: Phase;
  #isOver = false;

  static async start(url: string, clients: number, memoryBytes: () => Promise<number>): Promise<Hammer> {
    const db = connect(url);
    await db.execute(
      'CREATE TABLE hammer(client INTEGER, number INTEGER, body TEXT NOT NULL, PRIMARY KEY (client, number)) WITHOUT ROWID',
    );
    db.close();
    return new Hammer(url, clients, memoryBytes);
  }

  private constructor(url: string, clients: number, memoryBytes: () => Promise<number>) {
    this.#url = url;
    this.#memoryBytes = memoryBytes;
    this.#acknowledged = Array.from({ length: clients }, () => 0);
    this.#phase = newPhase('warm up');
    this.#clients = this.#acknowledged.map((_, client) => this.#run(client));
    this.#clients.push(this.#watchMemory());
  }

  /** Ends the phase and begins the next. */
  enter(name: string): PhaseFigures {
    const { latenciesMs, startedMs, failed, peakBytes, name: phase } = this.#phase;
    this.#phase = newPhase(name);
    const seconds = (performance.now() - startedMs) / 1_000;
    const round = (value: number): number => Math.round(value * 100) / 100;
    const figures = {
      phase,
      seconds: round(seconds),
      commits: latenciesMs.length,
      commitsPerSecond: Math.round(latenciesMs.length / seconds),
      p50Ms: round(percentile(latenciesMs, 0.5)),
      p99Ms: round(percentile(latenciesMs, 0.99)),
      maxMs: round(percentile(latenciesMs, 1)),
      failed,
      peakComputeMiB: Math.round(peakBytes / 2 ** 20),
    };
    this.finished.push(figures);
    return figures;
  }

  /** Ends the clients. Resolves to the acknowledged rows that are not there. */
  async finish(): Promise<{ readonly acknowledged: number; readonly lost: number }> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    const db = connect(this.#url, 60_000);
    const { rows } = await db.execute('SELECT client, count(*) AS n FROM hammer GROUP BY client');
    db.close();
    const there = new Map(rows.map((row) => [Number(row.client), Number(row.n)]));
    const lost = this.#acknowledged.reduce(
      (sum, n, client) => sum + Math.max(0, n - (there.get(client) ?? 0)),
      0,
    );
    return { acknowledged: this.#acknowledged.reduce((sum, n) => sum + n, 0), lost };
  }

  async #run(client: number): Promise<void> {
    let db: Client = connect(this.#url.replace('http', 'ws'));
    for (let number = 0; !this.#isOver; number += 1) {
      const startMs = performance.now();
      const { latenciesMs } = this.#phase;
      try {
        await db.execute({
          sql: 'INSERT INTO hammer VALUES (?, ?, ?)',
          args: [client, number, `row ${number} of ${client}`],
        });
        // Counted where it began: a wait that the stall caused belongs to the stall.
        latenciesMs.push(performance.now() - startMs);
        this.#acknowledged[client] = (this.#acknowledged[client] ?? 0) + 1;
      } catch {
        this.#phase.failed += 1;
        db.close();
        db = connect(this.#url.replace('http', 'ws'));
      }
    }
    db.close();
  }

  async #watchMemory(): Promise<void> {
    while (!this.#isOver) {
      const bytes = await this.#memoryBytes();
      this.#phase.peakBytes = Math.max(this.#phase.peakBytes, bytes);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

function newPhase(name: string): Phase {
  return { name, startedMs: performance.now(), latenciesMs: [], failed: 0, peakBytes: 0 };
}
