/**
 * `npm run chaos -- slow --nodes N --minutes M`: full load with all nodes well, then with N of them stopped, then with the same N crawling (stopped
 * nine tenths of the time). What commits take, and what the compute node needs of memory, side by side in one run.
 */
import { readFile } from 'node:fs/promises';
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';
import { Hammer, type PhaseFigures } from '../hammer.ts';
import { type CommandContext, type Report, tellTrial, trialFigures } from '../report.ts';
import type { Stage } from '../stage.ts';
import { runTrial } from '../trial.ts';

const CLIENTS = 16;
const WARM_UP_MS = 5_000;
/** All caught up again before the next figures are taken. */
const CALM_MS = 3_000;
const CRAWL_RUNS_MS = 30;
const CRAWL_STOPS_MS = 270;
const MAX_P99_RATIO = 2;
const MAX_GROWTH_MIB = 64;

export async function runSlow(context: CommandContext, nodeCount: number, minutes: number): Promise<Report> {
  if (nodeCount < 1 || nodeCount > 2) throw new Error('--nodes takes 1 or 2: with more there is no quorum');
  const phaseMs = (minutes * 60_000) / 3;
  let phases: readonly PhaseFigures[] = [];
  let acknowledged = 0;
  let lost = 0;
  let slow: readonly StorageNodeName[] = [];
  const trial = await runTrial({
    seed: context.seed,
    signal: context.signal,
    writers: 0,
    readers: 0,
    cluster: {
      pgPages: 2_621_440,
      environment: {
        TIDEMARK_PAGE_CACHE_BYTES: '64MiB',
        TIDEMARK_WINDOW_MS: '86400000',
        TIDEMARK_JOURNAL_BYTES: '64MiB',
      },
    },
    scenario: async ({ stage, random, urls, report }) => {
      slow = [...STORAGE_NODES].sort(() => random.next() - 0.5).slice(0, nodeCount);
      const hammer = await Hammer.start(urls[0] as string, CLIENTS, () =>
        residentBytes(stage.cluster.pid('compute-1')),
      );
      const enter = (phase: string): void => {
        const { phase: ended, ...figures } = hammer.enter(phase);
        context.console.progress(`${ended}: ${JSON.stringify(figures)}`);
      };
      try {
        await stage.sleep(WARM_UP_MS);
        enter('healthy');
        await stage.sleep(phaseMs);
        enter('stopped');
        await stage.pause(slow);
        await stage.sleep(phaseMs);
        enter('catching up');
        await stage.heal();
        await stage.sleep(CALM_MS);
        enter('crawling');
        await crawl(stage, slow, phaseMs);
        enter('end');
      } finally {
        ({ acknowledged, lost } = await hammer.finish());
      }
      phases = hammer.finished;
      if (lost > 0) report(`${lost} acknowledged rows are lost`);
      for (const what of shortcomings(phases)) report(what);
    },
  });
  tellTrial(context.console, `slow nodes ${slow.join(' ')}`, trial);
  const of = (name: string): PhaseFigures => phases.find(({ phase }) => phase === name) as PhaseFigures;
  const text = (name: string): string =>
    `${name} p50 ${of(name).p50Ms} ms, p99 ${of(name).p99Ms} ms, ${of(name).commitsPerSecond}/s, ${of(name).peakComputeMiB} MiB`;
  return {
    command: 'slow',
    summary: `${nodeCount} slow nodes (${slow.join(' ')}), ${CLIENTS} clients: ${['healthy', 'stopped', 'crawling'].map(text).join('; ')}; ${acknowledged} acknowledged, ${lost} lost`,
    skipped: [],
    violations: trial.violations,
    figures: { phases, acknowledged, lost, trial: trialFigures(trial) },
  };
}

function shortcomings(phases: readonly PhaseFigures[]): string[] {
  const healthy = phases.find(({ phase }) => phase === 'healthy') as PhaseFigures;
  return phases.flatMap((phase) => {
    const found: string[] = [];
    if (phase.failed > 0)
      found.push(`${phase.phase}: ${phase.failed} commits failed although a quorum was there`);
    if (phase.phase !== 'stopped' && phase.phase !== 'crawling') return found;
    if (phase.p99Ms > MAX_P99_RATIO * healthy.p99Ms)
      found.push(`${phase.phase}: p99 ${phase.p99Ms} ms is more than ${MAX_P99_RATIO} × ${healthy.p99Ms} ms`);
    const grown = phase.peakComputeMiB - healthy.peakComputeMiB;
    if (grown > MAX_GROWTH_MIB) found.push(`${phase.phase}: the compute node grew by ${grown} MiB`);
    return found;
  });
}

async function crawl(stage: Stage, nodes: readonly StorageNodeName[], durationMs: number): Promise<void> {
  stage.tell(`${nodes.join(' ')} crawl`);
  const endMs = performance.now() + durationMs;
  while (performance.now() < endMs) {
    for (const node of nodes) await stage.cluster.signal(node, 'SIGSTOP');
    await stage.sleep(CRAWL_STOPS_MS);
    for (const node of nodes) await stage.cluster.signal(node, 'SIGCONT');
    await stage.sleep(CRAWL_RUNS_MS);
  }
}

async function residentBytes(pid: number): Promise<number> {
  const [, pages] = (await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ');
  return Number(pages) * 4_096;
}
