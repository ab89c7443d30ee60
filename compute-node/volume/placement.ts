/**
 * Where six copies go: two nodes in each of three availability zones (Aurora paper, section 2.1: a zone and one more node may
 * fail without loss, a zone without a pause). Pure and deterministic: the same nodes and loads give the same six.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { AZ_COUNT, COPIES_PER_AZ } from '../../src/quorum/quorum.ts';
import type { ClusterNode, ClusterValue } from '../../src/register/values.ts';

/** Copies already on a node; a node that is not named has none. */
export type NodeLoads = ReadonlyMap<NodeId, number>;

/** A node that is being emptied is chosen only where a zone has no other, as a node that does not answer is. */
export const AVOIDED_LOAD = 1_000_000;

/** The least loaded six, zone by zone in the order in which zones first appear in `nodes`. */
export function placeSix(nodes: readonly ClusterNode[], loads: NodeLoads): readonly NodeId[] {
  const zones = [...nodesByZone(nodes)].map(([az, members], order) => {
    const best = members
      .map((node, position) => ({ nodeId: node.nodeId, load: loads.get(node.nodeId) ?? 0, position }))
      .sort((a, b) => a.load - b.load || a.position - b.position)
      .slice(0, COPIES_PER_AZ);
    return { az, order, best, load: best.reduce((sum, node) => sum + node.load, 0) };
  });
  const usable = zones.filter((zone) => zone.best.length === COPIES_PER_AZ);
  if (usable.length < AZ_COUNT) throw tooFewZones(zones.map((zone) => `${zone.az}: ${zone.best.length}`));
  return usable
    .sort((a, b) => a.load - b.load || a.order - b.order)
    .slice(0, AZ_COUNT)
    .sort((a, b) => a.order - b.order)
    .flatMap((zone) => zone.best.map((node) => node.nodeId));
}

/**
 * The six nodes that keep the cluster's own registers: the first two of each of the first three zones, in the configured order. All
 * processes must derive the same six, for ever, so loads have no say and nodes are only ever appended to the list.
 */
export function bootstrapSix(nodes: readonly ClusterNode[]): readonly NodeId[] {
  return placeSix(nodes, new Map());
}

/** Who takes the place of `leaving` among `members`: the least loaded node of its zone that is none of them. Throws NO_PLACE. */
export function placeReplacement(
  nodes: readonly ClusterNode[],
  loads: NodeLoads,
  members: readonly NodeId[],
  leaving: NodeId,
): NodeId {
  const az = zoneOf(nodes, leaving);
  const [best] = nodes
    .filter((node) => node.az === az && !members.includes(node.nodeId))
    .map((node, position) => ({ nodeId: node.nodeId, load: loads.get(node.nodeId) ?? 0, position }))
    .filter(({ load }) => load < AVOIDED_LOAD)
    .sort((a, b) => a.load - b.load || a.position - b.position);
  if (best !== undefined) return best.nodeId;
  throw new TidemarkError(
    'NO_PLACE',
    `no other storage node in ${az} can take the place of ${leaving}: every one is a member already, drained or not reachable`,
    { nextStep: `Start another storage node in ${az} and add it with \`tidemark node add\`.` },
  );
}

/** Throws what makes these six no members of a PG: a node that is not known, or not two in each of three zones. */
export function checkMembers(nodes: readonly ClusterNode[], members: readonly NodeId[]): void {
  const perZone = new Map<string, number>();
  for (const member of new Set(members)) {
    const az = zoneOf(nodes, member);
    perZone.set(az, (perZone.get(az) ?? 0) + 1);
  }
  const counts = [...perZone.values()];
  if (counts.length === AZ_COUNT && counts.every((count) => count === COPIES_PER_AZ)) return;
  const found = [...perZone].map(([az, count]) => `${az}: ${count}`).join(', ');
  throw new TidemarkError(
    'BAD_REQUEST',
    `${members.join(', ')} are not two in each of three zones (${found})`,
    {
      nextStep: 'Replace a storage node by one of the same availability zone.',
    },
  );
}

export function zoneOf(nodes: readonly ClusterNode[], nodeId: NodeId): string {
  const node = nodes.find((candidate) => candidate.nodeId === nodeId);
  if (node !== undefined) return node.az;
  throw new TidemarkError('NODE_NOT_FOUND', `storage node ${nodeId} is not one of this cluster`, {
    nextStep: 'See `tidemark node list` for those that are; add a new one with `tidemark node add`.',
  });
}

/** The same loads, with the nodes that are being emptied chosen last. */
export function avoidDraining({ draining }: ClusterValue, loads: NodeLoads): Map<NodeId, number> {
  const avoiding = new Map(loads);
  for (const node of draining) avoiding.set(node, (loads.get(node) ?? 0) + AVOIDED_LOAD);
  return avoiding;
}

function nodesByZone(nodes: readonly ClusterNode[]): ReadonlyMap<string, ClusterNode[]> {
  const zones = new Map<string, ClusterNode[]>();
  for (const node of nodes) {
    const zone = zones.get(node.az);
    if (zone === undefined) zones.set(node.az, [node]);
    else zone.push(node);
  }
  return zones;
}

function tooFewZones(found: readonly string[]): TidemarkError {
  return new TidemarkError(
    'BAD_REQUEST',
    `six copies need two storage nodes in each of three availability zones; configured are ${found.join(', ') || 'none'}`,
    { nextStep: 'Configure at least six storage nodes, two in each of three zones.' },
  );
}
