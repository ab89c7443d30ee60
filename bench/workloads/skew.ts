/**
 * Keys of which some are asked for far more often than others: YCSB's scrambled Zipf distribution (Gray et al., "Quickly generating billion-record synthetic
 * databases", SIGMOD 1994), constant 0.99.
 */

const THETA = 0.99;

/** Draws from 0 to `count` − 1, the small ones most often. */
export function zipf(count: number): () => number {
  const zeta = zetaOf(count);
  const alpha = 1 / (1 - THETA);
  const eta = (1 - (2 / count) ** (1 - THETA)) / (1 - zetaOf(2) / zeta);
  return () => {
    const u = Math.random();
    const uz = u * zeta;
    if (uz < 1) return 0;
    if (uz < 1 + 0.5 ** THETA) return 1;
    return Math.min(count - 1, Math.floor(count * (eta * u - eta + 1) ** alpha));
  };
}

function zetaOf(count: number): number {
  let sum = 0;
  for (let i = 1; i <= count; i++) sum += 1 / i ** THETA;
  return sum;
}

/** Spreads neighbours over the whole range, always the same way (FNV-1a). */
export function scramble(value: number, count: number): number {
  let hash = 0x811c9dc5;
  for (let shift = 0; shift < 32; shift += 8) {
    hash ^= (value >>> shift) & 0xff;
    hash = Math.imul(hash, 0x01000193) >>> 0;
  }
  return hash % count;
}
