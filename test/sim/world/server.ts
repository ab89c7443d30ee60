/**
 * The serving end of a storage node's transport: numbers requests, hands them to the driver and carries replies back, as the gRPC server does.
 * Lives and dies with the process.
 */
import type { IncomingRequest, OutgoingReply, ServerHandlers } from '../../../src/adapters/grpc/server.ts';
import type { ReplyPort } from '../../../storage-node/driver/driver.ts';

export type Respond = (reply: OutgoingReply) => void;

/** What waits to be told that appends are read again. */
export interface AppendSource {
  onAppendsResumed(): void;
}

export class SimServer implements ReplyPort {
  readonly #handlers: ServerHandlers;
  readonly #onExchange: (request: IncomingRequest, reply: OutgoingReply) => void;
  readonly #pending = new Map<number, { readonly request: IncomingRequest; readonly respond: Respond }>();
  readonly #appendSources = new Set<AppendSource>();
  /** Told when the process ends. */
  readonly #onClosed = new Set<() => void>();
  areAppendsPaused = false;
  #nextId = 1;

  constructor(
    handlers: ServerHandlers,
    onExchange: (request: IncomingRequest, reply: OutgoingReply) => void,
  ) {
    this.#handlers = handlers;
    this.#onExchange = onExchange;
  }

  /** `onId` hears the request's id, for `abandon`, before there can be a reply. */
  receive(request: IncomingRequest, respond: Respond, onId: (id: number) => void = () => {}): void {
    const id = this.#nextId++;
    onId(id);
    this.#pending.set(id, { request, respond });
    this.#handlers.onRequest(id, request);
  }

  abandon(id: number): void {
    if (this.#pending.delete(id)) this.#handlers.onAbandoned(id);
  }

  reply(id: number, reply: OutgoingReply): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    this.#onExchange(pending.request, reply);
    pending.respond(reply);
  }

  pauseAppends(): void {
    this.areAppendsPaused = true;
  }

  resumeAppends(): void {
    this.areAppendsPaused = false;
    for (const source of this.#appendSources) source.onAppendsResumed();
  }

  joinAppends(source: AppendSource): void {
    this.#appendSources.add(source);
  }

  leaveAppends(source: AppendSource): void {
    this.#appendSources.delete(source);
  }

  /** `hear` is called when the process has ended; returns how not to be called. */
  onClosed(hear: () => void): () => void {
    this.#onClosed.add(hear);
    return () => this.#onClosed.delete(hear);
  }

  /** The process is gone. */
  close(): void {
    const listeners = [...this.#onClosed];
    this.#onClosed.clear();
    for (const hear of listeners) hear();
  }
}
