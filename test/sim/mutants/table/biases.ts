/**
 * Scenarios that put a family of rules to the test often: the same clusters and the same faults as everywhere, drawn more often. Few of them, as each
 * needs a control over its seeds.
 */
import type { SeedBias } from '../mutant.ts';

const BUSY = { clients: 6, pauseMs: 20, writes: 0.7 } as const;
/** Two compute nodes that take one volume from each other, with something on its way at every moment. */
const CONTESTED = { computeNodes: 2, volumes: 1, pgPages: 3 } as const;

/** Writers taken over while they are at work. */
export const FAILOVERS: SeedBias = {
  faultCount: 14,
  weights: { failover: 1_000, 'double-failover': 100 },
  scenario: { ...CONTESTED, workload: { clients: 8, pauseMs: 5, writes: 0.9 } },
};

/** The same, with segments that lag, and writers that die in the middle of something. */
export const LAGGING_FAILOVERS: SeedBias = {
  faultCount: 16,
  weights: {
    failover: 300,
    'compute-killed-at-message': 200,
    'compute-killed': 200,
    'slow-node': 500,
    'slow-link': 300,
    'compute-half-cut-off': 200,
    'node-cut-off': 100,
    'disk-stalls': 200,
  },
  scenario: { ...CONTESTED, pgPages: 2, workload: { clients: 8, pauseMs: 5, writes: 0.9 } },
};

/** Writers that sleep, or hear nothing, while another takes over, and clients of both. */
export const ZOMBIES: SeedBias = {
  faultCount: 14,
  weights: {
    'deaf-writer': 300,
    'sleeping-writer': 300,
    'slow-node': 150,
    'slow-link': 150,
    'compute-suspended': 60,
    'compute-half-cut-off': 60,
  },
  scenario: { ...CONTESTED, pgPages: 5, workload: { clients: 8, pauseMs: 8, writes: 0.4 } },
};

/** Zombies again, while storage nodes restart. */
export const ZOMBIES_AND_RESTARTS: SeedBias = {
  faultCount: 16,
  weights: {
    'deaf-writer': 400,
    'sleeping-writer': 200,
    'all-nodes-power-cut': 200,
    'zone-power-cut': 100,
    'nodes-restarted-in-turn': 200,
    'two-nodes-power-cut': 100,
  },
  scenario: { ...CONTESTED, pgPages: 5, workload: { clients: 8, pauseMs: 8, writes: 0.4 } },
};

/** Nodes that go down and come back, with what they kept, while writers change. */
export const RESTARTS: SeedBias = {
  faultCount: 16,
  weights: {
    failover: 12,
    'node-killed': 8,
    'node-power-cut': 16,
    'two-nodes-power-cut': 12,
    'zone-power-cut': 6,
    'all-nodes-power-cut': 10,
    'everything-killed': 6,
    'node-killed-at-message': 12,
    'compute-killed-at-message': 8,
    'nodes-restarted-in-turn': 10,
    'slow-node': 10,
  },
  scenario: { workload: BUSY, pgPages: 3, lal: 1_000 },
};

/** Volumes that grow while nodes and disks are slow. */
export const GROWTH: SeedBias = {
  faultCount: 14,
  weights: {
    'disk-slow': 20,
    'disk-stalls': 20,
    'slow-node': 20,
    'node-stopped': 10,
    'zone-cut-off': 12,
    split: 12,
    'compute-half-cut-off': 20,
    failover: 6,
    'compute-killed': 6,
    loss: 8,
    reordering: 8,
    duplication: 8,
  },
  scenario: { workload: { clients: 8, pauseMs: 10, writes: 0.9 }, pgPages: 1, lal: 5_000 },
};

/** Short windows, pins, old readers. */
export const HISTORY: SeedBias = {
  faultCount: 16,
  weights: { pin: 40, unpin: 10, failover: 6, 'compute-stopped': 6, 'node-power-cut': 6, loss: 6 },
  scenario: { windowMs: 400, workload: { clients: 5, pauseMs: 20, writes: 0.6 }, pgPages: 3 },
};

/** Members that come and go while nodes and writers fail. */
export const MEMBERS: SeedBias = {
  faultCount: 18,
  weights: {
    'segment-moved': 40,
    'segment-move-taken-back': 15,
    'node-added': 10,
    'node-replaced': 20,
    'node-drained': 10,
    failover: 12,
    'compute-killed-at-message': 10,
    'compute-killed': 6,
    'node-power-cut': 10,
    'slow-node': 12,
    'compute-half-cut-off': 12,
  },
  scenario: { workload: BUSY, pgPages: 5, lal: 1_000 },
};

/** Disks that are damaged, lost, or put back. */
export const OLD_DISKS: SeedBias = {
  faultCount: 14,
  weights: {
    'table-damaged': 30,
    'value-bit-flip': 20,
    'block-unreadable': 15,
    'store-batch-lost': 20,
    'rolled-back': 10,
    wiped: 6,
    failover: 8,
    'node-power-cut': 8,
  },
  scenario: { workload: BUSY, pgPages: 3 },
};
