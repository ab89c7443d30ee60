/** A process of the benchmarks' own: a module beside the built benchmarks, which says over its channel when it is ready. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

export interface BenchChild<Ready> {
  readonly ready: Ready;
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startChild<Ready>(module: URL, args: readonly string[]): Promise<BenchChild<Ready>> {
  const child: ChildProcess = fork(module, args, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    execArgv: [],
  });
  const ended = once(child, 'exit').then(([code, signal]) => {
    throw new Error(`${module.pathname} ended (${code ?? signal}) before it was ready`);
  });
  ended.catch(() => undefined);
  const [ready] = (await Promise.race([once(child, 'message'), ended])) as [Ready];
  return {
    ready,
    pid: child.pid!,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
