/** EngineConnection on the main thread: programs go to the worker in order, and their outcome comes back through ProgramRun. */
import { assert } from '../../src/base/assert.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import {
  type ChangesetOutcome,
  type ConflictPolicy,
  type MergeConnection,
  type ProgramResult,
  type RunOptions,
  SqlFailure,
  type StatementDescription,
  type Step,
} from './api.ts';
import { mayCommit } from './outcome.ts';
import { type FinishedRun, type OutputMessage, ProgramRun } from './program-run.ts';
import type { ProgramSource, ToWorker } from './worker-messages.ts';

export interface ConnectionLink {
  readonly volume: OpenVolume;
  send(message: ToWorker): void;
  /** Ids of programs: 32-bit, unique among those under way. */
  nextRun(): number;
  interrupt(slot: number, run: number): void;
  /** Why nothing can be run any more. */
  ended(): TidemarkError | null;
  /** The worker has let the connection go. */
  closed(connection: ClientConnection): void;
}

type Consistency = Pick<RunOptions, 'consistency' | 'minLsn' | 'signal'>;

export class ClientConnection implements MergeConnection {
  readonly id: number;
  readonly slot: number;
  readonly #link: ConnectionLink;
  /** In the order in which they were sent; the first one is running. */
  readonly #runs = new Map<number, ProgramRun>();
  /** Calls wait for the one before to be sent. */
  #sending: Promise<unknown> = Promise.resolve();
  #waits = 0;
  #isAutocommit = true;
  #holdsWriterLock = false;
  #closing: Promise<void> | null = null;
  #closed: (() => void) | null = null;

  constructor(link: ConnectionLink, id: number, slot: number) {
    this.#link = link;
    this.id = id;
    this.slot = slot;
  }

  get isAutocommit(): boolean {
    return this.#isAutocommit;
  }

  get hasEnded(): boolean {
    return this.#link.ended() !== null;
  }

  get holdsWriterLock(): boolean {
    return this.#holdsWriterLock;
  }

  async run(steps: readonly Step[], options: RunOptions): Promise<ProgramResult> {
    const { lsn } = await this.#run({ kind: 'steps', steps }, options, options.onEvent);
    return { lsn, isAutocommit: this.#isAutocommit };
  }

  async runScript(sql: string, options: Omit<RunOptions, 'onEvent'>): Promise<ProgramResult> {
    const { lsn, done } = await this.#run({ kind: 'script', sql }, options, null);
    if (done.error !== null) throw new SqlFailure(done.error);
    return { lsn, isAutocommit: this.#isAutocommit };
  }

  async describe(sql: string): Promise<StatementDescription> {
    const { done } = await this.#run({ kind: 'describe', sql }, { consistency: 'strong' }, null);
    if (done.error !== null) throw new SqlFailure(done.error);
    assert(done.description !== null, 'a description without one');
    return done.description;
  }

  async applyChangeset(changeset: Uint8Array, policy: ConflictPolicy): Promise<ChangesetOutcome> {
    const source: ProgramSource = { kind: 'changeset', changeset, policy };
    const { done } = await this.#run(source, { consistency: 'strong' }, null);
    if (done.error !== null) throw new SqlFailure(done.error);
    assert(done.changeset !== null, 'a changeset without an outcome');
    return done.changeset;
  }

  interrupt(): void {
    const first = this.#runs.keys().next();
    if (first.done !== true) this.#cancel(first.value);
  }

  close(): Promise<void> {
    this.#closing ??= new Promise<void>((resolve) => {
      this.#closed = resolve;
      for (const run of this.#runs.keys()) this.#link.interrupt(this.slot, run);
      if (this.#link.ended() === null) this.#link.send({ kind: 'disconnect', connection: this.id });
      else this.onDisconnected();
    });
    return this.#closing;
  }

  // From the worker.

  onOutput(message: OutputMessage, confirm: () => Promise<void>): void {
    this.#runs.get(message.run)?.accept(message, confirm);
  }

  onTransactionLost(): void {
    this.#isAutocommit = true;
    this.#holdsWriterLock = false;
  }

  onDisconnected(): void {
    this.end(new TidemarkError('INTERRUPTED', 'the connection was closed'));
    this.#link.closed(this);
  }

  /** The engine, or this connection, is over. A transaction that was open stays known as one, so that nobody goes on with it elsewhere. */
  end(reason: TidemarkError): void {
    this.#holdsWriterLock = false;
    for (const run of this.#runs.values()) run.abandon(reason);
    // The worker will not say any more that it has let this connection go.
    this.#closed?.();
  }

  async #run(
    source: ProgramSource,
    options: Consistency,
    onEvent: RunOptions['onEvent'] | null,
  ): Promise<FinishedRun> {
    const { consistency, minLsn, signal } = options;
    if (consistency === 'session' && minLsn !== undefined && minLsn > this.#link.volume.vdl) {
      await this.#inOrder(() => this.#awaitToken(minLsn));
    } else if (this.#waits > 0) {
      await this.#inOrder(() => Promise.resolve());
    }
    const ended = this.#link.ended() ?? (this.#closing === null ? null : closedConnection());
    if (ended !== null) throw ended;
    if (signal?.aborted === true) throw interrupted();

    const id = this.#link.nextRun();
    // Known for certain only when nothing else is under way here.
    const inTransaction = !this.#isAutocommit && this.#runs.size === 0;
    const run = new ProgramRun({
      volume: this.#link.volume,
      isStrong: consistency === 'strong',
      mayCommit: () => mayCommit(source, inTransaction),
      onEvent,
      credit: (bytes) => {
        if (this.#link.ended() === null) {
          this.#link.send({ kind: 'credit', connection: this.id, run: id, bytes });
        }
      },
      cancel: () => this.#cancel(id),
      onDone: ({ isAutocommit, holdsWriterLock }) => {
        this.#isAutocommit = isAutocommit;
        this.#holdsWriterLock = holdsWriterLock;
      },
    });
    this.#runs.set(id, run);
    const onAbort = (): void => run.fail(interrupted());
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#link.send({ kind: 'run', connection: this.id, run: id, source });
    try {
      return await run.finished;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#runs.delete(id);
    }
  }

  /** A program that waits before it is sent holds up those that are called after it. */
  async #inOrder(wait: () => Promise<void>): Promise<void> {
    this.#waits += 1;
    const turn = this.#sending.then(wait);
    this.#sending = turn.catch(() => {});
    try {
      await turn;
    } finally {
      this.#waits -= 1;
    }
  }

  async #awaitToken(minLsn: Lsn): Promise<void> {
    const { volume } = this.#link;
    if (minLsn > volume.headLsn) {
      throw new TidemarkError('BAD_REQUEST', `LSN ${minLsn} was never given out by volume '${volume.name}'`, {
        nextStep: 'Send the LSN of an earlier result of the same volume, or none.',
      });
    }
    await volume.whenDurable(minLsn);
  }

  #cancel(run: number): void {
    if (this.#link.ended() !== null || !this.#runs.has(run)) return;
    this.#link.interrupt(this.slot, run);
    this.#link.send({ kind: 'cancel', connection: this.id, run });
  }
}

function interrupted(): TidemarkError {
  return new TidemarkError('INTERRUPTED', 'the program was interrupted');
}

function closedConnection(): TidemarkError {
  return new TidemarkError('UNAVAILABLE', 'the connection was closed', { nextStep: 'Open a new one.' });
}
