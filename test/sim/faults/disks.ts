/** What disks do. Those that take acknowledged data away respect the fault model (budget.ts). */
import type { GuardCopy } from '../../../storage-node/adapters/journal-disk.ts';
import type { SimStorageNode } from '../cluster/storage-node.ts';
import type { Fault, FaultKind } from './fault.ts';

/** Takes a node down, does something to its disks while it is, and lets it come back. */
function whileDown(fault: Fault, node: SimStorageNode, how: 'kill' | 'power', damage: () => void): void {
  fault.nodesDown([node], how, 50, 2_000);
  damage();
}

/**
 * Whether the peers have been able to hear of this node for a while: their memory of it is then at most a second old. Whoever is put back to an
 * image from before must be found out.
 */
const HEARD_FOR_MS = 1_600;

function isRemembered(fault: Fault, node: SimStorageNode): boolean {
  const { cluster, world } = fault;
  const sinceMs = world.nowMs - HEARD_FOR_MS;
  const isSteady = ({ process, disk, core, isDiskWell }: SimStorageNode): boolean =>
    core?.isReady === true &&
    process.steadySinceMs <= sinceMs &&
    disk.stalledUntilMs <= sinceMs &&
    isDiskWell;
  const hearing = cluster.nodes.filter(
    (peer) =>
      peer !== node && isSteady(peer) && cluster.links.isCleanSince(node.nodeId, peer.nodeId, sinceMs),
  );
  return isSteady(node) && hearing.length >= 4;
}

/** Takes images now, and puts the nodes back to them later. */
function rollBack(fault: Fault, count: number): void {
  const nodes = fault.chance.some(fault.cluster.nodes, count).filter((node) => node.process.isUp);
  const images = nodes.map((node) => node.image());
  fault.later(fault.chance.between(HEARD_FOR_MS, 4_000), () => {
    for (const [i, node] of nodes.entries()) {
      if (!isRemembered(fault, node) || !fault.budget.take(node)) continue;
      fault.hit(node.nodeId);
      node.replaceDisks(images[i] ?? null);
      fault.lasts(50, 500, () => node.start());
    }
  });
}

function wipe(fault: Fault, count: number): void {
  for (const node of fault.chance.some(fault.cluster.nodes, count)) {
    if (!isRemembered(fault, node) || !fault.budget.take(node)) continue;
    fault.hit(node.nodeId);
    node.replaceDisks(null);
    fault.lasts(50, 1_000, () => node.start());
  }
}

export const DISK_FAULTS: readonly FaultKind[] = [
  {
    name: 'disk-stalls',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      const ms = fault.chance.pick([50, 400, 2_500]);
      fault.hit(`${node.nodeId} for ${ms} ms`);
      node.disk.stalledUntilMs = fault.world.nowMs + ms;
    },
  },
  {
    name: 'disk-slow',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode;
      const times = fault.chance.pick([5, 30]);
      fault.hit(`${node.nodeId}, ${times} times`);
      node.disk.slowness *= times;
      fault.lasts(500, 5_000, () => {
        node.disk.slowness /= times;
      });
    },
  },
  {
    name: 'write-error',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      fault.hit(node.nodeId);
      node.disk.failsWrites = true;
      fault.lasts(10, 1_500, () => {
        node.disk.failsWrites = false;
      });
    },
  },
  {
    name: 'disk-full',
    weight: 2,
    strike(fault) {
      const nodes = fault.chance.some(fault.cluster.nodes, fault.chance.integer(1, 3));
      fault.hit(nodes.map(({ nodeId }) => nodeId).join(' '));
      for (const node of nodes) {
        node.disk.isNearlyFull = true;
        fault.lasts(300, 4_000, () => {
          node.disk.isNearlyFull = false;
        });
      }
    },
  },
  {
    name: 'ring-bit-flip',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.take(node)) return;
      whileDown(fault, node, fault.chance.pick(['kill', 'power'] as const), () => {
        fault.hit(node.nodeId);
        for (let i = fault.chance.integer(1, 4); i > 0; i -= 1)
          node.files.journal.flipBit('ring', fault.chance);
      });
    },
  },
  {
    name: 'guard-bit-flip',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.take(node)) return;
      const copies: GuardCopy[] = fault.chance.chance(0.7)
        ? [fault.chance.pick(['guard-a', 'guard-b'])]
        : ['guard-a', 'guard-b'];
      whileDown(fault, node, 'kill', () => {
        if (copies.some((copy) => node.files.journal.guards.has(copy)))
          fault.hit(`${node.nodeId} ${copies.join(' ')}`);
        for (const copy of copies) node.files.journal.flipBit(copy, fault.chance);
      });
    },
  },
  {
    name: 'ring-unreadable',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.take(node)) return;
      whileDown(fault, node, 'kill', () => {
        const sectors = node.files.journal.ring.length / 4096;
        fault.hit(node.nodeId);
        for (let i = 0; i < 3; i += 1) node.files.journal.unreadable.add(fault.chance.below(sectors));
      });
    },
  },
  {
    name: 'ring-write-lost',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode;
      if (!node.process.isUp || !fault.budget.take(node)) return;
      fault.hit(node.nodeId);
      node.files.journal.nextWrite = 'is-lost';
      fault.later(fault.chance.between(20, 600), () => fault.nodesDown([node], 'power', 50, 1_000));
    },
  },
  {
    name: 'ring-write-misdirected',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode;
      if (!node.process.isUp || !fault.budget.take(node)) return;
      fault.hit(node.nodeId);
      node.files.journal.nextWrite = 'is-misdirected';
      fault.later(fault.chance.between(20, 600), () => fault.nodesDown([node], 'power', 50, 1_000));
    },
  },
  {
    name: 'store-batch-lost',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.take(node)) return;
      whileDown(fault, node, 'kill', () => {
        const { store } = node.files;
        if (store.unsynced.length === 0) return;
        fault.hit(node.nodeId);
        store.loseBatch(fault.chance.below(store.unsynced.length));
      });
    },
  },
  { name: 'rolled-back', weight: 4, strike: (fault) => rollBack(fault, 1) },
  { name: 'two-rolled-back', weight: 3, strike: (fault) => rollBack(fault, 2) },
  { name: 'wiped', weight: 3, strike: (fault) => wipe(fault, 1) },
  { name: 'two-wiped', weight: 2, strike: (fault) => wipe(fault, 2) },
  {
    name: 'table-damaged',
    weight: 4,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.take(node)) return;
      whileDown(fault, node, 'kill', () => {
        for (let i = fault.chance.integer(1, 2); i > 0; i -= 1)
          if (node.files.store.damageTable(fault.chance)) fault.hit(node.nodeId);
      });
    },
  },
  {
    name: 'block-unreadable',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      if (fault.budget.takeForGood(node) && node.files.store.spoilBlock(fault.chance)) fault.hit(node.nodeId);
    },
  },
  {
    name: 'value-bit-flip',
    weight: 4,
    strike(fault) {
      const node = fault.anyNode;
      if (!fault.budget.takeForGood(node)) return;
      for (let i = fault.chance.integer(1, 3); i > 0; i -= 1)
        if (node.files.store.flipValueBit(fault.chance)) fault.hit(node.nodeId);
    },
  },
];
