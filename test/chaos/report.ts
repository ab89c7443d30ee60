/**
 * What a command of `npm run chaos` says: lines while it goes on (stderr), one line at the end (stdout), and all of it as JSON. The exit code follows
 * from the violations alone.
 */
import { writeFileSync } from 'node:fs';
import type { TrialResult } from './trial.ts';

export interface Report {
  readonly command: string;
  /** Ends in the last line: what was done, what was found. */
  readonly summary: string;
  /** What could not be tried here, and why. */
  readonly skipped: readonly string[];
  readonly violations: readonly string[];
  /** For the JSON. */
  readonly figures: Readonly<Record<string, unknown>>;
}

export interface Console {
  /** One line of progress. */
  progress(line: string): void;
  readonly isVerbose: boolean;
}

export interface CommandContext {
  readonly seed: number;
  readonly signal: AbortSignal;
  readonly console: Console;
}

/** A round whose recovery took longer tells its story. */
const SLOW_RECOVERY_MS = 8_000;

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function durations(valuesMs: readonly number[]): {
  readonly count: number;
  readonly p50Ms: number;
  readonly maxMs: number;
} {
  return {
    count: valuesMs.length,
    p50Ms: percentile(valuesMs, 0.5),
    maxMs: Math.max(0, ...valuesMs),
  };
}

/** Sums of all trials. */
export function totals(trials: readonly TrialResult[]) {
  const sum = (of: (trial: TrialResult) => number): number =>
    trials.reduce((all, trial) => all + of(trial), 0);
  return {
    trials: trials.length,
    kills: sum((trial) => trial.kills),
    pauses: sum((trial) => trial.pauses),
    stops: sum((trial) => trial.stops),
    powerCuts: sum((trial) => trial.powerCuts),
    takeOvers: sum((trial) => trial.takeOvers),
    acknowledged: sum((trial) => trial.acknowledged),
    refused: sum((trial) => trial.refused),
    unknown: sum((trial) => trial.unknown),
    reads: sum((trial) => trial.reads),
    lost: sum((trial) => trial.lost),
    duplicated: sum((trial) => trial.duplicated),
    invented: sum((trial) => trial.invented),
    recovery: durations(trials.flatMap((trial) => trial.recoveriesMs)),
    starts: durations(trials.flatMap((trial) => trial.startsMs)),
    slowestClientMs: Math.max(0, ...trials.map((trial) => trial.allServedMs)),
  };
}

export function outcomeText(trials: readonly TrialResult[]): string {
  const all = totals(trials);
  return (
    `${all.acknowledged} acknowledged, ${all.lost} lost, ${all.duplicated} duplicated, ${all.invented} invented ` +
    `(${all.refused} refused, ${all.unknown} unknown, ${all.reads} reads)`
  );
}

export function recoveryText(trials: readonly TrialResult[]): string {
  const { recovery, slowestClientMs } = totals(trials);
  return `writes again after p50 ${recovery.p50Ms} ms, max ${recovery.maxMs} ms, every client after ${slowestClientMs} ms at most`;
}

/** What one trial was like, line by line; its story when it broke a rule, was slow, or when everything is to be told. */
export function tellTrial(console: Console, what: string, trial: TrialResult): void {
  console.progress(
    `${what}: ${outcomeText([trial])}; ${recoveryText([trial])}; ${(trial.durationMs / 1_000).toFixed(1)} s`,
  );
  const slowest = Math.max(trial.allServedMs, ...trial.recoveriesMs);
  const isNotable = trial.violations.length > 0 || slowest > SLOW_RECOVERY_MS || console.isVerbose;
  if (!isNotable) return;
  for (const [complaint, times] of Object.entries(trial.complaints))
    console.progress(`   ${times} × ${complaint}`);
  for (const event of trial.story) console.progress(`   ${event}`);
  console.progress(`   told: ${JSON.stringify(trial.codes)}`);
  for (const violation of trial.violations.slice(0, 20)) console.progress(`   VIOLATION ${violation}`);
  if (trial.violations.length > 20) console.progress(`   … and ${trial.violations.length - 20} more`);
  if (trial.violations.length > 0) console.progress(`   data and logs: ${trial.directory}`);
}

/** Without the stories. */
export function trialFigures({ story: _, complaints: __, ...figures }: TrialResult): Record<string, unknown> {
  return figures;
}

export function writeReport(path: string, report: Report): void {
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`);
}

export function lastLine(report: Report, tookMs: number): string {
  const skipped = report.skipped.map((what) => ` SKIPPED: ${what};`).join('');
  const verdict = report.violations.length === 0 ? '0 violations' : `${report.violations.length} VIOLATIONS`;
  return `chaos ${report.command}: ${report.summary};${skipped} ${(tookMs / 1_000).toFixed(0)} s; ${verdict}`;
}
