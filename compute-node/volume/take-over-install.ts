/**
 * Step 6 of a take-over: the committed manifest is installed on the segments of every PG. Four of each (of each member set) are needed; a moment more is
 * given to the rest, so that the writer starts with all that are alive. Segments hold their answer until the lease promises they gave
 * to the old writer have run out.
 */
import { type Epoch, compareEpochs } from '../../src/log/epoch.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import type { InstallReply } from '../../src/messages/messages.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { encodeManifest, encodeRetention } from '../../src/register/codec.ts';
import type { ManifestValue, PgConfig, RetentionValue } from '../../src/register/values.ts';
import type { CallOutcome, Calls } from './take-over-calls.ts';
import { describeRefusal } from './take-over-fence.ts';
import type { TakenOver } from './taken-over.ts';

/** Pause before a segment that did not answer, or refused, is asked again. */
const RETRY_PAUSE_MS = 150;
/** How long the fifth and sixth segments are waited for once every PG has four. */
const STRAGGLER_GRACE_MS = 30;

export interface InstallContext {
  readonly clusterId: string;
  readonly epoch: Epoch;
  readonly calls: Calls;
  readonly onDeposed: (promised: Epoch, by: NodeId) => void;
}

interface Target {
  readonly pg: PgIndex;
  readonly node: NodeId;
  isAsking: boolean;
  retryAtMs: number;
  problem: string | null;
  installed: TakenOver['installed'][number] | null;
}

export class Installing {
  readonly #context: InstallContext;
  readonly #manifest: ManifestValue;
  readonly #manifestBytes: Uint8Array;
  readonly #retentionBytes: Uint8Array;
  readonly #targets: readonly Target[];
  #quorumSinceMs: number | null = null;

  constructor(context: InstallContext, manifest: ManifestValue, retention: RetentionValue) {
    this.#context = context;
    this.#manifest = manifest;
    this.#manifestBytes = encodeManifest(manifest);
    this.#retentionBytes = encodeRetention(retention);
    this.#targets = manifest.pgs.flatMap((config) =>
      QuorumSet.of(config).nodes.map((node) => ({
        pg: config.pg,
        node,
        isAsking: false,
        retryAtMs: 0,
        problem: null,
        installed: null,
      })),
    );
  }

  /** The segments that have it, once that is enough. */
  decide(): TakenOver['installed'] | null {
    const { nowMs } = this.#context.calls;
    for (const target of this.#targets) {
      if (target.installed === null && !target.isAsking && nowMs >= target.retryAtMs) this.#ask(target);
    }
    const installed = this.#targets.flatMap((target) =>
      target.installed === null ? [] : [target.installed],
    );
    if (!this.#manifest.pgs.every((config) => isInstalled(config, installed))) return null;
    this.#quorumSinceMs ??= nowMs;
    const isAllIn = installed.length === this.#targets.length;
    return isAllIn || nowMs >= this.#quorumSinceMs + STRAGGLER_GRACE_MS ? installed : null;
  }

  problems(): readonly string[] {
    return this.#targets.flatMap(({ node, pg, installed, problem }) =>
      installed === null ? [`${node} (PG ${pg}): ${problem ?? 'no answer yet'}`] : [],
    );
  }

  #ask(target: Target): void {
    const { calls, clusterId, epoch } = this.#context;
    target.isAsking = true;
    const request = {
      clusterId,
      volume: this.#manifest.volume,
      epoch,
      manifest: this.#manifestBytes,
      retention: this.#retentionBytes,
      pg: target.pg,
    };
    calls.send(target.node, 'install', request, (outcome) => this.#onAnswer(target, outcome));
  }

  #onAnswer(target: Target, outcome: CallOutcome<InstallReply>): void {
    const { calls, epoch, onDeposed } = this.#context;
    target.isAsking = false;
    target.retryAtMs = calls.nowMs + RETRY_PAUSE_MS;
    if (!outcome.ok) {
      target.problem = outcome.message;
      return;
    }
    const { installed, scl, incarnation, refusal, hydrated } = outcome.body;
    if (installed) {
      target.installed = { pg: target.pg, nodeId: target.node, scl, incarnation, hydrated };
      return;
    }
    target.problem = describeRefusal(refusal);
    const promised = refusal?.promised ?? null;
    if (promised !== null && compareEpochs(promised, epoch) > 0) onDeposed(promised, target.node);
  }
}

function isInstalled(config: PgConfig, installed: TakenOver['installed']): boolean {
  const nodes = new Set(installed.filter(({ pg }) => pg === config.pg).map(({ nodeId }) => nodeId));
  return QuorumSet.of(config).isWriteQuorum((node) => nodes.has(node));
}
