/**
 * `npm run chaos -- zombie --rounds N`: writers that were deposed and do not know it. Questions lie in their sockets when they wake up; none may be
 * answered from the past, none may be acknowledged in vain.
 *
 * - sleeper: the writer is stopped, another takes over or just does not, and it wakes up.
 * - usurped: the writer lives, heartbeats and holds its leases, while another takes the volume from it on an operator's word.
 * - revenant: the writer is stopped, another takes over and dies; the first wakes up and finds nobody there.
 * - deaf (in network namespaces): the writer's messages arrive, the answers do not.
 */
import { writerOf } from '../operator.ts';
import { Networks } from '../places/networks.ts';
import { Probe, type ProbeFigures } from '../probe.ts';
import { type CommandContext, outcomeText, type Report, totals, trialFigures } from '../report.ts';
import { runSeries, violationsOf } from '../series.ts';
import type { ComputeNodeName } from '../stage.ts';
import type { Trial } from '../trial.ts';
import { STORAGE_NODES } from '../../support/real-cluster.ts';

/** Around the lease term, around the age at which a holder counts as gone, and far beyond. */
const SLEEPS_MS = [200, 450, 600, 1_200, 1_700, 2_500, 4_000];
const QUESTIONS = 20;
const ROUNDS_PER_TRIAL = 8;

type Scene = (trial: Trial, probe: Probe, networks: Networks | null) => Promise<void>;

export async function runZombies(context: CommandContext, rounds: number): Promise<Report> {
  const missing = await Networks.missing();
  const scenes = missing === null ? [sleeper, usurped, revenant, deaf] : [sleeper, usurped, revenant];
  const figures: ProbeFigures[] = [];
  let probe: Probe | null = null;
  const trials = await runSeries(context, {
    rounds,
    roundsPerTrial: ROUNDS_PER_TRIAL,
    inNetworks: missing === null,
    prepare: async (trial) => {
      probe = await Probe.start(trial.urls, trial.report);
    },
    round: async (trial, round, networks) => {
      const scene = scenes[round % scenes.length] as Scene;
      trial.stage.tell(`${scene.name}:`);
      await scene(trial, probe as Probe, networks);
    },
    conclude: async () => {
      figures.push(await (probe as Probe).finish());
    },
  });
  const sum = (of: (figures: ProbeFigures) => number): number =>
    figures.reduce((all, each) => all + of(each), 0);
  const answers = {
    asked: sum((each) => each.asked),
    answered: sum((each) => each.answered),
    acknowledgedWrites: sum((each) => each.acknowledgedWrites),
    refused: sum((each) => each.refused),
    staleReads: sum((each) => each.staleReads),
    lostWrites: sum((each) => each.lostWrites),
  };
  return {
    command: 'zombie',
    summary:
      `${rounds} rounds from seed ${context.seed}, ${totals(trials).takeOvers} take-overs; ${answers.asked} questions to old writers: ` +
      `${answers.answered} reads answered, ${answers.staleReads} stale, ${answers.acknowledgedWrites} writes acknowledged, ` +
      `${answers.lostWrites} lost, ${answers.refused} refused; ${outcomeText(trials)}`,
    skipped: missing === null ? [] : [`deaf writers: ${missing}`],
    violations: violationsOf(trials),
    figures: { ...totals(trials), answers, trials: trials.map(trialFigures) },
  };
}

async function sleeper({ stage, random, urls }: Trial, probe: Probe): Promise<void> {
  const { name, url } = await writerOf(urls);
  probe.ask(url, 2);
  await stage.pause([name]);
  const sleepMs = random.pick(SLEEPS_MS);
  // Most are asked once the other has taken over, and knows more.
  await stage.sleep(sleepMs * 0.2);
  probe.ask(url, 3);
  await stage.sleep(sleepMs * 0.8);
  probe.ask(url, QUESTIONS);
  await stage.sleep(20);
  await stage.resume(name);
  probe.ask(url, QUESTIONS);
  await stage.sleep(300);
}

async function usurped({ stage, random, urls }: Trial, probe: Probe): Promise<void> {
  const { name, url } = await writerOf(urls);
  const other = otherThan(name);
  await stage.kill([other]);
  probe.ask(url, 2);
  // The same name: an operator says that the old one is gone, which is not true.
  stage.tell(`start ${other} as ${name}`);
  const started = stage.usurp(other, name);
  const endMs = performance.now() + 1_500 + random.below(500);
  while (performance.now() < endMs) {
    probe.ask(url, 1);
    await stage.sleep(10);
  }
  await started;
  probe.ask(url, QUESTIONS);
  await stage.sleep(300);
  // Under its own name again.
  await stage.kill([other]);
}

async function revenant({ stage, random, urls }: Trial, probe: Probe): Promise<void> {
  const { name, url } = await writerOf(urls);
  const other = otherThan(name);
  await stage.pause([name]);
  const before = probe.acknowledged;
  // Until the other has taken over and was served.
  for (let i = 0; i < 100 && probe.acknowledged === before; i += 1) await stage.sleep(50);
  await stage.sleep(random.below(300));
  probe.ask(url, QUESTIONS);
  await stage.kill([other]);
  await stage.sleep(random.pick([0, 50, 2_000]));
  await stage.resume(name);
  probe.ask(url, QUESTIONS);
  await stage.sleep(500);
}

async function deaf({ stage, random, urls }: Trial, probe: Probe, networks: Networks | null): Promise<void> {
  const { name, url } = await writerOf(urls);
  // Four nodes or all: no quorum is heard, or nobody at all; now and then the other compute node as well.
  const nodes = random.chance(0.5) ? STORAGE_NODES : STORAGE_NODES.slice(0, 4);
  stage.tell(`${name} does not hear ${nodes.join(' ')}`);
  for (const node of nodes) await networks?.cut(node, name);
  const endMs = performance.now() + random.pick([1_000, 4_000, 8_000]);
  let silentMs = 0;
  while (performance.now() < endMs) {
    probe.ask(url, 1);
    await stage.sleep(100);
    silentMs = Math.max(silentMs, Math.round(probe.silentMs));
  }
  stage.tell(`meanwhile nobody could write for ${silentMs} ms`);
  stage.tell(`${name} hears again`);
  await networks?.heal();
  probe.ask(url, QUESTIONS);
  await stage.sleep(500);
}

function otherThan(name: ComputeNodeName): ComputeNodeName {
  return name === 'compute-1' ? 'compute-2' : 'compute-1';
}
