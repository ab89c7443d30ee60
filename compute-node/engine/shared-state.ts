/**
 * The few numbers that the main thread and the SQL worker share without messages, so that a worker deep inside a statement sees them:
 * VDL, whether writes may start, interrupts; and the worker's statistics for the main thread.
 *
 * Each cell has one writer, named beside it. LSNs are kept as 64-bit integers, counters too.
 */

const WIDE = {
  /** main: newest VDL. */
  vdl: 0,
  /** worker: lowest live read point (VDL when there is none). */
  lowestReadPoint: 1,
  /** main: bytes of MTRs taken over from the worker so far. */
  mtrBytesTaken: 2,
  // statistics, all by the worker
  cachePages: 3,
  cacheBytes: 4,
  cacheHits: 5,
  cacheMisses: 6,
  databasePages: 7,
  statements: 8,
  commits: 9,
  openTransactions: 10,
} as const;
export type WideCell = keyof typeof WIDE;

const FLAG = {
  /** main: 1 while new write transactions may start. */
  writable: 0,
  /** main: counts answers to page requests; the worker sleeps on it. */
  pageAnswers: 1,
  /** worker: 1 when it wants a message once VDL or mtrBytesTaken has moved. */
  wantsNews: 2,
  /** main: 1 when the engine is over; page waits end at once. */
  closed: 3,
} as const;
export type FlagCell = keyof typeof FLAG;

const WIDE_CELLS = Object.keys(WIDE).length;
const FLAG_CELLS = Object.keys(FLAG).length;

export interface SharedBuffers {
  readonly wide: SharedArrayBuffer;
  readonly flags: SharedArrayBuffer;
}

export class SharedState {
  readonly buffers: SharedBuffers;
  readonly #wide: BigInt64Array;
  readonly #flags: Int32Array;
  readonly #slots: number;

  constructor(buffers: SharedBuffers) {
    this.buffers = buffers;
    this.#wide = new BigInt64Array(buffers.wide);
    this.#flags = new Int32Array(buffers.flags);
    this.#slots = this.#flags.length - FLAG_CELLS;
  }

  /** `interruptSlots`: connections that can be told apart by an interrupt. */
  static create(interruptSlots: number): SharedState {
    return new SharedState({
      wide: new SharedArrayBuffer(WIDE_CELLS * 8),
      flags: new SharedArrayBuffer((FLAG_CELLS + interruptSlots) * 4),
    });
  }

  get(cell: WideCell): number {
    return Number(Atomics.load(this.#wide, WIDE[cell]));
  }

  set(cell: WideCell, value: number): void {
    Atomics.store(this.#wide, WIDE[cell], BigInt(value));
  }

  add(cell: WideCell, value: number): void {
    Atomics.add(this.#wide, WIDE[cell], BigInt(value));
  }

  flag(cell: FlagCell): number {
    return Atomics.load(this.#flags, FLAG[cell]);
  }

  setFlag(cell: FlagCell, value: number): void {
    Atomics.store(this.#flags, FLAG[cell], value);
  }

  /** main: one more answer lies in the page port. */
  announcePageAnswer(): void {
    Atomics.add(this.#flags, FLAG.pageAnswers, 1);
    Atomics.notify(this.#flags, FLAG.pageAnswers);
  }

  /** worker: sleeps until pageAnswers differs from `seen`, or the timeout. */
  waitForPageAnswer(seen: number, timeoutMs: number): void {
    Atomics.wait(this.#flags, FLAG.pageAnswers, seen, timeoutMs);
  }

  /** main: asks that program `run` of the connection in `slot` stop. A program of another number is not touched. */
  interrupt(slot: number, run: number): void {
    Atomics.store(this.#flags, this.#cellOf(slot), run);
  }

  isInterrupted(slot: number, run: number): boolean {
    return Atomics.load(this.#flags, this.#cellOf(slot)) === run;
  }

  #cellOf(slot: number): number {
    return FLAG_CELLS + (slot % this.#slots);
  }
}
