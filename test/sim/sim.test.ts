/**
 * The simulator as part of the tests: a thousand seeds over two processes, some of them twice, and a few mutants, others every day. It runs compiled,
 * as `npm run sim` does; what it says of its progress goes to the standard error. vitest.config.ts has it run alone.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc');
const MAIN = join(ROOT, 'build/sim/test/sim/main.js');
/** Only to end what hangs: the seeds take two or three minutes on two free cores. */
const TIMEOUT_MS = 1_800_000;

describe('the simulator', () => {
  beforeAll(() => run(TSC, '-p', 'test/sim/tsconfig.json'));

  it('finds nothing wrong in a thousand seeds', { timeout: TIMEOUT_MS }, () => sim('--seeds', '1000'));

  it('does the same again from the same seed, in another process', { timeout: TIMEOUT_MS }, () =>
    sim('determinism', '--seeds', '5', '--from', '7'),
  );

  it('notices when a rule is taken out: the mutants of the day', { timeout: TIMEOUT_MS }, () =>
    sim('mutants', '--sample', '4', '--within-s', '60'),
  );
});

function sim(...args: readonly string[]): Promise<void> {
  return run(MAIN, ...args);
}

/** Passes on what it says; it fails unless it exits with 0. */
async function run(script: string, ...args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [script, ...args], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stderr.pipe(process.stderr);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  process.stdout.write(said);
  expect(code, said).toBe(0);
}
