/**
 * Which protection groups a volume is to have (design section 9): the next one is planned as soon as the highest page comes near the end of
 * the last, so that it is committed (writer-manifests.ts) before a record needs it.
 *
 * Invariant: members of a planned PG never change before it is committed: records already link to it.
 */
import { TidemarkError } from '../../src/base/errors.ts';
import type { NodeId, PgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { type ClusterValue, FIRST_CONFIG_VERSION, type PgConfig } from '../../src/register/values.ts';
import { avoidDraining, placeSix } from './placement.ts';

/** A manifest that names so many PGs still fits a message: 80 TiB with PGs of 10 GiB. */
export const MAX_PGS = 8_192;

/** PGs that a volume whose highest page is `page` should have: the next one is made when the last is half full. */
export function wantedPgs(page: number, pgPages: number): number {
  return Math.min(MAX_PGS, Math.floor((page - 1 + Math.ceil(pgPages / 2)) / pgPages) + 1);
}

export function checkPgFits(pg: PgIndex): void {
  if (pg < MAX_PGS) return;
  throw new TidemarkError('TOO_LARGE', `PG ${pg} is beyond the ${MAX_PGS} that a volume can have`, {
    nextStep: 'Create volumes with larger protection groups.',
  });
}

/** PGs after `known`, up to `count` in all, on the nodes that hold least of this volume. */
export function planPgs(
  known: readonly PgConfig[],
  count: number,
  cluster: ClusterValue,
): readonly PgConfig[] {
  const loads = avoidDraining(cluster, segmentsPerNode(known));
  const added: PgConfig[] = [];
  while (known.length + added.length < count) {
    const members = placeSix(cluster.nodes, loads);
    const pg = (known.length + added.length) as PgIndex;
    added.push({ pg, configVersion: FIRST_CONFIG_VERSION, members, proposed: null });
    for (const node of members) loads.set(node, (loads.get(node) ?? 0) + 1);
  }
  return added;
}

function segmentsPerNode(pgs: readonly PgConfig[]): Map<NodeId, number> {
  const loads = new Map<NodeId, number>();
  for (const config of pgs) {
    for (const node of QuorumSet.of(config).nodes) loads.set(node, (loads.get(node) ?? 0) + 1);
  }
  return loads;
}
