/**
 * The interface of the in-process client: that of `@libsql/client` 0.18 (its `Client` may be given wherever one of these is asked for, and the other
 * way round), with what only a client without a protocol can offer beside it. Written down here so that users need no other package for its types.
 */

/** How SQLite's integers come back. `number` throws a RangeError for those it cannot hold exactly. */
export type IntMode = 'number' | 'bigint' | 'string';

export type Value = null | string | number | bigint | ArrayBuffer;
/** A `number` is bound as REAL, a `bigint` as INTEGER, a `boolean` as 1 or 0, a `Date` as milliseconds. */
export type InValue = Value | boolean | Uint8Array | Date;
export type InArgs = InValue[] | Record<string, InValue>;
export type InStatement = { sql: string; args?: InArgs } | string;

/** `write`: BEGIN IMMEDIATE; `read`: read-only; `deferred`: becomes a writer with its first write, unless another has committed since. */
export type TransactionMode = 'write' | 'read' | 'deferred';

/** By index and by column name; `length` and the indexes are not enumerable. */
export interface Row {
  length: number;
  [index: number]: Value;
  [name: string]: Value;
}

export interface ResultSet {
  columns: string[];
  /** As declared; '' for expressions. */
  columnTypes: string[];
  rows: Row[];
  rowsAffected: number;
  lastInsertRowid: bigint | undefined;
  toJSON(): unknown;
}

export interface Transaction {
  execute(stmt: InStatement): Promise<ResultSet>;
  /** A statement that fails ends the batch, not the transaction. */
  batch(stmts: InStatement[]): Promise<ResultSet[]>;
  executeMultiple(sql: string): Promise<void>;
  rollback(): Promise<void>;
  commit(): Promise<void>;
  /** Rolls back what was not committed. */
  close(): void;
  readonly closed: boolean;
}

export interface VolumeOptions {
  readonly intMode?: IntMode;
  /** How fresh reads are. `strong`: linearizable; `session`: whatever this client has seen, at least; `snapshot`: whatever is durable. */
  readonly consistency?: 'strong' | 'session' | 'snapshot';
}

export interface Client {
  /** One statement, on a connection of its own. */
  execute(stmt: InStatement): Promise<ResultSet>;
  execute(sql: string, args?: InArgs): Promise<ResultSet>;
  /** All of them in one transaction, or none. */
  batch(stmts: (InStatement | [string, InArgs?])[], mode?: TransactionMode): Promise<ResultSet[]>;
  /** The same with foreign keys off meanwhile. */
  migrate(stmts: InStatement[]): Promise<ResultSet[]>;
  transaction(mode?: TransactionMode): Promise<Transaction>;
  /** A script: statements until the first that fails. Their results are not given out. */
  executeMultiple(sql: string): Promise<void>;
  /** There is no copy that could lag: resolves at once. */
  sync(): Promise<undefined>;
  /** Ends what is under way. Resolves when the compute node has given its volumes back. */
  close(): Promise<void>;
  /** Opens anew what was closed. */
  reconnect(): void;
  readonly closed: boolean;
  readonly protocol: string;
  /** Another volume, or a moment of one (`main@-15m`), by the same compute node; otherwise as this one is. Closing it closes only itself. */
  volume(name: string, options?: VolumeOptions): Client;
  /** Makes an empty volume. */
  createVolume(name: string): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
