/**
 * Tells storage nodes which cluster they belong to and who else does: those that were down when it was made, and those beyond the bootstrap
 * six, which take no part in its register. It hands them the committed cluster value as a late `accept`; a node of another cluster is left
 * alone.
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
  readonly #clients: StorageNodeClients;
  readonly #logger: Logger;
  readonly #timers: Timers;
  #joined: JoinedCluster;
  /** Register version that each node was told. */
  readonly #told = new Map<NodeId, number>();
  #isRunning = false;
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(
    options: { readonly clients: StorageNodeClients; readonly logger: Logger; readonly timers: Timers },
    joined: JoinedCluster,
  ) {
    this.#clients = options.clients;
    this.#joined = joined;
    this.#logger = options.logger;
    this.#timers = options.timers;
  }

  /** Goes on in the background until every node was found to know what there is to know. */
  start(): void {
    if (this.#isRunning || this.#isClosed) return;
    this.#isRunning = true;
    void this.#round().finally(() => {
      this.#isRunning = false;
      if (this.#isClosed || this.#untold().length === 0) return;
      this.#timer = this.#timers.after(RETRY_PAUSE_MS, () => this.start());
    });
  }

  /** The cluster has changed. */
  update(joined: JoinedCluster): void {
    this.#joined = joined;
    this.start();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #untold(): readonly StorageNodeClient[] {
    const { version } = this.#joined.content;
    return [...this.#clients.values()].filter(({ nodeId }) => this.#told.get(nodeId) !== version);
  }

  async #round(): Promise<void> {
    await Promise.all(this.#untold().map((client) => this.#introduce(client)));
  }

  async #introduce(client: StorageNodeClient): Promise<void> {
    const { cluster, content } = this.#joined;
    const { ballot, version, value } = content;
    const node = client.nodeId;
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    try {
      const { clusterId } = await client.call('status', { clusterId: '' }, options);
      if (this.#isClosed || value === null) return;
      if (clusterId !== '' && clusterId !== cluster.clusterId) {
        this.#told.set(node, version);
        const expected = cluster.clusterId;
        this.#logger.log('error', 'a storage node belongs to another cluster', { node, clusterId, expected });
        return;
      }
      // Naming the cluster says that it is committed: a node that belongs to none joins it on that word.
      const request = { clusterId: cluster.clusterId, key: CLUSTER_KEY, ballot, version, value };
      const { refusal } = await client.call('registerAccept', request, options);
      // One that does not accept has promised more, so it will hear of what is newer.
      if (refusal !== null) return;
      this.#told.set(node, version);
      if (clusterId === '') this.#logger.log('info', 'storage node introduced to its cluster', { node });
    } catch (error) {
      // Not reachable now; the next round asks again.
      this.#logger.log('debug', 'storage node not introduced yet', { node, error });
    }
  }
}
