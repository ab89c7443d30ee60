/**
 * The seam between the storage node's pure core and its driver: events in, effects out. The core never waits: what needs the
 * disk or a peer goes out as an effect with a token and comes back as an event with the same token.
 *
 * The rule that carries all durability: a reply that promises something is an effect in `whenDurable` of the `persist` that makes
 * it true, so it cannot overtake it (etcd-io/raft's async storage writes do the same).
 */
import type { KvEntry, KvOp, KvRange } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { StorageNodeMethods, StorageNodeMethod, UnaryMethod } from '../../src/messages/messages.ts';

/** Names the request a reply belongs to; made by the driver, opaque to the core. */
export type ReplyTo = number;
/** Names an outstanding query or call; made by the core. */
export type Token = number;

export type NodeRequest = {
  [M in StorageNodeMethod]: { readonly method: M; readonly body: StorageNodeMethods[M]['request'] };
}[StorageNodeMethod];
export type NodeReply = {
  [M in StorageNodeMethod]: { readonly method: M; readonly body: StorageNodeMethods[M]['reply'] };
}[StorageNodeMethod];
export type PeerRequest = Extract<NodeRequest, { method: UnaryMethod }>;
export type PeerReply = Extract<NodeReply, { method: UnaryMethod }>;

/**
 * What must survive. One persist effect becomes (part of) one synced journal entry and one unsynced store batch.
 * `home`: goes to the store under its key (value null deletes). At a restart it is replayed through the core's admission
 * (event `start`), not blindly. `guard`: small state kept by the journal in several copies (incarnation, promises, register values, floor,
 * drops, SCL watermarks): newest value per key wins; null deletes.
 */
export type DurableOp =
  | { readonly kind: 'home'; readonly key: Uint8Array; readonly value: Uint8Array | null }
  | { readonly kind: 'guard'; readonly key: string; readonly value: Uint8Array | null };

/** Keys of the store with gte ≤ key < lt. */
export interface KeyRange {
  readonly gte: Uint8Array;
  readonly lt: Uint8Array;
}

export type StoreQuery =
  | { readonly kind: 'getMany'; readonly keys: readonly Uint8Array[] }
  | ({ readonly kind: 'range' } & KvRange);
export type StoreResult =
  | { readonly kind: 'getMany'; readonly values: readonly (Uint8Array | undefined)[] }
  | { readonly kind: 'range'; readonly entries: readonly KvEntry[] };

export type CoreEffect =
  | {
      readonly kind: 'persist';
      readonly ops: readonly DurableOp[];
      readonly whenDurable: readonly CoreEffect[];
    }
  /**
   * Background work (page versions, collection): store only, not journaled, may be lost at a crash. `written` follows when done; with
   * `isLasting` it follows when this and everything given to the store before is durable there.
   */
  | {
      readonly kind: 'write';
      readonly ops: readonly KvOp[];
      readonly token: Token;
      readonly isLasting: boolean;
    }
  | { readonly kind: 'query'; readonly token: Token; readonly queries: readonly StoreQuery[] }
  | { readonly kind: 'reply'; readonly to: ReplyTo; readonly reply: NodeReply }
  | { readonly kind: 'call'; readonly peer: NodeId; readonly token: Token; readonly request: PeerRequest }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields?: Record<string, unknown>;
    }
  /** The nodes of the cluster and their addresses: peers may be among them that no configuration names. */
  | { readonly kind: 'nodes'; readonly nodes: readonly ClusterNode[] }
  /** Much was deleted in these ranges: the store is to give the space back. */
  | { readonly kind: 'reclaim'; readonly ranges: readonly KvRange[] }
  /** Something was read that the store cannot have been given: its files are to be checked soon. */
  | { readonly kind: 'suspect-store' }
  /** The node's data can no longer be trusted at all (or belongs elsewhere): the process stops with this error. */
  | { readonly kind: 'fatal'; readonly code: string; readonly message: string };

/**
 * Room on the disk. `short`: nothing new is taken in, from writers or from peers. `gone`: records are not brought into page form either; what is
 * left is for collection, promises and registers.
 */
export type DiskRoom = 'enough' | 'short' | 'gone';

/** What the journal found at start. */
export interface JournalRecovery {
  /** Newest value per guard key; keys whose copies were all damaged are listed in `damagedGuardKeys` where known. */
  readonly guard: ReadonlyMap<string, Uint8Array>;
  /** Ring entries still present, oldest first: the home ops that may be missing from the store. */
  readonly entries: readonly (readonly Extract<DurableOp, { kind: 'home' }>[])[];
  /** True when an entry at or below the greatest "known synced" number is invalid: acknowledged data may be missing (not a torn tail). */
  readonly damaged: boolean;
  /** Human-readable account of damage, empty when none. */
  readonly findings: readonly string[];
}

/** What journal and store together were found to be. */
export interface NodeRecovery extends JournalRecovery {
  /** Keys of the store whose newest value may be lost, or that may be back although they were deleted. */
  readonly storeDoubts: readonly KeyRange[];
}

export type CoreEvent =
  | { readonly kind: 'start'; readonly recovery: NodeRecovery; readonly incarnationSeed: string }
  | { readonly kind: 'request'; readonly replyTo: ReplyTo; readonly request: NodeRequest }
  | { readonly kind: 'query-result'; readonly token: Token; readonly results: readonly StoreResult[] }
  | { readonly kind: 'written'; readonly token: Token }
  | { readonly kind: 'peer-reply'; readonly token: Token; readonly reply: PeerReply }
  | { readonly kind: 'peer-failed'; readonly token: Token; readonly message: string }
  /** The client or stream behind this request is gone; no reply is needed. */
  | { readonly kind: 'abandoned'; readonly replyTo: ReplyTo }
  /** How much room the disk has, whenever that changes; enough until told otherwise. */
  | { readonly kind: 'disk'; readonly room: DiskRoom }
  /** About every 50 ms; drives gossip, coalescing, collection, lease expiry. */
  | { readonly kind: 'tick' };
