/**
 * A real cluster for tests: one process per node, as a user would start them, on loopback and a temporary directory. Processes can be killed,
 * paused and started again one by one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { freePort } from './free-port.ts';

/** The `tidemark` command, as built. */
export const MAIN = join(projectRoot(import.meta.dirname), 'dist/cli/main.js');
const LOOPBACK = '127.0.0.1';
const READY_TIMEOUT_MS = 30_000;
export const STORAGE_NODES = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'] as const;
/** Those of the configuration, and spares that join later: `az1-c`. */
export type StorageNodeName = (typeof STORAGE_NODES)[number] | `az${number}-${string}`;

export interface RealClusterOptions {
  /** Pages per protection group. */
  readonly pgPages?: number;
  readonly commitTimeoutMs?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** For processes that do not run on loopback, in the cluster's own directory. */
  readonly placeOf?: (name: string) => Place;
}

/** Where a process runs. */
export interface Place {
  /** Its address; 127.0.0.1 when not given. */
  readonly host?: string;
  readonly dataDirectory?: string;
  /** A command that becomes the process (by exec, so that signals reach it): `nsenter --net=…`. */
  readonly command?: readonly string[];
}

/** A process that may end by itself. */
export interface Ending {
  readonly ended: Promise<void>;
  readonly kill: () => Promise<void>;
  /** It runs, and is to run on. */
  readonly keep: () => void;
}

/** Those told to end, or that may end by themselves. */
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
    return `http://${this.addressOf(compute)}`;
  }

  /** host:port. */
  addressOf(name: string): string {
    return `${this.#placeOf(name).host ?? LOOPBACK}:${this.#port(name)}`;
  }

  /** Of a storage node. */
  dataDirectory(name: StorageNodeName): string {
    return this.#placeOf(name).dataDirectory ?? join(this.directory, name);
  }

  /** Of the process as it runs now. */
  pid(name: string): number {
    return this.#running(name).pid as number;
  }

  async startAll(): Promise<void> {
    await Promise.all(STORAGE_NODES.map((name) => this.startStorage(name)));
    await this.startCompute();
  }

  /** Starts a storage node that no configuration but its own names. */
  async startSpare(name: StorageNodeName): Promise<void> {
    if (!this.#ports.has(name)) this.#ports.set(name, await freePort());
    await this.startStorage(name);
  }

  /** NODE=AZ@HOST:PORT. */
  listEntry(name: StorageNodeName): string {
    return `${name}=${azOf(name)}@${this.addressOf(name)}`;
  }

  async startStorage(name: StorageNodeName): Promise<void> {
    await this.#spawn(name, 'storage-node', {
      TIDEMARK_NODE_ID: name,
      TIDEMARK_AZ: azOf(name),
      TIDEMARK_LISTEN: this.addressOf(name),
      TIDEMARK_DATA_DIR: this.dataDirectory(name),
    });
  }

  /** `id`: the name it goes by among the others. */
  async startCompute(name = 'compute-1', id = name): Promise<void> {
    const { pgPages, commitTimeoutMs } = this.#options;
    await this.#spawn(name, 'compute-node', {
      TIDEMARK_COMPUTE_ID: id,
      TIDEMARK_HOST: this.#placeOf(name).host ?? LOOPBACK,
      TIDEMARK_PORT: String(this.#port(name)),
      ...(pgPages === undefined ? {} : { TIDEMARK_PG_PAGES: String(pgPages) }),
      ...(commitTimeoutMs === undefined ? {} : { TIDEMARK_COMMIT_TIMEOUT_MS: String(commitTimeoutMs) }),
    });
  }

  /** Sends the signal; for SIGKILL and SIGTERM waits until the process has ended. */
  async signal(name: string, signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#running(name);
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM';
    const exited = ends ? once(child, 'exit') : null;
    if (ends) {
      this.#processes.delete(name);
      signalled.add(child);
    }
    child.kill(signal);
    await exited;
  }

  /** From now on the process may end by itself, and counts as not running: its disk or its power is being taken away. */
  letEnd(name: string): Ending {
    const child = this.#running(name);
    this.#processes.delete(name);
    signalled.add(child);
    const ended = once(child, 'exit').then(() => {});
    const kill = async (): Promise<void> => {
      child.kill('SIGKILL');
      await ended;
    };
    const keep = (): void => {
      if (child.exitCode !== null || child.signalCode !== null)
        this.crashes.push(`${name} (when it need not)`);
      signalled.delete(child);
      this.#processes.set(name, child);
    };
    return { kill, keep, ended };
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

  #running(name: string): ChildProcess {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${name} does not run`);
    return child;
  }

  #placeOf(name: string): Place {
    return this.#options.placeOf?.(name) ?? {};
  }

  #port(name: string): number {
    const port = this.#ports.get(name);
    if (port === undefined) throw new Error(`no such process: ${name}`);
    return port;
  }

  async #spawn(name: string, command: string, environment: Readonly<Record<string, string>>): Promise<void> {
    const isSpare = command === 'storage-node' && !STORAGE_NODES.some((node) => node === name);
    const listed = [...STORAGE_NODES, ...(isSpare ? [name as StorageNodeName] : [])];
    const nodes = listed.map((node) => this.listEntry(node)).join(',');
    const [file, ...args] = [...(this.#placeOf(name).command ?? []), process.execPath, MAIN, command];
    const child = spawn(file as string, args, {
      cwd: this.directory,
      env: { ...process.env, TIDEMARK_NODES: nodes, ...environment, ...this.#options.environment },
      // With a channel: it ends when this process does, whatever that dies of.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    child.stderr?.pipe(createWriteStream(join(this.directory, `${name}.log`), { flags: 'a' }));
    this.#processes.set(name, child);
    const exited = once(child, 'exit').then(async ([code, signal]) => {
      if (this.#processes.get(name) === child) this.#processes.delete(name);
      throw new Error(`${name} ended (${code ?? signal}) before it was ready:\n${await this.log(name)}`);
    });
    const ready = (async () => {
      for await (const line of createInterface({ input: child.stdout as Readable }))
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
    child.stdout?.resume();
    child.once('exit', (code, signal) => {
      if (signalled.has(child)) return;
      this.crashes.push(`${name} (${code ?? signal})`);
    });
  }
}

export function azOf(node: StorageNodeName): string {
  return node.slice(0, 3);
}

/** Sources and what is compiled from them lie at different depths. */
function projectRoot(start: string): string {
  let directory = start;
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return directory;
}
