/**
 * The gRPC server of a storage node: turns exchanges into numbered requests and carries the replies back. It knows the
 * protocol's shapes and nothing of its meaning.
 *
 * Invariants
 * 1. Every request handed over has an id of its own; it gets at most one reply; when its stream or client is gone first, `onAbandoned`
 *    says so, once, and a later reply is dropped.
 * 2. Replies on one stream leave in the order of `reply` calls.
 * 3. A message that is malformed ends its own exchange (INVALID_ARGUMENT), nothing else.
 * 4. A client that does not read its replies is not read from either: what is queued towards it stays bounded by what it had asked for.
 *
 * A stream is answered with headers at once: to the client that means "up".
 */
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { TidemarkError } from '../../base/errors.ts';
import { formatHostPort, parseHostPort } from '../../base/node-list.ts';
import type { StorageNodeMethod, StorageNodeMethods } from '../../messages/messages.ts';
import { SERVER_OPTIONS } from './channel-options.ts';
import { statusOfError } from './statuses.ts';
import {
  type Decoded,
  isStreamMethod,
  STORAGE_NODE_METHODS,
  storageNodeService,
  WIRE_METHODS,
} from './wire.ts';

export type RequestId = number;
export type IncomingRequest = {
  [M in StorageNodeMethod]: { readonly method: M; readonly body: StorageNodeMethods[M]['request'] };
}[StorageNodeMethod];
export type OutgoingReply = {
  [M in StorageNodeMethod]: { readonly method: M; readonly body: StorageNodeMethods[M]['reply'] };
}[StorageNodeMethod];

export interface ServerHandlers {
  readonly onRequest: (id: RequestId, request: IncomingRequest) => void;
  readonly onAbandoned: (id: RequestId) => void;
}

type WayBack = { send(id: RequestId, body: object): void };

export class StorageNodeServer {
  readonly #server = new Server(SERVER_OPTIONS);
  readonly #handlers: ServerHandlers;
  readonly #waysBack = new Map<RequestId, WayBack>();
  readonly #appendStreams = new Set<StreamExchange>();
  #appendsPaused = false;
  #nextId = 1;
  #address = '';

  private constructor(handlers: ServerHandlers) {
    this.#handlers = handlers;
  }

  /** Listens on `host:port` (port 0: a free one). Rejects IN_USE or IO_ERROR. */
  static async listen(listen: string, handlers: ServerHandlers): Promise<StorageNodeServer> {
    const { host } = parseHostPort(listen, { allowPortZero: true });
    const server = new StorageNodeServer(handlers);
    server.#server.addService(storageNodeService(), server.#implementation());
    const port = await bind(server.#server, listen);
    server.#address = formatHostPort({ host, port });
    return server;
  }

  /** host:port with the real port. */
  get address(): string {
    return this.#address;
  }

  reply(id: RequestId, reply: OutgoingReply): void {
    const wayBack = this.#waysBack.get(id);
    if (wayBack === undefined) return;
    this.#waysBack.delete(id);
    wayBack.send(id, reply.body);
  }

  /** Stops reading appends (HTTP/2 flow control then reaches the writers); all else goes on. */
  pauseAppends(): void {
    this.#appendsPaused = true;
    for (const stream of this.#appendStreams) stream.updateFlow();
  }

  resumeAppends(): void {
    this.#appendsPaused = false;
    for (const stream of this.#appendStreams) stream.updateFlow();
  }

  /** Ends everything: streams are closed, requests not yet answered are abandoned (without a call of `onAbandoned`). */
  async close(): Promise<void> {
    this.#waysBack.clear();
    this.#server.forceShutdown();
  }

  #implementation(): UntypedServiceImplementation {
    const implementation: UntypedServiceImplementation = {};
    for (const method of STORAGE_NODE_METHODS) {
      implementation[WIRE_METHODS[method].name] = isStreamMethod(method)
        ? this.#streamHandler(method)
        : this.#unaryHandler(method);
    }
    return implementation;
  }

  #unaryHandler(method: StorageNodeMethod): handleUnaryCall<Decoded, object> {
    return (call: ServerUnaryCall<Decoded, object>, callback: sendUnaryData<object>) => {
      if (call.request instanceof TidemarkError) {
        callback(statusOfError(call.request));
        return;
      }
      const id = this.#nextId++;
      this.#waysBack.set(id, { send: (_, body) => callback(null, body) });
      call.on('cancelled', () => this.#abandon(id));
      this.#handlers.onRequest(id, { method, body: call.request } as IncomingRequest);
    };
  }

  #streamHandler(method: StorageNodeMethod): handleBidiStreamingCall<Decoded, object> {
    return (call) => {
      const exchange = new StreamExchange(call, () => method === 'append' && this.#appendsPaused);
      if (method === 'append') this.#appendStreams.add(exchange);
      const end = (): void => {
        this.#appendStreams.delete(exchange);
        for (const id of exchange.takeUnanswered()) this.#abandon(id);
      };
      call.on('data', (message: Decoded) => {
        if (exchange.isOver) return;
        if (message instanceof TidemarkError) {
          exchange.fail(message);
          end();
          return;
        }
        const id = this.#nextId++;
        exchange.expect(id);
        this.#waysBack.set(id, exchange);
        this.#handlers.onRequest(id, { method, body: message } as IncomingRequest);
      });
      call.on('end', () => {
        exchange.finish();
        end();
      });
      call.on('cancelled', end);
      call.on('error', end);
      call.on('close', end);
      call.sendMetadata(new Metadata());
      exchange.updateFlow();
    };
  }

  #abandon(id: RequestId): void {
    if (this.#waysBack.delete(id)) this.#handlers.onAbandoned(id);
  }
}

/** One open stream: what is unanswered on it, and whether it may be read from now. */
class StreamExchange implements WayBack {
  readonly #call: ServerDuplexStream<Decoded, object>;
  readonly #isHeld: () => boolean;
  readonly #unanswered = new Set<RequestId>();
  #isOver = false;
  #isClogged = false;

  constructor(call: ServerDuplexStream<Decoded, object>, isHeld: () => boolean) {
    this.#call = call;
    this.#isHeld = isHeld;
    call.on('drain', () => {
      this.#isClogged = false;
      this.updateFlow();
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  expect(id: RequestId): void {
    this.#unanswered.add(id);
  }

  send(id: RequestId, body: object): void {
    this.#unanswered.delete(id);
    if (this.#isOver) return;
    if (this.#call.write(body) || this.#isClogged) return;
    this.#isClogged = true;
    this.updateFlow();
  }

  updateFlow(): void {
    if (this.#isOver) return;
    const hold = this.#isClogged || this.#isHeld();
    if (hold && !this.#call.isPaused()) this.#call.pause();
    if (!hold && this.#call.isPaused()) this.#call.resume();
  }

  takeUnanswered(): readonly RequestId[] {
    this.#isOver = true;
    const ids = [...this.#unanswered];
    this.#unanswered.clear();
    return ids;
  }

  finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#call.end();
  }

  fail(error: TidemarkError): void {
    this.#isOver = true;
    this.#call.emit('error', statusOfError(error));
  }
}

function bind(server: Server, listen: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(bindError(listen, error));
    });
  });
}

function bindError(listen: string, cause: Error): TidemarkError {
  if (/EADDRINUSE/.test(cause.message)) {
    return new TidemarkError('IN_USE', `another process already listens on ${listen}`, {
      cause,
      nextStep: 'Stop it, or give this storage node another port (--listen HOST:PORT).',
    });
  }
  return new TidemarkError('IO_ERROR', `cannot listen on ${listen}: ${cause.message}`, {
    cause,
    nextStep: 'Use an address of this machine, for example 127.0.0.1:7101 or 0.0.0.0:7101.',
  });
}
