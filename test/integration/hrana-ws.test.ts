/** Hrana over WebSocket as messages on the wire: what clients send and what they get, right and wrong. */
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ManualScheduler } from '../support/manual-scheduler.ts';
import { RawWs, settled, startTestServer, type TestServer } from '../support/hrana-server.ts';

let test: TestServer;

beforeAll(async () => {
  test = await startTestServer({
    volumes: ['main', 'dev'],
    hranaLimits: { cursorBufferBytes: 16 * 1024, maxRequestBytes: 1 << 20 },
  });
});

afterAll(() => test.close());

const text = (value: string) => ({ type: 'text', value });
const integer = (value: number) => ({ type: 'integer', value: `${value}` });
const rowsOf = (answer: { response: { result: { rows: unknown } } }) => answer.response.result.rows;
const ENDLESS =
  'with recursive c(n) as (select 1 union all select n+1 from c) select n, hex(zeroblob(500)) from c';

async function openStream(
  options: { path?: string; protocols?: string[]; hello?: object } = {},
): Promise<RawWs> {
  const raw = await RawWs.open(test.wsUrl + (options.path ?? ''), options.protocols, options.hello ?? {});
  expect(await raw.ask({ type: 'open_stream', stream_id: 0 })).toMatchObject({
    response: { type: 'open_stream' },
  });
  return raw;
}

describe('negotiation', () => {
  it.each([
    [['hrana1', 'hrana3', 'hrana2'], 'hrana3'],
    [['hrana3-protobuf', 'hrana2'], 'hrana2'],
    [['HRANA3'], 'HRANA3'],
    [['hrana1'], 'hrana1'],
    [[], ''],
  ])('of %j chooses %j', async (offered, chosen) => {
    const raw = await RawWs.open(test.wsUrl, offered);
    expect(raw.webSocket.protocol).toBe(chosen);
    raw.close();
  });

  it('does not compress', async () => {
    const raw = await RawWs.open(test.wsUrl);
    expect(raw.webSocket.extensions).toBe('');
    raw.close();
  });

  it.each([
    ['/', 'hrana3-protobuf', 400, 'UNSUPPORTED'],
    ['/UPPER', 'hrana3', 400, 'BAD_NAME'],
    ['/main@-5', 'hrana3', 400, 'BAD_REQUEST'],
    ['/v2/pipeline', 'hrana3', 400, 'BAD_REQUEST'],
    ['/?tidemark-consistency=none', 'hrana3', 400, 'BAD_REQUEST'],
  ])('refuses the upgrade of %s with %s', async (path, protocol, status, code) => {
    const [gotStatus, body] = await new Promise<[number, string]>((resolve, reject) => {
      const upgrade = request(test.url + path, {
        headers: {
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
          'sec-websocket-protocol': protocol,
        },
      });
      upgrade.on('response', async (response) => {
        let body = '';
        for await (const chunk of response) body += chunk;
        resolve([response.statusCode ?? 0, body]);
      });
      upgrade.on('error', reject);
      upgrade.end();
    });
    expect(gotStatus).toBe(status);
    expect(JSON.parse(body).code).toBe(code);
  });
});

describe('hello', () => {
  it('is answered, and may be repeated from version 2 on', async () => {
    const raw = await RawWs.open(test.wsUrl, ['hrana2'], null);
    for (let i = 0; i < 2; i++) {
      raw.send({ type: 'hello', jwt: null, unknown: 1 });
      expect(await raw.next()).toEqual({ type: 'hello_ok' });
    }
    raw.close();
    const old = await RawWs.open(test.wsUrl, ['hrana1']);
    old.send({ type: 'hello', jwt: null });
    expect(await old.closed).toMatchObject({ code: 1008 });
  });

  it('must come first', async () => {
    const raw = await RawWs.open(test.wsUrl, ['hrana3'], null);
    raw.post({ type: 'open_stream', stream_id: 1 });
    expect(await raw.closed).toEqual({ code: 1008, reason: 'a request came before hello' });
  });

  it('must come soon', async () => {
    const scheduler = new ManualScheduler();
    const own = await startTestServer({ scheduler });
    const raw = await RawWs.open(own.wsUrl, ['hrana3'], null);
    const greeted = await RawWs.open(own.wsUrl);
    await scheduler.pass(60_000);
    expect(await raw.closed).toEqual({ code: 1008, reason: 'no hello came' });
    expect(await greeted.ask({ type: 'open_stream', stream_id: 0 })).toMatchObject({ type: 'response_ok' });
    await own.close();
  });

  it('carries the token; without it nothing is heard', async () => {
    const own = await startTestServer({ token: 'secret' });
    const refused = await RawWs.open(own.wsUrl, ['hrana3'], null);
    refused.send({ type: 'hello', jwt: 'wrong' });
    refused.post({ type: 'open_stream', stream_id: 1 });
    expect(await refused.next()).toMatchObject({ type: 'hello_error', error: { code: 'UNAUTHORIZED' } });
    expect(await refused.closed).toMatchObject({ code: 1008 });
    expect(own.sessions.count).toBe(0);
    const taken = await RawWs.open(own.wsUrl, ['hrana3'], { jwt: 'secret' });
    expect(await taken.ask({ type: 'open_stream', stream_id: 1 })).toMatchObject({ type: 'response_ok' });
    await own.close();
  });
});

describe('requests', () => {
  it('of every kind', async () => {
    const raw = await openStream();
    const ask = async (request: object) => (await raw.ask({ stream_id: 0, ...request })).response;
    await ask({
      type: 'sequence',
      sql: 'create table w (id integer primary key, v); insert into w (v) values (10)',
    });
    expect(await ask({ type: 'store_sql', sql_id: 5, sql: 'select v from w where id = ?' })).toEqual({
      type: 'store_sql',
    });
    expect((await ask({ type: 'execute', stmt: { sql_id: 5, args: [integer(1)] } })).result.rows).toEqual([
      [integer(10)],
    ]);
    expect((await ask({ type: 'describe', sql_id: 5 })).result).toMatchObject({
      params: [{ name: null }],
      is_readonly: true,
    });
    expect(await ask({ type: 'close_sql', sql_id: 5 })).toEqual({ type: 'close_sql' });
    expect(await ask({ type: 'close_sql', sql_id: 5 })).toEqual({ type: 'close_sql' });
    const batch = {
      steps: [
        { stmt: { sql: 'begin' } },
        { stmt: { sql: 'select 1' }, condition: { type: 'not', cond: { type: 'is_autocommit' } } },
      ],
    };
    expect((await ask({ type: 'batch', batch })).result.step_results[1].rows).toEqual([[integer(1)]]);
    expect(await ask({ type: 'get_autocommit' })).toEqual({ type: 'get_autocommit', is_autocommit: false });
    expect(await ask({ type: 'close_stream' })).toEqual({ type: 'close_stream' });
    raw.close();
  });

  it('tell the LSN of their results', async () => {
    const raw = await openStream();
    const before = (await raw.execute(0, 'select 1')).lsn ?? 0;
    await raw.execute(0, 'create table lsn (a)');
    expect((await raw.execute(0, 'insert into lsn values (1)')).lsn).toBeGreaterThan(before);
    raw.close();
  });

  it('run in order on a stream without waiting for answers, and side by side on several', async () => {
    const raw = await RawWs.open(test.wsUrl);
    raw.post({ type: 'open_stream', stream_id: 1 });
    raw.post({ type: 'execute', stream_id: 1, stmt: { sql: 'create table ord (a)' } });
    for (let i = 0; i < 20; i++) {
      raw.post({ type: 'execute', stream_id: 1, stmt: { sql: `insert into ord values (${i})` } });
    }
    raw.post({ type: 'execute', stream_id: 1, stmt: { sql: 'select group_concat(a) from ord' } });
    raw.post({ type: 'close_stream', stream_id: 1 });
    const answers = [];
    for (let i = 0; i < 24; i++) answers.push(await raw.next());
    expect(answers.map((answer) => answer.request_id)).toEqual(answers.map((_, i) => i + 1));
    expect(rowsOf(answers[22])).toEqual([[text('0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19')]]);

    await raw.ask({ type: 'open_stream', stream_id: 1 });
    await raw.ask({ type: 'open_stream', stream_id: 2 });
    await raw.execute(1, 'begin immediate');
    const blocked = raw.post({ type: 'execute', stream_id: 2, stmt: { sql: 'insert into ord values (99)' } });
    const free = raw.post({ type: 'execute', stream_id: 1, stmt: { sql: 'rollback' } });
    expect((await raw.next()).request_id).toBe(free);
    expect((await raw.next()).request_id).toBe(blocked);
    raw.close();
  });

  it('that are wrong in themselves are refused, and the connection lives', async () => {
    const raw = await openStream();
    const refused = async (request: object) => (await raw.ask(request)).error.code;
    expect(
      await refused({ type: 'execute', stream_id: 0, stmt: { sql: 'select ?', args: [{ type: 'x' }] } }),
    ).toBe('BAD_REQUEST');
    expect(await refused({ type: 'execute', stream_id: 0, stmt: {} })).toBe('BAD_REQUEST');
    expect(await refused({ type: 'execute', stream_id: 0, stmt: { sql_id: 77 } })).toBe('SQL_NOT_STORED');
    expect(await refused({ type: 'execute', stream_id: 0, stmt: { sql: 'selec' } })).toBe('SQLITE_ERROR');
    expect(await refused({ type: 'open_stream', stream_id: 'x' })).toBe('BAD_REQUEST');
    expect(rowsOf(await raw.execute(0, 'select 1'))).toEqual([[integer(1)]]);
    raw.close();
  });

  it.each([
    ['not JSON', '{', 1007],
    ['JSON that is no object', '[]', 1007],
    ['an unknown message', { type: 'what' }, 1007],
    ['no request id', { type: 'request', request: { type: 'open_stream', stream_id: 1 } }, 1007],
    ['an unknown request', { type: 'request', request_id: 1, request: { type: 'what' } }, 1007],
    [
      'a stream that is not there',
      { type: 'request', request_id: 1, request: { type: 'close_stream', stream_id: 9 } },
      1008,
    ],
    [
      'a stream id in use',
      { type: 'request', request_id: 1, request: { type: 'open_stream', stream_id: 0 } },
      1008,
    ],
    [
      'a cursor that is not there',
      { type: 'request', request_id: 1, request: { type: 'fetch_cursor', cursor_id: 9, max_count: 1 } },
      1008,
    ],
    [
      'an execute on no stream',
      { type: 'request', request_id: 1, request: { type: 'execute', stream_id: 9, stmt: { sql: '' } } },
      1008,
    ],
  ])('close the connection on %s', async (_name, message, code) => {
    const raw = await openStream();
    raw.send(message);
    expect(await raw.closed).toMatchObject({ code });
    await expect.poll(() => test.sessions.count).toBe(0);
  });

  it('close the connection on binary frames and messages that are too large', async () => {
    const binary = await openStream();
    binary.webSocket.send(Buffer.from('{}'));
    expect(await binary.closed).toMatchObject({ code: 1003 });
    const large = await openStream();
    large.webSocket.send('x'.repeat((1 << 20) + 1));
    expect(await large.closed).toMatchObject({ code: 1009 });
  });

  it.each([
    ['hrana1', { type: 'sequence', stream_id: 0, sql: '' }],
    ['hrana1', { type: 'describe', stream_id: 0, sql: '' }],
    ['hrana1', { type: 'store_sql', sql_id: 0, sql: '' }],
    ['hrana2', { type: 'get_autocommit', stream_id: 0 }],
    ['hrana2', { type: 'open_cursor', stream_id: 0, cursor_id: 0, batch: { steps: [] } }],
  ])('%s does not know %j', async (protocol, request) => {
    const raw = await openStream({ protocols: [protocol] });
    raw.post(request);
    expect(await raw.closed).toMatchObject({ code: 1008 });
  });
});

describe('volumes', () => {
  it('are named by the path', async () => {
    const dev = await openStream({ path: '/dev' });
    await dev.execute(0, 'create table here (a)');
    const main = await openStream({ path: '/main/' });
    expect((await main.execute(0, 'select * from here')).error.message).toContain('no such table');
    dev.close();
    main.close();
  });

  it('that are unknown are told by open_stream and every request after it', async () => {
    const raw = await RawWs.open(`${test.wsUrl}/nowhere`);
    raw.post({ type: 'open_stream', stream_id: 1 });
    raw.post({ type: 'execute', stream_id: 1, stmt: { sql: 'select 1' } });
    raw.post({ type: 'close_stream', stream_id: 1 });
    const answers = [await raw.next(), await raw.next(), await raw.next()];
    answers.sort((x, y) => x.request_id - y.request_id);
    expect(answers).toMatchObject([
      { error: { code: 'VOLUME_NOT_FOUND' } },
      { error: { code: 'VOLUME_NOT_FOUND' } },
      { response: { type: 'close_stream' } },
    ]);
    raw.close();
  });
});

describe('consistency', () => {
  it('comes from the URL or the hello; session means what the whole connection has seen', async () => {
    const runs = test.engines.get('main')!.runs;
    const byUrl = await openStream({ path: '/?tidemark-consistency=snapshot' });
    await byUrl.execute(0, 'select 1');
    expect(runs.at(-1)!.consistency).toBe('snapshot');
    byUrl.close();
    const byHello = await openStream({ hello: { consistency: 'session', min_lsn: 1 } });
    await byHello.execute(0, 'create table sess (a)');
    expect(runs.at(-1)).toEqual({ consistency: 'session', minLsn: 1 });
    await byHello.ask({ type: 'open_stream', stream_id: 1 });
    const { lsn } = await byHello.execute(0, 'insert into sess values (1)');
    await byHello.execute(1, 'select 1');
    expect(runs.at(-1)).toEqual({ consistency: 'session', minLsn: lsn });
    byHello.close();
  });
});

describe('cursors', () => {
  const openCursor = (raw: RawWs, ...sqls: string[]) =>
    raw.ask({
      type: 'open_cursor',
      stream_id: 0,
      cursor_id: 7,
      batch: { steps: sqls.map((sql) => ({ stmt: { sql } })) },
    });
  const fetchCursor = async (raw: RawWs, maxCount: number) =>
    (await raw.ask({ type: 'fetch_cursor', cursor_id: 7, max_count: maxCount })).response;

  it('give their entries in fetches and free the stream when closed', async () => {
    const raw = await openStream();
    expect(await openCursor(raw, 'select 1 union all select 2', 'selec')).toMatchObject({
      response: { type: 'open_cursor' },
    });
    const entries: { type: string }[] = [];
    for (;;) {
      const { entries: some, done } = await fetchCursor(raw, 2);
      expect(some.length).toBeLessThanOrEqual(2);
      entries.push(...some);
      if (done) break;
    }
    expect(entries.map((entry) => entry.type)).toEqual([
      'step_begin',
      'row',
      'row',
      'step_end',
      'step_error',
    ]);
    expect(await fetchCursor(raw, 5)).toMatchObject({ entries: [], done: true });
    const waiting = raw.post({ type: 'execute', stream_id: 0, stmt: { sql: 'select 3' } });
    await raw.ask({ type: 'close_cursor', cursor_id: 7 });
    expect(await raw.next()).toMatchObject({ request_id: waiting, type: 'response_ok' });
    raw.close();
  });

  it('let the program run ahead only so far', async () => {
    const raw = await openStream();
    const engine = test.engines.get('main')!;
    const before = engine.rowsStepped;
    await openCursor(raw, ENDLESS);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(engine.rowsStepped - before).toBeLessThanOrEqual(64);
    for (let i = 0; i < 10; i++) expect((await fetchCursor(raw, 1000)).entries.length).toBeGreaterThan(0);
    expect(engine.rowsStepped - before).toBeLessThanOrEqual(64 * 12);
    await raw.ask({ type: 'close_cursor', cursor_id: 7 });
    expect(rowsOf(await raw.execute(0, 'select 1'))).toEqual([[integer(1)]]);
    raw.close();
  });

  it('end with their stream, and with the connection', async () => {
    const raw = await openStream();
    await openCursor(raw, ENDLESS);
    expect(await raw.ask({ type: 'close_stream', stream_id: 0 })).toMatchObject({
      response: { type: 'close_stream' },
    });
    await raw.ask({ type: 'open_stream', stream_id: 0 });
    await openCursor(raw, ENDLESS);
    raw.close();
    await expect.poll(() => test.sessions.count).toBe(0);
    await expect.poll(() => test.engines.get('main')!.openConnections).toBe(0);
  });

  it('that fail to open keep their id until closed', async () => {
    const raw = await openStream();
    const bad = await raw.ask({ type: 'open_cursor', stream_id: 0, cursor_id: 7, batch: {} });
    expect(bad.error.code).toBe('BAD_REQUEST');
    const fetched = await raw.ask({ type: 'fetch_cursor', cursor_id: 7, max_count: 1 });
    expect(fetched.error.message).toContain('failed to open');
    await raw.ask({ type: 'close_cursor', cursor_id: 7 });
    expect(await openCursor(raw, 'select 1')).toMatchObject({ type: 'response_ok' });
    raw.close();
  });

  it('that nobody fetches from give the writer lock back', async () => {
    const scheduler = new ManualScheduler();
    const own = await startTestServer({ scheduler, hranaLimits: { cursorBufferBytes: 1024 } });
    const raw = await RawWs.open(own.wsUrl);
    await raw.ask({ type: 'open_stream', stream_id: 0 });
    await raw.execute(0, 'create table t (a)');
    await openCursor(raw, 'begin immediate', ENDLESS, 'commit');
    const engine = own.engines.get('main')!;
    await raw.ask({ type: 'open_stream', stream_id: 1 });
    raw.post({ type: 'execute', stream_id: 1, stmt: { sql: 'insert into t values (1)' } });
    await expect.poll(() => engine.waitingWriters).toBe(1);
    await scheduler.pass(5_000);
    let last: unknown;
    for (let done = false; !done; ) {
      const fetched = await fetchCursor(raw, 1000);
      done = fetched.done;
      last = fetched.entries.at(-1) ?? last;
    }
    expect(last).toMatchObject({ type: 'error', error: { code: 'TIMEOUT' } });
    await raw.ask({ type: 'close_cursor', cursor_id: 7 });
    await scheduler.pass(5_000);
    expect(await raw.next()).toMatchObject({ type: 'response_ok', response: { type: 'execute' } });
    await own.close();
  });
});

describe('disconnection', () => {
  it('rolls back at once and leaves the queue of writers', async () => {
    const holder = await openStream();
    await holder.execute(0, 'create table disc (a)');
    await holder.execute(0, 'begin immediate');
    await holder.execute(0, 'insert into disc values (1)');
    const waiter = await openStream();
    waiter.post({ type: 'execute', stream_id: 0, stmt: { sql: 'insert into disc values (2)' } });
    const engine = test.engines.get('main')!;
    await expect.poll(() => engine.waitingWriters).toBe(1);
    waiter.webSocket.terminate();
    await expect.poll(() => engine.waitingWriters).toBe(0);
    holder.webSocket.terminate();
    const reader = await openStream();
    await expect
      .poll(async () => rowsOf(await reader.execute(0, 'select count(*) from disc')))
      .toEqual([[integer(0)]]);
    reader.close();
  });

  it('is found out by pings that nobody answers', async () => {
    const own = await startTestServer({ hranaLimits: { pingIntervalMs: 30 } });
    const mute = new WebSocket(own.wsUrl, ['hrana3'], { autoPong: false });
    const closed = new Promise<number>((resolve) => mute.on('close', resolve));
    const alive = await RawWs.open(own.wsUrl);
    expect(await closed).toBe(1006);
    expect(await alive.ask({ type: 'open_stream', stream_id: 1 })).toMatchObject({ type: 'response_ok' });
    await own.close();
  });
});

describe('backpressure', () => {
  it('stops reading requests while too many wait for their answers', async () => {
    const own = await startTestServer({ hranaLimits: { maxOutstandingRequests: 8 } });
    const engine = own.engines.get('main')!;
    const holder = await RawWs.open(own.wsUrl);
    await holder.ask({ type: 'open_stream', stream_id: 0 });
    await holder.execute(0, 'create table t (a)');
    await holder.execute(0, 'begin immediate');
    const raw = await RawWs.open(own.wsUrl);
    const pad = 'x'.repeat(100_000);
    for (let i = 0; i < 100; i++) {
      raw.post({ type: 'open_stream', stream_id: i });
      raw.post({ type: 'execute', stream_id: i, stmt: { sql: 'insert into t values (1)' }, pad });
    }
    await expect.poll(() => engine.waitingWriters).toBeGreaterThan(2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(own.sessions.count).toBeLessThan(20);
    await holder.execute(0, 'rollback');
    for (let i = 0; i < 200; i++) expect((await raw.next()).type).toBe('response_ok');
    await own.close();
  });

  it('stops reading requests while the client does not read answers', async () => {
    const own = await startTestServer({ hranaLimits: { maxSocketBufferBytes: 256 * 1024 } });
    const engine = own.engines.get('main')!;
    const raw = await RawWs.open(own.wsUrl);
    await raw.ask({ type: 'open_stream', stream_id: 0 });
    raw.webSocket.pause();
    const large = { type: 'execute', stream_id: 0, stmt: { sql: 'select hex(zeroblob(500000))' } };
    for (let i = 0; i < 200; i++) raw.post(large);
    expect(await settled(() => engine.rowsStepped)).toBeLessThan(40);
    raw.webSocket.resume();
    for (let i = 0; i < 200; i++) expect((await raw.next()).type).toBe('response_ok');
    await own.close();
  });
});

describe('a client that does not read its answers', () => {
  it('is cut off soon when it holds the writer lock', async () => {
    const scheduler = new ManualScheduler();
    const own = await startTestServer({ scheduler, hranaLimits: { maxSocketBufferBytes: 256 * 1024 } });
    const engine = own.engines.get('main')!;
    const raw = await RawWs.open(own.wsUrl);
    await raw.ask({ type: 'open_stream', stream_id: 0 });
    await raw.execute(0, 'create table t (a)');
    await raw.execute(0, 'begin immediate');
    raw.webSocket.pause();
    const large = { type: 'execute', stream_id: 0, stmt: { sql: 'select hex(zeroblob(500000))' } };
    for (let i = 0; i < 100; i++) raw.post(large);
    await settled(() => engine.rowsStepped);
    const other = await RawWs.open(own.wsUrl);
    await other.ask({ type: 'open_stream', stream_id: 0 });
    const waiting = other.execute(0, 'insert into t values (1)');
    await expect.poll(() => engine.waitingWriters).toBe(1);
    await scheduler.pass(5_000);
    expect((await waiting).type).toBe('response_ok');
    raw.webSocket.terminate();
    await own.close();
  });
});

describe('the end of the server', () => {
  it('lets running requests finish and says 1001', async () => {
    const own = await startTestServer();
    const holder = await RawWs.open(own.wsUrl);
    await holder.ask({ type: 'open_stream', stream_id: 0 });
    await holder.execute(0, 'create table t (a)');
    await holder.execute(0, 'begin immediate');
    const writer = await RawWs.open(own.wsUrl);
    await writer.ask({ type: 'open_stream', stream_id: 0 });
    writer.post({ type: 'execute', stream_id: 0, stmt: { sql: 'insert into t values (1)' } });
    await expect.poll(() => own.engines.get('main')!.waitingWriters).toBe(1);
    const closing = own.server.close();
    writer.post({ type: 'execute', stream_id: 0, stmt: { sql: 'insert into t values (2)' } });
    expect(await holder.closed).toMatchObject({ code: 1001 });
    expect(await writer.next()).toMatchObject({ type: 'response_ok' });
    expect(await writer.closed).toMatchObject({ code: 1001 });
    await closing;
    const counted: unknown[] = [];
    const reader = await own.engines.get('main')!.connect({ readonly: true });
    const select = { sql: 'select a from t', args: [], namedArgs: [], wantRows: true };
    await reader.run([{ statement: select, condition: null }], {
      consistency: 'strong',
      onEvent: (event) => {
        if (event.kind === 'rows') counted.push(...event.rows);
      },
    });
    expect(counted).toEqual([[1n]]);
    await own.close();
  });
});
