/**
 * The life of a long-running process: start, say ready, wait for a signal, close. It never outlives the process that started it: with
 * an IPC channel, losing the channel is a signal too.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, errorBody } from '../exit.ts';
import { formatReadyLine, type ProcessKind, type ReadyLine } from './ready-line.ts';

/** A close that hangs is given up: everything that was acknowledged is durable anyway. */
const CLOSE_TIMEOUT_MS = 10_000;

export interface Served {
  readonly ready: Extract<ReadyLine, { ready: true }>;
  close(): Promise<void>;
}

/** Ends the process itself, when all is done. */
export async function serve(kind: ProcessKind, logger: Logger, start: () => Promise<Served>): Promise<void> {
  let stopReason: string | null = null;
  let onStop: () => void = () => {};
  const stopped = new Promise<void>((resolve) => {
    onStop = resolve;
  });
  let isServing = false;
  const stop = (reason: string): void => {
    // A second signal, or one before there is anything to close, ends it at once.
    if (stopReason !== null || !isServing) process.exit(exitCodeOf(stopReason ?? reason));
    stopReason = reason;
    onStop();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal));
  if (process.send !== undefined) process.on('disconnect', () => stop('parent gone'));
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      logger.log('error', 'a bug ended the process', { error });
      process.exit(EXIT_FAILURE);
    });
  }

  let served: Served;
  try {
    served = await start();
  } catch (error) {
    logger.log('error', 'could not start', { error });
    await writeOut(formatReadyLine({ ready: false, kind, error: errorBody(error) }));
    const isUsage = error instanceof TidemarkError && error.code === 'BAD_REQUEST';
    process.exit(isUsage ? EXIT_USAGE : EXIT_FAILURE);
  }
  isServing = true;
  await writeOut(formatReadyLine(served.ready));
  logger.log('info', 'ready', served.ready);
  await stopped;
  logger.log('info', 'stopping', { reason: stopReason });
  setTimeout(() => {
    logger.log('error', 'closing took too long; ending without it', { timeoutMs: CLOSE_TIMEOUT_MS });
    process.exit(EXIT_FAILURE);
  }, CLOSE_TIMEOUT_MS).unref();
  try {
    await served.close();
  } catch (error) {
    logger.log('error', 'closing failed', { error });
    process.exit(EXIT_FAILURE);
  }
  logger.log('info', 'stopped');
  process.exit(exitCodeOf(stopReason!));
}

function exitCodeOf(reason: string): number {
  return reason === 'SIGINT' ? EXIT_INTERRUPTED : EXIT_OK;
}

/** stdout may be a pipe that nobody reads any more; that is no reason to end. */
function writeOut(text: string): Promise<void> {
  return new Promise((resolve) => {
    process.stdout.on('error', () => resolve());
    process.stdout.write(text, () => resolve());
  });
}
