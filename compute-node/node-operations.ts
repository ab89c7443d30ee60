/**
 * What an operator does with storage nodes: list them, add one, empty one, put one in the place of another (design section 9). The work is done
 * by the writers of the volumes (driver/segment-mover.ts); here it is found out whom to ask, and told how far it is.
 */
import type { Logger } from '../src/adapters/logger.ts';
import { isTidemarkError, TidemarkError } from '../src/base/errors.ts';
import type { Clock, Timers } from '../src/env/env.ts';
import type { StorageNodeClient } from '../src/env/transport.ts';
import type { NodeId } from '../src/log/lsn.ts';
import type { StatusReply } from '../src/messages/messages.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { addNode, isBootstrap, markDraining } from './driver/cluster-nodes.ts';
import type { VolumeDirectory } from './driver/directory.ts';
import { pause } from './driver/pause.ts';
import type { StorageNodeClients } from './driver/registers.ts';
import {
  type MembersAccess,
  type MoveProgress,
  moveRegistersOff,
  moveSegments,
  revertMoves,
} from './driver/segment-mover.ts';
import { placeReplacement, zoneOf } from './volume/placement.ts';

export interface NodeSummary {
  readonly nodeId: NodeId;
  readonly az: string;
  readonly address: string;
  readonly reachable: boolean;
  /** Nothing new is placed on it, and what it has is (or was) moved away. */
  readonly draining: boolean;
  /** It keeps the cluster's own registers, which do not move. */
  readonly bootstrap: boolean;
  /** null: not known while it cannot be reached. */
  readonly segments: number | null;
  readonly diskBytes: number | null;
  readonly version: string | null;
}

export type OperationProgress =
  | ({ readonly kind: 'moving' } & MoveProgress)
  /** The manifest and retention registers of a volume have moved. */
  | { readonly kind: 'registers'; readonly volume: string }
  /** Moved segments are deleted in the background. */
  | { readonly kind: 'clearing'; readonly segments: number }
  | {
      readonly kind: 'end';
      readonly node: NodeId;
      readonly movedSegments: number;
      readonly revertedChanges: number;
      /** What is left to know, for people. */
      readonly notes: readonly string[];
    };

export interface OperationsOptions {
  readonly directory: VolumeDirectory;
  readonly clients: StorageNodeClients;
  readonly connect: (node: ClusterNode) => StorageNodeClient;
  /** The volume's members, wherever it is open; opened here when nowhere. */
  readonly access: (volume: string) => Promise<MembersAccess>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
}

type Chooser = (members: readonly NodeId[]) => Promise<NodeId>;

interface Emptying {
  readonly nodeId: NodeId;
  /** Who takes a segment, and who a register's copy, in the place of `nodeId` among these members. */
  readonly forSegments: Chooser;
  readonly forRegisters: Chooser;
  readonly isAbandoned: () => boolean;
}

const STATUS_TIMEOUT_MS = 1_500;
/** Others hear of a node's draining within a refresh interval; what they placed there until then is found in another round. */
const SETTLE_PAUSE_MS = 3_000;
/** How long deletion in the background is waited for. */
const CLEAR_PATIENCE_MS = 20_000;
const CLEAR_POLL_MS = 500;

export class NodeOperations {
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.#options = options;
  }

  async list(): Promise<readonly NodeSummary[]> {
    const cluster = await this.#options.directory.view.refresh();
    return Promise.all(
      cluster.nodes.map(async (node) => {
        const status = await this.#statusOf(node.nodeId);
        return {
          ...node,
          reachable: status !== null,
          draining: cluster.draining.includes(node.nodeId),
          bootstrap: isBootstrap(cluster, node.nodeId),
          segments: status?.segments.length ?? null,
          diskBytes: status?.diskBytes ?? null,
          version: status?.version ?? null,
        };
      }),
    );
  }

  async add(node: ClusterNode): Promise<void> {
    const { directory, connect, logger } = this.#options;
    const client = connect(node);
    try {
      await addNode(directory.view, node, client);
    } finally {
      client.close();
    }
    logger.log('info', 'storage node added', { ...node });
  }

  /** Moves everything off the node, each segment to the least loaded node of its zone. */
  async *drain(nodeId: NodeId, isAbandoned: () => boolean): AsyncGenerator<OperationProgress> {
    const choose = (members: readonly NodeId[]) => this.#leastLoaded(nodeId, members);
    yield* this.#empty({ nodeId, forSegments: choose, forRegisters: choose, isAbandoned });
  }

  /** Moves everything from one node to another of its zone. */
  async *replace(
    nodeId: NodeId,
    taker: NodeId,
    isAbandoned: () => boolean,
  ): AsyncGenerator<OperationProgress> {
    const { nodes } = await this.#options.directory.view.refresh();
    checkMayReplace(nodes, nodeId, taker);
    const forSegments = async (members: readonly NodeId[]): Promise<NodeId> => {
      if (!members.includes(taker)) return taker;
      throw new TidemarkError('NO_PLACE', `${taker} keeps a segment of that protection group already`, {
        nextStep: `Empty ${nodeId} with \`tidemark node drain ${nodeId}\`: it finds a node for each segment.`,
      });
    };
    const forRegisters = async (members: readonly NodeId[]): Promise<NodeId> =>
      members.includes(taker) ? this.#leastLoaded(nodeId, members) : taker;
    yield* this.#empty({ nodeId, forSegments, forRegisters, isAbandoned });
  }

  /** Takes back what `drain` or `replace` began and has not ended; what was moved stays where it is. */
  async revert(nodeId: NodeId, taker: NodeId | null): Promise<OperationProgress> {
    const { directory, access, clock, timers } = this.#options;
    await markDraining(directory.view, nodeId, false);
    const volumes = await this.#volumes();
    const options = { volumes, access, clock, timers, isAbandoned: () => false };
    const revertedChanges = await revertMoves(options, nodeId, taker);
    return { kind: 'end', node: nodeId, movedSegments: 0, revertedChanges, notes: [] };
  }

  async *#empty({
    nodeId,
    forSegments,
    forRegisters,
    isAbandoned,
  }: Emptying): AsyncGenerator<OperationProgress> {
    const { directory, access, clock, timers } = this.#options;
    await directory.view.refresh();
    await markDraining(directory.view, nodeId, true);
    const common = { leaving: nodeId, access, clock, timers, isAbandoned };
    let moved = 0;
    for (;;) {
      const volumes = await this.#volumes();
      const move = moveSegments({ ...common, volumes, choose: forSegments });
      let found = 0;
      for await (const progress of move) {
        if (progress.phase === 'done') found += 1;
        yield { kind: 'moving', ...progress };
      }
      moved += found;
      if (isAbandoned()) return;
      if (found === 0) break;
      await pause(timers, SETTLE_PAUSE_MS);
    }
    const volumes = await this.#volumes();
    for await (const volume of moveRegistersOff({ ...common, volumes, choose: forRegisters })) {
      yield { kind: 'registers', volume };
    }
    if (isAbandoned()) return;
    yield* this.#awaitClear(nodeId, isAbandoned);
    yield { kind: 'end', node: nodeId, movedSegments: moved, revertedChanges: 0, notes: this.#notes(nodeId) };
  }

  async #leastLoaded(leaving: NodeId, members: readonly NodeId[]): Promise<NodeId> {
    const { directory } = this.#options;
    return placeReplacement(directory.cluster.nodes, await directory.loads(), members, leaving);
  }

  async *#awaitClear(nodeId: NodeId, isAbandoned: () => boolean): AsyncGenerator<OperationProgress> {
    const { clock, timers } = this.#options;
    const untilMs = clock.now().monotonicMs + CLEAR_PATIENCE_MS;
    for (;;) {
      const segments = (await this.#statusOf(nodeId))?.segments.length ?? 0;
      if (segments === 0 || isAbandoned() || clock.now().monotonicMs >= untilMs) return;
      yield { kind: 'clearing', segments };
      await pause(timers, CLEAR_POLL_MS);
    }
  }

  #notes(nodeId: NodeId): readonly string[] {
    const { cluster } = this.#options.directory;
    if (!isBootstrap(cluster, nodeId)) return [`${nodeId} can be switched off.`];
    return [
      `${nodeId} keeps a copy of the cluster's own registers, which do not move: leave it running.`,
      `To retire its machine, start an empty storage node under the same id (${nodeId}) elsewhere and change its address in the configuration.`,
    ];
  }

  async #volumes(): Promise<readonly string[]> {
    return (await this.#options.directory.list()).map(({ name }) => name);
  }

  async #statusOf(nodeId: NodeId): Promise<StatusReply | null> {
    try {
      const call = this.#options.clients
        .get(nodeId)
        ?.call('status', { clusterId: '' }, { timeoutMs: STATUS_TIMEOUT_MS });
      const status = await call;
      return status === undefined || status.refusal !== null ? null : status;
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      return null;
    }
  }
}

function checkMayReplace(nodes: readonly ClusterNode[], leaving: NodeId, taker: NodeId): void {
  const from = zoneOf(nodes, leaving);
  const to = zoneOf(nodes, taker);
  if (leaving !== taker && from === to) return;
  const why =
    leaving === taker
      ? `${taker} cannot take its own place`
      : `${taker} is in ${to}, ${leaving} in ${from}: a protection group keeps two segments in each of three zones`;
  throw new TidemarkError('BAD_REQUEST', why, { nextStep: `Name another storage node of ${from}.` });
}
