/** Every bound that more than one package must agree on: a name, a unit, a reason. Local bounds live beside their use. */

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** The unit of storage and of SQLite's pager here. Fixed for format version 1. */
export const PAGE_SIZE_BYTES = 4096;
/** Pages of one protection group by default: 10 GiB, as in the Aurora paper (section 2.2). Tests use a handful. */
export const DEFAULT_PG_PAGES = (10 * GIB) / PAGE_SIZE_BYTES;
/** LSN allocation limit (Aurora paper, section 4.2.1): the writer never allocates past VDL + LAL. */
export const DEFAULT_LAL = 10_000_000;
/** A message between processes stays below this, so that no stream is held up by one of them. */
export const MAX_MESSAGE_BYTES = 1 * MIB;
/** Payload bytes of one boxcar: leaves room for the envelope below MAX_MESSAGE_BYTES. */
export const MAX_BOXCAR_BYTES = 768 * KIB;
/** How long one granted promise supports a read lease, counted from the request's send time. */
export const DEFAULT_LEASE_TERM_MS = 500;
/** Pause between heartbeats of one pair of processes. A fifth of the lease term: four may be lost. */
export const HEARTBEAT_INTERVAL_MS = 100;
/** A lease is trusted for its term less this share, for clocks that run at different rates. */
export const CLOCK_RATE_ERROR = 0.05;
/** How long a commit waits for its quorum before its client is told OUTCOME_UNKNOWN. */
export const DEFAULT_COMMIT_TIMEOUT_MS = 10_000;
/** Bytes queued or unacknowledged per storage node before its stream is dropped or the engine waits. */
export const MAX_UNACKED_BYTES_PER_NODE = 32 * MIB;
/** Default history window: how far back a volume can be read or rewound. */
export const DEFAULT_WINDOW_MS = 24 * 3_600_000;
/** The longest a history window may be set to. */
export const MAX_WINDOW_MS = 72 * 3_600_000;
/** What a volume may be called, and the names the client protocol's own paths take. */
export const VOLUME_NAME_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/;
export const RESERVED_VOLUME_NAMES: ReadonlySet<string> = new Set([
  'v1',
  'v2',
  'v3',
  'v3-protobuf',
  'health',
  'version',
  'livez',
  'readyz',
  'metrics',
]);
