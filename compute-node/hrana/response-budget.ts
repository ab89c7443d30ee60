/** Bytes of collected results in the whole process: what has been made for clients and not been taken by them. */

/** Smaller results are not counted: they cost less than the counting. */
const COUNTED_FROM_BYTES = 64 * 1024;

export class ResponseBudget {
  readonly limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  account(): ResponseAccount {
    return new ResponseAccount(this);
  }

  /** For `ResponseAccount`. */
  charge(bytes: number): boolean {
    if (bytes > 0 && this.#usedBytes + bytes > this.limitBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }
}

/** One response's share. */
export class ResponseAccount {
  readonly #budget: ResponseBudget;
  #chargedBytes = 0;

  constructor(budget: ResponseBudget) {
    this.#budget = budget;
  }

  /** The response is now this large. False: there is no room for it. */
  grow(bytes: number): boolean {
    if (bytes < COUNTED_FROM_BYTES) return true;
    // In steps, so that the share is looked at seldom.
    if (bytes <= this.#chargedBytes) return true;
    const target = bytes + COUNTED_FROM_BYTES;
    if (!this.#budget.charge(target - this.#chargedBytes)) return false;
    this.#chargedBytes = target;
    return true;
  }

  get isCharged(): boolean {
    return this.#chargedBytes > 0;
  }

  release(): void {
    this.#budget.charge(-this.#chargedBytes);
    this.#chargedBytes = 0;
  }
}
