/** The check of the store before every opening, with its log lines: how much was read, how fast, what was found. */
import type { Logger } from '../../../src/adapters/logger.ts';
import { MIB } from '../../../src/base/limits.ts';
import type { Clock } from '../../../src/env/env.ts';
import type { KeyRange } from '../../core/effects.ts';
import { StoreDoubts } from './store-doubts.ts';
import { mendStore } from './store-mending.ts';

export interface CheckedStore {
  readonly findings: readonly string[];
  readonly doubts: readonly KeyRange[];
  /** The doubts are settled: the next start need not know of them. */
  settle(): void;
}

interface Options {
  readonly isExpected: boolean;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** `directory` may be opened then. */
export async function checkedStore(
  directory: string,
  { isExpected, logger, clock }: Options,
): Promise<CheckedStore> {
  const startedMs = clock.now().monotonicMs;
  const mibPerSecond = (bytes: number): number =>
    Math.round(bytes / MIB / Math.max(0.001, (clock.now().monotonicMs - startedMs) / 1_000));
  const mended = await mendStore(directory, {
    isExpected,
    onProgress: (checkedBytes, totalBytes) => {
      logger.log('info', 'checking the store', {
        checkedMib: Math.round(checkedBytes / MIB),
        totalMib: Math.round(totalBytes / MIB),
        mibPerSecond: mibPerSecond(checkedBytes),
      });
    },
  });
  const { findings, doubts, checkedBytes, isSalvaged } = mended;
  logger.log(findings.length === 0 ? 'info' : 'warn', 'the store is checked', {
    mib: Math.round(checkedBytes / MIB),
    mibPerSecond: mibPerSecond(checkedBytes),
    findings: findings.length,
    doubts: doubts.length,
    salvaged: isSalvaged,
  });
  return {
    findings,
    doubts,
    settle: () => {
      // Found again at the next start, should this fail.
      StoreDoubts.beside(directory)
        .clear()
        .catch((error: Error) => logger.log('warn', 'the settled doubts could not be removed', { error }));
    },
  };
}
