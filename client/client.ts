/**
 * The in-process client over a volume's sessions: no protocol between. Errors, rows and transactions are as `@libsql/client` has them; what it runs on
 * (a compute node in this process) is opened by open.ts.
 */
import type { Statement } from '../compute-node/engine/api.ts';
import { type Consistency, STRONG } from '../compute-node/session/consistency.ts';
import type { Sessions } from '../compute-node/session/sessions.ts';
import { connector, type ResolveVolume } from '../compute-node/session/volume-sessions.ts';
import { assert } from '../src/base/assert.ts';
import { type Lsn, NO_LSN } from '../src/log/lsn.ts';
import { toStatement } from './arguments.ts';
import { beginStep, plainStep, requireStep, resultsOf, transactionSteps } from './batch.ts';
import { libsqlError, toClientError } from './errors.ts';
import { resultSetOf, runProgram } from './program.ts';
import { clientClosed, leavesNothing, Streams } from './streams.ts';
import { StreamTransaction } from './transaction.ts';
import type {
  Client,
  InArgs,
  InStatement,
  IntMode,
  ResultSet,
  Transaction,
  TransactionMode,
  VolumeOptions,
} from './types.ts';

/** A compute node of this process, as its clients need it. */
export interface ClientNode {
  readonly sessions: Sessions;
  readonly resolveVolume: ResolveVolume;
  createVolume(name: string): Promise<void>;
  /** Gives its volumes back. */
  close(): Promise<void>;
}

export interface ClientSettings {
  readonly volume: string;
  readonly intMode: IntMode;
  readonly concurrency: number;
  readonly level: Consistency['level'];
}

export interface InProcessOptions {
  readonly settings: ClientSettings;
  readonly node: Promise<ClientNode>;
  /** Opens the node anew; null: it is another client's. */
  readonly reopen: (() => Promise<ClientNode>) | null;
}

const FOREIGN_KEYS_OFF = plainStep('PRAGMA foreign_keys=off');
const FOREIGN_KEYS_ON = plainStep('PRAGMA foreign_keys=on');

export class InProcessClient implements Client {
  readonly protocol = 'tidemark';
  readonly #settings: ClientSettings;
  readonly #reopen: (() => Promise<ClientNode>) | null;
  #node: Promise<ClientNode>;
  #streams: Promise<Streams>;
  /** The same once they are there, so that a call need not wait for what has happened. */
  #ready: Streams | null = null;
  #isClosed = false;
  #closing: Promise<void> | null = null;
  /** Highest LSN that any result depended on: what `session` reads must show. */
  #seenLsn: Lsn = NO_LSN;

  constructor({ settings, node, reopen }: InProcessOptions) {
    this.#settings = settings;
    this.#reopen = reopen;
    this.#node = node;
    this.#streams = this.#openStreams();
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when the volume is open. Rejects with whatever opening it can meet. */
  async opened(): Promise<this> {
    try {
      const streams = await this.#streams;
      const stream = streams.take();
      let isClean = false;
      try {
        await stream.open();
        isClean = true;
      } finally {
        streams.giveBack(stream, isClean);
      }
      return this;
    } catch (error) {
      throw toClientError(error);
    }
  }

  async execute(stmt: InStatement, args?: InArgs): Promise<ResultSet> {
    try {
      const streams = this.#ready ?? (await this.#awaitStreams());
      const statement = toStatement(
        typeof stmt === 'string' && args !== undefined ? { sql: stmt, args } : stmt,
      );
      let isAutocommit = false;
      const outcome = await streams.use(
        async (stream) => {
          const ran = await runProgram(stream, [{ statement, condition: null }], this.#consistency());
          ({ isAutocommit } = ran);
          return ran;
        },
        () => isAutocommit && leavesNothing(statement.sql),
      );
      this.#note(outcome.lsn);
      const [step] = outcome.steps;
      if (step?.kind === 'failed') throw libsqlError(step.error);
      assert(step !== undefined, 'a program of one step without its outcome');
      return resultSetOf(step, this.#settings.intMode);
    } catch (error) {
      throw toClientError(error);
    }
  }

  async batch(
    stmts: (InStatement | [string, InArgs?])[],
    mode: TransactionMode = 'deferred',
  ): Promise<ResultSet[]> {
    return this.#batch(stmts, mode, false);
  }

  async migrate(stmts: InStatement[]): Promise<ResultSet[]> {
    return this.#batch(stmts, 'deferred', true);
  }

  async transaction(mode: TransactionMode = 'write'): Promise<Transaction> {
    try {
      const streams = this.#ready ?? (await this.#awaitStreams());
      const stream = streams.take();
      try {
        return new StreamTransaction({
          stream,
          mode,
          intMode: this.#settings.intMode,
          consistency: () => this.#consistency(),
          onSeen: (lsn) => this.#note(lsn),
          release: (used, isClean) => streams.giveBack(used, isClean),
        });
      } catch (error) {
        streams.giveBack(stream, true);
        throw error;
      }
    } catch (error) {
      throw toClientError(error);
    }
  }

  async executeMultiple(sql: string): Promise<void> {
    try {
      const streams = this.#ready ?? (await this.#awaitStreams());
      const { lsn } = await streams.use(
        (stream) => stream.runScript(sql, this.#consistency()),
        () => false,
      );
      this.#note(lsn);
    } catch (error) {
      throw toClientError(error);
    }
  }

  async sync(): Promise<undefined> {
    if (this.#isClosed) throw clientClosed();
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#ready = null;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  reconnect(): void {
    const reopen = this.#reopen;
    const before = this.close();
    this.#node = reopen === null ? this.#node : before.catch(() => undefined).then(reopen);
    this.#streams = this.#openStreams();
    this.#closing = null;
    this.#isClosed = false;
  }

  volume(name: string, { intMode, consistency }: VolumeOptions = {}): Client {
    const { intMode: ownMode, level, concurrency } = this.#settings;
    return new InProcessClient({
      settings: { volume: name, intMode: intMode ?? ownMode, level: consistency ?? level, concurrency },
      node: this.#isClosed ? Promise.reject(clientClosed()) : this.#node,
      reopen: null,
    });
  }

  async createVolume(name: string): Promise<void> {
    if (this.#isClosed) throw clientClosed();
    try {
      await (await this.#node).createVolume(name);
    } catch (error) {
      throw toClientError(error);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #batch(
    stmts: readonly (InStatement | [string, InArgs?])[],
    mode: TransactionMode,
    withoutForeignKeys: boolean,
  ): Promise<ResultSet[]> {
    try {
      const streams = this.#ready ?? (await this.#awaitStreams());
      const statements: Statement[] = stmts.map((stmt) => toStatement(stmt));
      const first = withoutForeignKeys ? [FOREIGN_KEYS_OFF, beginStep(mode)] : [beginStep(mode)];
      const steps = transactionSteps(first, statements);
      if (withoutForeignKeys) steps.push(FOREIGN_KEYS_ON);
      let isAutocommit = false;
      const outcome = await streams.use(
        async (stream) => {
          const ran = await runProgram(stream, steps, this.#consistency());
          ({ isAutocommit } = ran);
          return ran;
        },
        () => isAutocommit && !withoutForeignKeys && statements.every(({ sql }) => leavesNothing(sql)),
      );
      this.#note(outcome.lsn);
      requireStep(outcome, first.length - 1);
      const results = resultsOf(outcome, first.length, statements.length, this.#settings.intMode);
      requireStep(outcome, first.length + statements.length);
      return results;
    } catch (error) {
      throw toClientError(error);
    }
  }

  #openStreams(): Promise<Streams> {
    const { volume, concurrency } = this.#settings;
    const opening = this.#node.then(({ sessions, resolveVolume }) => {
      const streams = new Streams({ sessions, connect: connector(resolveVolume, volume), concurrency });
      if (this.#streams === opening && !this.#isClosed) this.#ready = streams;
      return streams;
    });
    opening.catch(() => undefined);
    return opening;
  }

  async #awaitStreams(): Promise<Streams> {
    if (this.#isClosed) throw clientClosed();
    return this.#streams;
  }

  async #close(): Promise<void> {
    const [streams, node] = await Promise.allSettled([this.#streams, this.#node]);
    if (streams.status === 'fulfilled') await streams.value.close();
    if (node.status === 'fulfilled' && this.#reopen !== null) await node.value.close();
  }

  #consistency(): Consistency {
    const { level } = this.#settings;
    return level === 'session' ? { level, minLsn: this.#seenLsn } : LEVELS[level];
  }

  #note(lsn: Lsn): void {
    if (lsn > this.#seenLsn) this.#seenLsn = lsn;
  }
}

const LEVELS = {
  strong: STRONG,
  snapshot: { level: 'snapshot', minLsn: NO_LSN },
} as const satisfies Record<string, Consistency>;
