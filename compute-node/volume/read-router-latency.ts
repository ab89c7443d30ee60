/**
 * What a storage node's page reads cost, as exponential averages of mean and deviation (RFC 6298's estimator): the base of the choice
 * among nodes and of when a read counts as late. Small reads and batches are tracked apart, since a 256 KiB reply is rightly slower.
 */

/** No read is hedged sooner: below this, a second request costs more than it saves. */
export const MIN_HEDGE_MS = 5;
const MAX_HEDGE_MS = 500;
/** Assumed of a node not measured yet: low enough to be tried, high enough not to be preferred to a fast one. */
const ASSUMED_MS = 1;
/** Reads of so many pages or fewer are small. */
const SMALL_READ_PAGES = 4;
/** A node that was slow is tried again in time: what is held against it halves at this pace while it is not asked. */
const FORGIVE_HALF_LIFE_MS = 1_000;

interface Estimate {
  meanMs: number;
  deviationMs: number;
  updatedAtMs: number;
}

export class NodeLatency {
  private small: Estimate | null = null;
  private batch: Estimate | null = null;
  private inFlight = 0;

  onSent(): void {
    this.inFlight += 1;
  }

  onAnswer(elapsedMs: number, pageCount: number, nowMs: number): void {
    this.inFlight = Math.max(0, this.inFlight - 1);
    const estimate = this.estimateOf(pageCount);
    if (estimate === null) {
      this.set(pageCount, { meanMs: elapsedMs, deviationMs: elapsedMs / 2, updatedAtMs: nowMs });
      return;
    }
    estimate.deviationMs += (Math.abs(elapsedMs - estimate.meanMs) - estimate.deviationMs) / 4;
    estimate.meanMs += (elapsedMs - estimate.meanMs) / 8;
    estimate.updatedAtMs = nowMs;
  }

  /** Not answered after `elapsedMs`: it is at least that slow. */
  onLate(elapsedMs: number, pageCount: number, nowMs: number): void {
    const estimate = this.estimateOf(pageCount);
    if (estimate === null) this.set(pageCount, { meanMs: elapsedMs, deviationMs: 0, updatedAtMs: nowMs });
    else if (estimate.meanMs < elapsedMs) {
      estimate.meanMs = elapsedMs;
      estimate.updatedAtMs = nowMs;
    }
  }

  onNoAnswer(): void {
    this.inFlight = Math.max(0, this.inFlight - 1);
  }

  /** A new connection: what was measured on the old one says little. */
  forget(): void {
    this.small = null;
    this.batch = null;
    this.inFlight = 0;
  }

  /** Lower is better: expected latency, times what already waits there. */
  score(pageCount: number, nowMs: number): number {
    const estimate = this.estimateOf(pageCount);
    if (estimate === null) return ASSUMED_MS * (1 + this.inFlight);
    const idleMs = Math.max(0, nowMs - estimate.updatedAtMs);
    const held = estimate.meanMs * 0.5 ** (idleMs / FORGIVE_HALF_LIFE_MS);
    return Math.max(held, Math.min(estimate.meanMs, ASSUMED_MS / 4)) * (1 + this.inFlight);
  }

  /** How long to wait for this node before asking a second one: about its 95th percentile. */
  hedgeBudgetMs(pageCount: number): number {
    const estimate = this.estimateOf(pageCount);
    if (estimate === null) return pageCount > SMALL_READ_PAGES ? 4 * MIN_HEDGE_MS : 2 * MIN_HEDGE_MS;
    return Math.min(MAX_HEDGE_MS, Math.max(MIN_HEDGE_MS, estimate.meanMs + 3 * estimate.deviationMs));
  }

  get averageMs(): number | null {
    return this.small?.meanMs ?? this.batch?.meanMs ?? null;
  }

  private estimateOf(pageCount: number): Estimate | null {
    return pageCount > SMALL_READ_PAGES ? this.batch : this.small;
  }

  private set(pageCount: number, estimate: Estimate): void {
    if (pageCount > SMALL_READ_PAGES) this.batch = estimate;
    else this.small = estimate;
  }
}
