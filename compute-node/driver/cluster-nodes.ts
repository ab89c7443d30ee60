/**
 * The nodes of the cluster register: which belong to the cluster, which are being emptied. Each change is a compare-and-set; asked for
 * twice it happens once.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode, ClusterValue } from '../../src/register/values.ts';
import { bootstrapSix, zoneOf } from '../volume/placement.ts';
import type { ClusterView } from './cluster-view.ts';

const STATUS_TIMEOUT_MS = 2_000;

/**
 * Adds a node that runs, or takes one back that was being emptied. Rejects UNAVAILABLE (it does not answer), WRONG_CLUSTER, BAD_REQUEST (another
 * node answers there, or the id or address is taken).
 */
export async function addNode(
  view: ClusterView,
  node: ClusterNode,
  client: StorageNodeClient,
): Promise<ClusterValue> {
  await checkAnswers(view.value, node, client);
  return view.change((cluster) => {
    checkIsFree(cluster, node);
    const known = cluster.nodes.find(({ nodeId }) => nodeId === node.nodeId);
    const isSame = known?.address === node.address && !cluster.draining.includes(node.nodeId);
    if (isSame) return null;
    const nodes = known === undefined ? [...cluster.nodes, node] : cluster.nodes.map(replacedBy(node));
    return { ...cluster, nodes, draining: without(cluster.draining, node.nodeId) };
  });
}

/** From now on nothing is placed on it; or again, when it is not to be emptied after all. */
export function markDraining(view: ClusterView, nodeId: NodeId, isDraining: boolean): Promise<ClusterValue> {
  zoneOf(view.value.nodes, nodeId);
  return view.change((cluster) => {
    zoneOf(cluster.nodes, nodeId);
    if (cluster.draining.includes(nodeId) === isDraining) return null;
    const others = without(cluster.draining, nodeId);
    return { ...cluster, draining: isDraining ? [...others, nodeId] : others };
  });
}

/** It keeps the cluster's own registers for ever: placement never moves those. */
export function isBootstrap({ nodes }: ClusterValue, nodeId: NodeId): boolean {
  return bootstrapSix(nodes).includes(nodeId);
}

async function checkAnswers(
  { clusterId }: ClusterValue,
  { nodeId, az, address }: ClusterNode,
  client: StorageNodeClient,
): Promise<void> {
  const status = await client
    .call('status', { clusterId: '' }, { timeoutMs: STATUS_TIMEOUT_MS })
    .catch((cause: unknown) => {
      throw new TidemarkError('UNAVAILABLE', `no storage node answers at ${address}`, {
        nextStep: `Start it first: tidemark storage-node --node-id ${nodeId} --az ${az} …, then add it.`,
        cause,
      });
    });
  if (status.nodeId !== nodeId || status.az !== az) {
    throw new TidemarkError('BAD_REQUEST', `at ${address} answers ${status.nodeId} in ${status.az}`, {
      nextStep: 'Name the node and its zone as it was started.',
    });
  }
  if (status.clusterId !== '' && status.clusterId !== clusterId) {
    throw new TidemarkError('WRONG_CLUSTER', `${nodeId} belongs to cluster ${status.clusterId}`, {
      nextStep: 'Start it with an empty data directory to add it to this cluster.',
    });
  }
}

function checkIsFree(cluster: ClusterValue, { nodeId, az, address }: ClusterNode): void {
  const sameId = cluster.nodes.find((known) => known.nodeId === nodeId);
  if (sameId !== undefined && sameId.az !== az) {
    throw new TidemarkError('BAD_REQUEST', `${nodeId} is in ${sameId.az} already`, {
      nextStep: 'Give the new node an id of its own.',
    });
  }
  const sameAddress = cluster.nodes.find((known) => known.address === address && known.nodeId !== nodeId);
  if (sameAddress !== undefined) {
    throw new TidemarkError('BAD_REQUEST', `${address} is the address of ${sameAddress.nodeId}`, {
      nextStep: 'Give every storage node an address of its own.',
    });
  }
}

function replacedBy(node: ClusterNode): (known: ClusterNode) => ClusterNode {
  return (known) => (known.nodeId === node.nodeId ? node : known);
}

function without(nodes: readonly NodeId[], node: NodeId): readonly NodeId[] {
  return nodes.filter((other) => other !== node);
}
