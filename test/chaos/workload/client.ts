/**
 * A client of the workload: one process and one session, that does one transaction after the other at whichever compute node serves it, and
 * notes in the history what it did and what it was told.
 *
 * 1. What may have been sent is noted before it is sent; what was read, when the answer is there.
 * 2. Before a commit is sent nothing can have happened; after that only a refusal says so.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { InStatement, ResultSet, Transaction } from '@libsql/client';
import type { HistoryRecorder, Isolation, OpenTransaction, Outcome } from '../../checkers/history.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { Connection, codeOf, isRefusal } from './connection.ts';
import { answered, IMPOSSIBLE, statementsOf, type Wish } from './objects.ts';
import { type Numbers, Wishes } from './wishes.ts';

/** Longer than a paused process or a missing quorum explains. */
const SLOW_MS = 7_000;

export interface ClientOptions {
  readonly name: string;
  /** Of the compute nodes. */
  readonly urls: readonly string[];
  readonly usesSockets: boolean;
  readonly random: SeededRandom;
  readonly numbers: Numbers;
  readonly recorder: HistoryRecorder;
  /** For the trial's story. */
  readonly tell: (event: string) => void;
  readonly countCode: (code: string) => void;
  /** A rule was broken. */
  readonly report: (violation: string) => void;
  readonly isOver: () => boolean;
}

abstract class WorkloadClient {
  protected readonly options: ClientOptions;
  protected readonly wishes: Wishes;
  readonly #connections: readonly Connection[];
  #turn: number;
  /** Highest LSN it was told: its session's token. */
  #token = 0;
  /** Acknowledged so far. */
  acknowledged = 0;

  constructor(options: ClientOptions) {
    this.options = options;
    const { urls, usesSockets, random, numbers, name } = options;
    this.wishes = new Wishes(random, numbers, name);
    this.#connections = urls.map(
      (url) => new Connection({ url: usesSockets ? url.replace(/^http/, 'ws') : url }),
    );
    this.#turn = random.below(urls.length);
  }

  async run(): Promise<void> {
    const { isOver, tell, name, urls } = this.options;
    while (!isOver()) {
      const [startMs, turn] = [performance.now(), this.#turn];
      await this.act();
      const tookMs = performance.now() - startMs;
      if (tookMs >= SLOW_MS)
        tell(`client ${name} waited ${Math.round(tookMs)} ms at ${urls[turn % urls.length]}`);
    }
    for (const connection of this.#connections) connection.close();
  }

  protected abstract act(): Promise<void>;

  protected get connection(): Connection {
    return this.#connections[this.#turn % this.#connections.length] as Connection;
  }

  /** One transaction: `perform` does it. */
  protected async transaction(
    isolation: Isolation,
    perform: (noted: OpenTransaction, connection: Connection) => Promise<Outcome>,
  ): Promise<void> {
    const { recorder, name, countCode } = this.options;
    const { connection } = this;
    connection.isolation = isolation;
    connection.minLsn = this.#token;
    connection.lsn = null;
    const noted = recorder.begin({ process: name, session: name, isolation, invokedAt: performance.now() });
    let outcome: Outcome;
    let code = '';
    try {
      outcome = await perform(noted, connection);
    } catch (error) {
      code = codeOf(error);
      outcome = error instanceof NotCommitted || isRefusal(code) ? 'failed' : 'unknown';
    }
    noted.end(outcome, performance.now());
    if (connection.lsn !== null) {
      this.#token = Math.max(this.#token, connection.lsn);
      // An unknown one has seen something, but where its own MTR lies nobody was told.
      if (outcome !== 'unknown') noted.at(connection.lsn);
    }
    if (outcome === 'ok') this.acknowledged += 1;
    else countCode(`${outcome} ${code === '' ? 'ROLLBACK' : code}`);
    if (code === '' || code === 'SQLITE_CONSTRAINT' || code === 'SQLITE_BUSY') return;
    this.#turn += 1;
    await sleep(20 + this.options.random.below(100));
  }

  /** All in one request. */
  protected async inBatch(
    wishes: readonly Wish[],
    mode: 'read' | 'write',
    { noted, connection, last }: { noted: OpenTransaction; connection: Connection; last?: InStatement },
  ): Promise<Outcome> {
    const statements = wishes.map(statementsOf);
    const all = last === undefined ? statements.flat() : [...statements.flat(), last];
    let results: readonly ResultSet[];
    try {
      results = await connection.within(connection.db.batch(all, mode));
    } catch (error) {
      for (const wish of wishes) if (wish.kind === 'write') noted.did(wish.operation);
      throw error;
    }
    let next = 0;
    for (const [place, wish] of wishes.entries()) {
      next += statements[place]?.length ?? 0;
      if (wish.kind === 'write') noted.did(wish.operation);
      else if (wish.kind === 'read') noted.did(answered(wish.wanted, results[next - 1] as ResultSet));
    }
    return 'ok';
  }

  /** One statement after the other, each in a request of its own. */
  protected async stepByStep(
    wishes: readonly Wish[],
    mode: 'read' | 'write' | 'deferred',
    { noted, connection, isTaken }: { noted: OpenTransaction; connection: Connection; isTaken: boolean },
  ): Promise<Outcome> {
    let isCommitSent = false;
    let transaction: Transaction | null = null;
    try {
      transaction = await connection.within(connection.db.transaction(mode));
      for (const wish of wishes) {
        if (wish.kind === 'write') noted.did(wish.operation);
        let result: ResultSet | null = null;
        for (const statement of statementsOf(wish))
          result = await connection.within(transaction.execute(statement));
        if (wish.kind === 'read') noted.did(answered(wish.wanted, result as ResultSet));
        if (this.options.random.chance(0.1)) await sleep(this.options.random.below(30));
      }
      if (!isTaken) {
        await connection.within(transaction.rollback());
        return 'failed';
      }
      isCommitSent = true;
      await connection.within(transaction.commit());
      return 'ok';
    } catch (error) {
      if (!isCommitSent) throw new NotCommitted(codeOf(error), error);
      throw error;
    } finally {
      transaction?.close();
    }
  }
}

/** The error came before a commit was sent. */
class NotCommitted extends Error {
  readonly code: string;

  constructor(code: string, cause: unknown) {
    super(`not committed: ${code}`, { cause });
    this.code = code;
  }
}

export class Writer extends WorkloadClient {
  protected async act(): Promise<void> {
    const { random } = this.options;
    const kind = random.below(12);
    await this.transaction('strong', (noted, connection) => {
      if (kind < 6) return this.inBatch(this.wishes.changes(), 'write', { noted, connection });
      if (kind === 6) return this.#impossible(noted, connection);
      if (kind < 9) return this.#alone(noted, connection);
      const mode = random.chance(0.7) ? 'write' : 'deferred';
      const isTaken = random.chance(0.75);
      return this.stepByStep(this.wishes.changes(), mode, { noted, connection, isTaken });
    });
    if (random.chance(0.1)) await sleep(random.below(50));
  }

  /** Breaks a constraint after everything else was done. */
  async #impossible(noted: OpenTransaction, connection: Connection): Promise<Outcome> {
    const outcome = await this.inBatch(this.wishes.changes(), 'write', {
      noted,
      connection,
      last: IMPOSSIBLE,
    });
    this.options.report(
      `a transaction of ${this.options.name} was acknowledged although it breaks a constraint`,
    );
    return outcome;
  }

  /** Without a transaction around it. */
  async #alone(noted: OpenTransaction, connection: Connection): Promise<Outcome> {
    const wish = this.wishes.change();
    noted.did(wish.operation);
    for (const statement of statementsOf(wish)) await connection.within(connection.db.execute(statement));
    return 'ok';
  }
}

export class Reader extends WorkloadClient {
  protected async act(): Promise<void> {
    const { random } = this.options;
    const kind = random.below(10);
    // Mostly strong, because that promises most.
    const isolation =
      this.connection.knowsLevels && random.chance(0.3)
        ? random.pick(['session', 'snapshot'] as const)
        : 'strong';
    await this.transaction(isolation, (noted, connection) => {
      if (kind < 7) return this.#alone(noted, connection);
      if (kind < 9) return this.inBatch(this.wishes.looks(), 'read', { noted, connection });
      return this.stepByStep(this.wishes.looks(), 'read', { noted, connection, isTaken: true });
    });
    await sleep(random.below(40));
  }

  async #alone(noted: OpenTransaction, connection: Connection): Promise<Outcome> {
    const wish = this.wishes.look();
    const [statement] = statementsOf(wish) as [InStatement];
    noted.did(answered(wish.wanted, await connection.within(connection.db.execute(statement))));
    return 'ok';
  }
}
