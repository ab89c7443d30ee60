/** The benchmarks' own clients, and the benchmarks over them, against an in-memory engine. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contest } from '../../bench/contest.ts';
import { WsConnection, type WsTarget } from '../../bench/drivers/ws.ts';
import { loadSuites, SUITE_NAMES } from '../../bench/registry.ts';
import { hasShortfall, suiteText, summaryLine } from '../../bench/report.ts';
import { type RunOptions, runSuites } from '../../bench/runner.ts';
import type { Suite } from '../../bench/suite.ts';
import { httpWay } from '../../bench/ways/http.ts';
import { libsqlWay } from '../../bench/ways/libsql.ts';
import { wsWay } from '../../bench/ways/ws.ts';
import { startTestServer, type TestServer } from '../support/hrana-server.ts';

let server: TestServer;
let target: WsTarget;
beforeAll(async () => {
  server = await startTestServer({ volumes: ['main', 'dev'], token: 'secret' });
  target = { httpOrigin: server.url, volume: 'dev', authToken: 'secret' };
});
afterAll(() => server.close());

describe('the driver', () => {
  it('carries answers of every frame size', async () => {
    const connection = await WsConnection.open(target);
    for (const length of [1, 60, 126, 70_000, 300_000]) {
      const rows = await connection.execute(`select '${'é'.repeat(length)}'`);
      expect(rows[0]?.[0]?.value).toBe('é'.repeat(length));
    }
    connection.close();
  });

  it('gives the server’s errors as errors', async () => {
    const connection = await WsConnection.open(target);
    await expect(connection.execute('selekt')).rejects.toThrow(/syntax error/);
    expect(await connection.execute('select 1')).toEqual([[{ type: 'integer', value: '1' }]]);
    connection.close();
    await expect(connection.execute('select 1')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(WsConnection.open({ ...target, authToken: 'wrong' })).rejects.toThrow();
    await expect(WsConnection.open({ ...target, httpOrigin: 'http://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
});

describe.each(['ws', 'http', 'libsql'] as const)('the way by %s', (name) => {
  it('runs statements, batches and transactions, and fails when they fail', async () => {
    const way = { ws: wsWay, http: httpWay, libsql: libsqlWay }[name](target);
    const { connect, close } = await way;
    const client = await connect();
    const table = `way_${name}`;
    await client.run(`create table ${table} (id integer primary key, v text)`, []);
    const insert = `insert into ${table} values (?, ?)`;
    await client.run(insert, [1, 'one']);
    await client.batch(
      [
        { sql: insert, args: [2, 'two'] },
        { sql: insert, args: [3, 'three'] },
      ],
      'write',
    );
    await client.transaction(async (run) => {
      expect(await run(`select * from ${table} where id > ?`, [1])).toBe(2);
      await run(insert, [4, 'four']);
    }, 'write');
    await client.transaction(async (run) => void (await run(`select * from ${table}`, [])), 'read');
    expect(await client.run(`select * from ${table}`, [])).toBe(4);
    expect(await client.run(`select * from ${table} where id = ?`, [9])).toBe(0);
    await expect(client.run(insert, [1, 'again'])).rejects.toThrow(/UNIQUE/);
    const again = [
      { sql: insert, args: [5, 'five'] },
      { sql: insert, args: [1, 'again'] },
    ];
    await expect(client.batch(again, 'write')).rejects.toThrow(/UNIQUE/);
    const gaveUp = client.transaction(async (run) => {
      await run(insert, [6, 'six']);
      throw new Error('thought better of it');
    }, 'write');
    await expect(gaveUp).rejects.toThrow('thought better of it');
    expect(await client.run(`select typeof(id) from ${table} where typeof(id) = 'integer'`, [])).toBe(4);
    await client.close();
    await close();
  });
});

describe('the harness', () => {
  const load = { clients: [1, 3], durationMs: 100, warmUpMs: 30, rounds: 2 };
  let written = '';
  let stopped = 0;
  const run = (suites: readonly Suite[], more: Partial<RunOptions> = {}) => {
    written = '';
    stopped = 0;
    return runSuites({
      suites,
      isQuick: true,
      load,
      peers: 'none',
      command: 'tidemark bench',
      write: (text) => {
        written += text;
      },
      say: () => {},
      host: {
        cluster: async () => ({
          target,
          own: null,
          stop: async () => {
            stopped += 1;
          },
        }),
      },
      reportDirectory: null,
      ...more,
    });
  };

  it('measures updates and selects by every way in', async () => {
    const report = await run(await loadSuites(['select', 'quorum']), {});
    expect(report.suites.map(({ suite, failure }) => [suite, failure])).toEqual([
      ['quorum', null],
      ['select', null],
    ]);
    expect(stopped).toBe(2);
    const [commits, selects] = report.suites;
    const ways = ['WebSocket', 'HTTP', '@libsql/client'];
    for (const [{ tables, charts }, contenders] of [
      [commits!, ['floor', ...ways]],
      [selects!, [...ways, '@libsql/client, empty server']],
    ] as const) {
      expect(tables[0]!.rows.map(([contender, clients]) => `${contender} ${clients}`)).toEqual(
        ['1', '3'].flatMap((clients) => contenders.map((name) => `${name} ${clients}`)),
      );
      expect(charts![0]!.series[0]!.points.map(([clients]) => clients)).toEqual([1, 3]);
    }
  });

  it('says what fell short, what could not be measured and what failed, and goes on', async () => {
    const closed: string[] = [];
    const target = { name: 'speed', wanted: 10, is: 'at-least', unit: '/s' } as const;
    const suite = (name: string, suiteRun: Suite['run']): Suite => ({ name, about: 'a test', run: suiteRun });
    const outcome = { tables: [], results: 1 };
    const report = await run([
      suite('failing', async (context) => {
        await context.cluster();
        context.closeLater(() => void closed.push('first'));
        context.closeLater(() => void closed.push('second'));
        throw new Error('went wrong');
      }),
      suite('measuring', async () => ({
        ...outcome,
        targets: [
          { ...target, found: 12 },
          { ...target, found: 9 },
          { ...target, found: null },
          { ...target, is: 'at-most', found: 10 },
        ],
      })),
    ]);
    expect(closed).toEqual(['second', 'first']);
    expect(stopped).toBe(1);
    expect(report.suites[0]!.failure).toContain('went wrong');
    expect(report.suites[1]!.targets.map(({ isMet }) => isMet)).toEqual([true, false, null, true]);
    expect(suiteText(report.suites[1]!)).toContain('speed: 9 /s (wanted ≥ 10 /s): SHORT');
    expect(summaryLine(report)).toBe('bench failing, measuring: 2 of 3 targets met; failed: failing\n');
    expect(written).toContain('FAILED: Error: went wrong');
    expect(hasShortfall(report)).toBe(true);
    expect(hasShortfall({ ...report, suites: [report.suites[0]!] })).toBe(true);
    const met = {
      ...report.suites[1]!,
      targets: report.suites[1]!.targets.filter(({ isMet }) => isMet !== false),
    };
    expect(hasShortfall({ ...report, suites: [met] })).toBe(false);
  });

  it('needs a cluster of its own for a cold scan', async () => {
    const report = await run(await loadSuites(['scan']));
    expect(report.suites[0]!.failure).toContain('a cold scan needs a compute node that may be restarted');
  });

  it('knows its suites by name', async () => {
    expect((await loadSuites([])).map(({ name }) => name)).toEqual(SUITE_NAMES);
    expect(() => loadSuites(['qorum'])).toThrow(/there is no benchmark 'qorum'/);
  });

  it('writes a page that needs nothing else', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
    const named = '<b>&"name"';
    const suite: Suite = {
      name: 'drawn',
      about: 'a test',
      run: async () => ({
        tables: [{ title: 'a table', head: ['', 'n'], rows: [[named, '1']] }],
        charts: [
          {
            title: 'a chart',
            xLabel: 'clients',
            yLabel: 'ms',
            xLog: true,
            yLog: true,
            // A logarithm has no place for 0.
            series: [
              {
                name: named,
                points: [
                  [1, 0],
                  [1, 2],
                  [10, 20],
                ],
              },
            ],
          },
        ],
        targets: [],
        results: null,
      }),
    };
    await run([suite], { reportDirectory: join(directory, 'page') });
    const page = readFileSync(join(directory, 'page', 'index.html'), 'utf8');
    expect(page).not.toContain('<b>');
    expect(page).not.toMatch(/NaN|Infinity|undefined|(src|href)="http|<script/);
    expect(page.match(/<circle/g)).toHaveLength(2);
    expect(existsSync(join(directory, 'page', 'report.json'))).toBe(true);
    rmSync(directory, { recursive: true });
  });
});

describe('a contest', () => {
  it('lets contenders take turns', async () => {
    const turns: string[] = [];
    const contender = (name: string, pauseMs: number) => ({
      name,
      crew: async (clients: number) => {
        turns.push(`${name}${clients}`);
        const pause = () => new Promise<void>((resolve) => setTimeout(resolve, pauseMs));
        return { operations: Array.from({ length: clients }, () => pause), close: () => {} };
      },
    });
    const standings = await contest({
      contenders: [contender('a', 1), contender('b', 20)],
      clients: [1, 2],
      load: { clients: null, durationMs: 60, warmUpMs: 0, rounds: 3 },
      say: () => {},
    });
    expect(turns.join(' ')).toBe('a1 b1 a1 b1 a1 b1 a2 b2 a2 b2 a2 b2');
    expect(standings.map(({ contender: name, clients }) => `${name}${clients}`)).toEqual([
      'a1',
      'b1',
      'a2',
      'b2',
    ]);
    for (const { rounds, median } of standings) {
      const sorted = rounds.map(({ p50Ms }) => p50Ms).sort((x, y) => x - y);
      expect(median.p50Ms).toBe(sorted[1]);
    }
  });
});
