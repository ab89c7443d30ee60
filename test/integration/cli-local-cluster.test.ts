/** What `up` does with its processes and its directory; the processes are stand-ins. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalClusterEvent } from '../../cli/local-cluster/cluster.ts';
import { nodeNames, prepareLayout } from '../../cli/local-cluster/layout.ts';
import { lockDirectory } from '../../cli/local-cluster/lock.ts';
import { freePorts } from '../../cli/local-cluster/ports.ts';

const FAKE = resolve(import.meta.dirname, '../support/fake-tidemark.mjs');
let folder: string;
let clusters: LocalCluster[] = [];
let events: LocalClusterEvent[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'));
  clusters = [];
  events = [];
});
afterEach(async () => {
  for (const cluster of clusters) cluster.kill();
  await new Promise((done) => setTimeout(done, 50));
  rmSync(folder, { recursive: true, force: true });
});

async function start(env: Record<string, string> = {}, options: { data?: string; port?: number } = {}) {
  const cluster = await LocalCluster.start(
    {
      directory: join(folder, options.data ?? 'data'),
      host: '127.0.0.1',
      port: options.port ?? 0,
      storageNodes: null,
      commandPath: FAKE,
      env: { ...process.env, FAKE_FOLDER: join(folder, 'fake'), ...env },
      onEvent: (event) => events.push(event),
    },
    (begun) => clusters.push(begun),
  );
  return cluster;
}

const log = (): string[] => readFileSync(join(folder, 'fake/events'), 'utf8').trim().split('\n');
const isAlive = (pid: number | undefined): boolean => {
  try {
    process.kill(pid!, 0);
    return true;
  } catch {
    return false;
  }
};
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (holds()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`never: ${what}`);
}

function listen(port: number): Promise<Server> {
  return new Promise((done) => {
    const server = createServer();
    server.listen(port, '127.0.0.1', () => done(server));
  });
}

describe('a local cluster', () => {
  it('starts six storage nodes and a compute node, and stops the compute node first', async () => {
    const cluster = await start();
    expect(cluster.url).toBe('http://127.0.0.1:4321');
    expect(cluster.nodes.map(({ nodeId, az }) => `${az} ${nodeId}`)).toEqual([
      ...['az1 az1-a', 'az1 az1-b', 'az2 az2-a', 'az2 az2-b', 'az3 az3-a', 'az3 az3-b'],
    ]);
    const pids = [...cluster.pids.values()];
    expect(pids.length).toBe(7);
    await cluster.stop();
    expect(pids.some(isAlive)).toBe(false);
    const ends = log().filter((line) => line.startsWith('end'));
    expect(ends[0]).toBe('end compute SIGTERM');
    expect(ends.length).toBe(7);
    expect(existsSync(join(folder, 'data/up.lock'))).toBe(false);
  });

  it('starts a process again that died, and says so', async () => {
    const cluster = await start();
    process.kill(cluster.pids.get('az2-b')!, 'SIGKILL');
    await until(() => events.some((event) => event.kind === 'restarted'), 'restarted');
    expect(events.filter((event) => 'name' in event)).toEqual([
      { kind: 'died', name: 'az2-b', reason: 'SIGKILL', restartInMs: 250 },
      { kind: 'restarted', name: 'az2-b' },
    ]);
    expect(isAlive(cluster.pids.get('az2-b'))).toBe(true);
    // A compute node that was given any port comes back on the one it got.
    process.kill(cluster.pids.get('compute')!, 'SIGKILL');
    await until(() => events.filter((event) => event.kind === 'restarted').length === 2, 'compute restarted');
  });

  it('makes a process that does not end', async () => {
    const cluster = await start({ FAKE_STUBBORN: 'az1-a' });
    const pid = cluster.pids.get('az1-a');
    await cluster.stop();
    expect(isAlive(pid)).toBe(false);
  });

  it('leaves no process behind when a start fails, and says why', async () => {
    await expect(start({ FAKE_FAIL: 'WRONG_CLUSTER' })).rejects.toMatchObject({
      code: 'WRONG_CLUSTER',
      message: expect.stringContaining('told to fail'),
      nextStep: 'do not',
    });
    const pids = log().map((line) => Number(line.split(' ')[2]));
    await until(() => !pids.some((pid) => pid > 0 && isAlive(pid)), 'all ended');
    expect(existsSync(join(folder, 'data/up.lock'))).toBe(false);
  });

  it('waits for files of a process before it that are still in use', async () => {
    await start({ FAKE_FAIL: 'IN_USE', FAKE_FAIL_TIMES: '2' });
    expect(log().filter((line) => line.startsWith('start az1-a')).length).toBe(3);
  });

  it('keeps its ports, and moves only nodes whose port was taken', async () => {
    const first = await start();
    const before = first.nodes.map(({ address }) => address);
    await first.stop();
    const taken = await listen(Number(before[2]!.split(':')[1]));
    const second = await start();
    const after = second.nodes.map(({ address }) => address);
    expect(after.filter((address, i) => address !== before[i]).length).toBe(1);
    expect(after[2]).not.toBe(before[2]);
    await second.stop();
    taken.close();
    const third = await start();
    expect(third.nodes.map(({ address }) => address)).toEqual(after);
  });

  it('refuses a directory or a port in use, and other people’s directories', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({
      code: 'IN_USE',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    const [port = 0] = await freePorts('127.0.0.1', 1, new Set());
    const taken = await listen(port);
    await expect(start({}, { data: 'other', port })).rejects.toMatchObject({
      code: 'IN_USE',
      nextStep: expect.stringContaining('--port'),
    });
    taken.close();
    mkdirSync(join(folder, 'mine'));
    writeFileSync(join(folder, 'mine/thesis.doc'), '');
    await expect(start({}, { data: 'mine' })).rejects.toMatchObject({ code: 'NOT_EMPTY' });
    writeFileSync(join(folder, 'file'), '');
    await expect(start({}, { data: 'file/x' })).rejects.toMatchObject({ code: 'IO_ERROR' });
  });
});

describe('its directory', () => {
  it('names nodes over three zones', () => {
    expect(nodeNames(7).map(({ nodeId }) => nodeId)).toEqual([
      ...['az1-a', 'az1-b', 'az1-c', 'az2-a', 'az2-b', 'az3-a', 'az3-b'],
    ]);
  });

  it.each([
    ['{', /not JSON/],
    ['{"format":2,"nodes":[]}', /format 2/],
    ['{"format":1,"nodes":[]}', /damaged/],
  ])('with cluster.json %s is refused', async (content, message) => {
    writeFileSync(join(folder, 'cluster.json'), content);
    await expect(prepareLayout(folder, '127.0.0.1', null, new Set())).rejects.toThrow(message);
  });

  it('does not change its number of nodes', async () => {
    await prepareLayout(folder, '127.0.0.1', 9, new Set());
    await expect(prepareLayout(folder, '127.0.0.1', 6, new Set())).rejects.toThrow(/9 storage nodes/);
    expect((await prepareLayout(folder, '127.0.0.1', null, new Set())).nodes.length).toBe(9);
  });

  it('takes the lock of a process that is gone, not of one that lives', () => {
    const lock = lockDirectory(folder);
    expect(lock.wasStale).toBe(false);
    expect(() => lockDirectory(folder)).toThrow(expect.objectContaining({ code: 'IN_USE' }));
    lock.release();
    for (const stale of [
      '{"pid":999999999,"startedAt":"1"}',
      `{"pid":${process.ppid},"startedAt":"1"}`,
      'garbage',
      '',
    ]) {
      writeFileSync(join(folder, 'up.lock'), stale);
      const taken = lockDirectory(folder);
      expect(taken.wasStale).toBe(true);
      taken.release();
    }
    expect(existsSync(join(folder, 'up.lock'))).toBe(false);
  });
});
