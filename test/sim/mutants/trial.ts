/** One trial: a child process with a mutant in it (or none) goes through seeds until it is caught, falls silent, or is through. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ChildLine } from './child.ts';
import { compileMutant } from './compile.ts';
import type { HookData } from './hook.ts';
import type { ArenaName, Mutant } from './mutant.ts';

export interface Trial {
  readonly arena: ArenaName;
  readonly hint: Readonly<Record<string, unknown>>;
  /** null: the product as it is. */
  readonly mutant: Mutant | null;
  readonly firstSeed: number;
  readonly seeds: number;
  /** When it is to end, caught or not; null: when the seeds are through. */
  readonly endAtMs: number | null;
}

export type Verdict =
  | { readonly kind: 'caught'; readonly seed: number; readonly why: string }
  | { readonly kind: 'survived'; readonly seeds: number }
  /** Time was up after so many seeds. */
  | { readonly kind: 'undecided'; readonly seeds: number }
  /** The mutated code never ran: the trial says nothing. */
  | { readonly kind: 'not-loaded'; readonly files: readonly string[] };

/** Where the compiled tree and the sources are. */
export interface Places {
  /** The project's root, with the sources that mutants edit. */
  readonly root: string;
  /** The same tree compiled: build/sim. */
  readonly compiled: string;
}

/** A seed that takes longer has hung: the unmutated product takes a second or so, ten times that where the machine has other work. */
const SEED_TIMEOUT_MS = 240_000;

/** Whoever ends a trial's process by these did so from outside; the mutant has nothing to do with it. */
const FROM_OUTSIDE: ReadonlySet<NodeJS.Signals> = new Set(['SIGTERM', 'SIGINT', 'SIGHUP']);

export async function runTrial(trial: Trial, { root, compiled }: Places): Promise<Verdict> {
  const scratch = mkdtempSync(join(tmpdir(), 'tidemark-mutant-'));
  try {
    const loadedFile = join(scratch, 'loaded');
    const sources: Record<string, string> = {};
    for (const { file, source } of trial.mutant === null ? [] : await compileMutant(root, trial.mutant)) {
      sources[pathToFileURL(join(compiled, file.replace(/\.ts$/, '.js'))).href] = source;
    }
    const data: HookData = { sources, loadedFile };
    const dataFile = join(scratch, 'mutant.json');
    writeFileSync(dataFile, JSON.stringify(data));
    writeFileSync(loadedFile, '');
    const verdict = await runChild(trial, dataFile);
    const loaded = readFileSync(loadedFile, 'utf8').split('\n');
    const missing = Object.keys(sources).filter((url) => !loaded.includes(url));
    return missing.length === 0 || verdict.kind !== 'survived'
      ? verdict
      : { kind: 'not-loaded', files: missing };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function runChild(trial: Trial, dataFile: string): Promise<Verdict> {
  const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
  const { arena, firstSeed, seeds, hint, endAtMs } = trial;
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [
        '--import',
        here('./register.js'),
        here('./child.js'),
        arena,
        String(firstSeed),
        String(seeds),
        JSON.stringify(hint),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TIDEMARK_MUTANT: dataFile } },
    );
    let verdict: Verdict | null = null;
    let nextSeed = firstSeed;
    let complaint = '';
    const hung = (): void => {
      verdict ??= { kind: 'caught', seed: nextSeed, why: `hung for ${SEED_TIMEOUT_MS} ms` };
      child.kill('SIGKILL');
    };
    let watchdog = setTimeout(hung, SEED_TIMEOUT_MS);
    const timeIsUp = (): void => {
      verdict ??= { kind: 'undecided', seeds: nextSeed - firstSeed };
      child.kill('SIGKILL');
    };
    const end = endAtMs === null ? null : setTimeout(timeIsUp, Math.max(0, endAtMs - Date.now()));
    createInterface({ input: child.stdout }).on('line', (text) => {
      const line = readLine(text);
      if (line === null) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(hung, SEED_TIMEOUT_MS);
      if (line.kind === 'caught') verdict = { kind: 'caught', seed: line.seed, why: line.why };
      else nextSeed = line.seed + 1;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-2_000);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(watchdog);
      if (end !== null) clearTimeout(end);
      if (verdict !== null) resolve(verdict);
      else if (signal !== null && FROM_OUTSIDE.has(signal))
        reject(new Error(`a trial was ended by ${signal}`));
      else if (nextSeed === firstSeed + seeds) resolve({ kind: 'survived', seeds });
      else if (nextSeed > firstSeed || trial.mutant !== null) {
        const why = `the process ended with ${signal ?? code}: ${complaint.trim().slice(-300)}`;
        resolve({ kind: 'caught', seed: nextSeed, why });
      } else reject(new Error(`the trial's process ended with ${signal ?? code}: ${complaint}`));
    });
  });
}

/** What the arena itself may print is none of ours. */
function readLine(text: string): ChildLine | null {
  if (!text.startsWith('{"kind":')) return null;
  try {
    return JSON.parse(text) as ChildLine;
  } catch {
    return null;
  }
}
