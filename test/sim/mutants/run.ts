/**
 * `npm run sim -- mutants [--only NAME…] [--sample N] [--within-s S] [--seeds 200] [--from 1] [--jobs 2] [--json FILE]`: every mutant must be
 * caught within the seeds, and the product as it is must be quiet over the very seeds at which they were.
 *
 * `--sample N` takes N of them, others every day. `--within-s S` ends after so many seconds: a mutant that is not caught by then is left undecided,
 * which is no failure.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ArenaName, Mutant } from './mutant.ts';
import { MUTANTS } from './table.ts';
import { type Places, runTrial, type Verdict } from './trial.ts';

const DAY_MS = 86_400_000;
/** Of the time there is; the rest is left for the product as it is. */
const MUTANTS_SHARE = 2 / 3;

interface Options {
  readonly mutants: readonly Mutant[];
  readonly seeds: number;
  readonly firstSeed: number;
  readonly jobs: number;
  /** null: until all is done. */
  readonly withinMs: number | null;
  readonly json: string | null;
}

interface Outcome {
  readonly mutant: Mutant;
  readonly verdict: Verdict;
  readonly tookMs: number;
}

/** One arena with one bias: mutants that share it share a control. */
interface Scenario {
  readonly arena: ArenaName;
  readonly hint: Readonly<Record<string, unknown>>;
}

/** Run from the project's root. Returns whether all is as it should be. */
export async function runMutants(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args);
  const places: Places = {
    root: process.cwd(),
    compiled: fileURLToPath(new URL('../../..', import.meta.url)),
  };
  const startedAt = Date.now();
  const endAfter = (share: number): number | null =>
    options.withinMs === null ? null : startedAt + options.withinMs * share;
  const mutantsEndAtMs = endAfter(MUTANTS_SHARE);
  const outcomes = await inParallel(options.jobs, options.mutants, async (mutant) => {
    const outcome = await tryMutant(mutant, mutantsEndAtMs, options, places);
    console.log(lineOf(outcome));
    return outcome;
  });
  const alarms = await control(outcomes, endAfter(1), options, places);
  const undecided = outcomes.filter(({ verdict }) => verdict.kind === 'undecided');
  const survivors = outcomes.filter(({ verdict: { kind } }) => kind !== 'caught' && kind !== 'undecided');
  const latest = Math.max(
    0,
    ...outcomes.map(({ verdict }) => (verdict.kind === 'caught' ? verdict.seed : 0)),
  );
  if (options.json !== null)
    writeFileSync(options.json, `${JSON.stringify(report(outcomes, alarms), null, 2)}\n`);
  const caught = outcomes.length - survivors.length - undecided.length;
  const tookS = Math.round((Date.now() - startedAt) / 1_000);
  const ranOut = undecided.length > 0 ? `, ${undecided.length} undecided when time was up` : '';
  console.log(
    `mutants: ${caught} of ${outcomes.length} caught (the last at seed ${latest}), ${survivors.length} survived ${options.seeds} seeds${ranOut}, ${alarms.length} false alarms, ${tookS} s`,
  );
  return survivors.length === 0 && alarms.length === 0;
}

async function tryMutant(
  mutant: Mutant,
  endAtMs: number | null,
  options: Options,
  places: Places,
): Promise<Outcome> {
  const startedAt = Date.now();
  const { arena, hint = {} } = mutant;
  const { firstSeed, seeds } = options;
  const verdict = await runTrial({ arena, hint, mutant, firstSeed, seeds, endAtMs }, places);
  return { mutant, verdict, tookMs: Date.now() - startedAt };
}

/** The unmutated product, over the seeds that were needed. */
async function control(
  outcomes: readonly Outcome[],
  endAtMs: number | null,
  options: Options,
  places: Places,
): Promise<readonly string[]> {
  const scenarios = new Map<string, { readonly scenario: Scenario; seeds: number }>();
  for (const { mutant, verdict } of outcomes) {
    const { arena, hint = {} } = mutant;
    const key = JSON.stringify([arena, hint]);
    if (verdict.kind === 'undecided') continue;
    const used = verdict.kind === 'caught' ? verdict.seed - options.firstSeed + 1 : options.seeds;
    const known = scenarios.get(key) ?? { scenario: { arena, hint }, seeds: 0 };
    known.seeds = Math.max(known.seeds, used);
    scenarios.set(key, known);
  }
  const alarms = await inParallel(options.jobs, [...scenarios.values()], async ({ scenario, seeds }) => {
    const trial = { ...scenario, mutant: null, firstSeed: options.firstSeed, seeds, endAtMs };
    const verdict = await runTrial(trial, places);
    const name = `${scenario.arena}${Object.keys(scenario.hint).length > 0 ? ` ${JSON.stringify(scenario.hint)}` : ''}`;
    if (verdict.kind !== 'caught') {
      const through = verdict.kind === 'undecided' ? verdict.seeds : seeds;
      console.log(`control  ${name}: quiet over ${through} seeds`);
      return [];
    }
    const alarm = `${name}: seed ${verdict.seed}: ${verdict.why}`;
    console.log(`ALARM    ${alarm}`);
    return [alarm];
  });
  return alarms.flat();
}

function lineOf({ mutant, verdict, tookMs }: Outcome): string {
  const took = `${(tookMs / 1_000).toFixed(1)} s`;
  switch (verdict.kind) {
    case 'caught':
      return `caught   ${mutant.name} at seed ${verdict.seed} (${took}): ${verdict.why.split('\n')[0]?.slice(0, 160)}`;
    case 'survived':
      return `SURVIVED ${mutant.name}: ${verdict.seeds} seeds (${took})`;
    case 'undecided':
      return `OPEN     ${mutant.name}: time was up after ${verdict.seeds} seeds (${took})`;
    case 'not-loaded':
      return `UNUSED   ${mutant.name}: never loaded: ${verdict.files.join(', ')}`;
  }
}

function report(outcomes: readonly Outcome[], alarms: readonly string[]): object {
  return {
    mutants: outcomes.map(({ mutant, verdict, tookMs }) => ({
      name: mutant.name,
      rule: mutant.rule,
      section: mutant.section,
      arena: mutant.arena,
      ...verdict,
      tookMs,
    })),
    falseAlarms: alarms,
  };
}

function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      only: { type: 'string', multiple: true },
      sample: { type: 'string' },
      'within-s': { type: 'string' },
      seeds: { type: 'string', default: '200' },
      from: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(Math.min(2, cpus().length)) },
      json: { type: 'string' },
    },
  });
  // `--only a b c`: the names after the first come as positionals.
  const names =
    values.only === undefined ? [] : [...values.only.flatMap((name) => name.split(',')), ...positionals];
  const unknown = names.filter((name) => !MUTANTS.some((mutant) => mutant.name === name));
  if (unknown.length > 0 || (values.only === undefined && positionals.length > 0)) {
    throw new Error(`there is no mutant called ${[...unknown, ...positionals].join(', ')}`);
  }
  const chosen = names.length === 0 ? MUTANTS : MUTANTS.filter(({ name }) => names.includes(name));
  const number = (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1) throw new Error(`"${text}" is not a number from 1 on`);
    return value;
  };
  return {
    mutants: values.sample === undefined ? chosen : sampleOf(chosen, number(values.sample)),
    seeds: number(values.seeds),
    firstSeed: number(values.from),
    jobs: number(values.jobs),
    withinMs: values['within-s'] === undefined ? null : number(values['within-s']) * 1_000,
    json: values.json ?? null,
  };
}

/** Goes through the table as the days go by. */
function sampleOf(mutants: readonly Mutant[], count: number): readonly Mutant[] {
  const start = (Math.floor(Date.now() / DAY_MS) * count) % mutants.length;
  return [...mutants, ...mutants].slice(start, start + Math.min(count, mutants.length));
}

async function inParallel<T, R>(
  jobs: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at] as T);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return results;
}
