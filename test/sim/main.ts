/**
 * `npm run sim`: runs seeds, in two processes, and tells what they found. Ends with one line, and with exit code 1 if anything was violated.
 *
 *     -- --seeds N [--from S] [--json FILE] [--workers W]     many seeds
 *     -- --seed S [--trace]                                   one, with all that happens in it
 *     -- determinism --seeds N [--from S]                     each seed in two processes: the same events
 *     -- … --more KIND=TIMES,…                                draws those faults so many times as often
 *     -- coverage [--seeds N] [--from S]                      how often each kind of fault struck
 *     -- mutants [--only NAME…] [--sample N] [--seeds 200]    rules taken out, one by one (mutants/run.ts)
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { formatCoverage, formatFailure, formatSummary, type Totals, totalsOf } from './cli/report.ts';
import { SeedPool } from './cli/seed-pool.ts';
import { inMacrotask } from './cli/macrotask.ts';
import { biasOf, minimise } from './cli/minimise.ts';
import { FAULT_KINDS, type FaultWeights } from './faults/plan.ts';
import { runMutants } from './mutants/run.ts';
import { runSeed, type SeedResult } from './run-seed.ts';
import { LastLines } from './world/world.ts';

const DEFAULT_SEEDS = 200;
const COVERAGE_SEEDS = 400;
const DEFAULT_WORKERS = 2;
/** Failures told in full. */
const MAX_TOLD = 3;

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly workers: number;
  readonly json: string | null;
  readonly weights: FaultWeights | null;
}

async function main(args: readonly string[]): Promise<boolean> {
  if (args[0] === 'mutants') return runMutants(args.slice(1));
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seeds: { type: 'string' },
      from: { type: 'string' },
      seed: { type: 'string' },
      trace: { type: 'boolean' },
      json: { type: 'string' },
      workers: { type: 'string' },
      more: { type: 'string' },
    },
  });
  const [mode = 'run'] = positionals;
  const options: Options = {
    seeds: numberOf(values.seeds, mode === 'coverage' ? COVERAGE_SEEDS : DEFAULT_SEEDS),
    from: numberOf(values.from, 1),
    workers: numberOf(values.workers, DEFAULT_WORKERS),
    json: values.json ?? null,
    weights: weightsOf(values.more),
  };
  if (values.seed !== undefined) return one(numberOf(values.seed, 1), values.trace === true, options.weights);
  switch (mode) {
    case 'run':
      return many(options, false);
    case 'coverage':
      return many(options, true);
    case 'determinism':
      return twice(options);
    default:
      throw new Error(`unknown: ${mode}. There are: determinism, coverage, mutants, --seeds N, --seed S`);
  }
}

async function many(options: Options, isCoverage: boolean): Promise<boolean> {
  const startedMs = performance.now();
  const pool = new SeedPool(options.workers, options.weights);
  const results: SeedResult[] = [];
  const failed: SeedResult[] = [];
  let cpuMs = 0;
  try {
    await pool.run(seedsOf(options), (result, tookMs) => {
      results.push(result);
      cpuMs += tookMs;
      if (result.violation !== null) {
        failed.push(result);
        console.log(`seed ${result.seed}: ${result.violation.rule}: ${firstLine(result.violation.message)}`);
      }
      if (results.length % 100 === 0) process.stderr.write(`${results.length} of ${options.seeds} seeds\n`);
    });
  } finally {
    pool.close();
  }
  failed.sort((a, b) => a.seed - b.seed);
  for (const { seed } of failed.slice(0, MAX_TOLD)) console.log(await explain(seed, options.weights));
  const totals = totalsOf(results, performance.now() - startedMs, cpuMs);
  if (isCoverage) console.log(formatCoverage(totals));
  finish(options, totals, { failed });
  return failed.length === 0 && (!isCoverage || totals.neverStruck.length === 0);
}

/** Each seed in two processes. */
async function twice(options: Options): Promise<boolean> {
  const startedMs = performance.now();
  const seeds = seedsOf(options);
  const hashes = new Map<number, string>();
  const different: number[] = [];
  const results: SeedResult[] = [];
  for (let round = 0; round < 2; round += 1) {
    const pool = new SeedPool(1, options.weights);
    await pool.run(seeds, (result) => {
      results.push(result);
      const print = `${result.hash} ${result.events} ${result.virtualMs} ${result.acknowledged}`;
      const before = hashes.get(result.seed);
      if (before === undefined) hashes.set(result.seed, print);
      else if (before !== print) different.push(result.seed);
    });
    pool.close();
  }
  for (const seed of different) console.log(`seed ${seed} went two ways`);
  finish(options, totalsOf(results, performance.now() - startedMs), { different });
  return different.length === 0;
}

async function one(seed: number, isTraced: boolean, weights: FaultWeights | null): Promise<boolean> {
  if (!isTraced) {
    const result = await inMacrotask(() => runSeed(seed, biasOf(weights)));
    if (result.violation !== null) console.log(await explain(seed, weights));
    console.log(formatSummary(totalsOf([result], 0)));
    return result.violation === null;
  }
  const result = await inMacrotask(() =>
    runSeed(seed, {
      ...biasOf(weights),
      trace: ({ atMs, who, text }) =>
        console.log(`${atMs.toFixed(3).padStart(10)} ${who.padEnd(10)} ${text}`),
    }),
  );
  if (result.violation !== null) console.log(`${result.violation.rule}: ${result.violation.message}`);
  console.log(formatSummary(totalsOf([result], 0)));
  return result.violation === null;
}

/** The failure again, with as few faults as still bring it about, and what happened last. */
async function explain(seed: number, weights: FaultWeights | null): Promise<string> {
  const least = await minimise(seed, weights);
  const lines = new LastLines();
  const result = await inMacrotask(() =>
    runSeed(seed, { ...biasOf(weights), without: least.without, trace: (line) => lines.take(line) }),
  );
  return formatFailure(result, least.without, lines);
}

function finish({ json }: Options, totals: Totals, found: Record<string, unknown>): void {
  if (json !== null) writeFileSync(json, `${JSON.stringify({ ...totals, ...found }, null, 2)}\n`);
  console.log(formatSummary(totals));
}

function seedsOf({ from, seeds }: Options): number[] {
  return Array.from({ length: seeds }, (_, i) => from + i);
}

function numberOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`not a number: ${text}`);
  return value;
}

/** null: as usual. */
function weightsOf(text: string | undefined): FaultWeights | null {
  if (text === undefined) return null;
  const pairs = text.split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [kind = '', times] = pair.split('=');
      if (!FAULT_KINDS.some(({ name }) => name === kind)) throw new Error(`there is no fault '${kind}'`);
      return [kind, numberOf(times, 10)];
    }),
  );
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

main(process.argv.slice(2)).then(
  (isSound) => {
    process.exitCode = isSound ? 0 : 1;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 2;
  },
);
