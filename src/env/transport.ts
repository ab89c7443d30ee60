/**
 * The network port of a compute node (and of gossip): calls to storage nodes. The gRPC adapter is src/adapters/grpc, the in-memory one
 * lives with the tests. Unary calls carry a deadline each and are never retried here; streams stay open and report when they go down.
 */
import type { NodeId } from '../log/lsn.ts';
import type { StorageNodeMethods, StreamMethod, UnaryMethod } from '../messages/messages.ts';

export interface StorageNodeClient {
  readonly nodeId: NodeId;
  /** Rejects UNAVAILABLE (not reached) or TIMEOUT; a refusal by the node is a reply. */
  call<M extends UnaryMethod>(
    method: M,
    request: StorageNodeMethods[M]['request'],
    options: { readonly timeoutMs: number },
  ): Promise<StorageNodeMethods[M]['reply']>;
  /** Connects by itself and again after every loss, with backoff, until closed. */
  openStream<M extends StreamMethod>(method: M, handlers: StreamHandlers<M>): ClientStream<M>;
  close(): void;
}

export interface StreamHandlers<M extends StreamMethod> {
  readonly onUp: () => void;
  readonly onReply: (reply: StorageNodeMethods[M]['reply']) => void;
  /** Everything sent and not answered may or may not have arrived. */
  readonly onDown: (reason: Error) => void;
  /** After `send` returned false: the transport takes more again. */
  readonly onDrain: () => void;
}

export interface ClientStream<M extends StreamMethod> {
  readonly isUp: boolean;
  /** False: taken, but hold further messages until onDrain. Throws when the stream is down. */
  send(request: StorageNodeMethods[M]['request']): boolean;
  close(): void;
}
