/**
 * The clients through which a storage node reaches the others: those of its own configuration at once, those that joined the cluster
 * later as soon as the cluster register names them. What the configuration says of a node stands: it is newer than what the register said when
 * this process last ran.
 */
import { GrpcStorageNodeClient } from '../../src/adapters/grpc/client.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';

interface Learned {
  readonly address: string;
  readonly client: GrpcStorageNodeClient;
}

export class PeerClients {
  readonly #self: NodeId;
  readonly #configured = new Map<NodeId, GrpcStorageNodeClient>();
  readonly #learned = new Map<NodeId, Learned>();

  constructor(self: NodeId, configured: readonly ClusterNode[]) {
    this.#self = self;
    for (const node of configured) {
      if (node.nodeId !== self) this.#configured.set(node.nodeId, new GrpcStorageNodeClient(node));
    }
  }

  get(node: NodeId): StorageNodeClient | null {
    return this.#configured.get(node) ?? this.#learned.get(node)?.client ?? null;
  }

  learn(nodes: readonly ClusterNode[]): void {
    for (const node of nodes) {
      const { nodeId, address } = node;
      if (nodeId === this.#self || this.#configured.has(nodeId)) continue;
      const known = this.#learned.get(nodeId);
      if (known?.address === address) continue;
      known?.client.close();
      this.#learned.set(nodeId, { address, client: new GrpcStorageNodeClient(node) });
    }
  }

  close(): void {
    for (const client of this.#configured.values()) client.close();
    for (const { client } of this.#learned.values()) client.close();
  }
}
