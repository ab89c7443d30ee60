/**
 * Closed-loop load: each client sends its next operation when the last one is answered. What is answered in the warm-up, or after the time is over, is
 * not counted.
 */
import { Histogram } from './histogram.ts';

export interface LoadResult {
  readonly clients: number;
  readonly seconds: number;
  readonly operations: number;
  /** With those of the warm-up, and those that ended late. */
  readonly allOperations: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly meanMs: number;
}

export interface LoadOptions {
  /** One for each client: does one operation. */
  readonly operations: readonly (() => Promise<void>)[];
  readonly warmUpMs: number;
  readonly durationMs: number;
}

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const startedMs = performance.now();
  const measureFromMs = startedMs + options.warmUpMs;
  const untilMs = measureFromMs + options.durationMs;
  const histogram = new Histogram();
  let allOperations = 0;
  const client = async (operate: () => Promise<void>): Promise<void> => {
    for (;;) {
      const beginMs = performance.now();
      if (beginMs >= untilMs) return;
      await operate();
      const endMs = performance.now();
      allOperations += 1;
      if (endMs >= measureFromMs && endMs <= untilMs) histogram.recordMs(endMs - beginMs);
    }
  };
  await Promise.all(options.operations.map(client));
  const seconds = options.durationMs / 1_000;
  return {
    clients: options.operations.length,
    seconds,
    operations: histogram.count,
    allOperations,
    perSecond: histogram.count / seconds,
    p50Ms: histogram.percentileMs(0.5),
    p95Ms: histogram.percentileMs(0.95),
    p99Ms: histogram.percentileMs(0.99),
    p999Ms: histogram.percentileMs(0.999),
    maxMs: histogram.maxMs,
    meanMs: histogram.meanMs,
  };
}
