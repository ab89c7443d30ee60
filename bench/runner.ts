/**
 * Runs suites one after another and reports: each gets a context of its own, and what it started ends with it, whatever happens. A suite that
 * fails is part of the report; the others still run.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { htmlPage } from './html/page.ts';
import {
  type BenchReport,
  commitName,
  describeMachine,
  headText,
  judge,
  type SuiteReport,
  suiteText,
  summaryLine,
} from './report.ts';
import type {
  BenchCluster,
  ClusterOptions,
  LoadSettings,
  Suite,
  SuiteContext,
  SuiteOutcome,
} from './suite.ts';

export interface RunOptions {
  readonly suites: readonly Suite[];
  readonly isQuick: boolean;
  readonly load: LoadSettings;
  readonly peers: SuiteContext['peers'];
  /** As it was typed. */
  readonly command: string;
  /** The report's text, as it grows. */
  write(text: string): void;
  say(text: string): void;
  readonly host: BenchHost;
  /** Directory for page and JSON; null: none. */
  readonly reportDirectory: string | null;
}

/** Who starts clusters: the command. */
export interface BenchHost {
  cluster(directory: string, options: ClusterOptions): Promise<StartedCluster>;
}

export interface StartedCluster extends BenchCluster {
  stop(): Promise<void>;
}

export async function runSuites(options: RunOptions): Promise<BenchReport> {
  const head = {
    command: options.command,
    at: new Date().toISOString(),
    machine: describeMachine(),
    commit: commitName(),
    isQuick: options.isQuick,
  };
  options.write(headText(head));
  const suites: SuiteReport[] = [];
  for (const suite of options.suites) {
    options.write(`\n${suite.name}: ${suite.about}\n\n`);
    const report = await runSuite(suite, options);
    suites.push(report);
    options.write(suiteText(report));
  }
  const report: BenchReport = { ...head, suites };
  if (options.reportDirectory !== null) savePage(options.reportDirectory, report);
  options.write(`\n${summaryLine(report)}`);
  return report;
}

const NOTHING: SuiteOutcome = { tables: [], charts: [], targets: [], results: null };

async function runSuite(suite: Suite, options: RunOptions): Promise<SuiteReport> {
  const startedMs = performance.now();
  const scratch = mkdtempSync(join(tmpdir(), `tidemark-bench-${suite.name}-`));
  const ending = new Ending();
  let outcome = NOTHING;
  let failure: string | null = null;
  try {
    outcome = await suite.run(contextFor(options, scratch, ending));
  } catch (error) {
    failure = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  try {
    await ending.run();
  } catch (error) {
    failure ??= `when it ended: ${error instanceof Error ? error.message : String(error)}`;
  }
  rmSync(scratch, { recursive: true, force: true });
  return {
    suite: suite.name,
    about: suite.about,
    tookSeconds: Math.round((performance.now() - startedMs) / 100) / 10,
    ...outcome,
    targets: judge(outcome.targets),
    failure,
  };
}

function contextFor(options: RunOptions, scratch: string, ending: Ending): SuiteContext {
  const { isQuick, load, peers, say, host } = options;
  let cluster: Promise<StartedCluster> | null = null;
  return {
    isQuick,
    load,
    scratch,
    peers,
    say,
    closeLater: (close) => ending.add(close),
    cluster: (shape = {}) => {
      if (cluster === null) {
        cluster = host.cluster(join(scratch, 'cluster'), shape);
        ending.addLast(async () => (await cluster)?.stop());
      }
      return cluster;
    },
  };
}

/** What is to be undone when a suite ends: last first, and all of it although one fails. */
class Ending {
  private readonly steps: (() => Promise<void> | void)[] = [];

  add(step: () => Promise<void> | void): void {
    this.steps.push(step);
  }

  addLast(step: () => Promise<void> | void): void {
    this.steps.unshift(step);
  }

  async run(): Promise<void> {
    let failure: unknown = null;
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== null) throw failure;
  }
}

function savePage(directory: string, report: BenchReport): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'index.html'), htmlPage(report));
  writeFileSync(join(directory, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
}
