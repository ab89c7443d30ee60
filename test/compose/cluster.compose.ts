/**
 * The compose file for real: build the image, start the seven containers, load data, cut an availability zone off and bring it back, restart
 * everything with its data, and hold the database against stock SQLite. Run with `npm run test:compose`; needs a Docker engine and `docker
 * compose` (or docker-compose). Its containers, networks and volumes carry a project name of their own and are removed at the end.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from '@libsql/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const exec = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
const project = 'tidemark-compose-test';
const port = process.env.TIDEMARK_PUBLISHED_PORT ?? '18080';
const url = `http://127.0.0.1:${port}`;
const environment = { ...process.env, TIDEMARK_PUBLISHED_PORT: port, COMPOSE_PROJECT_NAME: project };

let composeCommand: readonly string[] = [];

async function run(command: string, args: readonly string[], timeoutMs = 600_000): Promise<string> {
  const { stdout } = await exec(command, args, {
    cwd: root,
    env: environment,
    timeout: timeoutMs,
    maxBuffer: 64 << 20,
  });
  return stdout.trim();
}

async function compose(...args: string[]): Promise<string> {
  const [command, ...prefix] = composeCommand;
  return run(command!, [...prefix, ...args]);
}

async function containerOf(service: string): Promise<string> {
  return compose('ps', '-q', service);
}

interface Status {
  readonly nodes: readonly { readonly nodeId: string; readonly az: string; readonly reachable: boolean }[];
  readonly volumes: readonly {
    readonly name: string;
    readonly status: {
      readonly vdl: number;
      readonly nodes: readonly {
        readonly nodeId: string;
        readonly lagRecords: number;
        readonly connected: boolean;
      }[];
    } | null;
  }[];
}

async function status(): Promise<Status> {
  const response = await fetch(`${url}/-/status`);
  expect(response.status).toBe(200);
  return (await response.json()) as Status;
}

async function until(what: string, condition: () => Promise<boolean>, timeoutMs = 90_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  let last: unknown;
  while (Date.now() < end) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = error;
    }
    await sleep(500);
  }
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
}

const ready = (): Promise<void> =>
  until('the compute node is ready', async () => (await fetch(`${url}/readyz`)).ok, 120_000);
const client = () => createClient({ url });

async function insertRows(from: number, count: number): Promise<void> {
  const db = client();
  for (let start = from; start < from + count; start += 100) {
    await db.batch(
      Array.from({ length: 100 }, (_, i) => ({
        sql: 'INSERT INTO city(id, name, population) VALUES (?, ?, ?)',
        args: [start + i, `city ${start + i}`, (start + i) * 7],
      })),
      'write',
    );
  }
  db.close();
}

async function count(): Promise<number> {
  const db = client();
  const result = await db.execute('SELECT count(*) AS n FROM city');
  db.close();
  return Number(result.rows[0]?.n);
}

async function setBackbone(connected: boolean, services: readonly string[]): Promise<void> {
  for (const service of services) {
    const verb = connected ? ['connect', '--alias', service] : ['disconnect'];
    await run('docker', ['network', ...verb, `${project}_backbone`, await containerOf(service)]);
  }
}

beforeAll(async () => {
  await run('docker', ['info']).catch((cause: unknown) => {
    throw new Error('no Docker engine answers: start one, then run this again', { cause });
  });
  composeCommand = await run('docker', ['compose', 'version']).then(
    () => ['docker', 'compose'],
    () => ['docker-compose'],
  );
  await compose('down', '-v', '--remove-orphans');
  const { version } = JSON.parse(await run('node', ['-p', 'JSON.stringify(require("./package.json"))'])) as {
    version: string;
  };
  await run('docker', ['build', '--network', 'host', '-t', `tidemark:${version}`, '.'], 900_000);
  await compose('up', '-d');
  await ready();
});

afterAll(async () => {
  if (process.env.KEEP_CLUSTER === undefined && composeCommand.length > 0)
    await compose('down', '-v', '--remove-orphans');
});

describe('the compose file', () => {
  it('starts seven healthy processes and takes data', async () => {
    const services = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b', 'compute'];
    await until('all are healthy', async () => {
      const states = await Promise.all(
        services.map(async (s) =>
          run('docker', ['inspect', '-f', '{{.State.Health.Status}}', await containerOf(s)]),
        ),
      );
      return states.every((state) => state === 'healthy');
    });
    const users = await Promise.all(
      services.map(async (s) => run('docker', ['exec', await containerOf(s), 'id', '-u'])),
    );
    expect(users).toEqual(services.map(() => '1000'));
    const db = client();
    await db.execute('CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT, population INTEGER)');
    await db.execute('CREATE INDEX city_name ON city(name)');
    db.close();
    await insertRows(0, 2000);
    expect(await count()).toBe(2000);
  });

  it('goes on while an availability zone is cut off, and the zone catches up afterwards', async () => {
    await setBackbone(false, ['az1-a', 'az1-b']);
    await insertRows(2000, 2000);
    expect(await count()).toBe(4000);
    await until('status tells that az1 is out of reach', async () => {
      const { nodes } = await status();
      return nodes.every(({ az, reachable }) => reachable === (az !== 'az1'));
    });
    await setBackbone(true, ['az1-a', 'az1-b']);
    await until('all six nodes hold everything', async () => {
      const { nodes, volumes } = await status();
      const main = volumes.find(({ name }) => name === 'main')?.status;
      return (
        nodes.every((node) => node.reachable) &&
        main?.nodes.every((n) => n.connected && n.lagRecords === 0) === true
      );
    });
  });

  it('comes back with its data after everything was stopped, and after everything was killed', async () => {
    await compose('stop');
    await compose('up', '-d');
    await ready();
    expect(await count()).toBe(4000);
    await insertRows(4000, 100);
    await compose('kill', '-s', 'SIGKILL');
    await compose('up', '-d');
    await ready();
    expect(await count()).toBe(4100);
  });

  it('exports a file that stock SQLite finds whole', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tidemark-compose-'));
    const file = join(folder, 'main.sqlite');
    const response = await fetch(`${url}/-/volumes/main/database`);
    expect(response.status).toBe(200);
    await writeFile(file, new Uint8Array(await response.arrayBuffer()));
    expect(await run('sqlite3', [file, 'PRAGMA integrity_check; SELECT count(*) FROM city;'])).toBe(
      'ok\n4100',
    );
    await rm(folder, { recursive: true });
  });
});
