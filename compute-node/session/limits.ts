/** Bounds of the session layer: each with a name, a unit and a reason. All can be set by the operator. */

export interface SessionLimits {
  /** Streams of the whole process. Each may hold an engine connection, so they are counted. */
  readonly maxStreams: number;
  /** A stream that nobody asks anything of, outside a write transaction, lives this long: minutes, because people think. */
  readonly streamIdleMs: number;
  /** An open write transaction that nobody continues holds up every other writer of the volume: seconds. */
  readonly writeTransactionIdleMs: number;
  /** Stored SQL texts of one connection (WebSocket) or stream (HTTP). `@libsql/client` keeps up to 100. */
  readonly maxStoredSqlCount: number;
  /** Bytes (UTF-16 units) of all stored SQL texts of one connection or stream. */
  readonly maxStoredSqlBytes: number;
}

export const DEFAULT_SESSION_LIMITS: SessionLimits = {
  maxStreams: 10_000,
  streamIdleMs: 10 * 60_000,
  writeTransactionIdleMs: 5_000,
  maxStoredSqlCount: 500,
  maxStoredSqlBytes: 4 * 1024 * 1024,
};
