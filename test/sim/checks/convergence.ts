/**
 * After the faults everything comes together again: every segment of every PG holds all there is, none is in quarantine, and the pages of all
 * six copies are, byte for byte, what a plain replay gives.
 */
import { Buffer } from 'node:buffer';
import type { VolumeId } from '../../../src/log/lsn.ts';
import { NO_LSN, pgOfPage } from '../../../src/log/lsn.ts';
import type { ReadPagesReply } from '../../../src/messages/messages.ts';
import type { SimCluster } from '../cluster/cluster.ts';
import { readPointAt } from '../../../compute-node/volume/read-point.ts';
import type { World } from '../world/world.ts';

const LOOK_EVERY_MS = 100;

export function checkConvergence(world: World, cluster: SimCluster, limitMs: number): void {
  let lag: string | null = 'not looked at';
  for (
    let atMs = world.nowMs;
    lag !== null && atMs < limitMs && world.violation === null;
    atMs += LOOK_EVERY_MS
  ) {
    world.run(atMs);
    lag = whatLags(cluster);
  }
  if (world.violation !== null) return;
  if (lag !== null) {
    world.violate('liveness', `not converged: ${lag}`);
    return;
  }
  comparePages(world, cluster, limitMs);
}

/** null: nothing. */
function whatLags(cluster: SimCluster): string | null {
  for (const volume of volumesOf(cluster)) {
    const manifest = cluster.oracle.manifestOf(volume);
    const vdl = cluster.oracle.vdlOf(volume);
    if (manifest === null) continue;
    for (const { pg, members, proposed } of manifest.pgs) {
      if (proposed !== null) return `${volume}/${pg}: a change of members is under way`;
      const scls = new Set<number>();
      for (const member of members) {
        const core = cluster.node(member).core;
        const segment = core?.segments.get(volume, pg);
        const name = `${member} ${volume}/${pg}`;
        if (core === null || !core.isReady) return `${member} is not ready`;
        if (!core.isIntact) return `${member} is not whole yet`;
        if (segment == null) return `${name} has no segment`;
        if (segment.quarantine !== null) return `${name} is in quarantine: ${segment.quarantine.kind}`;
        if (segment.vdl !== vdl) return `${name} knows VDL ${segment.vdl} of ${vdl}`;
        if (segment.scl < segment.tail) return `${name} has SCL ${segment.scl} of ${segment.tail}`;
        if (segment.held.hasGap) return `${name} holds records beyond a gap`;
        scls.add(segment.scl);
      }
      if (scls.size > 1) return `${volume}/${pg} has SCLs ${[...scls].join(', ')}`;
    }
  }
  return null;
}

function comparePages(world: World, cluster: SimCluster, limitMs: number): void {
  let waiting = 0;
  for (const volume of volumesOf(cluster)) {
    const manifest = cluster.oracle.manifestOf(volume);
    if (manifest === null) continue;
    const point = readPointAt(manifest, cluster.oracle.vdlOf(volume));
    if (point === null) continue;
    for (const expected of cluster.oracle.pagesAtVdl(volume)) {
      const pg = pgOfPage(expected.page, manifest.pgPages);
      for (const member of manifest.pgs[pg]?.members ?? []) {
        waiting += 1;
        const body = {
          requestId: waiting,
          clusterId: cluster.node(member).core?.clusterId ?? '',
          volume,
          pg,
          run: point.run,
          lsn: point.lsn,
          requiredScl: NO_LSN,
          pages: [expected.page],
        };
        const ask = (): void =>
          cluster.node(member).process.later(0, 'compare', () =>
            cluster.node(member).server?.receive({ method: 'readPages', body }, ({ body: reply }) => {
              const { refusal, pages } = reply as ReadPagesReply;
              const [page] = pages;
              if (refusal !== null) {
                // Damage that nobody had met yet: found now, it is to be made good.
                world.after(LOOK_EVERY_MS, null, 'compare', ask);
                return;
              }
              waiting -= 1;
              if (page?.lsn !== expected.lsn || Buffer.compare(page.data, expected.data) !== 0)
                world.violate(
                  'divergence',
                  `${member} has another page ${expected.page} of ${volume} than the others`,
                );
            }),
          );
        ask();
      }
    }
  }
  if (!world.run(limitMs, () => waiting === 0))
    world.violate('liveness', `${waiting} copies of pages could not be read`);
}

function volumesOf(cluster: SimCluster): Set<VolumeId> {
  const volumes = new Set<VolumeId>();
  for (const { core } of cluster.nodes)
    for (const { volume } of core?.segments.all() ?? []) volumes.add(volume);
  return volumes;
}
