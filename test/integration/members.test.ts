/**
 * Storage nodes that come and go while a cluster works: real processes, a load that never stops, and the command line's own words for it.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from '@libsql/client';
import { afterEach, describe, expect, it } from 'vitest';
import { RealCluster, type StorageNodeName } from '../support/real-cluster.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');
const PG_PAGES = 64;
let cluster: RealCluster | null = null;

afterEach(async () => {
  await cluster?.destroy();
  cluster = null;
}, 60_000);

async function start(): Promise<RealCluster> {
  cluster = await RealCluster.start({ pgPages: PG_PAGES, commitTimeoutMs: 20_000 });
  const db = createClient({ url: cluster.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
  db.close();
  return cluster;
}

/** Inserts rows one by one; a failed insert's outcome is unknown. */
class Load {
  acknowledged: number[] = [];
  readonly unknown: number[] = [];
  slowestMs = 0;
  #isStopping = false;
  readonly #running: Promise<void>;

  constructor(url: string) {
    this.#running = this.#run(url);
  }

  async #run(url: string): Promise<void> {
    let db = createClient({ url });
    for (let id = 0; !this.#isStopping; id += 1) {
      const startedMs = performance.now();
      try {
        await db.execute({
          sql: 'INSERT INTO entry(id, text) VALUES (?, ?)',
          args: [id, `entry ${id} `.repeat(40)],
        });
        this.acknowledged.push(id);
        this.slowestMs = Math.max(this.slowestMs, performance.now() - startedMs);
      } catch {
        this.unknown.push(id);
        await sleep(50);
        db.close();
        db = createClient({ url });
      }
    }
    db.close();
  }

  async until(count: number): Promise<void> {
    const target = this.acknowledged.length + count;
    while (this.acknowledged.length < target) await sleep(20);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }
}

async function checkRows(url: string, load: Load): Promise<void> {
  const db = createClient({ url });
  const { rows } = await db.execute('SELECT id FROM entry ORDER BY id');
  const found = new Set(rows.map((row) => Number(row.id)));
  const lost = load.acknowledged.filter((id) => !found.has(id));
  const invented = [...found].filter((id) => !load.acknowledged.includes(id) && !load.unknown.includes(id));
  const check = await db.execute('PRAGMA integrity_check');
  db.close();
  expect({ lost, invented, check: check.rows[0]?.[0] }).toEqual({ lost: [], invented: [], check: 'ok' });
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function node(of: RealCluster, ...args: string[]): Promise<Outcome> {
  try {
    const done = await run(process.execPath, [MAIN, 'node', ...args, '--url', of.url()]);
    return { code: 0, ...done };
  } catch (error) {
    const { code, stdout, stderr } = error as Outcome;
    return { code, stdout, stderr };
  }
}

async function listed(of: RealCluster): Promise<Map<string, { draining: boolean; segments: number | null }>> {
  const { stdout } = await node(of, 'list', '--json');
  const { nodes } = JSON.parse(stdout) as {
    nodes: { nodeId: string; draining: boolean; segments: number | null }[];
  };
  return new Map(nodes.map((entry) => [entry.nodeId, entry]));
}

async function add(to: RealCluster, name: StorageNodeName): Promise<void> {
  await to.startSpare(name);
  const { code, stdout, stderr } = await node(to, 'add', to.listEntry(name));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain(`${name} belongs to the cluster now`);
}

describe('the storage nodes of a cluster', () => {
  it('can be replaced under load, a dead one too; nothing is lost, and the volume opens from the new six', async () => {
    const own = await start();
    const load = new Load(own.url());
    await load.until(50);
    await add(own, 'az1-c');
    await own.signal('az1-a', 'SIGKILL');
    await load.until(20);
    const replaced = await node(own, 'replace', 'az1-a', 'az1-c');
    expect(replaced).toMatchObject({ code: 0 });
    expect(replaced.stdout).toMatch(/\d+ segments? moved off az1-a/);
    await load.until(50);
    await load.stop();
    await checkRows(own.url(), load);
    expect((await listed(own)).get('az1-c')?.segments).toBeGreaterThan(0);

    // The writer goes, and another of the old six (the cluster's own registers need four of them): the newcomer counts.
    await own.signal('compute-1', 'SIGKILL');
    await own.signal('az2-a', 'SIGKILL');
    await own.startCompute();
    await checkRows(own.url(), load);
    expect(own.crashes).toEqual([]);
  }, 120_000);

  it('can be emptied: every volume’s segments go to others of the zone, and the node holds nothing', async () => {
    const own = await start();
    const load = new Load(own.url());
    await load.until(150);
    await run(process.execPath, [MAIN, 'volumes', 'create', 'idle', '--url', own.url()]);
    await add(own, 'az2-c');
    await add(own, 'az2-d');
    const drained = await node(own, 'drain', 'az2-b');
    expect(drained).toMatchObject({ code: 0 });
    expect(drained.stdout).toMatch(/\d+ segments moved off az2-b/);
    expect(drained.stdout).toContain('start an empty storage node under the same id');
    await load.stop();
    await checkRows(own.url(), load);
    const nodes = await listed(own);
    expect(nodes.get('az2-b')).toMatchObject({ draining: true, segments: 0 });
    expect(nodes.get('az2-c')!.segments! + nodes.get('az2-d')!.segments!).toBeGreaterThan(1);

    for (const volume of ['main', 'idle']) {
      const response = await fetch(`${own.url()}/-/volumes/${volume}/members`);
      const { registers } = (await response.json()) as { registers: { members: string[] } };
      expect(registers.members).not.toContain('az2-b');
    }

    // Asked for once more there is nothing to do; what is made from now on avoids it.
    expect((await node(own, 'drain', 'az2-b')).stdout).toContain('Nothing was left to do');
    await run(process.execPath, [MAIN, 'volumes', 'create', 'later', '--url', own.url()]);
    await createClient({ url: `${own.url()}/later` }).execute('CREATE TABLE t(x)');
    expect((await listed(own)).get('az2-b')).toMatchObject({ segments: 0 });

    // The next writer finds the registers where they are, two of their first six being gone.
    await own.signal('compute-1', 'SIGKILL');
    await own.signal('az2-b', 'SIGKILL');
    await own.signal('az3-b', 'SIGKILL');
    await own.startCompute();
    await checkRows(own.url(), load);
    expect(own.crashes).toEqual([]);
  }, 120_000);

  it('a change that cannot end is taken back, also by the next writer after a crash in the middle', async () => {
    const own = await start();
    const load = new Load(own.url());
    await load.until(50);
    await add(own, 'az3-c');
    // The newcomer dies before it is filled: the change stays open, the load goes on.
    await own.signal('az3-c', 'SIGSTOP');
    const replacing = node(own, 'replace', 'az3-b', 'az3-c');
    await sleep(1_500);
    await load.until(30);
    const members = async () => {
      const response = await fetch(`${own.url()}/-/volumes/main/members`);
      return (await response.json()) as {
        pgs: { proposed: string[] | null }[];
        changes: { phase: string }[];
      };
    };
    expect((await members()).changes[0]?.phase).toBe('filling');

    await own.signal('compute-1', 'SIGKILL');
    expect((await replacing).code).not.toBe(0);
    await own.startCompute();
    await load.until(30);
    expect((await members()).changes[0]?.phase).toBe('filling');
    const reverted = await node(own, 'replace', 'az3-b', 'az3-c', '--revert');
    expect(reverted.stdout).toContain('1 change taken back');
    while ((await members()).changes.length > 0) await sleep(50);
    expect((await members()).pgs.every(({ proposed }) => proposed === null)).toBe(true);
    await load.until(30);

    // Asked for again with the newcomer awake, it goes through.
    await own.signal('az3-c', 'SIGCONT');
    const replaced = await node(own, 'replace', 'az3-b', 'az3-c');
    expect(replaced.stdout).toMatch(/moved off az3-b/);
    await load.stop();
    await checkRows(own.url(), load);
    expect(own.crashes).toEqual([]);
  }, 120_000);

  it('says what stands in the way, and what to do', async () => {
    const own = await start();
    const refused = async (...args: string[]) => {
      const { code, stderr } = await node(own, ...args);
      expect(code).not.toBe(0);
      return stderr;
    };
    expect(await refused('drain', 'az1-a')).toMatch(/no other storage node in az1.*tidemark node add/s);
    await node(own, 'drain', 'az1-a', '--cancel');
    expect(await refused('drain', 'nobody')).toMatch(/not one of this cluster/);
    expect(await refused('replace', 'az1-a', 'az2-a')).toMatch(/az2-a is in az2/);
    expect(await refused('add', 'az1-z=az1@127.0.0.1:1')).toMatch(/no storage node answers at 127.0.0.1:1/);
    const six = own.listEntry('az1-a');
    expect(await refused('add', six.replace('az1-a=az1', 'az1-x=az1'))).toMatch(/answers az1-a in az1/);
  }, 60_000);
});
