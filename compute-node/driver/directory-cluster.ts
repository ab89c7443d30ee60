/**
 * Joining a cluster, or making it: the cluster register on the six bootstrap nodes says who belongs to it and under which constants.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { DEFAULT_LAL, DEFAULT_LEASE_TERM_MS, DEFAULT_PG_PAGES } from '../../src/base/limits.ts';
import type { Clock, Random, Timers } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { decodeCluster, encodeCluster } from '../../src/register/codec.ts';
import type { RegisterContent } from '../../src/register/proposer.ts';
import { type ClusterNode, type ClusterValue, REGISTER_FORMAT } from '../../src/register/values.ts';
import { bootstrapSix } from '../volume/placement.ts';
import { Registers, type StorageNodeClients } from './registers.ts';

export const CLUSTER_KEY = 'cluster';
const CLUSTER_ID_CHARS = 16;
const STATUS_TIMEOUT_MS = 1_000;

/** Constants of a cluster that is made; one that exists keeps its own. */
export type ClusterSettings = Partial<ClusterValue['constants']>;

export interface JoinOptions {
  readonly clients: StorageNodeClients;
  readonly nodes: readonly ClusterNode[];
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly settings?: ClusterSettings;
  readonly timeoutMs?: number;
}

export interface JoinedCluster {
  readonly cluster: ClusterValue;
  /** As committed in the cluster register. */
  readonly content: RegisterContent;
}

export async function joinCluster(options: JoinOptions, members: readonly NodeId[]): Promise<JoinedCluster> {
  // No cluster id yet: it is what this register is about to tell.
  const registers = new Registers({ ...options, clusterId: '' });
  let content = await registers.read(CLUSTER_KEY, members);
  if (content.value === null) {
    await refuseIfAlreadyMember(options);
    const made = await registers.change(CLUSTER_KEY, members, (current) =>
      current === null ? encodeCluster(newCluster(options)) : null,
    );
    content = made.content;
    if (made.changed) options.logger.log('info', 'cluster made', { nodes: options.nodes.length });
  }
  const known = read(content);
  refuseIfOther(known, options.nodes);
  if (sameAddresses(known.nodes, options.nodes)) return { cluster: known, content };

  const moved = await registers.change(CLUSTER_KEY, members, (current) => {
    if (current === null) return null;
    const cluster = decodeCluster(current);
    refuseIfOther(cluster, options.nodes);
    return sameAddresses(cluster.nodes, options.nodes)
      ? null
      : encodeCluster(withAddresses(cluster, options.nodes));
  });
  options.logger.log('info', 'addresses of storage nodes updated in the cluster register');
  return { cluster: read(moved.content), content: moved.content };
}

function read(content: RegisterContent): ClusterValue {
  if (content.value === null)
    throw new TidemarkError('INTERNAL', 'the cluster register is empty after it was made');
  return decodeCluster(content.value);
}

function newCluster({ nodes, random, settings }: JoinOptions): ClusterValue {
  return {
    format: REGISTER_FORMAT,
    clusterId: random.id(CLUSTER_ID_CHARS),
    nodes,
    draining: [],
    constants: {
      lal: settings?.lal ?? DEFAULT_LAL,
      leaseTermMs: settings?.leaseTermMs ?? DEFAULT_LEASE_TERM_MS,
      defaultPgPages: settings?.defaultPgPages ?? DEFAULT_PG_PAGES,
    },
  };
}

/** An empty register beside nodes that have a cluster: the configured bootstrap nodes are not that cluster's. */
async function refuseIfAlreadyMember({ clients, nodes }: JoinOptions): Promise<void> {
  const answers = await Promise.allSettled(
    nodes.map(({ nodeId }) =>
      clients.get(nodeId)?.call('status', { clusterId: '' }, { timeoutMs: STATUS_TIMEOUT_MS }),
    ),
  );
  for (const answer of answers) {
    if (answer.status === 'rejected' || answer.value === undefined || answer.value.clusterId === '') continue;
    throw wrongCluster(
      `storage node ${answer.value.nodeId} belongs to cluster ${answer.value.clusterId}, of which the six bootstrap nodes know nothing`,
    );
  }
}

/** Nodes that joined later need not be configured; those that are must be of this cluster, and lead to the same six. */
function refuseIfOther(cluster: ClusterValue, nodes: readonly ClusterNode[]): void {
  const known = cluster.nodes.map(placeOf).sort();
  const configured = nodes.map(placeOf).sort();
  const sameBootstrap = () =>
    bootstrapSix(cluster.nodes).toSorted().join() === bootstrapSix(nodes).toSorted().join();
  if (configured.every((place) => known.includes(place)) && sameBootstrap()) return;
  throw wrongCluster(
    `the storage nodes belong to a cluster of ${known.join(', ')}; configured are ${configured.join(', ')}`,
  );
}

function placeOf(node: ClusterNode): string {
  return `${node.nodeId} in ${node.az}`;
}

function wrongCluster(message: string): TidemarkError {
  return new TidemarkError('WRONG_CLUSTER', message, {
    nextStep:
      'Configure the storage nodes of one cluster, in the order in which it was made; nodes that join later are added with `tidemark node add`.',
  });
}

function sameAddresses(known: readonly ClusterNode[], configured: readonly ClusterNode[]): boolean {
  const addressOf = new Map(configured.map((node) => [node.nodeId, node.address]));
  return known.every((node) => (addressOf.get(node.nodeId) ?? node.address) === node.address);
}

/** Order and zones stay as they were made. */
function withAddresses(cluster: ClusterValue, configured: readonly ClusterNode[]): ClusterValue {
  const addressOf = new Map(configured.map((node) => [node.nodeId, node.address]));
  return {
    ...cluster,
    nodes: cluster.nodes.map((node) => ({ ...node, address: addressOf.get(node.nodeId) ?? node.address })),
  };
}
