/** What peers need of the system: packages of Debian's, and users to run as. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { TidemarkError } from '../../src/base/errors.ts';

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** Some programs refuse to run as root. Null: we are not root, and run them as we are. */
export function findUser(name: string): User | null {
  if (process.getuid?.() !== 0) return null;
  const id = (flag: string): number => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

export async function install(packages: readonly string[], say: (text: string) => void): Promise<void> {
  say(`installing ${packages.join(', ')}…`);
  const child = spawn('apt-get', ['install', '--yes', '--no-install-recommends', ...packages], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-2_000);
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code === 0) return;
  throw new TidemarkError('UNAVAILABLE', `${packages.join(', ')} could not be installed: ${said.trim()}`, {
    nextStep: 'Install it by hand, or use --peers present.',
  });
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** On the PATH; null: nowhere. */
export function findProgram(name: string): string | null {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}
