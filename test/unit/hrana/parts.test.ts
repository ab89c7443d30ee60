import { afterEach, describe, expect, it } from 'vitest';
import { Auth } from '../../../compute-node/hrana/auth.ts';
import { Batons } from '../../../compute-node/hrana/baton.ts';
import { ResultCollector } from '../../../compute-node/hrana/collect-result.ts';
import { HttpStreams } from '../../../compute-node/hrana/http-streams.ts';
import { ResponseBudget } from '../../../compute-node/hrana/response-budget.ts';
import { parseRoute } from '../../../compute-node/hrana/routes.ts';
import { DEFAULT_SESSION_LIMITS } from '../../../compute-node/session/limits.ts';
import { Sessions } from '../../../compute-node/session/sessions.ts';
import { ManualScheduler } from '../../support/manual-scheduler.ts';
import { MemoryEngine } from '../../support/memory-engine.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('routes', () => {
  it.each([
    ['/', { kind: 'volume', volume: 'main', path: '' }],
    ['/?x=1', { kind: 'volume', volume: 'main', path: '' }],
    ['/v2/pipeline', { kind: 'volume', volume: 'main', path: 'v2/pipeline' }],
    ['/v3-protobuf', { kind: 'volume', volume: 'main', path: 'v3-protobuf' }],
    ['/main/v3/cursor', { kind: 'volume', volume: 'main', path: 'v3/cursor' }],
    ['/dev', { kind: 'volume', volume: 'dev', path: '' }],
    ['/dev/', { kind: 'volume', volume: 'dev', path: '' }],
    ['/dev/v2/pipeline?a=b/c', { kind: 'volume', volume: 'dev', path: 'v2/pipeline' }],
    ['/main@lsn:5', { kind: 'volume', volume: 'main@lsn:5', path: '' }],
    ['/main@-15m/v2/pipeline', { kind: 'volume', volume: 'main@-15m', path: 'v2/pipeline' }],
    [
      '/dev%402026-11-21T10%3A00%3A00Z/v3/cursor',
      { kind: 'volume', volume: 'dev@2026-11-21T10:00:00Z', path: 'v3/cursor' },
    ],
    ['/health', { kind: 'page', page: 'health' }],
    ['/readyz', { kind: 'page', page: 'readyz' }],
    ['/-/status', { kind: 'admin' }],
  ])('%s', (url, route) => {
    expect(parseRoute(url)).toEqual(route);
  });

  it.each([
    ['/Main/v2', 'BAD_NAME'],
    ['/a_b', 'BAD_NAME'],
    ['/-a', 'BAD_NAME'],
    [`/${'a'.repeat(64)}`, 'BAD_NAME'],
    ['/..%2f', 'BAD_NAME'],
    ['/%zz', 'BAD_REQUEST'],
    ['/main@-15', 'BAD_REQUEST'],
    ['/main@2026-02-31/v2/pipeline', 'BAD_REQUEST'],
    ['/Main@lsn:5', 'BAD_NAME'],
  ])('%s is refused: %s', (url, expected) => {
    expect(() => parseRoute(url)).toThrow(code(expected));
  });
});

describe('Batons', () => {
  const batons = new Batons(new Uint8Array(32).fill(1));

  it('come back as they were written', () => {
    const claim = { stream: 2n ** 64n - 1n, turn: 5n };
    expect(batons.read(batons.write(claim))).toEqual(claim);
  });

  it('cannot be made or changed without the key', () => {
    const baton = batons.write({ stream: 7n, turn: 5n });
    const other = new Batons(new Uint8Array(32).fill(2));
    expect(() => other.read(baton)).toThrow(code('BATON_INVALID'));
    for (let at = 0; at < 48; at++) {
      const bytes = Buffer.from(baton, 'base64url');
      bytes[at]! ^= 1;
      expect(() => batons.read(bytes.toString('base64url'))).toThrow(code('BATON_INVALID'));
    }
    for (const bad of ['', 'x', baton.slice(1), `${baton}AAAA`]) {
      expect(() => batons.read(bad)).toThrow(code('BATON_INVALID'));
    }
  });
});

describe('HttpStreams', () => {
  const engine = new MemoryEngine();
  const scheduler = new ManualScheduler();
  const sessions = new Sessions(DEFAULT_SESSION_LIMITS, scheduler);
  const streams = new HttpStreams(sessions);
  const open = () => streams.open('main', () => engine.connect({ readonly: false }));
  afterEach(() => sessions.closeAll());

  it('let a baton be used once, by its volume', () => {
    const first = open();
    const baton = streams.baton(first);
    expect(() => streams.take('main', baton)).toThrow(code('BATON_REUSED'));
    streams.rest(first);
    expect(() => streams.take('other', baton)).toThrow(code('BATON_INVALID'));
    expect(streams.take('main', baton).stream).toBe(first.stream);
    streams.rest(first);
    expect(() => streams.take('main', baton)).toThrow(code('BATON_REUSED'));
    expect(streams.take('main', streams.baton(first)).stream).toBe(first.stream);
  });

  it('expire at rest, and tell so', async () => {
    const stream = open();
    const baton = streams.baton(stream);
    streams.rest(stream);
    await scheduler.pass(DEFAULT_SESSION_LIMITS.streamIdleMs);
    expect(() => streams.take('main', baton)).toThrow(code('STREAM_EXPIRED'));
    expect(stream.stream.isOpen).toBe(false);
    await scheduler.pass(DEFAULT_SESSION_LIMITS.streamIdleMs * 2);
    expect(() => streams.take('main', baton)).toThrow(code('BATON_INVALID'));
  });

  it('do not expire while a cursor is read, only after it', async () => {
    const stream = open();
    let finish = () => {};
    const reading = stream.stream.exclusively(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    streams.rest(stream);
    await scheduler.pass(DEFAULT_SESSION_LIMITS.streamIdleMs);
    expect(stream.stream.isOpen).toBe(true);
    finish();
    await reading;
    await scheduler.pass(DEFAULT_SESSION_LIMITS.streamIdleMs);
    expect(stream.stream.isOpen).toBe(false);
  });

  it('do not expire while taken', async () => {
    const stream = open();
    const baton = streams.baton(stream);
    streams.rest(stream);
    streams.take('main', baton);
    await scheduler.pass(DEFAULT_SESSION_LIMITS.streamIdleMs * 5);
    expect(stream.stream.isOpen).toBe(true);
    await streams.end(stream);
    expect(stream.stream.isOpen).toBe(false);
  });
});

describe('Auth', () => {
  it('takes the token and nothing else', () => {
    const auth = new Auth('secret');
    auth.checkHeader('Bearer secret');
    auth.checkHeader('bearer  secret');
    auth.checkToken('secret');
    for (const header of [
      undefined,
      '',
      'secret',
      'Basic secret',
      'Bearer',
      'Bearer secre',
      'Bearer secret x',
    ]) {
      expect(() => auth.checkHeader(header)).toThrow(code('UNAUTHORIZED'));
    }
    expect(() => auth.checkToken(null)).toThrow(code('UNAUTHORIZED'));
  });

  it('takes everybody when none is set', () => {
    new Auth(null).checkHeader(undefined);
    new Auth(null).checkToken('whatever');
  });
});

describe('ResultCollector', () => {
  const rows = (bytes: number) => ({ kind: 'rows', rows: [['x'.repeat(bytes)]] }) as const;

  it('stops a program whose result is too large, once, and lets its memory go', () => {
    let stops = 0;
    const budget = new ResponseBudget(1 << 30);
    const account = budget.account();
    const collector = new ResultCollector({ account, maxBytes: 1000, stop: () => stops++ });
    collector.onEvent({ kind: 'step-begin', step: 0, columns: [] });
    for (let i = 0; i < 5; i++) collector.onEvent(rows(600));
    expect(stops).toBe(1);
    expect(() => collector.stmtResult()).toThrow(code('RESPONSE_TOO_LARGE'));
    expect(() => collector.batchResult(1)).toThrow(code('RESPONSE_TOO_LARGE'));
  });

  it('shares one budget with every other response', () => {
    const budget = new ResponseBudget(1_000_000);
    const collect = () => {
      const account = budget.account();
      const collector = new ResultCollector({ account, maxBytes: 1 << 30, stop: () => {} });
      collector.onEvent({ kind: 'step-begin', step: 0, columns: [] });
      collector.onEvent(rows(600_000));
      return { account, refusal: collector.refusal };
    };
    const first = collect();
    expect(first.refusal).toBeNull();
    expect(collect().refusal).toEqual(code('RESPONSE_TOO_LARGE'));
    first.account.release();
    expect(budget.usedBytes).toBe(0);
    expect(collect().refusal).toBeNull();
  });
});
