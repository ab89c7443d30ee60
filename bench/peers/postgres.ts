/**
 * PostgreSQL as one would run it for the same promise: a primary and five streaming standbys on this machine, a commit acknowledged when three of them
 * have it on disk beside the primary (`ANY 3`): four durable copies of six. Its own programs, on loopback, in a directory of its own.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PostgresConnection } from '../drivers/postgres.ts';
import type { SuiteContext } from '../suite.ts';
import type { Arg, Mode, SqlClient, SqlStatement, SqlWay } from '../ways/way.ts';
import { findUser, freePort, install, type User } from './system.ts';

const STANDBYS = 5;
const SYNCED_STANDBYS = 3;
const PROGRAMS = '/usr/lib/postgresql';
const READY_TIMEOUT_MS = 60_000;

const run = promisify(execFile);

/** Null: it is not installed, and may not be. */
export async function postgresWay(context: SuiteContext): Promise<SqlWay | null> {
  if (context.peers === 'install' && programs() === null) await install(['postgresql'], context.say);
  const folder = programs();
  if (folder === null) {
    context.say('PostgreSQL is not installed (--peers install does it): left out');
    return null;
  }
  context.say(`starting PostgreSQL and ${STANDBYS} standbys…`);
  const group = await PostgresGroup.start(folder, context);
  return {
    name: 'PostgreSQL',
    connect: async () => new PostgresClient(await PostgresConnection.open(group.port)),
    close: async () => {},
  };
}

/** The newest version's. */
function programs(): string | null {
  if (!existsSync(PROGRAMS)) return null;
  const versions = readdirSync(PROGRAMS).sort((a, b) => Number(b) - Number(a));
  const found = versions.map((version) => join(PROGRAMS, version, 'bin'));
  return found.find((folder) => existsSync(join(folder, 'postgres'))) ?? null;
}

class PostgresGroup {
  readonly port: number;

  private constructor(port: number) {
    this.port = port;
  }

  static async start(folder: string, context: SuiteContext): Promise<PostgresGroup> {
    const user = findUser('postgres');
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-bench-postgres-'));
    context.closeLater(() => rmSync(directory, { recursive: true, force: true }));
    if (user !== null) chownSync(directory, user.uid, user.gid);
    const names = Array.from({ length: STANDBYS }, (_, i) => `s${i + 1}`);
    const primary = join(directory, 'primary');
    await call(folder, user, 'initdb', [
      '--pgdata',
      primary,
      '--username=bench',
      '--auth=trust',
      '--no-sync',
    ]);
    const port = await freePort();
    appendFileSync(
      join(primary, 'postgresql.conf'),
      settings(directory, port, [
        "wal_level = 'replica'",
        'max_wal_senders = 12',
        'max_connections = 400',
        `synchronous_standby_names = 'ANY ${SYNCED_STANDBYS} (${names.join(', ')})'`,
        // The standbys are yet to come.
        'synchronous_commit = local',
      ]),
    );
    await serve(folder, user, primary, port, context);
    for (const name of names) {
      const data = join(directory, name);
      await call(folder, user, 'pg_basebackup', [
        `--dbname=host=127.0.0.1 port=${port} user=bench application_name=${name}`,
        `--pgdata=${data}`,
        '--checkpoint=fast',
        '--write-recovery-conf',
        '--no-sync',
      ]);
      const standbyPort = await freePort();
      appendFileSync(
        join(data, 'postgresql.conf'),
        settings(directory, standbyPort, [`cluster_name = '${name}'`]),
      );
      await serve(folder, user, data, standbyPort, context);
    }
    const admin = await PostgresConnection.open(port);
    await admin.execute([{ sql: 'ALTER SYSTEM SET synchronous_commit = on', args: [] }]);
    await admin.execute([{ sql: 'SELECT pg_reload_conf()', args: [] }]);
    await untilStreaming(admin);
    admin.close();
    return new PostgresGroup(port);
  }
}

function settings(directory: string, port: number, more: readonly string[]): string {
  const lines = [
    "listen_addresses = '127.0.0.1'",
    `port = ${port}`,
    `unix_socket_directories = '${directory}'`,
    'fsync = on',
    'shared_buffers = 128MB',
    // As many as a program of the other contenders would keep prepared.
    'log_min_messages = fatal',
    ...more,
  ];
  return `\n${lines.join('\n')}\n`;
}

async function untilStreaming(admin: PostgresConnection): Promise<void> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  const sql = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'";
  while ((await admin.execute([{ sql, args: [] }])) < STANDBYS) {
    if (performance.now() > deadlineMs) throw new Error("PostgreSQL's standbys did not come up");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function serve(
  folder: string,
  user: User | null,
  data: string,
  port: number,
  context: SuiteContext,
): Promise<void> {
  mkdirSync(data, { recursive: true });
  const child = spawn(join(folder, 'postgres'), ['-D', data], { stdio: 'ignore', ...user });
  context.closeLater(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    // Fast shutdown: its clients are gone already.
    child.kill('SIGINT');
    await gone;
  });
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL ended with ${child.exitCode} at its start`);
    try {
      (await PostgresConnection.open(port)).close();
      return;
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function call(folder: string, user: User | null, name: string, args: readonly string[]): Promise<void> {
  await run(join(folder, name), [...args], { cwd: tmpdir(), ...user });
}

class PostgresClient implements SqlClient {
  private readonly connection: PostgresConnection;

  constructor(connection: PostgresConnection) {
    this.connection = connection;
  }

  run(sql: string, args: readonly Arg[]): Promise<number> {
    return this.connection.execute([{ sql: dialect(sql), args }]);
  }

  async batch(statements: readonly SqlStatement[], mode: Mode): Promise<void> {
    const inner = statements.map(({ sql, args }) => ({ sql: dialect(sql), args }));
    await this.connection.execute([plain(begin(mode)), ...inner, plain('COMMIT')]);
  }

  async transaction(work: (runOne: SqlClient['run']) => Promise<void>, mode: Mode): Promise<void> {
    await this.run(begin(mode), []);
    try {
      await work((sql, args) => this.run(sql, args));
    } catch (error) {
      await this.run('ROLLBACK', []).catch(() => undefined);
      throw error;
    }
    await this.run('COMMIT', []);
  }

  close(): void {
    this.connection.close();
  }
}

function begin(mode: Mode): string {
  return mode === 'write' ? 'BEGIN' : 'BEGIN READ ONLY';
}

function plain(sql: string): SqlStatement {
  return { sql, args: [] };
}

/** SQLite's INTEGER has 64 bits. */
function dialect(sql: string): string {
  return sql.startsWith('CREATE TABLE') ? sql.replaceAll('INTEGER', 'BIGINT') : sql;
}
