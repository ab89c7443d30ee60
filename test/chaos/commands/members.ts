/**
 * `npm run chaos -- members --rounds N`: storage nodes are replaced and emptied under load, forth and back between two nodes of a zone and a spare one, while the
 * newcomer, the one that leaves, another, or the writer is killed or stopped in the middle, or the operator changes their mind. A move that failed is asked for
 * again until it is done. Nothing is lost, and in the end the one that left holds nothing.
 */
import type { StorageNodeName } from '../../support/real-cluster.ts';
import { STORAGE_NODES } from '../../support/real-cluster.ts';
import { tidemark, writerOf } from '../operator.ts';
import {
  type CommandContext,
  outcomeText,
  percentile,
  type Report,
  recoveryText,
  totals,
  trialFigures,
} from '../report.ts';
import { runSeries, violationsOf } from '../series.ts';
import type { Trial, TrialResult } from '../trial.ts';

const ROUNDS_PER_TRIAL = 6;
const ATTEMPTS = 10;
const EMPTY_LIMIT_MS = 30_000;
const ZONES = ['az1', 'az2', 'az3'] as const;

/** One PG, so that a zone has two nodes with a segment and one without; or many, spread over all three. */
const PG_PAGES = { one: 2_621_440, many: 64 } as const;

const DISTURBANCES = [
  'none',
  'newcomer killed',
  'leaver killed',
  'other killed',
  'writer killed',
  'newcomer stopped',
  'taken back',
] as const;
type Disturbance = (typeof DISTURBANCES)[number];

export async function runMembers(context: CommandContext, rounds: number): Promise<Report> {
  const counts: Record<string, number> = {};
  const movesMs: number[] = [];
  const trials: TrialResult[] = [];
  for (let first = 0; first < rounds; first += ROUNDS_PER_TRIAL) {
    const spread = (first / ROUNDS_PER_TRIAL) % 2 === 0 ? 'one' : 'many';
    const zones = new Map(
      ZONES.map((zone) => [zone, [`${zone}-a`, `${zone}-b`, `${zone}-c`] as StorageNodeName[]]),
    );
    const [trial] = await runSeries(
      { ...context, seed: context.seed + first },
      {
        rounds: Math.min(ROUNDS_PER_TRIAL, rounds - first),
        roundsPerTrial: ROUNDS_PER_TRIAL,
        trial: { cluster: { pgPages: PG_PAGES[spread] } },
        prepare: addSpares,
        round: async (trial, round) => {
          const disturbance = DISTURBANCES[(first + round) % DISTURBANCES.length] as Disturbance;
          counts[disturbance] = (counts[disturbance] ?? 0) + 1;
          const nodes = zones.get(trial.random.pick(ZONES)) as StorageNodeName[];
          // With one PG the last one has no segment; with many, any may have some.
          const [leaver, newcomer] =
            spread === 'one'
              ? [nodes[trial.random.below(2)] as StorageNodeName, nodes[2] as StorageNodeName]
              : ([...nodes].sort(() => trial.random.next() - 0.5) as [StorageNodeName, StorageNodeName]);
          const way = spread === 'one' && trial.random.chance(0.7) ? 'replace' : 'drain';
          movesMs.push(await move(trial, { leaver, newcomer, way, disturbance }));
          nodes.splice(nodes.indexOf(leaver), 1);
          nodes.push(leaver);
        },
      },
    );
    trials.push(trial as TrialResult);
    if ((trial as TrialResult).violations.length > 0) break;
  }
  return {
    command: 'members',
    summary:
      `${movesMs.length} moves from seed ${context.seed} ${JSON.stringify(counts)}, p50 ${percentile(movesMs, 0.5)} ms, max ${Math.max(0, ...movesMs)} ms; ` +
      `${outcomeText(trials)}; ${recoveryText(trials)}`,
    skipped: [],
    violations: violationsOf(trials),
    figures: { ...totals(trials), disturbances: counts, movesMs, trials: trials.map(trialFigures) },
  };
}

async function addSpares({ stage, urls, report }: Trial): Promise<void> {
  const { url } = await writerOf(urls);
  for (const zone of ZONES) {
    const spare: StorageNodeName = `${zone}-c`;
    await stage.cluster.startSpare(spare);
    const { isDone, said } = await tidemark('node', 'add', stage.cluster.listEntry(spare), '--url', url);
    if (!isDone) report(`adding ${spare}: ${said}`);
  }
}

interface Move {
  readonly leaver: StorageNodeName;
  /** Where there are many PGs: one of two that take them. */
  readonly newcomer: StorageNodeName;
  readonly way: 'drain' | 'replace';
  readonly disturbance: Disturbance;
}

/** Resolves to how long it took. */
async function move(trial: Trial, what: Move): Promise<number> {
  const { stage, random, urls, report } = trial;
  const { leaver, newcomer, way, disturbance } = what;
  stage.tell(`${disturbance}:`);
  const ask = async (...words: string[]) => {
    const { url } = await writerOf(urls);
    stage.tell(`node ${words.join(' ')}`);
    const end = await tidemark('node', ...words, '--url', url);
    stage.tell(`node ${words.join(' ')}: ${end.isDone ? 'done' : end.said.split('\n')[0]}`);
    return end;
  };
  const words = way === 'replace' ? ['replace', leaver, newcomer] : ['drain', leaver];
  const startMs = performance.now();
  const asked = ask(...words);
  await stage.sleep(50 + random.below(1_000));
  if (disturbance === 'taken back') await ask(...words, way === 'replace' ? '--revert' : '--cancel');
  else await disturb(trial, what);
  let end = await asked;
  for (let attempt = 1; !end.isDone || disturbance === 'taken back'; attempt += 1) {
    if (attempt > ATTEMPTS) {
      report(`${leaver} could not be emptied in ${ATTEMPTS} attempts (${disturbance}): ${end.said}`);
      return Number.POSITIVE_INFINITY;
    }
    await stage.heal();
    await stage.sleep(1_000);
    end = await ask(...words);
    if (end.isDone) break;
  }
  const tookMs = Math.round(performance.now() - startMs);
  await stage.heal();
  await becomesEmpty(trial, leaver);
  // It may take segments again.
  await ask('drain', leaver, '--cancel');
  return tookMs;
}

async function disturb(
  { stage, random, urls }: Trial,
  { leaver, newcomer, disturbance }: Move,
): Promise<void> {
  switch (disturbance) {
    case 'none':
    case 'taken back':
      return;
    case 'newcomer killed':
      await stage.kill([newcomer]);
      await stage.sleep(random.below(1_500));
      return stage.start(newcomer);
    case 'leaver killed':
      // It stays away until the move is done without it.
      return stage.kill([leaver]);
    case 'other killed': {
      const other = random.pick(STORAGE_NODES.filter((node) => node !== leaver && node !== newcomer));
      await stage.kill([other]);
      await stage.sleep(random.below(1_500));
      return stage.start(other);
    }
    case 'writer killed': {
      const { name } = await writerOf(urls);
      await stage.kill([name]);
      await stage.sleep(random.below(500));
      return stage.start(name);
    }
    case 'newcomer stopped':
      await stage.pause([newcomer]);
      await stage.sleep(1_000 + random.below(2_000));
      return stage.resume(newcomer);
  }
}

/** It deletes what it holds in the background. */
async function becomesEmpty({ stage, urls, report }: Trial, node: StorageNodeName): Promise<void> {
  const endMs = performance.now() + EMPTY_LIMIT_MS;
  let segments: number | null = null;
  while (performance.now() < endMs) {
    const { url } = await writerOf(urls);
    const { isDone, said } = await tidemark('node', 'list', '--json', '--url', url);
    const { nodes } = (isDone ? JSON.parse(said) : { nodes: [] }) as {
      nodes: { nodeId: string; segments: number | null }[];
    };
    segments = nodes.find(({ nodeId }) => nodeId === node)?.segments ?? null;
    if (segments === 0) return;
    await stage.sleep(200);
  }
  report(`${node} still holds ${segments} segments ${EMPTY_LIMIT_MS} ms after everything was moved off it`);
}
