/** The built `tidemark` command as people and scripts run it: exit codes, streams, a whole cluster from `up` to Ctrl-C, data over restarts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { hasStockSqlite, stockQuery } from '../support/stock-sqlite.ts';

const MAIN = resolve(import.meta.dirname, '../../dist/cli/main.js');
const SLOW_MS = 90_000;

interface Finished {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const running = new Set<ChildProcess>();

function launch(
  args: readonly string[],
  env: Record<string, string> = {},
): ChildProcess & { out: string; err: string } {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, TIDEMARK_URL: '', TIDEMARK_DATA: '', TIDEMARK_PORT: '', NO_COLOR: '1', ...env },
  });
  running.add(child);
  const collected = Object.assign(child, { out: '', err: '' });
  child.stdout.on('data', (chunk) => {
    collected.out += String(chunk);
  });
  child.stderr.on('data', (chunk) => {
    collected.err += String(chunk);
  });
  return collected;
}

async function finished(child: ReturnType<typeof launch>): Promise<Finished> {
  const code = await new Promise<number | null>((done) => child.on('close', (exit) => done(exit)));
  running.delete(child);
  return { code, out: child.out, err: child.err };
}

async function run(args: readonly string[], input = '', env: Record<string, string> = {}): Promise<Finished> {
  const child = launch(args, env);
  child.stdin!.on('error', () => undefined);
  child.stdin!.end(input);
  return finished(child);
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (holds()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`never: ${what}`);
}

/** The process that was started with this argument. */
function pidOf(argument: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument)) return Number(pid);
    } catch {
      // It has just ended.
    }
  }
  throw new Error(`no process has ${argument}`);
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
});
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the command line', () => {
  it('helps with everything', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    const names = [
      'up',
      'sql',
      'status',
      'volumes',
      'clone',
      'drop',
      'backtrack',
      'snapshot',
      'window',
      'diff',
      'merge',
      'restore-rows',
      'node',
      'import',
      'export',
      'bench',
      'storage-node',
      'compute-node',
      'health',
    ];
    const helps = await Promise.all(names.map((name) => run([name, '--help'])));
    for (const [i, name] of names.entries()) {
      expect(out).toContain(`  ${name}`);
      expect(helps[i]).toMatchObject({ code: 0, err: '' });
      expect(helps[i]!.out).toContain(`Usage: tidemark ${name}`);
    }
  });

  it.each([
    [['frobnicate'], 2, /unknown command/],
    [['up', '--frobnicate'], 2, /unknown option/],
    [['up', '--port', 'x'], 2, /--port: "x" is not a whole number/],
    [['up', '--storage-nodes', '5'], 2, /from 6 to 60/],
    [['up', '--ephemeral', '--data', 'x'], 2, /exclude each other/],
    [['sql', 'ftp://x'], 2, /not the URL of a compute node/],
    [['sql', '--mode', 'fancy', 'http://127.0.0.1:1'], 2, /not a mode/],
    [
      ['status', '--url', 'http://127.0.0.1:1'],
      1,
      /no compute node answers.*\(UNAVAILABLE\)\n.*tidemark up/s,
    ],
    [['health', '--url', 'http://127.0.0.1:1'], 1, /UNAVAILABLE/],
    [['health', '--storage-node', '127.0.0.1:1'], 1, /Error/],
    [['volumes', 'create', 'Bad'], 1, /BAD_NAME/],
    [['import', '/nowhere'], 1, /cannot read \/nowhere/],
    [['import', MAIN], 1, /NOT_A_DATABASE/],
    [['storage-node', '--node-id', 'a b'], 2, /--node-id/],
    [['storage-node'], 2, /nodeId is not set/],
    [['compute-node', '--config', '/nowhere.json'], 2, /cannot be read/],
  ])('%j ends with %d', async (args, code, message) => {
    const result = await run(args);
    expect(result.err).toMatch(message);
    expect(result.code).toBe(code);
    expect(result.out).toBe('');
  });

  it('gives errors as JSON where JSON was asked for', async () => {
    const { code, err } = await run(['status', '--json', '--url', 'http://127.0.0.1:1']);
    expect(code).toBe(1);
    expect(JSON.parse(err)).toMatchObject({ error: { code: 'UNAVAILABLE' } });
  });

  it('says on stdout why a process cannot start', async () => {
    const { code, out } = await run(['storage-node', '--node-id=a', '--data=x', '--nodes=b=az1@127.0.0.1:1']);
    expect(code).toBe(2);
    expect(JSON.parse(out)).toMatchObject({
      ready: false,
      kind: 'storage-node',
      error: { code: 'BAD_REQUEST' },
    });
  });
});

describe('a script through up --sql', () => {
  it(
    'prints results alone on stdout, and leaves nothing behind',
    async () => {
      const before = readdirSync(tmpdir()).filter((name) => /^tidemark-\w{6}$/.test(name)).length;
      const script =
        "create table t(a); insert into t values (1),('x'); select * from t order by rowid;\n.tables\n";
      const { code, out, err } = await run(['up', '--ephemeral', '--port', '0', '--sql', '--csv'], script);
      expect({ code, out }).toEqual({ code: 0, out: 'a\n1\nx\nt\n' });
      expect(err).toContain('Ready in');
      expect(err).toContain('Stopped.');
      expect(readdirSync(tmpdir()).filter((name) => /^tidemark-\w{6}$/.test(name)).length).toBe(before);
    },
    SLOW_MS,
  );
});

describe('a cluster that stays', () => {
  it(
    'serves, heals, refuses a second one, moves files in and out, stops at Ctrl-C, and comes back with its data',
    async () => {
      const data = join(folder, 'data');
      const port = String(await freePort());
      const url = `http://127.0.0.1:${port}`;
      const env = { TIDEMARK_URL: url };
      let up = launch(['up', '--data', data, '--port', port]);
      await until(() => up.out.includes('Ready in'), 'ready');
      expect(up.out).toContain(`createClient({ url: '${url}' })`);

      expect(
        await run(
          ['sql', '-e', 'create table t(a integer primary key, b)', '-e', "insert into t(b) values ('é')"],
          '',
          env,
        ),
      ).toMatchObject({ code: 0, err: '' });
      expect(await run(['sql', '--json', '-e', 'select * from t'], '', env)).toMatchObject({
        code: 0,
        out: '[{"a":1,"b":"é"}]\n',
      });
      const failed = await run(['sql'], 'select 1 x;\nselect nope;\nselect 2;', env);
      expect(failed).toMatchObject({ code: 1, out: ' x\n───\n 1\n' });
      expect(failed.err).toContain('line 2: Error: no such column: nope');

      const second = await run(['up', '--data', data, '--port', '0']);
      expect(second).toMatchObject({ code: 1 });
      expect(second.err).toContain(`process ${up.pid}`);
      const samePort = await run(['up', '--ephemeral', '--port', port]);
      expect(samePort).toMatchObject({ code: 1 });
      expect(samePort.err).toContain('--port');

      const status = JSON.parse((await run(['status', '--json'], '', env)).out);
      expect(status.nodes).toHaveLength(6);
      expect(status.nodes.every(({ reachable }: { reachable: boolean }) => reachable)).toBe(true);
      expect(status.volumes[0]).toMatchObject({ name: 'main', open: true });
      expect((await run(['status'], '', env)).out).toContain('6 of 6 storage nodes reachable');
      expect(await run(['health'], '', env)).toMatchObject({ code: 0, out: 'ready\n' });
      expect(await run(['health', '--storage-node', status.nodes[0].address])).toMatchObject({ code: 0 });

      // A storage node that is killed is reported and started again.
      process.kill(pidOf(`--data=${join(data, 'nodes', 'az1-a')}`), 'SIGKILL');
      await until(() => up.out.includes('az1-a is back'), 'az1-a back');
      expect(up.out).toContain('az1-a ended (SIGKILL); starting it again');

      const file = join(folder, 'out.sqlite');
      expect(await run(['export', 'main', file], '', env)).toMatchObject({ code: 0 });
      expect(await run(['export', 'main', file], '', env)).toMatchObject({ code: 1 });
      if (hasStockSqlite) {
        expect(stockQuery(readFileSync(file), 'pragma integrity_check; select b from t')).toBe('ok\né');
      }
      const imported = await run(['import', file, 'copy', '--json'], '', env);
      expect(JSON.parse(imported.out)).toMatchObject({ volume: 'copy', bytes: readFileSync(file).length });
      expect(await run(['import', file, 'copy'], '', env)).toMatchObject({
        code: 1,
        err: expect.stringContaining('NOT_EMPTY'),
      });
      writeFileSync(`${file}-wal`, 'x');
      expect(await run(['import', file, 'other'], '', env)).toMatchObject({
        code: 1,
        err: expect.stringContaining('wal_checkpoint'),
      });
      expect(await run(['sql', `${url}/copy`, '--csv', '-e', 'select b from t'])).toMatchObject({
        out: 'b\né\n',
      });
      expect((await run(['volumes', '--json'], '', env)).out).toContain('"copy"');
      expect(await run(['volumes', 'create', 'copy'], '', env)).toMatchObject({
        code: 1,
        err: expect.stringContaining('VOLUME_EXISTS'),
      });

      const stopping = finished(up);
      up.kill('SIGINT');
      expect(await stopping).toMatchObject({ code: 130, out: expect.stringContaining('Stopped.') });
      expect(existsSync(join(data, 'up.lock'))).toBe(false);

      up = launch(['up', '--data', data, '--port', port]);
      await until(() => up.out.includes('Ready in'), 'ready again');
      expect(await run(['sql', '--csv', '-e', 'select b from t'], '', env)).toMatchObject({
        code: 0,
        out: 'b\né\n',
      });

      // Killed without a word, it leaves no process behind, and the next one takes the directory.
      up.kill('SIGKILL');
      await finished(up);
      up = launch(['up', '--data', data, '--port', port]);
      await until(() => up.out.includes('Ready in'), 'ready after a kill');
      expect(await run(['sql', '--csv', '-e', 'select b from t'], '', env)).toMatchObject({
        code: 0,
        out: 'b\né\n',
      });
      const ended = finished(up);
      up.kill('SIGTERM');
      expect(await ended).toMatchObject({ code: 0 });
    },
    3 * SLOW_MS,
  );
});
