/**
 * `npm run chaos -- az --rounds N`: a zone goes away (killed, stopped, or its cables pulled) and writes go on; one more node goes away and reads go on,
 * writes wait; that one returns and writes go on. Every step is timed, for the client that waited longest.
 */
import { STORAGE_NODES, type StorageNodeName } from '../../support/real-cluster.ts';
import { Networks } from '../places/networks.ts';
import {
  type CommandContext,
  outcomeText,
  percentile,
  type Report,
  totals,
  trialFigures,
} from '../report.ts';
import { runSeries, violationsOf } from '../series.ts';
import { type Stage, zoneOf } from '../stage.ts';
import { SteadyReader } from '../steady-reader.ts';

/** Without a zone every client must be served again within it. */
const ZONE_LIMIT_MS = 2_000;
/** After this, a write acknowledged with three nodes alone would be a lie. */
const SETTLE_MS = 300;
/** With three nodes left reads go on. */
const READ_GAP_LIMIT_MS = 2_000;
const ROUNDS_PER_TRIAL = 6;

const WAYS = ['kill', 'stop', 'unplug'] as const;
type Way = (typeof WAYS)[number];

export async function runZones(context: CommandContext, rounds: number): Promise<Report> {
  const missing = await Networks.missing();
  const ways = missing === null ? WAYS : WAYS.filter((way) => way !== 'unplug');
  const withoutZoneMs: number[] = [];
  const repairedMs: number[] = [];
  const readGapsMs: number[] = [];
  const trials = await runSeries(context, {
    rounds,
    roundsPerTrial: ROUNDS_PER_TRIAL,
    inNetworks: missing === null,
    round: async (trial, round, networks) => {
      const { stage, random, load, report } = trial;
      const zone = zoneOf(random.pick(STORAGE_NODES));
      const way = ways[round % ways.length] as Way;
      await takeAway(stage, networks, zone, way);
      const tookMs = (await trial.served('all')) ?? Number.POSITIVE_INFINITY;
      withoutZoneMs.push(tookMs);
      if (tookMs > ZONE_LIMIT_MS)
        report(
          `without a zone (${way} ${zone.join(' ')}) a client waited ${tookMs} ms, more than ${ZONE_LIMIT_MS}`,
        );
      await stage.sleep(random.below(1_000));

      const one = random.pick(STORAGE_NODES.filter((node) => !zone.includes(node)));
      const reader = new SteadyReader(trial.urls);
      await takeAway(stage, null, [one], random.pick(['kill', 'stop'] as const));
      await stage.sleep(SETTLE_MS);
      const acknowledged = sum(load.acknowledged());
      await stage.sleep(1_500 + random.below(3_000));
      if (sum(load.acknowledged()) > acknowledged) report('writes were acknowledged with three nodes alone');
      const { longestGapMs } = await reader.finish();
      readGapsMs.push(longestGapMs);
      if (longestGapMs > READ_GAP_LIMIT_MS)
        report(`with three nodes alive nobody could read for ${longestGapMs} ms`);

      stage.tell(`repair ${one}`);
      if (stage.paused.includes(one)) await stage.resume(one);
      else await stage.start(one);
      repairedMs.push((await trial.served('all')) ?? Number.POSITIVE_INFINITY);
    },
  });
  const range = (values: readonly number[]): string =>
    `p50 ${percentile(values, 0.5)} ms, max ${Math.max(0, ...values)} ms`;
  return {
    command: 'az',
    summary:
      `${withoutZoneMs.length} zones lost from seed ${context.seed}: slowest client ${range(withoutZoneMs)}; one more node: longest without a read ${range(readGapsMs)}; ` +
      `repaired: slowest client ${range(repairedMs)}; ${outcomeText(trials)}`,
    skipped: missing === null ? [] : [`zones cut from the network: ${missing}`],
    violations: violationsOf(trials),
    figures: { ...totals(trials), withoutZoneMs, readGapsMs, repairedMs, trials: trials.map(trialFigures) },
  };
}

async function takeAway(
  stage: Stage,
  networks: Networks | null,
  nodes: readonly StorageNodeName[],
  way: Way,
): Promise<void> {
  switch (way) {
    case 'kill':
      return stage.kill(nodes);
    case 'stop':
      return stage.pause(nodes);
    case 'unplug':
      stage.tell(`unplug ${nodes.join(' ')}`);
      for (const node of nodes) await networks?.unplug(node);
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
