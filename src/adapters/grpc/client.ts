/**
 * The gRPC client for one storage node: `StorageNodeClient` (src/env/transport.ts). Two connections per node: page reads and pulled records go
 * over one of their own, so that bulk never delays acknowledgements, heartbeats or registers.
 *
 * Nothing is retried here. Malformed replies are errors of the exchange (CORRUPT), never handed on.
 */
import { Client, credentials, type MethodDefinition } from '@grpc/grpc-js';
import { assert } from '../../base/assert.ts';
import { TidemarkError } from '../../base/errors.ts';
import type { ClientStream, StorageNodeClient, StreamHandlers } from '../../env/transport.ts';
import type { NodeId } from '../../log/lsn.ts';
import type {
  StorageNodeMethod,
  StorageNodeMethods,
  StreamMethod,
  UnaryMethod,
} from '../../messages/messages.ts';
import type { ClusterNode } from '../../register/values.ts';
import { CLIENT_OPTIONS } from './channel-options.ts';
import { GrpcClientStream } from './client-stream.ts';
import { errorOfStatus } from './statuses.ts';
import { type Decoded, methodDefinition } from './wire.ts';

const BULK_METHODS: ReadonlySet<StorageNodeMethod> = new Set(['readPages', 'pullRecords', 'pullPages']);

export class GrpcStorageNodeClient implements StorageNodeClient {
  readonly nodeId: NodeId;
  readonly #address: string;
  readonly #prompt: Client;
  /** Made on first use: an administration command never needs it. */
  #bulk: Client | null = null;
  readonly #streams = new Set<{ close(): void }>();
  #isClosed = false;

  /** Connects on first use, and again after every loss. */
  constructor(node: Pick<ClusterNode, 'nodeId' | 'address'>) {
    this.nodeId = node.nodeId;
    this.#address = node.address;
    this.#prompt = connect(node.address);
  }

  call<M extends UnaryMethod>(
    method: M,
    request: StorageNodeMethods[M]['request'],
    options: { readonly timeoutMs: number },
  ): Promise<StorageNodeMethods[M]['reply']> {
    if (this.#isClosed) return Promise.reject(this.#closedError());
    const definition: MethodDefinition<object, Decoded> = methodDefinition(method);
    return new Promise((resolve, reject) => {
      this.#connection(method).makeUnaryRequest<object, Decoded>(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        { deadline: Date.now() + options.timeoutMs },
        (error, reply) => {
          if (error !== null) reject(errorOfStatus(this.nodeId, error));
          else if (reply === undefined || reply instanceof TidemarkError)
            reject(this.#malformed(method, reply));
          else resolve(reply as StorageNodeMethods[M]['reply']);
        },
      );
    });
  }

  openStream<M extends StreamMethod>(method: M, handlers: StreamHandlers<M>): ClientStream<M> {
    assert(!this.#isClosed, `openStream on the closed client of ${this.nodeId}`);
    const stream = new GrpcClientStream(this.#connection(method), this.nodeId, method, handlers);
    this.#streams.add(stream);
    return stream;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stream of this.#streams) stream.close();
    this.#prompt.close();
    this.#bulk?.close();
  }

  #connection(method: StorageNodeMethod): Client {
    if (!BULK_METHODS.has(method)) return this.#prompt;
    this.#bulk ??= connect(this.#address);
    return this.#bulk;
  }

  #closedError(): TidemarkError {
    return new TidemarkError('UNAVAILABLE', `the client of storage node ${this.nodeId} is closed`);
  }

  #malformed(method: UnaryMethod, cause: TidemarkError | undefined): TidemarkError {
    return new TidemarkError(
      'CORRUPT',
      `storage node ${this.nodeId} answered ${method} with a malformed message`,
      {
        cause,
      },
    );
  }
}

function connect(address: string): Client {
  return new Client(address, credentials.createInsecure(), CLIENT_OPTIONS);
}
