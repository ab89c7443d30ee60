/**
 * What a heartbeat tells one node about the volume's PGs: PG 0 always, for it carries the lease; the others when their segment may not
 * know the VDL yet, or lags.
 */
import type { Lsn, PgIndex } from '../../src/log/lsn.ts';
import type { HeartbeatVolume } from '../../src/messages/messages.ts';
import type { VolumeTracker } from '../../src/quorum/volume-tracker.ts';
import type { Lane, NodeLink } from './writer-lane.ts';

/** PGs of one message; the rest follow in the next ones. */
const MAX_PGS = 500;

export class HeartbeatNews {
  private turn = 0;

  /** `pgCount`: committed PGs; others are nobody's business yet. */
  pgsFor(node: NodeLink, tracker: VolumeTracker, pgCount: number): HeartbeatVolume['pgs'] {
    const { vdl } = tracker;
    const pgs: { pg: PgIndex; vdl: Lsn; tail: Lsn }[] = [];
    for (const lane of this.inTurn(node.lanes)) {
      const pg = lane.pgIndex as PgIndex;
      const tail = tracker.tailOf(pg);
      const isNews = lane.toldVdl < vdl || lane.unackedRecords > 0 || lane.scl < tail;
      if ((pg !== 0 && !isNews) || pg >= pgCount) continue;
      lane.toldVdl = vdl;
      pgs.push({ pg, vdl, tail });
      if (pgs.length === MAX_PGS) break;
    }
    return pgs;
  }

  /** When there are too many for one message: PG 0's first, the others from a place that moves on. */
  private inTurn(lanes: readonly Lane[]): readonly Lane[] {
    if (lanes.length <= MAX_PGS) return lanes;
    this.turn = (this.turn + MAX_PGS) % lanes.length;
    const isFirst = (lane: Lane): boolean => lane.pgIndex === 0;
    const others = [...lanes.slice(this.turn), ...lanes.slice(0, this.turn)].filter((lane) => !isFirst(lane));
    return [...lanes.filter(isFirst), ...others];
  }
}
