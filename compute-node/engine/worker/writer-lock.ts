/** The volume's writer lock: one holder, first come first served. SQLite's own file locks never wait; whoever would wait does it here. */

export class WriterLock<Owner> {
  readonly #queue: Owner[] = [];
  readonly #granted: (owner: Owner) => void;
  #owner: Owner | null = null;
  #sinceMs = 0;

  /** `granted` is called for one that had to wait. */
  constructor(granted: (owner: Owner) => void) {
    this.#granted = granted;
  }

  get owner(): Owner | null {
    return this.#owner;
  }

  get sinceMs(): number {
    return this.#sinceMs;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** True: it is yours. False: you are in the queue, and will be told. */
  acquire(owner: Owner, nowMs: number): boolean {
    if (this.#owner === owner) return true;
    if (this.#owner === null) {
      this.#owner = owner;
      this.#sinceMs = nowMs;
      return true;
    }
    if (!this.#queue.includes(owner)) this.#queue.push(owner);
    return false;
  }

  /** Gives the lock on, or leaves the queue. Nothing to do is fine. */
  release(owner: Owner, nowMs: number): void {
    if (this.#owner !== owner) {
      const at = this.#queue.indexOf(owner);
      if (at >= 0) this.#queue.splice(at, 1);
      return;
    }
    this.#owner = this.#queue.shift() ?? null;
    this.#sinceMs = nowMs;
    if (this.#owner !== null) this.#granted(this.#owner);
  }
}
