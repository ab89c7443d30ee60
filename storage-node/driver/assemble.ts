/**
 * A storage node out of its parts: journal, store's writer, core and driver, joined over whatever disks, network, clock and timers it is given.
 * The process gives it real ones (start.ts), the simulator others: what lies between them is the same code.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import type { Clock, Crc32, KvRange, KvStore, Timers } from '../../src/env/env.ts';
import { Journal } from '../adapters/journal.ts';
import type { JournalDisk } from '../adapters/journal-disk.ts';
import type { NodeRecovery } from '../core/effects.ts';
import { StorageNodeCore } from '../core/node.ts';
import type { NodeOptions } from '../core/context.ts';
import { StorageNodeDriver, type DriverOptions, type StoreFaults, type TableChecks } from './driver.ts';
import { readMarker, writeMarker } from './journal-marker.ts';
import { StoreWriter } from './store-writer.ts';

/** The store with what the journal needs of it before it reuses ring space. */
export interface FlushableStore extends KvStore {
  /** All that was written so far is durable when this returns, whatever becomes of the store's own log. */
  flush(): Promise<void>;
  /** Gives the space of what was deleted in the range back. */
  reclaim(range: Pick<KvRange, 'gte' | 'lt'>): Promise<void>;
}

export interface NodeParts {
  readonly node: NodeOptions;
  readonly store: FlushableStore;
  /** Absent: the store has no files. */
  readonly tables?: TableChecks;
  /** What was found when the store's files were checked, before it was opened; absent: nothing was. */
  readonly storeFaults?: StoreFaults;
  readonly journalDisk: JournalDisk;
  readonly gauges: DriverOptions['gauges'];
  readonly peer: DriverOptions['peer'];
  /** Absent where every node of the cluster can be reached by its id alone. */
  readonly learnNodes?: DriverOptions['learnNodes'];
  readonly crc32: Crc32;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
  /** The store cannot be read: it must be mended before it is opened again. Without it: as `onFatal`. */
  readonly onStoreFault?: (error: Error) => void;
}

export interface AssembledNode {
  readonly core: StorageNodeCore;
  readonly driver: StorageNodeDriver;
  readonly journal: Journal;
  readonly storeWriter: StoreWriter;
  /** For the driver's start. */
  readonly recovery: NodeRecovery;
}

const NO_TABLES: TableChecks = {
  checkedBytes: 0,
  totalBytes: 0,
  isRunning: false,
  findings: [],
  checkSoon: () => undefined,
  stop: () => undefined,
};
const NO_FAULTS: StoreFaults = { findings: [], doubts: [], settle: () => undefined };

/** Reads what the disks hold. Nothing runs until the driver is started with what was recovered. */
export async function assembleNode(parts: NodeParts): Promise<AssembledNode> {
  const { store, clock, timers, crc32, logger, onFatal, storeFaults = NO_FAULTS } = parts;
  const failed = (error: Error): void => driver.fail(error);
  const storeWriter = new StoreWriter(store, timers, failed);
  const flushStore = async (): Promise<void> => {
    await storeWriter.written();
    await store.flush();
  };
  const { journal, recovery } = await Journal.open({
    disk: parts.journalDisk,
    crc32,
    timers,
    flushStore,
    onEntry: (sequence) => writeMarker(storeWriter, sequence),
    rememberedSequence: await readMarker(store),
    onFatal: failed,
  });
  const core = new StorageNodeCore(parts.node);
  const driver = new StorageNodeDriver({
    core,
    journal,
    store,
    storeWriter,
    flushStore,
    reclaim: (range) => store.reclaim(range),
    gauges: parts.gauges,
    peer: parts.peer,
    learnNodes: parts.learnNodes ?? (() => undefined),
    clock,
    timers,
    logger,
    onFatal,
    onStoreFault: parts.onStoreFault ?? onFatal,
    storeFaults,
    tables: parts.tables ?? NO_TABLES,
  });
  return {
    core,
    driver,
    journal,
    storeWriter,
    recovery: {
      ...recovery,
      findings: [...storeFaults.findings, ...recovery.findings],
      storeDoubts: storeFaults.doubts,
    },
  };
}
