/** What an operator does while the harness does its worst: asks the cluster, and runs the `tidemark` command. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MAIN } from '../support/real-cluster.ts';
import { COMPUTE_NODES, type ComputeNodeName } from './stage.ts';

const run = promisify(execFile);

const STATUS_TIMEOUT_MS = 2_000;
const COMMAND_TIMEOUT_MS = 120_000;

/** The compute node that has the volume open. Asks until there is one. */
export async function writerOf(
  urls: readonly string[],
): Promise<{ readonly name: ComputeNodeName; readonly url: string }> {
  for (;;) {
    for (const [i, url] of urls.entries()) {
      const status = await fetch(`${url}/-/status`, { signal: AbortSignal.timeout(STATUS_TIMEOUT_MS) }).then(
        async (response) => (await response.json()) as { volumes: { name: string; open: boolean }[] },
        () => null,
      );
      if (status?.volumes.some(({ name, open }) => name === 'main' && open)) {
        return { name: COMPUTE_NODES[i] as ComputeNodeName, url };
      }
    }
  }
}

export interface CommandEnd {
  readonly isDone: boolean;
  /** What it printed, or why it failed. */
  readonly said: string;
}

/** `tidemark ARGS`. */
export async function tidemark(...args: string[]): Promise<CommandEnd> {
  try {
    const { stdout } = await run(process.execPath, [MAIN, ...args], { timeout: COMMAND_TIMEOUT_MS });
    return { isDone: true, said: stdout.trim() };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    // Above its last words stand those of its progress.
    const said = (stderr || message).trim();
    return { isDone: false, said: said.slice(Math.max(0, said.lastIndexOf('Error: '))) };
  }
}
