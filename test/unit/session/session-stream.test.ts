import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ProgramEvent, Step } from '../../../compute-node/engine/api.ts';
import { STRONG } from '../../../compute-node/session/consistency.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import type { SessionStream } from '../../../compute-node/session/session-stream.ts';
import { Sessions } from '../../../compute-node/session/sessions.ts';
import { ManualScheduler } from '../../support/manual-scheduler.ts';
import { MemoryEngine } from '../../support/memory-engine.ts';

const IDLE_MS = DEFAULT_SESSION_LIMITS.writeTransactionIdleMs;

let engine: MemoryEngine;
let scheduler: ManualScheduler;
let sessions: Sessions;

beforeEach(async () => {
  engine = new MemoryEngine();
  scheduler = new ManualScheduler();
  sessions = new Sessions({ ...DEFAULT_SESSION_LIMITS, maxStreams: 3 }, scheduler);
  const setup = open();
  await run(setup, 'create table t (a)');
  await setup.close();
});

afterEach(async () => {
  await sessions.closeAll();
  await engine.close();
});

function open(): SessionStream {
  return sessions.open(() => engine.connect({ readonly: false }));
}

function steps(...sqls: string[]): Step[] {
  return sqls.map((sql) => ({
    statement: { sql, args: [], namedArgs: [], wantRows: true },
    condition: null,
  }));
}

/** The first column of all rows; throws the first step's error. */
async function run(stream: SessionStream, ...sqls: string[]): Promise<unknown[]> {
  const values: unknown[] = [];
  let failure: Error | null = null;
  await stream.run({
    steps: steps(...sqls),
    consistency: STRONG,
    onEvent: (event: ProgramEvent) => {
      if (event.kind === 'rows') values.push(...event.rows.map((row) => row[0]));
      if (event.kind === 'step-error') failure ??= new Error(`${event.error.code} ${event.error.message}`);
    },
  });
  if (failure !== null) throw failure;
  return values;
}

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('the order of requests', () => {
  it('runs requests one after another as they were called, without being awaited', async () => {
    const stream = open();
    const results = await Promise.all([
      run(stream, 'begin immediate'),
      run(stream, 'insert into t values (1)'),
      stream.isAutocommit(),
      run(stream, 'select count(*) from t'),
      run(stream, 'commit'),
      stream.isAutocommit(),
    ]);
    expect(results).toEqual([[], [], false, [1n], [], true]);
  });

  it('connects lazily, once', async () => {
    const before = engine.connects;
    const stream = open();
    expect(await stream.isAutocommit()).toBe(true);
    expect(engine.connects).toBe(before);
    await Promise.all([run(stream, 'select 1'), run(stream, 'select 2')]);
    expect(engine.connects).toBe(before + 1);
  });

  it('closes in order after what was asked before', async () => {
    const stream = open();
    const [rows] = await Promise.all([run(stream, 'select 7'), stream.closeInOrder()]);
    expect(rows).toEqual([7n]);
    await expect(run(stream, 'select 1')).rejects.toEqual(code('STREAM_CLOSED'));
  });
});

describe('close', () => {
  it('rolls back, gives the connection back and refuses what was waiting', async () => {
    const stream = open();
    await run(stream, 'begin immediate', 'insert into t values (1)');
    const connections = engine.openConnections;
    const waiting = [run(stream, 'insert into t values (2)'), run(stream, 'commit')];
    const settled = Promise.allSettled(waiting);
    await stream.close();
    expect((await settled)[1]).toMatchObject({ status: 'rejected', reason: code('STREAM_CLOSED') });
    expect(engine.openConnections).toBe(connections - 1);
    expect(await run(open(), 'select count(*) from t')).toEqual([0n]);
  });

  it('leaves the queue for the writer lock', async () => {
    const holder = open();
    await run(holder, 'begin immediate');
    const waiter = open();
    const waiting = run(waiter, 'insert into t values (1)').catch((error: unknown) => error);
    await scheduler.pass(0);
    expect(engine.waitingWriters).toBe(1);
    await waiter.close();
    expect(engine.waitingWriters).toBe(0);
    await waiting;
    await run(holder, 'rollback');
    expect(await run(holder, 'select count(*) from t')).toEqual([0n]);
  });

  it('is idempotent, and frees the stream in the count once', async () => {
    const stream = open();
    const count = sessions.count;
    await Promise.all([stream.close(), stream.close(), stream.closeInOrder().catch(() => {})]);
    expect(sessions.count).toBe(count - 1);
  });

  it('closes a connection that arrives too late', async () => {
    let arrive = () => {};
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const connections = engine.openConnections;
    const stream = sessions.open(async () => {
      await arrived;
      return engine.connect({ readonly: false });
    });
    const asked = run(stream, 'select 1');
    const refused = expect(asked).rejects.toEqual(code('STREAM_CLOSED'));
    await stream.close();
    arrive();
    await refused;
    expect(engine.openConnections).toBe(connections);
  });
});

describe('bounds', () => {
  it('refuses streams past the limit and takes them again after one was closed', async () => {
    const streams = [open(), open(), open()];
    expect(open).toThrow(code('OVERLOADED'));
    await streams[0]!.close();
    expect(open).not.toThrow();
  });
});

describe('an idle write transaction', () => {
  const begun = async (): Promise<SessionStream> => {
    const stream = open();
    await run(stream, 'begin immediate', 'insert into t values (1)');
    return stream;
  };

  it('is rolled back after the limit, and its writer lock goes to the next', async () => {
    await begun();
    const next = run(open(), 'insert into t values (2)');
    await scheduler.pass(IDLE_MS - 1);
    expect(engine.waitingWriters).toBe(1);
    await scheduler.pass(1);
    await next;
    expect(await run(open(), 'select a from t')).toEqual([2n]);
  });

  it('is left alone while something happens in it', async () => {
    const stream = await begun();
    for (let i = 0; i < 3; i++) {
      await scheduler.pass(IDLE_MS - 1);
      await run(stream, 'select 1');
    }
    await run(stream, 'commit');
    expect(await run(stream, 'select count(*) from t')).toEqual([1n]);
    expect(scheduler.pending).toBe(0);
  });

  it('runs none of its statements outside of it afterwards, whatever is under way', async () => {
    const stream = await begun();
    await scheduler.pass(IDLE_MS);
    const results = await Promise.allSettled([
      run(stream, 'insert into t values (2)'),
      run(stream, 'insert into t values (3)'),
      stream.runScript('insert into t values (4); insert into t values (5)', STRONG),
      run(stream, 'insert into t values (6)', 'commit'),
      run(stream, 'commit'),
    ]);
    for (const result of results) expect(result).toMatchObject({ reason: code('TRANSACTION_TIMEOUT') });
    expect(await run(stream, 'select count(*) from t')).toEqual([0n]);
  });

  it('is told on the next request, naming the limit', async () => {
    const stream = await begun();
    await scheduler.pass(IDLE_MS);
    await expect(run(stream, 'select 1')).rejects.toThrow(`${IDLE_MS} ms`);
  });

  it('lets ROLLBACK succeed, and the stream go on', async () => {
    const stream = await begun();
    await scheduler.pass(IDLE_MS);
    expect(await run(stream, ' /* so */ rollback;')).toEqual([]);
    await run(stream, 'insert into t values (9)');
    expect(await run(stream, 'select a from t')).toEqual([9n]);
  });

  it('lets another one begin once the end of the first was told', async () => {
    const stream = await begun();
    await scheduler.pass(IDLE_MS);
    await expect(run(stream, 'begin')).rejects.toEqual(code('TRANSACTION_TIMEOUT'));
    await run(stream, 'begin', 'insert into t values (3)', 'commit');
    expect(await run(stream, 'select a from t')).toEqual([3n]);
  });

  it('lets everything run once the client is known to have read of it', async () => {
    const stream = await begun();
    await scheduler.pass(IDLE_MS);
    stream.acknowledge();
    await expect(run(stream, 'insert into t values (2)')).rejects.toEqual(code('TRANSACTION_TIMEOUT'));
    stream.acknowledge();
    await run(stream, 'insert into t values (3)');
    expect(await run(stream, 'select a from t')).toEqual([3n]);
  });

  it('does not concern a transaction that only reads', async () => {
    const stream = open();
    await run(stream, 'begin', 'select * from t');
    await scheduler.pass(100 * IDLE_MS);
    await run(stream, 'commit');
  });
});

describe('an engine that ends', () => {
  it('is replaced by the next one for a stream outside a transaction', async () => {
    const next = new MemoryEngine();
    const stream = sessions.open(() => (engine.isDeposed ? next : engine).connect({ readonly: false }));
    await run(stream, 'select 1');
    engine.depose();
    await expect(run(stream, 'select 2')).rejects.toEqual(code('DEPOSED'));
    expect(await run(stream, 'select 3')).toEqual([3n]);
    await stream.close();
    await next.close();
  });

  it('takes its transaction with it: nothing of it runs on the next engine', async () => {
    const next = new MemoryEngine();
    const setup = await next.connect({ readonly: false });
    await setup.runScript('create table t (a)', { consistency: 'strong' });
    const stream = sessions.open(() => (engine.isDeposed ? next : engine).connect({ readonly: false }));
    await run(stream, 'begin immediate', 'insert into t values (1)');
    engine.depose();
    const results = await Promise.allSettled([
      run(stream, 'insert into t values (2)'),
      run(stream, 'insert into t values (3)'),
      run(stream, 'commit'),
    ]);
    expect(results.map((result) => (result as PromiseRejectedResult).reason.code)).toEqual([
      'DEPOSED',
      'TRANSACTION_LOST',
      'TRANSACTION_LOST',
    ]);
    expect(await run(stream, 'select count(*) from t')).toEqual([0n]);
    await stream.close();
    await next.close();
  });
});
