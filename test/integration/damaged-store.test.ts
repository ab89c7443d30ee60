/**
 * Real processes whose stores are damaged: on the disk of a node that is down, and under one that runs. Every row stays right, the damage is
 * repaired by itself, and `tidemark scrub` tells about it.
 */
import { execFile } from 'node:child_process';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createClient } from '@libsql/client';
import { afterEach, expect, it } from 'vitest';
import type { NodeScrub } from '../../compute-node/scrub-operation.ts';
import { MAIN, RealCluster, type StorageNodeName } from '../support/real-cluster.ts';

const NODE: StorageNodeName = 'az2-a';
const ROWS = 400;
let real: RealCluster;

afterEach(async () => {
  await real.destroy();
}, 60_000);

async function started(): Promise<void> {
  real = await RealCluster.start();
  const db = createClient({ url: real.url() });
  await db.execute('CREATE TABLE entry(id INTEGER PRIMARY KEY, text)');
  for (let at = 0; at < ROWS; at += 50) {
    const rows = Array.from({ length: 50 }, (_, i) => `(${at + i + 1}, '${`row ${at + i} `.repeat(60)}')`);
    await db.execute(`INSERT INTO entry VALUES ${rows.join(',')}`);
  }
  db.close();
}

async function expectRows(): Promise<void> {
  const db = createClient({ url: real.url() });
  const { rows } = await db.execute(
    'SELECT count(*), min(text), (SELECT integrity_check FROM pragma_integrity_check) FROM entry',
  );
  expect([...Object.values(rows[0] ?? {})]).toEqual([ROWS, 'row 0 '.repeat(60), 'ok']);
  db.close();
}

/** What the command says in the end, of each node. */
async function scrub(...args: readonly string[]): Promise<readonly NodeScrub[]> {
  const all = [MAIN, 'scrub', '--json', '--url', real.url(), ...args];
  const { stdout } = await promisify(execFile)(process.execPath, all).catch(
    (error: { stdout: string }) => error,
  );
  const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
    done: boolean;
    nodes: readonly NodeScrub[];
  };
  expect(last.done).toBe(true);
  return last.nodes;
}

async function tablesOf(node: StorageNodeName): Promise<readonly string[]> {
  const store = join(real.dataDirectory(node), 'store');
  const names = await readdir(store);
  return names.filter((name) => name.endsWith('.ldb')).map((name) => join(store, name));
}

async function flipInto(path: string): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  const at = Math.floor(size / 3);
  await file.read(byte, 0, 1, at);
  byte[0] = (byte[0] as number) ^ 0x10;
  await file.write(byte, 0, 1, at);
  await file.close();
}

it('repairs tables that were damaged while their node was down', async () => {
  await started();
  await real.signal(NODE, 'SIGTERM');
  const tables = await tablesOf(NODE);
  expect(tables.length).toBeGreaterThan(0);
  for (const table of tables) await flipInto(table);
  await real.startStorage(NODE);
  expect(await real.log(NODE)).toMatch(/the store is checked/);
  const nodes = await scrub();
  expect(nodes).toHaveLength(6);
  for (const { error, scrub: told } of nodes) {
    expect(error).toBeNull();
    expect(told).toMatchObject({ running: false, pagesInDoubt: 0, unequalRanges: 0, damagedPages: 0 });
  }
  await expect
    .poll(() => real.log(NODE), { timeout: 20_000 })
    .toMatch(/the damage found in the store is healed/);
  await expectRows();
  const again = await scrub('main', '--node', NODE);
  expect(again).toMatchObject([{ nodeId: NODE, scrub: { damagedPages: 0, pagesInDoubt: 0 } }]);
}, 120_000);

it('finds a table that is damaged under a running node, and mends the store without ending the process', async () => {
  await started();
  // A clean stop puts everything into tables.
  await real.signal(NODE, 'SIGTERM');
  await real.startStorage(NODE);
  const pid = real.pid(NODE);
  const [table] = await tablesOf(NODE);
  await flipInto(table as string);
  const nodes = await scrub();
  expect(nodes.find(({ nodeId }) => nodeId === NODE)).toMatchObject({
    error: null,
    scrub: { pagesInDoubt: 0 },
  });
  expect(await real.log(NODE)).toMatch(/the store cannot be read: it is closed and mended/);
  expect(real.pid(NODE)).toBe(pid);
  expect(real.crashes).toEqual([]);
  await expectRows();
}, 120_000);
