/**
 * Tells storage nodes which cluster they belong to: those that were down when it was made, and those beyond the bootstrap six, which take
 * no part in that decision. It hands them the committed cluster value as a late `accept`; a node that knows a cluster already is left alone.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import type { Timer, Timers } from '../../src/env/env.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { CLUSTER_KEY, type JoinedCluster } from './directory-cluster.ts';
import type { StorageNodeClients } from './registers.ts';

const CALL_TIMEOUT_MS = 1_000;
const RETRY_PAUSE_MS = 1_000;

export class ClusterIntroducer {
  readonly #joined: JoinedCluster;
  readonly #logger: Logger;
  readonly #timers: Timers;
  readonly #unknown: Map<NodeId, StorageNodeClient>;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(
    options: { readonly clients: StorageNodeClients; readonly logger: Logger; readonly timers: Timers },
    joined: JoinedCluster,
  ) {
    this.#joined = joined;
    this.#logger = options.logger;
    this.#timers = options.timers;
    this.#unknown = new Map(options.clients);
  }

  /** Goes on in the background until every node was found to know its cluster. */
  start(): void {
    void this.#round().finally(() => {
      if (this.#isClosed || this.#unknown.size === 0) return;
      this.#timer = this.#timers.after(RETRY_PAUSE_MS, () => this.start());
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #round(): Promise<void> {
    await Promise.all([...this.#unknown].map(([node, client]) => this.#introduce(node, client)));
  }

  async #introduce(node: NodeId, client: StorageNodeClient): Promise<void> {
    const { cluster, content } = this.#joined;
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    try {
      const { clusterId } = await client.call('status', { clusterId: '' }, options);
      if (this.#isClosed) return;
      if (clusterId === cluster.clusterId) this.#unknown.delete(node);
      else if (clusterId !== '') {
        this.#unknown.delete(node);
        this.#logger.log('error', 'a storage node belongs to another cluster', {
          node,
          clusterId,
          expected: cluster.clusterId,
        });
      } else if (content.value !== null) {
        const { ballot, version, value } = content;
        await client.call(
          'registerAccept',
          { clusterId: '', key: CLUSTER_KEY, ballot, version, value },
          options,
        );
        this.#logger.log('info', 'storage node introduced to its cluster', { node });
      }
    } catch (error) {
      // Not reachable now; the next round asks again.
      this.#logger.log('debug', 'storage node not introduced yet', { node, error });
    }
  }
}
