/** The whole simulated cluster: storage nodes, compute nodes, clients, the network between them, and what watches over it all. */
import type { IncomingRequest } from '../../../src/adapters/grpc/server.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { ClusterNode } from '../../../src/register/values.ts';
import { Durability } from '../checks/durability.ts';
import { Oracle } from '../checks/oracle.ts';
import { ChosenValues } from '../checks/registers.ts';
import { checkSegments } from '../checks/segments.ts';
import { Links, type NetworkShape } from '../world/links.ts';
import type { World } from '../world/world.ts';
import { Workload, type WorkloadShape } from './client.ts';
import { Onlookers } from './onlookers.ts';
import { type ClusterShape, SimComputeNode } from './compute-node.ts';
import { SimStorageNode } from './storage-node.ts';

export interface Scenario extends ClusterShape {
  readonly storageNodes: number;
  /** Beyond those that the cluster begins with. */
  readonly spareNodes: number;
  readonly computeNodes: number;
  readonly volumes: number;
  readonly workload: WorkloadShape;
  readonly network: NetworkShape;
  /** How many times slower than others a node's disk may be by nature. */
  readonly slowestDisk: number;
}

/** What is told of every message; see faults/triggers.ts. */
export type MessageListener = (
  from: string,
  to: string,
  method: IncomingRequest['method'],
  phase: 'request' | 'reply',
) => void;

export class SimCluster {
  readonly world: World;
  readonly links: Links;
  readonly oracle: Oracle;
  /** Those that the cluster has, or is told to have. */
  readonly nodes: SimStorageNode[];
  /** Machines that stand ready. */
  readonly spares: SimStorageNode[];
  readonly computes: readonly SimComputeNode[];
  readonly workloads: readonly Workload[];
  readonly onlookers: Onlookers;
  readonly messageListeners = new Set<MessageListener>();

  constructor(world: World, scenario: Scenario) {
    this.world = world;
    this.links = new Links(world, scenario.network);
    const durability = new Durability();
    const oracle = new Oracle(world, durability);
    this.oracle = oracle;
    const chosen = new ChosenValues(world, oracle);
    const all = nodeConfigs(scenario.storageNodes + scenario.spareNodes);
    const configs = all.slice(0, scenario.storageNodes);
    const hosts = new Map<NodeId, SimStorageNode>();
    const hostOf = (node: NodeId): SimStorageNode => hosts.get(node) as SimStorageNode;
    const tap = (from: string, to: string, method: string, phase: 'request' | 'reply'): void => {
      for (const hear of this.messageListeners) hear(from, to, method as IncomingRequest['method'], phase);
    };
    const made = all.map(
      (config) =>
        new SimStorageNode({
          world,
          links: this.links,
          config,
          nodes: configs.includes(config) ? configs : [...configs, config],
          hostOf,
          tap,
          durability,
          slowestDisk: scenario.slowestDisk,
          onExchange: (node, request, reply) => {
            chosen.onExchange(node, request, reply);
            if (request.method === 'readPages' && reply.method === 'readPages')
              oracle.onServed(node, request.body, reply.body);
          },
          onStep: (node) => checkSegments(world, node, chosen),
        }),
    );
    for (const node of made) hosts.set(node.nodeId, node);
    this.nodes = made.slice(0, configs.length);
    this.spares = made.slice(configs.length);
    this.computes = Array.from(
      { length: scenario.computeNodes },
      (_, i) =>
        new SimComputeNode({
          world,
          links: this.links,
          computeId: `compute-${i + 1}`,
          nodes: configs,
          hostOf,
          tap,
          oracle,
          shape: scenario,
          holderOf: (volume) => this.computes.find(({ engines }) => engines.has(volume)) ?? null,
        }),
    );
    this.workloads = Array.from(
      { length: scenario.volumes },
      (_, i) =>
        new Workload({
          name: `vol${i}`,
          world,
          links: this.links,
          computes: this.computes,
          shape: scenario.workload,
        }),
    );
    this.onlookers = new Onlookers(world, this);
  }

  node(name: string): SimStorageNode {
    return this.nodes.find((node) => node.nodeId === name) as SimStorageNode;
  }

  compute(name: string): SimComputeNode {
    return this.computes.find((compute) => compute.computeId === name) as SimComputeNode;
  }

  /** Every process's name. */
  get names(): string[] {
    return [...this.nodes.map(({ nodeId }) => nodeId), ...this.computes.map(({ computeId }) => computeId)];
  }

  start(): void {
    for (const node of this.nodes) node.start();
    for (const compute of this.computes) compute.start();
  }
}

function nodeConfigs(count: number): ClusterNode[] {
  return Array.from({ length: count }, (_, i) => {
    const az = `az${(i % 3) + 1}`;
    const nodeId = `${az}-${'abcdef'[Math.floor(i / 3)]}` as NodeId;
    return { nodeId, az, address: `${nodeId}:1` };
  });
}
