/**
 * `npm run chaos -- network --rounds N`: under load, cables are pulled and ways are cut, one direction or both: of a node, a zone, the writer, between the
 * writer and some nodes, among the nodes, or at random. Then all is well again, and clients must soon be served.
 */
import { STORAGE_NODES } from '../../support/real-cluster.ts';
import type { SeededRandom } from '../../support/seeded-random.ts';
import { Networks } from '../places/networks.ts';
import {
  type CommandContext,
  outcomeText,
  type Report,
  recoveryText,
  totals,
  trialFigures,
} from '../report.ts';
import { runSeries, violationsOf } from '../series.ts';
import { ALL, COMPUTE_NODES, type ProcessName, type Stage, zoneOf } from '../stage.ts';

const ROUNDS_PER_TRIAL = 8;
/** Before anybody notices; before keepalives do; after. */
const CUTS_MS = [300, 2_000, 8_000];

export async function runNetwork(context: CommandContext, rounds: number): Promise<Report> {
  const missing = await Networks.missing();
  const counts: Record<string, number> = {};
  const trials =
    missing !== null
      ? []
      : await runSeries(context, {
          rounds,
          roundsPerTrial: ROUNDS_PER_TRIAL,
          inNetworks: true,
          round: async ({ stage, random }, round, networks) => {
            const scene = SCENES[round % SCENES.length] as Scene;
            counts[scene.name] = (counts[scene.name] ?? 0) + 1;
            stage.tell(`${scene.name}:`);
            await scene({ stage, random, networks: networks as Networks });
            // Now and then a process dies while it is cut off.
            if (random.chance(0.25)) await stage.kill([random.pick(ALL)]);
            await stage.sleep(random.pick(CUTS_MS));
            stage.tell('all cables and ways are whole');
          },
        });
  return {
    command: 'network',
    summary: `${trials.length === 0 ? 0 : rounds} rounds of cuts from seed ${context.seed} ${JSON.stringify(counts)}; ${outcomeText(trials)}; ${recoveryText(trials)}`,
    skipped: missing === null ? [] : [`all of it: ${missing}`],
    violations: violationsOf(trials),
    figures: { ...totals(trials), scenes: counts, trials: trials.map(trialFigures) },
  };
}

interface Scenery {
  readonly stage: Stage;
  readonly random: SeededRandom;
  readonly networks: Networks;
}

type Scene = (scenery: Scenery) => Promise<void>;

const SCENES: readonly Scene[] = [
  unplugOne,
  unplugZone,
  unplugCompute,
  nodesDeafToCompute,
  computeDeafToNodes,
  split,
  gossipCut,
  anyCuts,
];

async function unplug({ stage, networks }: Scenery, names: readonly ProcessName[]): Promise<void> {
  stage.tell(`unplug ${names.join(' ')}`);
  for (const name of names) await networks.unplug(name);
}

async function cut(
  { stage, networks }: Scenery,
  from: readonly ProcessName[],
  to: readonly ProcessName[],
): Promise<void> {
  stage.tell(`nothing from ${from.join(' ')} reaches ${to.join(' ')}`);
  for (const sender of from)
    for (const receiver of to) if (sender !== receiver) await networks.cut(sender, receiver);
}

function unplugOne(scenery: Scenery): Promise<void> {
  return unplug(scenery, [scenery.random.pick(STORAGE_NODES)]);
}

function unplugZone(scenery: Scenery): Promise<void> {
  return unplug(scenery, zoneOf(scenery.random.pick(STORAGE_NODES)));
}

/** Clients go to the other one. */
function unplugCompute(scenery: Scenery): Promise<void> {
  return unplug(scenery, [scenery.random.pick(COMPUTE_NODES)]);
}

/** Appends do not arrive. */
function nodesDeafToCompute(scenery: Scenery): Promise<void> {
  return cut(scenery, [scenery.random.pick(COMPUTE_NODES)], some(scenery.random));
}

/** Appends arrive and are stored; their acknowledgements do not. */
function computeDeafToNodes(scenery: Scenery): Promise<void> {
  return cut(scenery, some(scenery.random), [scenery.random.pick(COMPUTE_NODES)]);
}

/** Each compute node sees one half, and neither a quorum; or one of them does. */
async function split(scenery: Scenery): Promise<void> {
  const [left, right] = [some(scenery.random), [] as ProcessName[]];
  right.push(...STORAGE_NODES.filter((node) => !left.includes(node)));
  const [a, b] = COMPUTE_NODES;
  await cut(scenery, [...left, a], [...right, b]);
  await cut(scenery, [...right, b], [...left, a]);
}

/** Nodes do not reach each other; the writer reaches all. */
function gossipCut(scenery: Scenery): Promise<void> {
  return cut(scenery, STORAGE_NODES, STORAGE_NODES);
}

async function anyCuts(scenery: Scenery): Promise<void> {
  const { random } = scenery;
  for (const from of ALL) {
    const to = ALL.filter((other) => other !== from && random.chance(0.25));
    if (to.length > 0) await cut(scenery, [from], to);
  }
}

function some(random: SeededRandom): ProcessName[] {
  const chosen = STORAGE_NODES.filter(() => random.chance(0.6));
  return chosen.length === 0 ? [random.pick(STORAGE_NODES)] : chosen;
}
