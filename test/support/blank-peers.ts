/**
 * The other five of a cluster, for tests of one real storage node: servers that remember nothing of it and can do nothing else. Without them it would
 * wait for ever for what it may have forgotten.
 */
import { StorageNodeServer } from '../../src/adapters/grpc/server.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import { refusal, refuse } from '../../storage-node/core/refusals.ts';

const REMEMBERS_NOTHING = {
  incarnation: '1.blank',
  asks: null,
  recalls: { incarnation: '', segments: [], registers: [], after: '', through: '', done: true },
  refusal: null,
} as const;

export interface BlankPeers {
  /** All nodes, with the addresses of those that are here. */
  readonly nodes: readonly ClusterNode[];
  close(): Promise<void>;
}

export async function startBlankPeers(nodes: readonly ClusterNode[], self: NodeId): Promise<BlankPeers> {
  const servers: StorageNodeServer[] = [];
  const addressed: ClusterNode[] = [];
  for (const node of nodes) {
    if (node.nodeId === self) {
      addressed.push({ ...node, address: '127.0.0.1:1' });
      continue;
    }
    const refuser = { incarnation: '1.blank', options: { nodeId: node.nodeId } };
    const server = await StorageNodeServer.listen('127.0.0.1:0', {
      onRequest: (id, request) =>
        server.reply(
          id,
          request.method === 'exchangeMemory'
            ? { method: 'exchangeMemory', body: REMEMBERS_NOTHING }
            : refuse(request, refusal('UNAVAILABLE', 'there is nobody here'), refuser),
        ),
      onAbandoned: () => {},
    });
    servers.push(server);
    addressed.push({ ...node, address: server.address });
  }
  return {
    nodes: addressed,
    close: async () => {
      for (const server of servers) await server.close();
    },
  };
}
