/** Bounds of the client protocol: each with a name, a unit and a reason. All can be set by the operator. */
import { MIB } from '../../src/base/limits.ts';

export interface HranaLimits {
  /** Body of one HTTP request, or one WebSocket message. */
  readonly maxRequestBytes: number;
  /** One result that is collected before it is sent. A cursor has no such limit. */
  readonly maxResponseBytes: number;
  /** All such results of the process that are collected or not yet taken by their clients. */
  readonly maxBufferedResponseBytes: number;
  /** How long an HTTP client may take to receive such a result. */
  readonly takeResponseMs: number;
  /** Requests of one WebSocket that wait for their answers; past it the socket is not read. */
  readonly maxOutstandingRequests: number;
  /** Bytes of such requests. */
  readonly maxOutstandingRequestBytes: number;
  /** Bytes a WebSocket's client has not taken; past it the socket is not read. */
  readonly maxSocketBufferBytes: number;
  /** Rows of a WebSocket cursor kept ready for the next fetch. */
  readonly cursorBufferBytes: number;
  /** Nesting of a batch step's condition. */
  readonly maxConditionDepth: number;
  /** Pause between pings of a WebSocket; a peer that answers none in between is gone. */
  readonly pingIntervalMs: number;
  /** How long requests under way may take to finish when the server closes. */
  readonly closeTimeoutMs: number;
  /** How long an idle HTTP connection is kept. Longer than the usual proxy's, so that the proxy closes first. */
  readonly keepAliveMs: number;
}

export const DEFAULT_HRANA_LIMITS: HranaLimits = {
  maxRequestBytes: 32 * MIB,
  maxResponseBytes: 64 * MIB,
  maxBufferedResponseBytes: 256 * MIB,
  takeResponseMs: 5 * 60_000,
  maxOutstandingRequests: 1024,
  maxOutstandingRequestBytes: 64 * MIB,
  maxSocketBufferBytes: 8 * MIB,
  cursorBufferBytes: 512 * 1024,
  maxConditionDepth: 64,
  pingIntervalMs: 20_000,
  closeTimeoutMs: 10_000,
  keepAliveMs: 75_000,
};
