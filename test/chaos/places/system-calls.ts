/**
 * System calls of a running process that fail, by strace. From the call on that it strikes the disk counts as broken: every later one of the kind fails
 * as well. `FailingCalls.missing` says what is in the way.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Fault {
  /** One, or several with commas between. */
  readonly calls: string;
  readonly error: 'EIO' | 'ENOSPC';
  /** The first that fails, counted from now in each thread. */
  readonly first: number;
  /** Only calls on these. */
  readonly files?: readonly string[];
}

export class FailingCalls {
  readonly #strace: ChildProcess;
  readonly #directory: string;

  static async missing(): Promise<string | null> {
    try {
      // Attaching may be forbidden even where strace is installed: the exit code tells whether the fault was felt.
      await run('strace', ['-o', '/dev/null', '-e', 'inject=chdir:error=EIO', 'true']);
    } catch (error) {
      return (error as Error).message.trim();
    }
    const victim = spawn('sleep', ['5']);
    try {
      const failing = await FailingCalls.inject(victim.pid as number, {
        calls: 'pwrite64',
        error: 'EIO',
        first: 1,
      });
      await failing.stop();
      return null;
    } catch (error) {
      return (error as Error).message;
    } finally {
      victim.kill('SIGKILL');
    }
  }

  /** Resolves when strace watches all threads. */
  static async inject(pid: number, fault: Fault): Promise<FailingCalls> {
    const directory = await mkdtemp(join(tmpdir(), 'tidemark-strace-'));
    const { calls, error, first, files = [] } = fault;
    const args = ['-f', '-p', String(pid), '-o', join(directory, 'calls'), '-e', `trace=${calls}`];
    args.push('-e', `inject=${calls}:error=${error}:when=${first}+`);
    for (const file of files) args.push('-P', file);
    const strace = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const failing = new FailingCalls(strace, directory);
    let said = '';
    strace.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    for (let waitedMs = 0; !said.includes('attached'); waitedMs += 10) {
      if (strace.exitCode !== null || waitedMs > 5_000) {
        await failing.stop();
        throw new Error(`strace does not attach: ${said.trim()}`);
      }
      await sleep(10);
    }
    return failing;
  }

  private constructor(strace: ChildProcess, directory: string) {
    this.#strace = strace;
    this.#directory = directory;
  }

  /** Whether any call has failed so far. */
  async hasStruck(): Promise<boolean> {
    return (await readFile(join(this.#directory, 'calls'), 'utf8').catch(() => '')).includes('(INJECTED)');
  }

  /** The process, when it still runs, goes on without faults. */
  async stop(): Promise<void> {
    if (this.#strace.exitCode === null && this.#strace.signalCode === null) {
      const exited = once(this.#strace, 'exit');
      this.#strace.kill('SIGINT');
      await exited;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}
