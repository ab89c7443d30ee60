/** What a run of the benchmarks found, with what it ran on: as text, and as JSON for programs. (The page to look at is html/page.ts.) */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import type { SuiteOutcome, Table } from './suite.ts';
import { isMet, type Target } from './target.ts';

export interface BenchReport {
  readonly command: string;
  readonly at: string;
  readonly machine: Machine;
  readonly commit: string | null;
  readonly isQuick: boolean;
  readonly suites: readonly SuiteReport[];
}

export interface SuiteReport extends SuiteOutcome {
  readonly suite: string;
  readonly about: string;
  readonly tookSeconds: number;
  readonly targets: readonly JudgedTarget[];
  /** Why it could not measure; null when it did. */
  readonly failure: string | null;
}

export interface JudgedTarget extends Target {
  readonly isMet: boolean | null;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly os: string;
  /** Processes that wanted a core, over the minute before: what else ran. */
  readonly loadBefore: number;
}

/** To be called before anything is measured. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round((totalmem() / 1024 ** 3) * 10) / 10,
    node: process.version,
    os: `${process.platform} ${release()}`,
    loadBefore: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}

export function judge(targets: readonly Target[]): readonly JudgedTarget[] {
  return targets.map((target) => ({ ...target, isMet: isMet(target) }));
}

export function headText({ command, machine, commit }: Omit<BenchReport, 'suites'>): string {
  const { cpu, cores, memoryGiB, node, os, loadBefore } = machine;
  const busy =
    loadBefore > cores / 2
      ? `The machine was not quiet (load ${loadBefore}): figures are worse than it can do.\n`
      : '';
  return `${command}\n${cpu}, ${cores} cores, ${memoryGiB} GiB, Node ${node}, ${os}, commit ${commit ?? 'unknown'}\n${busy}`;
}

export function suiteText(report: SuiteReport): string {
  const failure = report.failure === null ? '' : `  FAILED: ${report.failure}\n`;
  const tables = report.tables.map((table) => `${tableText(table)}\n`).join('');
  return `${tables}${failure}${targetsText(report.targets)}`;
}

export function tableText({ title, head, rows, note }: Table): string {
  return `${title}\n${textTable(head, rows)}${note === undefined ? '' : `  ${note}\n`}`;
}

export function targetsText(targets: readonly JudgedTarget[]): string {
  return targets
    .map(({ name, wanted, is, unit, found, isMet: met }) => {
      const sign = is === 'at-most' ? '≤' : '≥';
      const verdict = met === null ? 'not measured' : met ? 'met' : 'SHORT';
      const figure = found === null ? '' : ` ${withUnit(found, unit)}`;
      return `  ${name}:${figure} (wanted ${sign} ${withUnit(wanted, unit)}): ${verdict}\n`;
    })
    .join('');
}

/** The last line of a run. */
export function summaryLine({ suites }: BenchReport): string {
  const measured = suites.flatMap(({ targets }) => targets).filter(({ isMet: met }) => met !== null);
  const met = measured.filter(({ isMet: isGood }) => isGood === true).length;
  const failed = suites.filter(({ failure }) => failure !== null).map(({ suite }) => suite);
  const names = suites.map(({ suite }) => suite).join(', ');
  const failures = failed.length === 0 ? '' : `; failed: ${failed.join(', ')}`;
  return `bench ${names}: ${met} of ${measured.length} targets met${failures}\n`;
}

/** A target missed, or a suite that could not measure. */
export function hasShortfall({ suites }: BenchReport): boolean {
  return suites.some(
    ({ targets, failure }) => failure !== null || targets.some(({ isMet: met }) => met === false),
  );
}

export function saveReport(path: string, report: BenchReport): void {
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
}

export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')}\n`;
  return [head, ...rows].map(line).join('');
}

/** Large figures whole, small ones with two digits. */
export function figure(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Math.round(value * 100) / 100);
}

function withUnit(value: number, unit: string): string {
  return `${figure(value)} ${unit}`;
}

/** Of the checkout that is measured; null outside of one. */
export function commitName(): string | null {
  try {
    const run = (...args: string[]): string =>
      execFileSync('git', args, {
        cwd: import.meta.dirname,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    const isDirty = run('status', '--porcelain') !== '';
    return `${run('rev-parse', '--short=12', 'HEAD')}${isDirty ? ' with changes' : ''}`;
  } catch {
    return null;
  }
}
