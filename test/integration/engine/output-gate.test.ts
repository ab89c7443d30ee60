/** What is given out, and when: held until VDL covers it, confirmed after it was computed, never after the term is over. */
import { afterEach, describe, expect, it } from 'vitest';
import type {
  Engine,
  EngineConnection,
  EngineLimits,
  ProgramEvent,
  RunOptions,
} from '../../../compute-node/engine/api.ts';
import { SqlFailure } from '../../../compute-node/engine/api.ts';
import { openEngine } from '../../../compute-node/engine/engine.ts';
import { STRONG } from '../../../compute-node/session/consistency.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { nodeScheduler } from '../../../compute-node/session/scheduler.ts';
import { Sessions } from '../../../compute-node/session/sessions.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { toLsn } from '../../../src/log/lsn.ts';
import { stepOf, testLimits } from '../../support/core-harness.ts';
import { engineWorkerUrl } from '../../support/engine-worker.ts';
import { MemoryVolume } from '../../support/memory-volume.ts';

const ENDLESS =
  'SELECT max(i) FROM (WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g) SELECT i FROM g)';
const opened: Engine[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((engine) => engine.close()));
});

async function open(limits: Partial<EngineLimits> = {}, volume = new MemoryVolume()) {
  const engine = await openEngine({
    volume,
    workerUrl: engineWorkerUrl,
    limits: { ...testLimits, ...limits },
  });
  opened.push(engine);
  const connect = () => engine.connect({ readonly: false });
  return { volume, engine, connect };
}

function start(
  connection: EngineConnection,
  sql: string | readonly string[],
  options: Partial<RunOptions> = {},
) {
  const events: ProgramEvent[] = [];
  const statements = typeof sql === 'string' ? [sql] : sql;
  const finished = connection.run(
    statements.map((s) => stepOf(s)),
    {
      consistency: 'strong',
      onEvent: (event) => {
        events.push(event);
      },
      ...options,
    },
  );
  finished.catch(() => {});
  return { events, finished };
}

async function rows(
  connection: EngineConnection,
  sql: string,
  options: Partial<RunOptions> = {},
): Promise<unknown[]> {
  const { events, finished } = start(connection, sql, options);
  await finished;
  return events.flatMap((event) => {
    if (event.kind === 'step-error') throw new Error(`${event.error.code}: ${event.error.message}`);
    return event.kind === 'rows' ? [...event.rows] : [];
  });
}

/** Until something has happened that must, however slow the machine is. */
async function until(happened: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!happened()) {
    expect(performance.now(), 'it never happened').toBeLessThan(deadline);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Long enough for what must not happen. */
const settle = (ms = 40) => new Promise((resolve) => setTimeout(resolve, ms));

describe('output', () => {
  it('of a commit waits for VDL, while the next transactions go on', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.hold();
    const first = start(a, 'INSERT INTO t VALUES (1)');
    const second = start(b, 'INSERT INTO t VALUES (2)');
    await until(() => volume.mtrs.length === 3 && volume.waiting === 2);
    await settle();
    expect([first.events, second.events]).toEqual([[], []]);
    volume.advanceTo(volume.mtrs[1]?.cpl ?? 0);
    expect((await first.finished).lsn).toBe(volume.mtrs[1]?.cpl);
    await settle();
    expect(second.events).toEqual([]);
    volume.release();
    expect((await second.finished).lsn).toBe(volume.headLsn);
  });

  it('of a read that saw the head waits for VDL too', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.hold();
    const write = start(a, 'INSERT INTO t VALUES (1)');
    await until(() => volume.waiting === 1);
    const zeroRow = start(b, 'DELETE FROM t WHERE x = 99');
    const inTransaction = start(await connect(), ['BEGIN', 'SELECT * FROM t', 'COMMIT']);
    const other = await rows(await connect(), 'SELECT * FROM t');
    await until(() => volume.waiting === 3);
    await settle();
    expect(other).toEqual([]);
    expect([write.events, zeroRow.events, inTransaction.events]).toEqual([[], [], []]);
    volume.release();
    await Promise.all([write.finished, zeroRow.finished, inTransaction.finished]);
    expect(inTransaction.events).toContainEqual({ kind: 'rows', rows: [[1n]] });
  });

  it('of a strong read is confirmed after it was computed; other levels are not', async () => {
    const { volume, connect } = await open();
    const a = await connect();
    await rows(a, 'CREATE TABLE t (x)');
    expect(volume.confirmations).toBe(0);
    let confirm: () => void = () => {};
    volume.confirmation = new Promise((resolve) => {
      confirm = resolve;
    });
    const strong = start(a, 'SELECT count(*) FROM t');
    await until(() => volume.confirmations === 1);
    await settle();
    expect(strong.events).toEqual([]);
    const b = await connect();
    expect(await rows(b, 'SELECT count(*) FROM t', { consistency: 'snapshot' })).toEqual([[0n]]);
    expect(await rows(b, 'SELECT count(*) FROM t', { consistency: 'session', minLsn: volume.vdl })).toEqual([
      [0n],
    ]);
    expect(volume.confirmations).toBe(1);
    // A commit proves by its own quorum what a confirmation would.
    await rows(b, 'INSERT INTO t VALUES (1)');
    expect(volume.confirmations).toBe(1);
    const zeroRow = start(b, 'DELETE FROM t WHERE x = 99');
    await until(() => volume.confirmations === 2);
    await settle();
    expect(zeroRow.events).toEqual([]);
    confirm();
    await Promise.all([strong.finished, zeroRow.finished]);
  });

  it('that cannot be confirmed is never given out', async () => {
    const { volume, connect } = await open();
    const a = await connect();
    await rows(a, 'CREATE TABLE t (x)');
    volume.confirmation = Promise.reject(new TidemarkError('NO_QUORUM', 'nobody answers'));
    volume.confirmation.catch(() => {});
    const read = start(a, 'SELECT count(*) FROM t');
    await expect(read.finished).rejects.toMatchObject({ code: 'NO_QUORUM' });
    expect(read.events).toEqual([]);
    volume.confirmation = null;
    expect(await rows(a, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('of a commit whose outcome is unknown says so; the engine goes on', async () => {
    const { volume, connect } = await open();
    const a = await connect();
    await rows(a, 'CREATE TABLE t (x)');
    volume.hold();
    const lost = start(a, 'INSERT INTO t VALUES (1)');
    await until(() => volume.waiting === 1);
    volume.failWaiting('OUTCOME_UNKNOWN');
    await expect(lost.finished).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(lost.events).toEqual([]);
    volume.release();
    expect(await rows(a, 'SELECT count(*) FROM t')).toEqual([[1n]]);
  });

  it('for a session starts at its token', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.hold();
    start(a, 'INSERT INTO t VALUES (1)');
    await until(() => volume.waiting === 1);
    const token = volume.headLsn;
    const read = start(b, 'SELECT count(*) FROM t', { consistency: 'session', minLsn: token });
    const after = start(b, 'SELECT 2', { consistency: 'snapshot' });
    await settle();
    expect([read.events, after.events]).toEqual([[], []]);
    volume.release();
    await Promise.all([read.finished, after.finished]);
    expect(read.events).toContainEqual({ kind: 'rows', rows: [[1n]] });
    await expect(
      start(b, 'SELECT 1', { consistency: 'session', minLsn: toLsn(token + 1_000) }).finished,
    ).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });

  it('waits for a slow client, and does not pile up', async () => {
    const { connect } = await open();
    const a = await connect();
    await rows(a, 'CREATE TABLE t (x)');
    await rows(
      a,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<40000) INSERT INTO t SELECT hex(zeroblob(50)) FROM g',
    );
    let given = 0;
    let hasWaited = false;
    let letGo: () => void = () => {};
    const read = start(a, 'SELECT * FROM t', {
      onEvent: (event) => {
        if (event.kind !== 'rows') return;
        given += event.rows.length;
        if (given < 5_000 || hasWaited) return;
        hasWaited = true;
        return new Promise<void>((resolve) => {
          letGo = resolve;
        });
      },
    });
    await settle(200);
    expect(given).toBeLessThan(10_000);
    letGo();
    await read.finished;
    expect(given).toBe(40_000);
  });
});

describe('a read that starts after a commit was acknowledged', () => {
  it('sees it, however late the engine is told of VDL', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.vdlListenerDelayMs = 300;
    for (let i = 1; i <= 3; i += 1) {
      await rows(a, `INSERT INTO t VALUES (${i})`);
      expect(await rows(b, 'SELECT max(x) FROM t')).toEqual([[BigInt(i)]]);
    }
  });
});

describe('the end of the term', () => {
  it('ends everything under way, and everything after', async () => {
    const { volume, engine, connect } = await open();
    const [a, b, c] = [await connect(), await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.hold();
    const write = start(a, 'INSERT INTO t VALUES (1)');
    await until(() => volume.waiting === 1);
    const read = start(b, ENDLESS);
    await settle();
    volume.depose();
    // What was handed over may have become durable all the same.
    await expect(write.finished).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    await expect(read.finished).rejects.toMatchObject({ code: 'DEPOSED' });
    await expect(start(c, 'SELECT 1').finished).rejects.toMatchObject({ code: 'DEPOSED' });
    await expect(engine.connect({ readonly: false })).rejects.toMatchObject({ code: 'DEPOSED' });
    expect([write.events, read.events]).toEqual([[], []]);
    await c.close();
  });

  it('leaves known which connections had a transaction open', async () => {
    const { volume, connect } = await open();
    const [inside, outside] = [await connect(), await connect()];
    await rows(inside, 'BEGIN');
    await rows(outside, 'SELECT 1');
    expect([inside.hasEnded, outside.hasEnded]).toEqual([false, false]);
    volume.depose();
    await until(() => outside.hasEnded);
    expect([inside.isAutocommit, outside.isAutocommit]).toEqual([false, true]);
    const stream = new Sessions(DEFAULT_SESSION_LIMITS, nodeScheduler).open(async () => inside);
    await stream.open();
    const insert = () =>
      stream.run({ steps: [stepOf('INSERT INTO t VALUES (1)')], onEvent: () => {}, consistency: STRONG });
    await expect(insert()).rejects.toMatchObject({ code: 'DEPOSED' });
    // Not on its own, on the next engine.
    await expect(insert()).rejects.toMatchObject({ code: 'TRANSACTION_LOST' });
    await outside.close();
  });

  it('is noticed when the volume refuses an MTR for good', async () => {
    const volume = new MemoryVolume();
    const ended: TidemarkError[] = [];
    const engine = await openEngine({
      volume,
      workerUrl: engineWorkerUrl,
      limits: testLimits,
      onEnded: (reason) => ended.push(reason),
    });
    opened.push(engine);
    const a = await engine.connect({ readonly: false });
    await rows(a, 'CREATE TABLE t (x)');
    volume.submitError = 'TOO_LARGE';
    await expect(start(a, 'INSERT INTO t VALUES (1)').finished).rejects.toBeInstanceOf(TidemarkError);
    expect(ended).toMatchObject([{ code: 'TOO_LARGE' }]);
    expect(volume.mtrs.length).toBe(1);
  });
});

describe('a volume that is full', () => {
  it('gets its MTRs later, in order; nothing new starts meanwhile', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    volume.submitError = 'OVERLOADED';
    volume.setWritable(false);
    const first = start(a, 'INSERT INTO t VALUES (1)');
    await until(() => volume.submits === 2);
    await settle();
    const second = start(b, 'INSERT INTO t VALUES (2)');
    await settle(100);
    expect([volume.mtrs.length, volume.submits]).toEqual([1, 2]);
    volume.submitError = null;
    volume.setWritable(true);
    await Promise.all([first.finished, second.finished]);
    expect(await rows(a, 'SELECT x FROM t')).toEqual([[1n], [2n]]);
  });
});

describe('connections', () => {
  it('stop a running statement on interrupt and on abort', async () => {
    const { connect } = await open();
    const a = await connect();
    const endless = start(a, ENDLESS);
    await settle();
    a.interrupt();
    await endless.finished;
    expect(endless.events).toMatchObject([{ kind: 'step-error', error: { code: 'SQLITE_INTERRUPT' } }]);
    const abort = new AbortController();
    const aborted = start(a, ENDLESS, { signal: abort.signal });
    await settle();
    abort.abort();
    await expect(aborted.finished).rejects.toMatchObject({ code: 'INTERRUPTED' });
    expect(await rows(a, 'SELECT 1')).toEqual([[1n]]);
  });

  it('roll back and let the lock go when they close, even in the middle of a statement', async () => {
    const { connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    await start(a, ['BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)']).finished;
    expect([a.isAutocommit, a.holdsWriterLock]).toEqual([false, true]);
    const running = start(a, ENDLESS);
    const waiting = start(b, 'INSERT INTO t VALUES (2)');
    await settle();
    await a.close();
    await a.close();
    await running.finished.catch(() => {});
    await waiting.finished;
    expect(await rows(b, 'SELECT x FROM t')).toEqual([[2n]]);
    await expect(start(a, 'SELECT 1').finished).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('are bounded in number', async () => {
    const { connect } = await open({ maxConnections: 3 });
    const all = [await connect(), await connect(), await connect()];
    await expect(connect()).rejects.toMatchObject({ code: 'OVERLOADED' });
    await all[1]?.close();
    await connect();
  });

  it('tell a script its error, and describe', async () => {
    const { connect } = await open();
    const a = await connect();
    await a.runScript('CREATE TABLE t (x INTEGER); INSERT INTO t VALUES (1)', { consistency: 'strong' });
    const error = await a
      .runScript('INSERT INTO nowhere VALUES (1)', { consistency: 'strong' })
      .catch((e) => e);
    expect(error).toBeInstanceOf(SqlFailure);
    expect(error.error).toMatchObject({ code: 'SQLITE_ERROR', message: 'no such table: nowhere' });
    expect(await a.describe('SELECT x FROM t WHERE x = :a')).toEqual({
      parameters: [{ name: ':a' }],
      columns: [{ name: 'x', declaredType: 'INTEGER' }],
      isExplain: false,
      isReadonly: true,
    });
    await expect(a.describe('SELEC')).rejects.toBeInstanceOf(SqlFailure);
  });

  it('learn that their transaction was rolled back', async () => {
    const { connect } = await open({ transactionTimeoutMs: 100 });
    const a = await connect();
    await rows(a, 'CREATE TABLE t (x)');
    await start(a, ['BEGIN IMMEDIATE', 'INSERT INTO t VALUES (1)']).finished;
    await until(() => a.isAutocommit && !a.holdsWriterLock);
    const late = start(a, 'COMMIT');
    await late.finished;
    expect(late.events).toMatchObject([{ kind: 'step-error', error: { code: 'TRANSACTION_TIMEOUT' } }]);
    expect(await rows(a, 'SELECT * FROM t')).toEqual([]);
  });
});

describe('reading from storage', () => {
  it('reports the lowest read point, and moves it on', async () => {
    const { volume, connect } = await open();
    const [a, b] = [await connect(), await connect()];
    await rows(a, 'CREATE TABLE t (x)');
    await start(b, ['BEGIN', 'SELECT * FROM t']).finished;
    const held = volume.vdl;
    for (let i = 0; i < 5; i += 1) await rows(a, 'INSERT INTO t VALUES (1)');
    await settle(1_200);
    expect(volume.lowestReported).toBeLessThanOrEqual(held);
    await start(b, 'COMMIT').finished;
    await until(() => volume.lowestReported === volume.vdl);
  });

  it('fails with the reason when storage does, and goes on after', async () => {
    const volume = new MemoryVolume();
    const first = await open({}, volume);
    const a = await first.connect();
    await rows(a, 'CREATE TABLE t (x)');
    await rows(a, 'INSERT INTO t VALUES (1)');
    await first.engine.close();
    const { connect } = await open({}, volume);
    volume.readError = 'NO_QUORUM';
    const b = await connect();
    const read = start(b, 'SELECT * FROM t');
    await read.finished;
    expect(read.events).toMatchObject([{ kind: 'step-error', error: { code: 'NO_QUORUM' } }]);
    volume.readError = null;
    expect(await rows(b, 'SELECT * FROM t')).toEqual([[1n]]);
  });

  it('scans with read-ahead: few requests, and a bounded cache', async () => {
    const volume = new MemoryVolume();
    const first = await open({}, volume);
    const a = await first.connect();
    await rows(a, 'CREATE TABLE t (id INTEGER PRIMARY KEY, x)');
    await rows(
      a,
      'WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<20000) INSERT INTO t SELECT i, hex(zeroblob(400)) FROM g',
    );
    await first.engine.close();
    const { engine, connect } = await open({ pageCacheBytes: 4 * 1024 * 1024 }, volume);
    volume.readDelayMs = 1;
    volume.readRequests.length = 0;
    volume.pagesRead = 0;
    const b = await connect();
    expect(await rows(b, 'SELECT count(*), sum(length(x)) FROM t')).toEqual([[20000n, 16000000n]]);
    const pages = engine.status().databasePages;
    expect(pages).toBeGreaterThan(4_000);
    expect(volume.readRequests.length).toBeLessThan(pages / 20);
    expect(volume.pagesRead).toBeLessThan(pages * 1.1);
    const { pageCache } = engine.status();
    expect(pageCache.bytes).toBeLessThanOrEqual(pageCache.limitBytes);
  });

  it('a page that comes late can be interrupted', async () => {
    const volume = new MemoryVolume();
    const first = await open({}, volume);
    await rows(await first.connect(), 'CREATE TABLE t (x)');
    await first.engine.close();
    const { connect } = await open({}, volume);
    volume.readDelayMs = 3_000;
    const b = await connect();
    const read = start(b, 'SELECT * FROM t');
    await settle(100);
    b.interrupt();
    await read.finished;
    expect(read.events).toMatchObject([{ kind: 'step-error', error: { code: 'SQLITE_INTERRUPT' } }]);
  });
});
