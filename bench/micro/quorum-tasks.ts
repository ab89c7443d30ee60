/** The work per commit in the writer's trackers: three records sent, six segments' acknowledgements in, VDL out. */
import { type NodeId, NO_LSN, toLsn, toPgIndex } from '../../src/log/lsn.ts';
import { QuorumSet } from '../../src/quorum/quorum-set.ts';
import { VolumeTracker } from '../../src/quorum/volume-tracker.ts';
import type { MicroTask } from './task.ts';

const NODES = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'] as NodeId[];
const SINGLE = QuorumSet.of({ members: NODES, proposed: null });
const RECORDS_PER_MTR = 3;
const BACKLOG_MTRS = 1000;

function trackerOf(pgCount: number): VolumeTracker {
  const tracker = new VolumeTracker(toLsn(1));
  for (let pg = 0; pg < pgCount; pg += 1) tracker.addPg(toPgIndex(pg), SINGLE, NO_LSN);
  return tracker;
}

function sendMtr(tracker: VolumeTracker, pgCount: number): void {
  for (let i = 1; i <= RECORDS_PER_MTR; i += 1) {
    const lsn = toLsn(tracker.highestSentLsn + 1);
    const pg = toPgIndex(lsn % pgCount);
    tracker.onSent(pg, lsn, tracker.lastSentLsnOf(pg), i === RECORDS_PER_MTR);
  }
}

function ackAll(tracker: VolumeTracker, pgCount: number): void {
  for (const node of NODES) {
    for (let pg = 0; pg < pgCount; pg += 1) {
      tracker.onScl(toPgIndex(pg), node, 'incarnation', tracker.lastSentLsnOf(toPgIndex(pg)), true);
    }
  }
}

export function quorumTasks(): MicroTask[] {
  const single = trackerOf(1);
  const eight = trackerOf(8);
  return [
    {
      name: 'tracker: commit by commit',
      perCall: 1,
      unit: 'commits',
      leastPerS: 100_000,
      run: () => {
        sendMtr(single, 1);
        ackAll(single, 1);
      },
    },
    {
      name: 'tracker: backlog of 1000, 8 PGs',
      perCall: BACKLOG_MTRS,
      unit: 'commits',
      leastPerS: 500_000,
      run: () => {
        for (let i = 0; i < BACKLOG_MTRS; i += 1) sendMtr(eight, 8);
        ackAll(eight, 8);
      },
    },
  ];
}
