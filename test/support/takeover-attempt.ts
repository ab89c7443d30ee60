/** One take-over attempt in the simulated cluster: the real core, its calls over the simulated network. */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import { type Epoch, NO_EPOCH } from '../../src/log/epoch.ts';
import { toPgIndex } from '../../src/log/lsn.ts';
import { type ClusterValue, type ManifestValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import type { NodeRequest } from '../../storage-node/core/effects.ts';
import { TakeOver, type TakeOverEvent, type TakeOverOutcome } from '../../compute-node/volume/take-over.ts';
import { type NewTerm, originManifest } from '../../compute-node/volume/take-over-manifest.ts';
import { NODES, NODE_IDS, VOLUME } from './takeover-fixtures.ts';
import { LEASE_TERM_MS, type SimCluster } from './takeover-cluster.ts';

export const LAL = 120;
const PG_PAGES = 4;
export const PG_COUNT = 3;
const CALL_TIMEOUT_MS = 90;
const TICK_MS = 5;

export const SIM_NAME = {
  format: REGISTER_FORMAT,
  name: 'main',
  volume: VOLUME,
  registerMembers: NODE_IDS,
  registerGeneration: 0,
} as const;
const SIM_CLUSTER: ClusterValue = {
  format: REGISTER_FORMAT,
  clusterId: 'sim-cluster',
  nodes: NODES,
  draining: [],
  constants: { lal: LAL, leaseTermMs: LEASE_TERM_MS, defaultPgPages: PG_PAGES },
};

/** A volume of three tiny PGs that nobody ever wrote to. */
export function simOrigin(): ManifestValue {
  const origin = originManifest({ volume: VOLUME, epoch: NO_EPOCH, pgPages: PG_PAGES, members: NODE_IDS });
  const pgs = Array.from({ length: PG_COUNT }, (_, pg) => ({
    pg: toPgIndex(pg),
    configVersion: 1,
    members: NODE_IDS,
    proposed: null,
  }));
  return { ...origin, pgs };
}

export interface AttemptOptions {
  readonly epoch: Epoch;
  readonly timeoutMs?: number;
  readonly rewindTo?: NewTerm['rewindTo'];
  /** The candidate's process dies so long after its start. */
  readonly diesAfterMs?: number;
}

/** Starts an attempt; `onOutcome` hears how it ends, unless its process dies before. */
export function startAttempt(
  sim: SimCluster,
  options: AttemptOptions,
  onOutcome: (outcome: TakeOverOutcome) => void,
): void {
  const { epoch, timeoutMs = 500, diesAfterMs = Number.POSITIVE_INFINITY } = options;
  const core = new TakeOver({
    name: SIM_NAME,
    cluster: SIM_CLUSTER,
    epoch,
    origin: simOrigin(),
    rewindTo: options.rewindTo ?? null,
    crc32: nodeCrc32,
    timeoutMs,
  });
  const deathMs = sim.nowMs + diesAfterMs;
  const step = (event: TakeOverEvent): void => {
    if (sim.nowMs >= deathMs) return;
    for (const effect of core.step(event, sim.now)) {
      if (effect.kind !== 'call') {
        onOutcome(effect);
        continue;
      }
      const { token, node } = effect;
      const request = { method: effect.method, body: effect.body } as NodeRequest;
      sim.call(node, request, CALL_TIMEOUT_MS, (reply) =>
        step(
          reply === null
            ? { kind: 'unanswered', token, message: 'no answer' }
            : ({ kind: 'answered', token, body: reply.body } as TakeOverEvent),
        ),
      );
    }
  };
  const tick = (): void => {
    step({ kind: 'tick' });
    if (sim.nowMs < deathMs && !core.isFinished) sim.later(TICK_MS, tick);
  };
  step({ kind: 'start' });
  tick();
}

/** Runs one attempt to its end. */
export function takeOverNow(sim: SimCluster, options: AttemptOptions): TakeOverOutcome {
  const ended: TakeOverOutcome[] = [];
  startAttempt(sim, options, (outcome) => ended.push(outcome));
  sim.runUntil(() => ended.length > 0, 5_000);
  const [outcome] = ended;
  if (outcome === undefined) throw new Error('the take-over never ended');
  return outcome;
}
