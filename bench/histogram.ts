/**
 * Latencies in log-linear buckets, as HdrHistogram does: fixed memory, any range, each value off by less than 1 % (64 buckets for
 * each doubling). Percentiles come out as the upper end of their bucket: never better than what was measured.
 */

const SUB_BUCKET_BITS = 6;
const SUB_BUCKETS = 1 << SUB_BUCKET_BITS;
/** 2^32 µs is more than an hour. */
const MAX_EXPONENT = 32 - SUB_BUCKET_BITS;

export class Histogram {
  private readonly counts = new Float64Array((MAX_EXPONENT + 1) * SUB_BUCKETS);
  private total = 0;
  private sumMicros = 0;
  private largestMicros = 0;

  recordMs(ms: number): void {
    const micros = Math.max(0, Math.round(ms * 1_000));
    this.counts[bucketOf(micros)]!++;
    this.total++;
    this.sumMicros += micros;
    if (micros > this.largestMicros) this.largestMicros = micros;
  }

  get count(): number {
    return this.total;
  }

  get meanMs(): number {
    return this.total === 0 ? 0 : this.sumMicros / this.total / 1_000;
  }

  get maxMs(): number {
    return this.largestMicros / 1_000;
  }

  /** `share` of 0.99 for p99; 0 when nothing was recorded. */
  percentileMs(share: number): number {
    const wanted = Math.max(1, Math.ceil(share * this.total));
    let seen = 0;
    for (let bucket = 0; bucket < this.counts.length; bucket++) {
      seen += this.counts[bucket]!;
      if (seen >= wanted) return Math.min(upperMicros(bucket), this.largestMicros) / 1_000;
    }
    return this.maxMs;
  }

  merge(other: Histogram): void {
    for (let bucket = 0; bucket < this.counts.length; bucket++) this.counts[bucket]! += other.counts[bucket]!;
    this.total += other.total;
    this.sumMicros += other.sumMicros;
    this.largestMicros = Math.max(this.largestMicros, other.largestMicros);
  }
}

/** Values below SUB_BUCKETS have a bucket each; then every doubling has SUB_BUCKETS / 2 more. */
export function bucketOf(micros: number): number {
  if (micros < SUB_BUCKETS) return micros;
  const exponent = Math.floor(Math.log2(micros)) - SUB_BUCKET_BITS + 1;
  const capped = Math.min(exponent, MAX_EXPONENT);
  const sub = Math.min(SUB_BUCKETS - 1, Math.floor(micros / 2 ** capped));
  return capped * (SUB_BUCKETS / 2) + sub;
}

export function upperMicros(bucket: number): number {
  if (bucket < SUB_BUCKETS) return bucket;
  const exponent = Math.floor(bucket / (SUB_BUCKETS / 2)) - 1;
  const sub = bucket - exponent * (SUB_BUCKETS / 2);
  return (sub + 1) * 2 ** exponent - 1;
}
