/**
 * Where six copies go: two nodes in each of three availability zones (Aurora paper, section 2.1: a zone and one more node may
 * fail without loss, a zone without a pause). Pure and deterministic: the same nodes and loads give the same six.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { AZ_COUNT, COPIES_PER_AZ } from '../../src/quorum/quorum.ts';
import type { ClusterNode } from '../../src/register/values.ts';

/** Copies already on a node; a node that is not named has none. */
export type NodeLoads = ReadonlyMap<NodeId, number>;

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
