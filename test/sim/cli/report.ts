/** What the simulator says. */
import { FAULT_KINDS } from '../faults/plan.ts';
import type { SeedResult } from '../run-seed.ts';
import type { LastLines } from '../world/world.ts';

/** Of what happened last, told per process. */
const LINES_PER_PROCESS = 8;

export interface Totals {
  readonly seeds: number;
  readonly violations: number;
  readonly events: number;
  readonly virtualSeconds: number;
  readonly seconds: number;
  /** Of processors, over all workers; 0: not measured. */
  readonly cpuSeconds: number;
  readonly acknowledged: number;
  readonly readsChecked: number;
  readonly struck: Readonly<Record<string, number>>;
  /** Kinds of faults that no seed has met. */
  readonly neverStruck: readonly string[];
}

export function totalsOf(results: readonly SeedResult[], tookMs: number, cpuMs = 0): Totals {
  const sum = (of: (result: SeedResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const struck: Record<string, number> = {};
  for (const { name } of FAULT_KINDS) struck[name] = sum((result) => result.struck[name] ?? 0);
  return {
    seeds: results.length,
    violations: results.filter(({ violation }) => violation !== null).length,
    events: sum(({ events }) => events),
    virtualSeconds: Math.round(sum(({ virtualMs }) => virtualMs) / 1_000),
    seconds: Math.round(tookMs / 100) / 10,
    cpuSeconds: Math.round(cpuMs / 100) / 10,
    acknowledged: sum(({ acknowledged }) => acknowledged),
    readsChecked: sum(({ readsChecked }) => readsChecked),
    struck,
    neverStruck: Object.keys(struck).filter((name) => struck[name] === 0),
  };
}

export function formatSummary(totals: Totals): string {
  const { seeds, violations, virtualSeconds, seconds, cpuSeconds, acknowledged, readsChecked } = totals;
  const faults = Object.values(totals.struck).reduce((sum, count) => sum + count, 0);
  const speed =
    cpuSeconds > 0
      ? ` (${Math.round(virtualSeconds / cpuSeconds)} × real time per core, ${(cpuSeconds / seeds).toFixed(2)} CPU-s a seed)`
      : '';
  return (
    `${seeds} seeds, ${violations} violations: ${acknowledged} transactions answered, ${readsChecked} pages compared, ` +
    `${faults} faults, ${virtualSeconds} virtual seconds in ${seconds} s${speed}`
  );
}

export function formatCoverage({ struck }: Totals): string {
  const width = Math.max(...Object.keys(struck).map((name) => name.length));
  return Object.entries(struck)
    .map(
      ([name, count]) => `${name.padEnd(width)} ${String(count).padStart(6)}${count === 0 ? '   never' : ''}`,
    )
    .join('\n');
}

export function formatFailure(result: SeedResult, without: ReadonlySet<number>, lines: LastLines): string {
  const { seed, violation, plan, virtualMs } = result;
  const needed = plan.filter(({ index }) => !without.has(index));
  const told = needed.map(
    ({ index, kind, atMs }) => `  ${atMs.toFixed(0).padStart(7)} ms  #${index} ${kind}`,
  );
  const last = [...lines.all()].flatMap(([who, own]) => [
    `  ${who}`,
    ...own
      .slice(-LINES_PER_PROCESS)
      .map(({ atMs, text }) => `  ${atMs.toFixed(2).padStart(10)}   ${text.split('\n')[0]?.slice(0, 180)}`),
  ]);
  return [
    `seed ${seed} at ${virtualMs.toFixed(2)} ms: ${violation?.rule}: ${violation?.message}`,
    `faults that it takes (${needed.length} of ${plan.length}):`,
    ...told,
    'what happened last:',
    ...last,
    `to see it all: npm run sim -- --seed ${seed} --trace`,
  ].join('\n');
}
