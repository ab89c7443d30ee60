/**
 * `npm run chaos -- rollback --rounds N`: one node, or two, come back with the disk they had seconds ago, as after a restore from an old snapshot, and
 * at once everything depends on them: all are restarted, or others are gone, or a new writer takes over. They must be found out before their first vote, and be
 * whole again soon.
 */
import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';
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
import { COMPUTE_NODES } from '../stage.ts';
import type { Trial } from '../trial.ts';

const run = promisify(execFile);

const ROUNDS_PER_TRIAL = 4;
/** What was acknowledged since is what the old image lacks: more than the lag of the peers' memory (1 s) before the end. */
const AGE_MS = 2_500;

const HEALING_LIMIT_MS = 30_000;
const FORGOTTEN = 'may have forgotten';
const MADE_GOOD = 'is made good';

type Moment = (trial: Trial, victims: readonly StorageNodeName[]) => Promise<void>;

export async function runRollbacks(context: CommandContext, rounds: number): Promise<Report> {
  const counts: Record<string, number> = {};
  const healingMs: number[] = [];
  const moments = [withLaggards, simply, withTakeOver, withAllRestarted, withOthersGone];
  const trials = await runSeries(context, {
    rounds,
    roundsPerTrial: ROUNDS_PER_TRIAL,
    round: async (trial, round) => {
      const { stage, random } = trial;
      const victims = [...STORAGE_NODES].sort(() => random.next() - 0.5).slice(0, 1 + (round % 2));
      const moment = moments[Math.floor(round / 2) % moments.length] as Moment;
      const what = `${moment.name}, ${victims.length}`;
      counts[what] = (counts[what] ?? 0) + 1;
      stage.tell(`${what}: images of ${victims.join(' ')}`);
      await stage.kill(victims);
      for (const node of victims) await copy(trial, node, 'take');
      for (const node of victims) await stage.start(node);
      await trial.recovered();
      if (moment === withLaggards) await stage.pause(othersThan(victims).slice(0, 2));
      await stage.sleep(AGE_MS + random.below(1_500));
      await stage.kill(victims);
      for (const node of victims) await copy(trial, node, 'put back');
      stage.tell(`${victims.join(' ')} have their old disks`);
      await moment(trial, victims);
      await stage.heal();
      await trial.recovered();
      healingMs.push(await areWhole(trial, victims));
      // Now those that were rolled back are needed: for every quorum, and for every read.
      await depend(trial, victims);
    },
  });
  return {
    command: 'rollback',
    summary: `${rounds} rounds from seed ${context.seed} ${JSON.stringify(counts)}, whole again after p50 ${percentile(healingMs, 0.5)} ms, max ${Math.max(0, ...healingMs)} ms; ${outcomeText(trials)}; ${recoveryText(trials)}`,
    skipped: [],
    violations: violationsOf(trials),
    figures: { ...totals(trials), moments: counts, healingMs, trials: trials.map(trialFigures) },
  };
}

async function copy({ stage }: Trial, node: StorageNodeName, direction: 'take' | 'put back'): Promise<void> {
  const live = stage.cluster.dataDirectory(node);
  const images = join(stage.cluster.directory, 'images');
  await mkdir(images, { recursive: true });
  const image = join(images, node);
  const [from, to] = direction === 'take' ? [live, image] : [image, live];
  await rm(to, { recursive: true, force: true });
  await run('cp', ['-a', from, to]);
}

async function simply({ stage }: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  await Promise.all(victims.map((node) => stage.start(node)));
}

async function withTakeOver({ stage }: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  await stage.kill(COMPUTE_NODES);
  await Promise.all(victims.map((node) => stage.start(node)));
}

async function withAllRestarted({ stage }: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  await stage.kill([...STORAGE_NODES.filter((node) => !victims.includes(node)), ...COMPUTE_NODES]);
}

/**
 * Waits until they have made good what they had lost: until then they are two of six that are down, and no more may be. Their logs tell, because
 * a register that was rolled back shows in no status.
 */
async function areWhole({ stage, report }: Trial, victims: readonly StorageNodeName[]): Promise<number> {
  const startMs = performance.now();
  for (;;) {
    const logs = await Promise.all(victims.map((node) => stage.cluster.log(node)));
    const tookMs = Math.round(performance.now() - startMs);
    if (logs.every((log) => log.lastIndexOf(MADE_GOOD) >= log.lastIndexOf(FORGOTTEN))) return tookMs;
    if (tookMs > HEALING_LIMIT_MS) {
      report(`${victims.join(' and ')} have not made good within ${tookMs} ms what they had lost`);
      return tookMs;
    }
    await stage.sleep(50);
  }
}

/** One that was rolled back must find three peers, two must find four. */
async function withOthersGone({ stage, random }: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  const others = othersThan(victims);
  const gone = victims.length === 1 ? others.sort(() => random.next() - 0.5).slice(0, 2) : [];
  await stage.kill([...gone, ...COMPUTE_NODES]);
  await Promise.all(victims.map((node) => stage.start(node)));
  await Promise.all(COMPUTE_NODES.map((name) => stage.start(name)));
  await stage.sleep(1_000);
}

/**
 * The sharpest: two of the others were stopped all the while, so that what was acknowledged is on those that were rolled back and on two or three more,
 * which are killed now (of three, two). Whoever trusted the disks alone would find four nodes that agree on a past.
 */
async function withLaggards({ stage }: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  const [slow, slower, ...rest] = othersThan(victims) as [StorageNodeName, StorageNodeName];
  const gone = rest.slice(0, 2);
  await stage.kill([...gone, ...COMPUTE_NODES]);
  await stage.resume(slow);
  await stage.resume(slower);
  await Promise.all(victims.map((node) => stage.start(node)));
  const started = Promise.all(COMPUTE_NODES.map((name) => stage.start(name)));
  await stage.sleep(3_000);
  // Two that were rolled back are found out with four peers.
  if (victims.length === 2) for (const node of gone) await stage.start(node);
  await started;
}

function othersThan(victims: readonly StorageNodeName[]): StorageNodeName[] {
  return STORAGE_NODES.filter((node) => !victims.includes(node));
}

async function depend(trial: Trial, victims: readonly StorageNodeName[]): Promise<void> {
  const { stage, random } = trial;
  const others = othersThan(victims);
  await stage.sleep(500);
  await stage.kill([...others.sort(() => random.next() - 0.5).slice(0, 2), random.pick(COMPUTE_NODES)]);
  await trial.recovered();
}
