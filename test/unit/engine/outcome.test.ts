/** A commit whose fate is open must never be reported as if it had failed: the next writer recovers what this one has handed over. */
import { describe, expect, it } from 'vitest';
import type { ProgramEvent, Step } from '../../../compute-node/engine/api.ts';
import { ClientConnection } from '../../../compute-node/engine/client-connection.ts';
import { mayCommit } from '../../../compute-node/engine/outcome.ts';
import type { FromWorker, ToWorker } from '../../../compute-node/engine/worker-messages.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { type Lsn, toLsn } from '../../../src/log/lsn.ts';
import { stepOf } from '../../support/core-harness.ts';
import { MemoryVolume } from '../../support/memory-volume.ts';

type Output = Extract<FromWorker, { kind: 'output' }>;

class Bench {
  readonly volume = new MemoryVolume();
  readonly sent: ToWorker[] = [];
  ended: TidemarkError | null = null;
  #lastRun = 0;
  readonly connection = new ClientConnection(
    {
      volume: this.volume,
      send: (message) => this.sent.push(message),
      nextRun: () => ++this.#lastRun,
      interrupt: () => {},
      ended: () => this.ended,
      closed: () => {},
    },
    1,
    1,
  );

  constructor() {
    this.volume.hold();
    this.volume.submit({ changes: [{ page: 1 as never, kind: 'image', body: new Uint8Array(4096) }] });
  }

  /** Resolves with the error's code, or 'done'. */
  run(...statements: string[]): Promise<string> {
    return this.runSteps(statements.map((sql) => stepOf(sql)));
  }

  runSteps(steps: readonly Step[]): Promise<string> {
    const onEvent = (_: ProgramEvent): void => {};
    return this.connection.run(steps, { consistency: 'strong', onEvent }).then(
      () => 'done',
      (error: TidemarkError) => error.code,
    );
  }

  answer(fields: Partial<Output>, confirm = (): Promise<void> => Promise.resolve()): void {
    this.connection.onOutput(
      {
        kind: 'output',
        connection: 1,
        run: this.#lastRun,
        events: [],
        lsn: toLsn(0),
        commitLsn: toLsn(0),
        needsConfirmation: false,
        bytes: 0,
        done: { isAutocommit: true, holdsWriterLock: false, error: null, description: null, changeset: null },
        ...fields,
      },
      confirm,
    );
  }

  depose(): void {
    this.ended = new TidemarkError('DEPOSED', 'a newer writer');
    this.volume.depose();
    this.connection.end(this.ended);
  }
}

const CPL: Lsn = toLsn(1);

describe('a program whose engine ends', () => {
  it('is unknown when its commit waits for the quorum', async () => {
    const bench = new Bench();
    const outcome = bench.run('INSERT INTO t VALUES (1)');
    bench.answer({ lsn: CPL, commitLsn: CPL });
    bench.depose();
    expect(await outcome).toBe('OUTCOME_UNKNOWN');
  });

  it('is unknown when the worker has not told whether it committed', async () => {
    const bench = new Bench();
    const outcome = bench.run('INSERT INTO t VALUES (1)');
    await Promise.resolve();
    bench.depose();
    expect(await outcome).toBe('OUTCOME_UNKNOWN');
  });

  it('has failed for certain when it can have written nothing', async () => {
    const bench = new Bench();
    const outcome = bench.run('SELECT 1');
    await Promise.resolve();
    bench.depose();
    expect(await outcome).toBe('DEPOSED');
  });

  it('has failed for certain when the worker told that it wrote nothing', async () => {
    const bench = new Bench();
    const outcome = bench.run('UPDATE t SET a = 1 WHERE 0');
    bench.answer({ lsn: CPL });
    bench.depose();
    expect(await outcome).toBe('DEPOSED');
  });

  it('is unknown when it committed, and a read after it could not be confirmed', async () => {
    const bench = new Bench();
    bench.volume.release();
    const outcome = bench.run('INSERT INTO t VALUES (1)', 'SELECT 1');
    const failing = () => Promise.reject(new TidemarkError('NO_QUORUM', 'too few'));
    bench.answer({ lsn: CPL, commitLsn: CPL, needsConfirmation: true }, failing);
    expect(await outcome).toBe('OUTCOME_UNKNOWN');
  });

  it('is unknown when its connection is closed while its commit waits for the quorum', async () => {
    const bench = new Bench();
    const outcome = bench.run('INSERT INTO t VALUES (1)');
    bench.answer({ lsn: CPL, commitLsn: CPL });
    void bench.connection.close();
    bench.connection.onDisconnected();
    expect(await outcome).toBe('OUTCOME_UNKNOWN');
  });

  it('lets a connection that was being closed go', async () => {
    const bench = new Bench();
    const closed = bench.connection.close();
    bench.depose();
    await closed;
  });
});

describe('what may commit', () => {
  const steps = (...list: readonly (string | Step)[]) => ({
    kind: 'steps' as const,
    steps: list.map((step) => (typeof step === 'string' ? stepOf(step) : step)),
  });
  const ifOk = (sql: string, step: number): Step => ({
    ...stepOf(sql),
    condition: {
      kind: 'and',
      conds: [
        { kind: 'ok', step },
        { kind: 'not', cond: { kind: 'is-autocommit' } },
      ],
    },
  });

  it('is everything that writes outside a transaction, and what ends one', () => {
    expect(mayCommit(steps('SELECT 1', ' /* x */ explain delete from t'), false)).toBe(false);
    expect(mayCommit(steps('WITH x AS (SELECT 1) DELETE FROM t'), false)).toBe(true);
    expect(mayCommit(steps('PRAGMA user_version = 3'), false)).toBe(true);
    expect(mayCommit(steps('INSERT INTO t VALUES (1)'), true)).toBe(false);
    expect(mayCommit(steps('INSERT INTO t VALUES (1)', 'COMMIT'), true)).toBe(true);
    expect(mayCommit(steps('release a'), true)).toBe(true);
    expect(mayCommit({ kind: 'script', sql: 'insert into t values (1); end' }, true)).toBe(true);
    expect(mayCommit({ kind: 'script', sql: 'select 1' }, false)).toBe(true);
    expect(mayCommit({ kind: 'describe', sql: 'insert into t values (1)' }, false)).toBe(false);
  });

  it('counts on a BEGIN only in steps that depend on its success', () => {
    expect(mayCommit(steps('BEGIN IMMEDIATE', ifOk('INSERT INTO t VALUES (1)', 0)), false)).toBe(false);
    expect(mayCommit(steps('BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)'), false)).toBe(true);
    expect(mayCommit(steps('BEGIN', ifOk('COMMIT', 0)), false)).toBe(true);
    expect(mayCommit(steps('ROLLBACK', 'INSERT INTO t VALUES (1)'), true)).toBe(true);
  });
});
