/**
 * Everything a network, a disk or a client can cause is a `TidemarkError`: a stable code, what happened and why, and what
 * to do next. Bugs are `AssertionError`s (base/assert.ts) instead. An error is logged once, where it is handled.
 */

/** Stable codes. They are part of the public interface: never renamed, never given a second meaning. */
export type ErrorCode =
  // input
  | 'BAD_REQUEST' // malformed message, wrong type, impossible value
  | 'BAD_NAME' // volume name outside ^[a-z0-9][a-z0-9-]{0,62}$ or reserved
  | 'TOO_LARGE' // request, row, transaction or message past a stated limit
  | 'UNAUTHORIZED'
  | 'UNSUPPORTED'
  // volumes
  | 'VOLUME_NOT_FOUND'
  | 'VOLUME_EXISTS'
  | 'VOLUME_DROPPED'
  | 'VOLUME_HELD' // another live compute node holds the epoch
  | 'NOT_EMPTY'
  | 'IN_FUTURE' // a moment that has not been yet
  | 'BEFORE_CREATION' // a moment before the volume was made
  | 'CYCLE' // a volume cannot be a clone of itself
  | 'SNAPSHOT_NOT_FOUND'
  | 'SNAPSHOT_EXISTS'
  | 'BACKTRACKED' // the volume went back to an older moment under this session; the next statement sees it
  | 'MERGE_CONFLICT' // both sides changed the same rows; nothing was applied
  // the quorum protocol
  | 'STALE_EPOCH' // the sender's authority epoch is below the node's promise
  | 'STALE_CONFIG' // the sender's configuration of the PG is older than the node's
  | 'BEHIND' // the segment does not hold all the read point needs (yet)
  | 'GONE' // the read point lies below the floor and is not pinned
  | 'CUT' // the LSN belongs to no run
  | 'NO_SEGMENT' // this node holds no copy of that protection group
  | 'QUARANTINED' // the segment misses data it acknowledged; it waits for its peers
  | 'NO_QUORUM' // not enough storage nodes answered in time
  | 'OUTCOME_UNKNOWN' // a commit was sent, its durability could not be confirmed in time
  | 'DEPOSED' // a newer epoch exists: this writer's term is over
  | 'DATA_AT_RISK' // recovery found less than was acknowledged and will not cut
  | 'OVERLOADED'
  // the cluster's nodes
  | 'NODE_NOT_FOUND' // no storage node of that id belongs to the cluster
  | 'NO_PLACE' // no node in the zone may take a segment
  | 'CHANGE_UNDER_WAY' // the members of that PG are changing already
  // disk and process
  | 'CORRUPT' // a checksum or a format check failed
  | 'WRONG_CLUSTER' // the other side, or the data directory, belongs to another cluster or node
  | 'WRONG_FORMAT' // a format version this build does not know
  | 'DISK_FULL'
  | 'IO_ERROR'
  | 'IN_USE' // data directory or port already taken
  | 'UNAVAILABLE' // the process is starting, stopping or not reachable
  | 'TIMEOUT'
  | 'INTERRUPTED'
  | 'NOT_A_DATABASE'
  | 'INTERNAL';

export interface ErrorDetails {
  readonly cause?: unknown;
  /** What the reader can do about it, one sentence. */
  readonly nextStep?: string;
}

export class TidemarkError extends Error {
  override readonly name = 'TidemarkError';
  readonly code: ErrorCode;
  readonly nextStep: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.nextStep = details.nextStep;
  }
}

export function isTidemarkError(error: unknown, code?: ErrorCode): error is TidemarkError {
  return error instanceof TidemarkError && (code === undefined || error.code === code);
}
