/**
 * The cluster as this process knows it: the value of the cluster register, read again from time to time and whenever somebody must not miss
 * what has changed (nodes join and are emptied while processes run). Changes are a compare-and-set on the register.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { isTidemarkError } from '../../src/base/errors.ts';
import type { Timer, Timers } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import { decodeCluster, encodeCluster } from '../../src/register/codec.ts';
import type { RegisterContent } from '../../src/register/proposer.ts';
import type { ClusterValue } from '../../src/register/values.ts';
import { CLUSTER_KEY, type JoinedCluster } from './directory-cluster.ts';
import type { Registers } from './registers.ts';

const REFRESH_INTERVAL_MS = 2_000;

export interface ClusterViewOptions {
  readonly joined: JoinedCluster;
  readonly registers: Registers;
  /** The nodes that keep the register. */
  readonly members: readonly NodeId[];
  readonly timers: Timers;
  readonly logger: Logger;
}

export class ClusterView {
  readonly #options: ClusterViewOptions;
  readonly #listeners = new Set<(joined: JoinedCluster) => void>();
  readonly #timer: Timer;
  #joined: JoinedCluster;
  #refreshing: Promise<ClusterValue> | null = null;

  constructor(options: ClusterViewOptions) {
    this.#options = options;
    this.#joined = options.joined;
    this.#timer = options.timers.every(REFRESH_INTERVAL_MS, () => void this.#refreshInBackground());
  }

  get value(): ClusterValue {
    return this.#joined.cluster;
  }

  /** Hears of every change from now on. */
  onChange(listener: (joined: JoinedCluster) => void): void {
    this.#listeners.add(listener);
  }

  /** What is committed now. Rejects NO_QUORUM. */
  refresh(): Promise<ClusterValue> {
    this.#refreshing ??= this.#read().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** `change` gets the current value and gives the next, or null to leave it; it may be asked more than once. */
  async change(change: (current: ClusterValue) => ClusterValue | null): Promise<ClusterValue> {
    const { registers, members } = this.#options;
    const { content } = await registers.change(CLUSTER_KEY, members, (bytes) => {
      if (bytes === null) return null;
      const next = change(decodeCluster(bytes));
      return next === null ? null : encodeCluster(next);
    });
    return this.#take(content);
  }

  close(): void {
    this.#timer.cancel();
  }

  async #read(): Promise<ClusterValue> {
    const { registers, members } = this.#options;
    return this.#take(await registers.read(CLUSTER_KEY, members));
  }

  async #refreshInBackground(): Promise<void> {
    try {
      await this.refresh();
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#options.logger.log('debug', 'the cluster register could not be read; tried again later', {
        error,
      });
    }
  }

  #take(content: RegisterContent): ClusterValue {
    const isNewer = content.value !== null && content.version > this.#joined.content.version;
    if (isNewer) {
      this.#joined = { cluster: decodeCluster(content.value as Uint8Array), content };
      for (const listener of this.#listeners) listener(this.#joined);
    }
    return this.value;
  }
}
