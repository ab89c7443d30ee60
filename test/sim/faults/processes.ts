/** What becomes of processes, and of their clocks. */
import type { SimComputeNode } from '../cluster/compute-node.ts';
import type { SimStorageNode } from '../cluster/storage-node.ts';
import { CLIENTS } from '../cluster/client.ts';
import type { Fault, FaultKind } from './fault.ts';

const DOWN_MS = [20, 3_000] as const;
/** Methods at whose messages a crash is worth most. */
const MOMENTS = [
  'fence',
  'install',
  'inventory',
  'registerPrepare',
  'registerAccept',
  'append',
  'heartbeat',
  'pullRecords',
] as const;

function stop(fault: Fault, one: SimStorageNode | SimComputeNode, isSuspended: boolean): void {
  one.process.stop(isSuspended);
  fault.lasts(50, 5_000, () => one.process.goOn());
}

/** Waits for one message that `matches`, the `nth`, and acts just before it is delivered or shortly after. */
function atMessage(
  fault: Fault,
  matches: (from: string, to: string, method: string, phase: 'request' | 'reply') => boolean,
  nth: number,
  act: () => void,
): void {
  const { cluster, chance } = fault;
  const afterMs = chance.chance(0.5) ? 0 : chance.next() * 1.5;
  let seen = 0;
  const hear = (from: string, to: string, method: string, phase: 'request' | 'reply'): void => {
    if (!matches(from, to, method, phase)) return;
    seen += 1;
    if (seen < nth) return;
    cluster.messageListeners.delete(hear);
    if (afterMs === 0) act();
    else fault.later(afterMs, act);
  };
  cluster.messageListeners.add(hear);
  fault.lasts(4_000, 4_000, () => cluster.messageListeners.delete(hear));
}

export const PROCESS_FAULTS: readonly FaultKind[] = [
  {
    name: 'node-killed',
    weight: 4,
    strike(fault) {
      const node = fault.anyNode;
      fault.hit(node.nodeId);
      fault.nodesDown([node], 'kill', ...DOWN_MS);
    },
  },
  {
    name: 'node-power-cut',
    weight: 4,
    strike(fault) {
      const node = fault.anyNode;
      fault.hit(node.nodeId);
      fault.nodesDown([node], 'power', ...DOWN_MS);
    },
  },
  {
    name: 'two-nodes-power-cut',
    weight: 3,
    strike(fault) {
      const nodes = fault.chance.some(fault.cluster.nodes, 2);
      fault.hit(nodes.map(({ nodeId }) => nodeId).join(' '));
      fault.nodesDown(nodes, 'power', ...DOWN_MS);
    },
  },
  {
    name: 'zone-power-cut',
    weight: 3,
    strike(fault) {
      const zone = fault.anyZone;
      fault.hit(zone.map(({ nodeId }) => nodeId).join(' '));
      fault.nodesDown(zone, 'power', ...DOWN_MS);
    },
  },
  {
    name: 'zone-and-one-power-cut',
    weight: 2,
    strike(fault) {
      const zone = fault.anyZone;
      const one = fault.chance.pick(fault.cluster.nodes.filter((node) => !zone.includes(node)));
      fault.hit([...zone, one].map(({ nodeId }) => nodeId).join(' '));
      fault.nodesDown([...zone, one], 'power', ...DOWN_MS);
    },
  },
  {
    name: 'all-nodes-power-cut',
    weight: 3,
    strike(fault) {
      fault.hit('all storage nodes');
      fault.nodesDown(fault.cluster.nodes, 'power', 20, 1_500);
    },
  },
  {
    name: 'everything-killed',
    weight: 2,
    strike(fault) {
      fault.hit('all processes');
      fault.nodesDown(fault.cluster.nodes, 'kill', 20, 1_500);
      for (const compute of fault.cluster.computes) fault.computeDown(compute, 20, 1_500);
    },
  },
  {
    name: 'nodes-restarted-in-turn',
    weight: 2,
    strike(fault) {
      fault.hit('a rolling restart');
      for (const [i, node] of fault.cluster.nodes.entries()) {
        fault.later(i * fault.chance.between(100, 500), () => fault.nodesDown([node], 'kill', 20, 300));
      }
    },
  },
  {
    name: 'node-stopped',
    weight: 3,
    strike(fault) {
      const node = fault.anyNode;
      fault.hit(node.nodeId);
      stop(fault, node, false);
    },
  },
  {
    name: 'node-suspended',
    weight: 2,
    strike(fault) {
      const node = fault.anyNode;
      fault.hit(node.nodeId);
      stop(fault, node, true);
    },
  },
  {
    name: 'node-killed-at-message',
    weight: 5,
    strike(fault) {
      const node = fault.anyNode;
      const method = fault.chance.pick(MOMENTS);
      const how = fault.chance.pick(['kill', 'power'] as const);
      atMessage(
        fault,
        (from, to, what, phase) => what === method && (phase === 'request' ? to : from) === node.nodeId,
        fault.chance.integer(1, 4),
        () => {
          fault.hit(`${node.nodeId} at ${method}`);
          fault.nodesDown([node], how, ...DOWN_MS);
        },
      );
    },
  },
  {
    name: 'compute-killed',
    weight: 4,
    strike(fault) {
      const compute = fault.anyCompute;
      fault.hit(compute.computeId);
      fault.computeDown(compute, ...DOWN_MS);
    },
  },
  {
    name: 'compute-killed-at-message',
    weight: 5,
    strike(fault) {
      const compute = fault.anyCompute;
      const method = fault.chance.pick(MOMENTS);
      const phase = fault.chance.pick(['request', 'reply'] as const);
      atMessage(
        fault,
        (from, to, what, at) =>
          what === method && at === phase && (from === compute.computeId || to === compute.computeId),
        fault.chance.integer(1, 8),
        () => {
          fault.hit(`${compute.computeId} at ${method} ${phase}`);
          fault.computeDown(compute, ...DOWN_MS);
        },
      );
    },
  },
  {
    name: 'compute-stopped',
    weight: 4,
    strike(fault) {
      const compute = fault.anyCompute;
      fault.hit(compute.computeId);
      stop(fault, compute, false);
    },
  },
  {
    name: 'compute-suspended',
    weight: 3,
    strike(fault) {
      const compute = fault.anyCompute;
      fault.hit(compute.computeId);
      stop(fault, compute, true);
    },
  },
  {
    name: 'clients-cut-off',
    weight: 1,
    strike(fault) {
      const compute = fault.anyCompute.computeId;
      fault.hit(compute);
      const { links } = fault.cluster;
      fault.onLinks(
        [links.between(CLIENTS, compute), links.between(compute, CLIENTS)],
        200,
        3_000,
        (link, sign) => {
          link.cuts += sign;
        },
      );
    },
  },
  {
    name: 'wall-clock-jumps',
    weight: 3,
    strike(fault) {
      const one = fault.chance.chance(0.7) ? fault.anyCompute : fault.anyNode;
      const byMs = fault.chance.pick([-5_000, -200, 100, 900, 20_000]);
      fault.hit(`${one.process.name} by ${byMs} ms`);
      one.process.wallSkewMs += byMs;
    },
  },
  {
    name: 'clock-drifts',
    weight: 2,
    strike(fault) {
      const one = fault.chance.chance(0.5) ? fault.anyCompute : fault.anyNode;
      // Two such clocks lie apart by less than the rate error that leases allow for.
      const rate = 1 + fault.chance.between(-0.02, 0.02);
      fault.hit(`${one.process.name} at ${rate.toFixed(3)}`);
      one.process.setRate(rate);
      fault.lasts(1_000, 8_000, () => one.process.setRate(1));
    },
  },
];
