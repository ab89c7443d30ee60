/** The past of a volume, read through `@libsql/client` while it is written to, over writers that come and go. Real processes. */
import { type Client, createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RealCluster } from '../support/real-cluster.ts';
import { hasStockSqlite, stockQuery } from '../support/stock-sqlite.ts';

let cluster: RealCluster;
let main: Client;
/** What was there at which time: an entry per commit. */
const diary: { readonly at: string; readonly count: number; readonly lsn: number }[] = [];

beforeAll(async () => {
  cluster = await RealCluster.start({ pgPages: 16 });
  main = client('main');
  await main.execute('create table t (id integer primary key, name text, data blob)');
  await write(12);
});

afterAll(() => cluster.destroy());

function client(path: string, protocol: 'http' | 'ws' = 'http', compute?: string): Client {
  return createClient({ url: `${cluster.url(compute).replace('http', protocol)}/${path}/` });
}

/** One commit each, wide enough to reach several protection groups. */
async function write(commits: number): Promise<void> {
  for (let i = 0; i < commits; i += 1) {
    const response = await fetch(`${cluster.url()}/main/v2/pipeline`, {
      method: 'POST',
      body: JSON.stringify({
        requests: [
          {
            type: 'execute',
            stmt: {
              sql: 'insert into t (name, data) values (hex(randomblob(8)), zeroblob(9000)) returning (select count(*) from t)',
            },
          },
        ],
      }),
    });
    const lsn = Number(response.headers.get('tidemark-lsn'));
    expect(response.status).toBe(200);
    await response.json();
    diary.push({ at: new Date().toISOString(), count: (diary.at(-1)?.count ?? 0) + 1, lsn });
    // Times tell moments apart by their microseconds, clients by their milliseconds.
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function countAt(moment: string, protocol: 'http' | 'ws' = 'http'): Promise<number> {
  const past = client(`main@${moment}`, protocol);
  try {
    return Number((await past.execute('select count(*) as n from t')).rows[0]?.n);
  } finally {
    past.close();
  }
}

async function refusal(path: string): Promise<{ code: string; message: string }> {
  const past = client(path);
  try {
    await past.execute('select 1');
  } catch (error) {
    return { code: (error as { code: string }).code, message: (error as Error).message };
  } finally {
    past.close();
  }
  throw new Error(`${path} was opened`);
}

async function expectDiary(): Promise<void> {
  for (const [i, { at, count, lsn }] of diary.entries()) {
    expect(await countAt(i % 2 === 0 ? at : encodeURIComponent(at), i % 3 === 0 ? 'ws' : 'http'), at).toBe(
      count,
    );
    expect(await countAt(`lsn:${lsn}`), `lsn:${lsn}`).toBe(count);
  }
}

describe('the past of a volume', () => {
  it('is read at any time and LSN, while the present is written to', async () => {
    const writing = write(20);
    await expectDiary();
    await writing;
    await expectDiary();
  });

  it('is whole: a moment passes an integrity check and shows no later change', async () => {
    const { lsn, count } = diary[5]!;
    const past = client(`main@lsn:${lsn}`);
    expect((await past.execute('pragma integrity_check')).rows[0]?.integrity_check).toBe('ok');
    await main.execute('update t set name = null');
    diary.push({ at: new Date().toISOString(), count: diary.at(-1)!.count, lsn: diary.at(-1)!.lsn });
    expect((await past.execute('select count(name) as n from t')).rows[0]?.n).toBe(count);
    past.close();
  });

  it('is exported as a database file that the stock tool finds whole', async () => {
    const { lsn, count } = diary[7]!;
    const response = await fetch(`${cluster.url()}/-/volumes/main%40lsn%3A${lsn}/database`);
    expect(response.headers.get('tidemark-lsn')).toBe(String(lsn));
    const file = new Uint8Array(await response.arrayBuffer());
    expect(file.length).toBe(Number(response.headers.get('content-length')));
    if (!hasStockSqlite) return;
    const told = stockQuery(file, 'pragma integrity_check; select count(*) from t;');
    expect(told.split('\n')).toEqual(['ok', String(count)]);
  });

  it('cannot be written to', async () => {
    for (const protocol of ['http', 'ws'] as const) {
      const past = client(`main@lsn:${diary[3]!.lsn}`, protocol);
      await expect(past.execute('delete from t')).rejects.toMatchObject({
        code: 'SQLITE_READONLY',
        message: expect.stringContaining('a moment of the past is read-only'),
      });
      const transaction = await past.transaction('write');
      await expect(transaction.execute('create table u (x)')).rejects.toMatchObject({
        code: 'SQLITE_READONLY',
      });
      transaction.close();
      past.close();
    }
    expect(await countAt(`lsn:${diary[3]!.lsn}`)).toBe(diary[3]!.count);
  });

  it('that never was, or is yet to come, is refused by its own code', async () => {
    expect(await refusal('main@2999-01-01')).toMatchObject({
      code: 'IN_FUTURE',
      message: expect.stringContaining('future'),
    });
    expect(await refusal('main@lsn:99999999999')).toMatchObject({
      code: 'IN_FUTURE',
      message: expect.stringContaining('future'),
    });
    expect(await refusal('main@2001-01-01')).toMatchObject({
      code: 'BEFORE_CREATION',
      message: expect.stringContaining('before main was made'),
    });
    expect(await refusal('main@yesterday')).toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' });
    expect(await refusal('main@-15')).toMatchObject({ code: 'BAD_REQUEST' });
    expect(await refusal('nobody@lsn:1')).toMatchObject({ code: 'VOLUME_NOT_FOUND' });
  });

  it('goes back over writers that were killed, and is read at a compute node that has just taken over', async () => {
    await cluster.signal('compute-1', 'SIGKILL');
    await cluster.startCompute();
    await write(5);
    await expectDiary();
    const between = diary.at(-5)!.lsn - 50;
    expect(await refusal(`main@lsn:${between}`)).toMatchObject({
      code: 'CUT',
      message: expect.stringContaining('does not exist'),
    });
  });

  it('is read through another compute node than the one that writes', async () => {
    await cluster.startCompute('compute-2');
    for (const { at, count } of [diary[2]!, diary.at(-2)!, diary.at(-1)!]) {
      const past = client(`main@${at}`, 'http', 'compute-2');
      expect(Number((await past.execute('select count(*) as n from t')).rows[0]?.n), at).toBe(count);
      past.close();
    }
    await write(2);
    expect(await countAt(`lsn:${diary.at(-1)!.lsn}`)).toBe(diary.at(-1)!.count);
    await cluster.signal('compute-2', 'SIGTERM');
  });

  it('is one moment for as long as a conversation lasts, even when it was asked for as a while ago', async () => {
    const past = client('main@-1s', 'ws');
    const first = Number((await past.execute('select count(*) as n from t')).rows[0]?.n);
    await write(3);
    // A while ago is settled to the whole second where readers share it: up to one more.
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(Number((await past.execute('select count(*) as n from t')).rows[0]?.n)).toBe(first);
    past.close();
    expect(await countAt('-1s')).toBeGreaterThan(first);
  });
});
