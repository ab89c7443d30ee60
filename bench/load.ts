/** Closed-loop load: each client sends its next operation when the last one is answered. What happens in the warm-up is not counted. */
import { Histogram } from './histogram.ts';

export interface LoadResult {
  readonly clients: number;
  readonly seconds: number;
  readonly operations: number;
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
  /** Called when counting begins. */
  readonly onMeasuring?: () => void;
}

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const startedMs = performance.now();
  const measureFromMs = startedMs + options.warmUpMs;
  const untilMs = measureFromMs + options.durationMs;
  const histogram = new Histogram();
  let isMeasuring = false;
  const client = async (operate: () => Promise<void>): Promise<void> => {
    for (;;) {
      const beginMs = performance.now();
      if (beginMs >= untilMs) return;
      if (!isMeasuring && beginMs >= measureFromMs) {
        isMeasuring = true;
        options.onMeasuring?.();
      }
      await operate();
      const endMs = performance.now();
      if (beginMs >= measureFromMs) histogram.recordMs(endMs - beginMs);
    }
  };
  await Promise.all(options.operations.map(client));
  const seconds = (performance.now() - measureFromMs) / 1_000;
  return {
    clients: options.operations.length,
    seconds,
    operations: histogram.count,
    perSecond: histogram.count / seconds,
    p50Ms: histogram.percentileMs(0.5),
    p95Ms: histogram.percentileMs(0.95),
    p99Ms: histogram.percentileMs(0.99),
    p999Ms: histogram.percentileMs(0.999),
    maxMs: histogram.maxMs,
    meanMs: histogram.meanMs,
  };
}
