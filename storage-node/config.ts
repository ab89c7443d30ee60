/** What one storage node process must be told. The command line fills it from flags, environment and file. */
import type { Logger } from '../src/adapters/logger.ts';
import { TidemarkError } from '../src/base/errors.ts';
import { DEFAULT_LEASE_TERM_MS, MIB } from '../src/base/limits.ts';
import { parseAz, parseHostPort, parseNodeId } from '../src/base/node-list.ts';
import type { NodeId } from '../src/log/lsn.ts';
import type { ClusterNode } from '../src/register/values.ts';
import { DEFAULT_JOURNAL_BYTES } from './adapters/journal.ts';
import type { CoreLimits } from './core/limits.ts';

export interface StorageNodeConfig {
  readonly nodeId: NodeId | string;
  readonly az: string;
  /** host:port to listen on; port 0 picks a free one. */
  readonly listen: string;
  /** host:port at which others reach it, when that is not where it listens (containers). */
  readonly advertise?: string;
  readonly dataDir: string;
  /** The bootstrap nodes of the cluster, this one included. */
  readonly nodes: readonly ClusterNode[];
  readonly journalBytes?: number;
  readonly leaseTermMs?: number;
  /** Smaller bounds for tests. */
  readonly coreLimits?: Partial<CoreLimits>;
  readonly logger: Logger;
  /**
   * The node can no longer be trusted: it has stopped answering and must go. Without it the node takes the process for its own: it keeps
   * the heap small, and ends the process with exit code 1 once the reason is logged.
   */
  readonly onFatal?: (error: Error) => void;
}

/** One entry must hold the largest message: a quarter of it is enough for that (journal.ts). */
const MIN_JOURNAL_BYTES = 8 * MIB;

export type CheckedConfig = Required<
  Omit<StorageNodeConfig, 'advertise' | 'nodeId' | 'onFatal' | 'coreLimits'>
> & {
  readonly nodeId: NodeId;
  readonly advertise: string | null;
  readonly coreLimits: Partial<CoreLimits>;
};

/** Throws BAD_REQUEST naming the setting. */
export function checkConfig(config: StorageNodeConfig): CheckedConfig {
  const nodeId = parseNodeId(config.nodeId);
  const az = parseAz(config.az);
  parseHostPort(config.listen, { allowPortZero: true });
  if (config.advertise !== undefined) parseHostPort(config.advertise);
  const journalBytes = config.journalBytes ?? DEFAULT_JOURNAL_BYTES;
  if (!Number.isSafeInteger(journalBytes) || journalBytes < MIN_JOURNAL_BYTES) {
    throw bad(`journalBytes is ${journalBytes}`, `Give at least ${MIN_JOURNAL_BYTES} bytes.`);
  }
  const leaseTermMs = config.leaseTermMs ?? DEFAULT_LEASE_TERM_MS;
  if (!(leaseTermMs > 0))
    throw bad(`leaseTermMs is ${leaseTermMs}`, 'Give a positive number of milliseconds.');
  if (config.dataDir === '') throw bad('dataDir is empty', 'Name the data directory (--data DIR).');
  const self = config.nodes.find((node) => node.nodeId === nodeId);
  if (self === undefined) {
    throw bad(
      `storage node ${nodeId} is not in its own list of nodes`,
      'Give every storage node the same list, itself included.',
    );
  }
  if (self.az !== az) {
    throw bad(
      `storage node ${nodeId} stands in the list with AZ ${self.az}, not ${az}`,
      'Give both the same AZ.',
    );
  }
  return {
    nodeId,
    az,
    listen: config.listen,
    advertise: config.advertise ?? null,
    dataDir: config.dataDir,
    nodes: config.nodes,
    journalBytes,
    leaseTermMs,
    coreLimits: config.coreLimits ?? {},
    logger: config.logger,
  };
}

function bad(message: string, nextStep: string): TidemarkError {
  return new TidemarkError('BAD_REQUEST', message, { nextStep });
}
