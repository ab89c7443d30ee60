/** What a benchmark found, with what it ran on, and how it compares with what was wanted. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import type { LoadResult } from './load.ts';

export interface Target {
  readonly name: string;
  readonly wanted: number;
  /** `at-most` for latencies and sizes, `at-least` for rates. */
  readonly is: 'at-most' | 'at-least';
  readonly unit: string;
  /** Null: not measured in this run, which counts as neither. */
  readonly found: number | null;
}

export interface BenchReport {
  readonly bench: string;
  readonly command: string;
  readonly at: string;
  readonly machine: Machine;
  readonly commit: string | null;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly results: unknown;
  readonly targets: readonly (Target & { readonly isMet: boolean | null })[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly os: string;
}

export function makeReport(
  bench: string,
  settings: Readonly<Record<string, unknown>>,
  results: unknown,
  targets: readonly Target[],
): BenchReport {
  return {
    bench,
    command: ['tidemark', ...process.argv.slice(2)].join(' '),
    at: new Date().toISOString(),
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGiB: Math.round((totalmem() / 1024 ** 3) * 10) / 10,
      node: process.version,
      os: `${process.platform} ${release()}`,
    },
    commit: commit(),
    settings,
    results,
    targets: targets.map((target) => ({ ...target, isMet: isMet(target) })),
  };
}

export function headText(report: BenchReport): string {
  const { cpu, cores, memoryGiB, node, os } = report.machine;
  return `${report.command}\n${cpu}, ${cores} cores, ${memoryGiB} GiB, Node ${node}, ${os}, commit ${report.commit ?? 'unknown'}\n`;
}

export function targetsText(report: BenchReport): string {
  return report.targets
    .map(({ name, wanted, is, unit, found, isMet: met }) => {
      const sign = is === 'at-most' ? '≤' : '≥';
      const verdict = met === null ? 'not measured' : met ? 'met' : 'SHORT';
      const figure = found === null ? '' : ` ${round(found)} ${unit}`;
      return `  ${name}:${figure} (wanted ${sign} ${wanted} ${unit}): ${verdict}\n`;
    })
    .join('');
}

/** The last line of every benchmark. */
export function summaryLine(report: BenchReport): string {
  const figures = report.targets
    .filter(({ found }) => found !== null)
    .map(({ name, found, unit }) => `${name} ${round(found!)} ${unit}`);
  const short = report.targets.filter(({ isMet: met }) => met === false).length;
  const measured = figures.length;
  return `bench ${report.bench}: ${measured - short} of ${measured} targets met${figures.length > 0 ? `; ${figures.join('; ')}` : ''}\n`;
}

export function hasShortfall(report: BenchReport): boolean {
  return report.targets.some(({ isMet: met }) => met === false);
}

export function saveReport(path: string, report: BenchReport): void {
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
}

export function loadTable(results: readonly LoadResult[], operation: string): string {
  const rows = results.map((result) => [
    String(result.clients),
    Math.round(result.perSecond).toLocaleString('en'),
    ...[result.p50Ms, result.p95Ms, result.p99Ms, result.p999Ms, result.maxMs].map((ms) => ms.toFixed(2)),
  ]);
  return textTable(['clients', `${operation}/s`, 'p50 ms', 'p95 ms', 'p99 ms', 'p99.9 ms', 'max ms'], rows);
}

export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')}\n`;
  return [head, ...rows].map(line).join('');
}

function isMet(target: Target): boolean | null {
  if (target.found === null) return null;
  return target.is === 'at-most' ? target.found <= target.wanted : target.found >= target.wanted;
}

function round(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Math.round(value * 100) / 100);
}

function commit(): string | null {
  try {
    const run = (...args: string[]): string =>
      execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const isDirty = run('status', '--porcelain') !== '';
    return `${run('rev-parse', '--short=12', 'HEAD')}${isDirty ? ' with changes' : ''}`;
  } catch {
    return null;
  }
}
