/** A process of the benchmarks' own: a module beside the built benchmarks, which says over its channel when it is ready. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface BenchChild<Ready> {
  readonly ready: Ready;
  readonly pid: number;
  tell(message: object): void;
  stop(): Promise<void>;
}

/** `module`: its path below bench/, without an ending. */
export async function startChild<Ready>(module: string, args: readonly string[]): Promise<BenchChild<Ready>> {
  const child: ChildProcess = fork(builtPath(module), args, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  });
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${module} ended (${code ?? signal}) before it was ready`);
  });
  ended.catch(() => undefined);
  const [ready] = (await Promise.race([once(child, 'message'), ended])) as [Ready];
  return {
    ready,
    pid: child.pid!,
    tell: (message) => void child.send(message),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** Beside this module when that is built too; from the sources, where the build puts it. */
function builtPath(module: string): string {
  const beside = fileURLToPath(new URL(`../${module}.js`, import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL(`../../dist/bench/${module}.js`, import.meta.url));
}
