/**
 * A real cluster for tests: one process per node, as a user would start them, on loopback and a temporary directory. Processes can be killed,
 * paused and started again one by one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from './free-port.ts';

const root = resolve(import.meta.dirname, '../..');
const MAIN = join(root, 'dist/cli/main.js');
const READY_TIMEOUT_MS = 30_000;
export const STORAGE_NODES = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'] as const;
export type StorageNodeName = (typeof STORAGE_NODES)[number];

export interface RealClusterOptions {
  /** Pages per protection group. */
  readonly pgPages?: number;
  readonly commitTimeoutMs?: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Those told to end. */
const signalled = new WeakSet<ChildProcess>();

export class RealCluster {
  readonly directory: string;
  readonly #options: RealClusterOptions;
  readonly #ports = new Map<string, number>();
  readonly #processes = new Map<string, ChildProcess>();
  /** Processes that were ready and then ended without a signal from here: crashes. */
  readonly crashes: string[] = [];

  /** All six storage nodes and compute node `compute-1`, ready to serve. */
  static async start(options: RealClusterOptions = {}): Promise<RealCluster> {
    const cluster = new RealCluster(await mkdtemp(join(tmpdir(), 'tidemark-test-')), options);
    for (const name of [...STORAGE_NODES, 'compute-1', 'compute-2'])
      cluster.#ports.set(name, await freePort());
    await cluster.startAll();
    return cluster;
  }

  private constructor(directory: string, options: RealClusterOptions) {
    this.directory = directory;
    this.#options = options;
  }

  url(compute = 'compute-1'): string {
    return `http://127.0.0.1:${this.#port(compute)}`;
  }

  async startAll(): Promise<void> {
    await Promise.all(STORAGE_NODES.map((name) => this.startStorage(name)));
    await this.startCompute();
  }

  async startStorage(name: StorageNodeName): Promise<void> {
    await this.#spawn(name, 'storage-node', {
      TIDEMARK_NODE_ID: name,
      TIDEMARK_AZ: azOf(name),
      TIDEMARK_LISTEN: `127.0.0.1:${this.#port(name)}`,
      TIDEMARK_DATA_DIR: join(this.directory, name),
    });
  }

  async startCompute(name = 'compute-1'): Promise<void> {
    const { pgPages, commitTimeoutMs } = this.#options;
    await this.#spawn(name, 'compute-node', {
      TIDEMARK_COMPUTE_ID: name,
      TIDEMARK_HOST: '127.0.0.1',
      TIDEMARK_PORT: String(this.#port(name)),
      ...(pgPages === undefined ? {} : { TIDEMARK_PG_PAGES: String(pgPages) }),
      ...(commitTimeoutMs === undefined ? {} : { TIDEMARK_COMMIT_TIMEOUT_MS: String(commitTimeoutMs) }),
    });
  }

  /** Sends the signal; for SIGKILL and SIGTERM waits until the process has ended. */
  async signal(name: string, signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${name} does not run`);
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM';
    const exited = ends ? once(child, 'exit') : null;
    if (ends) {
      this.#processes.delete(name);
      signalled.add(child);
    }
    child.kill(signal);
    await exited;
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.#processes.keys()].map((name) => this.signal(name, 'SIGKILL')));
  }

  isRunning(name: string): boolean {
    return this.#processes.has(name);
  }

  /** Kills what still runs; data and logs stay. */
  async stop(): Promise<void> {
    for (const child of this.#processes.values()) child.kill('SIGCONT');
    await this.killAll();
  }

  /** Kills what still runs and removes the data. */
  async destroy(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }

  /** What a process wrote to stderr. */
  log(name: string): Promise<string> {
    return readFile(join(this.directory, `${name}.log`), 'utf8');
  }

  #port(name: string): number {
    const port = this.#ports.get(name);
    if (port === undefined) throw new Error(`no such process: ${name}`);
    return port;
  }

  async #spawn(name: string, command: string, environment: Readonly<Record<string, string>>): Promise<void> {
    const nodes = STORAGE_NODES.map((node) => `${node}=${azOf(node)}@127.0.0.1:${this.#port(node)}`).join(
      ',',
    );
    const child = spawn(process.execPath, [MAIN, command], {
      cwd: this.directory,
      env: { ...process.env, TIDEMARK_NODES: nodes, ...environment, ...this.#options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stderr.pipe(createWriteStream(join(this.directory, `${name}.log`), { flags: 'a' }));
    this.#processes.set(name, child);
    const exited = once(child, 'exit').then(async ([code, signal]) => {
      if (this.#processes.get(name) === child) this.#processes.delete(name);
      throw new Error(`${name} ended (${code ?? signal}) before it was ready:\n${await this.log(name)}`);
    });
    const ready = (async () => {
      for await (const line of createInterface({ input: child.stdout }))
        if (line.includes('"ready":true')) return;
      await exited;
    })();
    const late = AbortSignal.timeout(READY_TIMEOUT_MS);
    const timedOut = new Promise<never>((_, reject) => {
      late.addEventListener('abort', () =>
        reject(new Error(`${name} was not ready within ${READY_TIMEOUT_MS} ms`)),
      );
    });
    exited.catch(() => {});
    timedOut.catch(() => {});
    await Promise.race([ready, exited, timedOut]);
    child.stdout.resume();
    child.once('exit', (code, signal) => {
      if (signalled.has(child)) return;
      this.crashes.push(`${name} (${code ?? signal})`);
    });
  }
}

export function azOf(node: StorageNodeName): string {
  return node.slice(0, 3);
}
