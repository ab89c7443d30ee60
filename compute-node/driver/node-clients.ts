/**
 * The clients of the cluster's storage nodes, kept as the cluster register names them: nodes join, and move to other addresses, while this
 * process runs. Whoever holds the map sees the newest clients in it.
 */
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';

interface Known {
  readonly address: string;
  readonly client: StorageNodeClient;
}

export class NodeClients {
  /** Live. */
  readonly clients = new Map<NodeId, StorageNodeClient>();
  readonly #connect: (node: ClusterNode) => StorageNodeClient;
  readonly #known = new Map<NodeId, Known>();
  readonly #listeners = new Set<(client: StorageNodeClient) => void>();

  constructor(connect: (node: ClusterNode) => StorageNodeClient, nodes: readonly ClusterNode[]) {
    this.#connect = connect;
    this.update(nodes);
  }

  /** Hears of every client that comes, or takes another's place, from now on. */
  onConnected(listener: (client: StorageNodeClient) => void): void {
    this.#listeners.add(listener);
  }

  update(nodes: readonly ClusterNode[]): void {
    for (const node of nodes) {
      const before = this.#known.get(node.nodeId);
      if (before?.address === node.address) continue;
      const client = this.#connect(node);
      this.#known.set(node.nodeId, { address: node.address, client });
      this.clients.set(node.nodeId, client);
      for (const listener of this.#listeners) listener(client);
      before?.client.close();
    }
  }

  close(): void {
    for (const client of this.clients.values()) client.close();
  }
}
