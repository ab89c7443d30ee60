/** Statements about timelines through every way that clients speak: the library over HTTP and WebSocket, cursors, and the oldest interface. */
import { type Client, createClient, LibsqlError } from '@libsql/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { postJson, startTestServer, type TestServer } from '../support/hrana-server.ts';
import { MemoryTimelines } from '../support/memory-timelines.ts';
import { ShellHarness } from '../support/shell-harness.ts';

let server: TestServer;
let timelines: MemoryTimelines;

beforeEach(async () => {
  timelines = new MemoryTimelines();
  server = await startTestServer({ timelines });
});

afterEach(() => server.close());

async function failureOf(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LibsqlError);
  const { code, message } = error as LibsqlError;
  return { code, message };
}

describe.each([['HTTP'], ['WebSocket']])('@libsql/client over %s', (kind) => {
  let client: Client;

  beforeEach(() => {
    client = createClient({ url: kind === 'HTTP' ? server.url : server.wsUrl });
  });

  afterEach(() => client.close());

  it('clones, goes back and forward again', async () => {
    const cloned = await client.execute({
      sql: 'CREATE CLONE dev FROM main AT ?',
      args: ['-40s'],
    });
    expect(cloned.columns).toEqual(['volume', 'parent', 'parent_lsn', 'committed_at']);
    expect({ ...cloned.rows[0] }).toMatchObject({ volume: 'dev', parent: 'main', parent_lsn: 60 });
    await client.execute('create table t(a)');
    const back = await client.execute({ sql: 'BACKTRACK TO :when', args: { when: 'lsn:50' } });
    expect({ ...back.rows[0] }).toMatchObject({ lsn: 50, undo: 'lsn:100' });
    expect((await client.execute('select count(*) as n from t')).rows[0]?.n).toBe(0);
    const forward = await client.execute(String(back.rows[0]?.forward_again));
    expect(forward.rows[0]).toMatchObject({ lsn: 100 });
    expect((await client.execute('SHOW VOLUMES;')).rows.map(({ volume }) => volume)).toEqual(['main', 'dev']);
  });

  it('is told what is wrong, by code and with the next step', async () => {
    expect(await failureOf(client.execute(`backtrack to 'lsn:2'`))).toMatchObject({
      code: 'GONE',
      message: expect.stringContaining('Name a later one.'),
    });
    expect(await failureOf(client.execute('create clone main'))).toMatchObject({ code: 'VOLUME_EXISTS' });
    expect(await failureOf(client.execute('create clone'))).toMatchObject({ code: 'SQLITE_ERROR' });
    expect((await client.execute('select 1 as one')).rows[0]?.one).toBe(1);
  });

  it('is refused in batches and transactions, which go on', async () => {
    await client.execute('create table t(a)');
    const insert = 'insert into t values (1)';
    expect(await failureOf(client.batch([insert, 'create clone dev'], 'write'))).toMatchObject({
      code: 'SQLITE_ERROR',
      message: expect.stringContaining('cannot CREATE CLONE from within a transaction'),
    });
    expect((await client.execute('select count(*) as n from t')).rows[0]?.n).toBe(0);
    const transaction = await client.transaction('write');
    await transaction.execute(insert);
    expect(await failureOf(transaction.execute('drop volume main'))).toMatchObject({ code: 'SQLITE_ERROR' });
    await transaction.commit();
    expect((await client.execute('select count(*) as n from t')).rows[0]?.n).toBe(1);
    expect(timelines.calls).toEqual([]);
  });

  it('runs them in scripts', async () => {
    await client.executeMultiple(
      `create table t(a); create snapshot s; insert into t values (1); create clone dev at 's'`,
    );
    expect(timelines.calls).toEqual(['snapshot main s', 'clone main@s dev']);
    expect(
      await failureOf(client.executeMultiple('insert into t values (2); drop volume missing')),
    ).toMatchObject({
      code: 'VOLUME_NOT_FOUND',
    });
    expect((await client.execute('select count(*) as n from t')).rows[0]?.n).toBe(2);
  });
});

describe('other ways', () => {
  it('through a cursor', async () => {
    const response = await fetch(`${server.url}/v3/cursor`, {
      method: 'POST',
      body: JSON.stringify({
        baton: null,
        batch: {
          steps: [
            { stmt: { sql: 'create snapshot s' } },
            { stmt: { sql: 'select 7' }, condition: { type: 'ok', step: 0 } },
            { stmt: { sql: 'create snapshot s' } },
            { stmt: { sql: 'select 8' }, condition: { type: 'ok', step: 2 } },
          ],
        },
      }),
    });
    const entries = (await response.text())
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => JSON.parse(line));
    expect(entries.map(({ type, step }) => [type, step])).toEqual([
      ['step_begin', 0],
      ['row', undefined],
      ['step_end', undefined],
      ['step_begin', 1],
      ['row', undefined],
      ['step_end', undefined],
      ['step_error', 2],
    ]);
    expect(entries.at(-1).error.code).toBe('SNAPSHOT_EXISTS');
  });

  it('through the oldest interface', async () => {
    const { body } = await postJson(server.url, {
      statements: ['create snapshot s', { q: 'create clone dev at ?', params: ['s'] }, 'show volumes'],
    });
    expect(body[1].results.rows).toEqual([['dev', 'main', 100, '1970-01-01T00:01:40Z']]);
    expect(body[2].results.rows).toHaveLength(2);
  });

  it('through /v1/execute', async () => {
    const { body } = await postJson(`${server.url}/v1/execute`, { stmt: { sql: 'drop volume missing' } });
    expect(body.code).toBe('VOLUME_NOT_FOUND');
  });

  it('through describe', async () => {
    const { body } = await postJson(`${server.url}/v3/pipeline`, {
      baton: null,
      requests: [{ type: 'describe', sql: 'backtrack to ?' }],
    });
    expect(body.results[0].response.result.cols.map(({ name }: { name: string }) => name)).toContain('undo');
    expect(timelines.calls).toEqual([]);
  });

  it('through the shell, which points at the place and tells the next step', async () => {
    const shell = await ShellHarness.open(server.url);
    try {
      const made = await shell.script(`create clone dev at '-40s';\n`);
      expect(made.out).toContain('dev');
      const wrong = await shell.script('create clone dev from main@-15m;\n');
      expect(wrong).toMatchObject({ ok: false });
      expect(wrong.err).toMatch(/near "@": a moment is named by AT 'moment'[\s\S]*\^/);
      const gone = await shell.script(`backtrack to 'lsn:2';\n`);
      expect(gone.err).toBe('line 1: Error: history begins at LSN 10 (GONE)\n  Name a later one.\n');
      expect((await shell.script('.help\n')).out).toContain("BACKTRACK [volume] TO 'moment';");
    } finally {
      shell.close();
    }
  });
});
