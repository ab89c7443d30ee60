/**
 * The ports through which everything outside a core comes in: time, chance, checksums, storage. Cores get readings and
 * bytes, never a clock or a file. Adapters for real processes live in src/adapters and the nodes' adapters folders, in-memory
 * ones in test/; each port has a contract suite in test/contract.
 */

/** Clock readings, passed to every step. */
export interface Now {
  /** Monotone milliseconds of this process, with fraction. For timeouts and leases. */
  readonly monotonicMs: number;
  /** Wall clock in whole microseconds of the Unix epoch. For commit stamps only. */
  readonly wallMicros: number;
}

export interface Clock {
  now(): Now;
  /** Milliseconds since the machine was started, coarse; goes on while the machine is suspended. For leases only. */
  uptimeMs(): number;
}

export interface Timer {
  /** `run` is not called any more; nothing happens when it was, or when it was cancelled before. */
  cancel(): void;
}

/** Calls back later: never within the call that asks for it. */
export interface Timers {
  /** Once, after `delayMs`. */
  after(delayMs: number, run: () => void): Timer;
  /** Again and again, first after `intervalMs`. A process that was held up catches up with one call, not with all it missed. */
  every(intervalMs: number, run: () => void): Timer;
  /** Once, when all that has already happened outside the process has been dealt with. */
  soon(run: () => void): Timer;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` characters of [0-9a-v]: 5 bits each. */
  id(length: number): string;
}

/** CRC-32 (ISO-HDLC, as in zlib) of `bytes`, continuing from `seed`. */
export type Crc32 = (bytes: Uint8Array, seed?: number) => number;

/** Ordered key-value store, keys and values bytes; keys order as unsigned bytes. The home of the log and of page versions. */
export interface KvStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>;
  /** Entries with gte ≤ key < lt, ascending or (reverse) descending, at most `limit`. */
  range(query: KvRange): Promise<KvEntry[]>;
  /** Atomic. Durable on return only with `sync`. */
  batch(ops: readonly KvOp[], options: { readonly sync: boolean }): Promise<void>;
  close(): Promise<void>;
}

export interface KvRange {
  readonly gte: Uint8Array;
  readonly lt: Uint8Array;
  readonly reverse?: boolean;
  readonly limit?: number;
}

export interface KvEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export type KvOp =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };
