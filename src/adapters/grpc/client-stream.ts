/**
 * One long-lived stream to one storage node, kept open: it connects, tells when it is up (the server's headers came), and after every loss
 * connects again, fast at first.
 *
 * Invariants
 * 1. Handlers are called as (onUp (onReply | onDrain)* onDown)*, never after `close`, and never from within `openStream`, `send` or `close`.
 * 2. `send` works between onUp and onDown only. What was sent and not answered by onDown may or may not have arrived.
 * 3. An attempt that does not come up in time is given up (watchdog): a black hole answers nothing at all.
 */
import type { Client, ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { TidemarkError } from '../../base/errors.ts';
import type { ClientStream, StreamHandlers } from '../../env/transport.ts';
import type { NodeId } from '../../log/lsn.ts';
import type { StorageNodeMethods, StreamMethod } from '../../messages/messages.ts';
import { errorOfStatus } from './statuses.ts';
import { type Decoded, methodDefinition } from './wire.ts';

/** First pause before connecting again; doubled up to MAX_PAUSE_MS, with a random share so that six clients do not knock at once. */
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;
/** How long one attempt may take: several round trips of a slow network, well below what a commit waits. */
const CONNECT_TIMEOUT_MS = 3_000;

type Call = ClientDuplexStream<object, Decoded>;
type State =
  | { readonly kind: 'connecting'; readonly call: Call; readonly watchdog: NodeJS.Timeout }
  | { readonly kind: 'up'; readonly call: Call }
  | { readonly kind: 'pausing'; readonly timer: NodeJS.Timeout }
  | { readonly kind: 'closed' };

export class GrpcClientStream<M extends StreamMethod> implements ClientStream<M> {
  readonly #client: Client;
  readonly #nodeId: NodeId;
  readonly #method: M;
  readonly #handlers: StreamHandlers<M>;
  #state: State;
  #pauseMs = MIN_PAUSE_MS;

  constructor(client: Client, nodeId: NodeId, method: M, handlers: StreamHandlers<M>) {
    this.#client = client;
    this.#nodeId = nodeId;
    this.#method = method;
    this.#handlers = handlers;
    this.#state = this.#connect();
  }

  get isUp(): boolean {
    return this.#state.kind === 'up';
  }

  send(request: StorageNodeMethods[M]['request']): boolean {
    if (this.#state.kind !== 'up') {
      throw new TidemarkError(
        'UNAVAILABLE',
        `the ${this.#method} stream to storage node ${this.#nodeId} is down`,
      );
    }
    return this.#state.call.write(request);
  }

  close(): void {
    const state = this.#state;
    this.#state = { kind: 'closed' };
    switch (state.kind) {
      case 'connecting':
        clearTimeout(state.watchdog);
        state.call.cancel();
        break;
      case 'up':
        // Half-close: what was sent is still delivered; the server ends the stream then.
        state.call.end();
        break;
      case 'pausing':
        clearTimeout(state.timer);
        break;
      case 'closed':
        break;
    }
  }

  #connect(): State {
    const definition = methodDefinition(this.#method);
    const call: Call = this.#client.makeBidiStreamRequest<object, Decoded>(
      definition.path,
      definition.requestSerialize,
      definition.responseDeserialize,
    );
    call.on('metadata', () => this.#onUp(call));
    call.on('data', (reply: Decoded) => this.#onReply(call, reply));
    call.on('drain', () => {
      if (this.#owns(call)) this.#handlers.onDrain();
    });
    call.on('error', (error: Error) =>
      this.#onLost(call, errorOfStatus(this.#nodeId, error as ServiceError)),
    );
    call.on('end', () => this.#onLost(call, this.#ended()));
    const watchdog = setTimeout(() => this.#giveUp(call), CONNECT_TIMEOUT_MS);
    return { kind: 'connecting', call, watchdog };
  }

  #owns(call: Call): boolean {
    return this.#state.kind === 'up' && this.#state.call === call;
  }

  #onUp(call: Call): void {
    if (this.#state.kind !== 'connecting' || this.#state.call !== call) return;
    clearTimeout(this.#state.watchdog);
    this.#state = { kind: 'up', call };
    this.#pauseMs = MIN_PAUSE_MS;
    this.#handlers.onUp();
  }

  #onReply(call: Call, reply: Decoded): void {
    if (!this.#owns(call)) return;
    if (reply instanceof TidemarkError) {
      call.cancel();
      this.#onLost(call, reply);
      return;
    }
    this.#handlers.onReply(reply as StorageNodeMethods[M]['reply']);
  }

  #giveUp(call: Call): void {
    call.cancel();
    this.#onLost(call, this.#ended());
  }

  #onLost(call: Call, reason: TidemarkError): void {
    const state = this.#state;
    if ((state.kind !== 'connecting' && state.kind !== 'up') || state.call !== call) return;
    if (state.kind === 'connecting') clearTimeout(state.watchdog);
    const timer = setTimeout(() => {
      this.#state = this.#connect();
    }, this.#nextPauseMs());
    this.#state = { kind: 'pausing', timer };
    if (state.kind === 'up') this.#handlers.onDown(reason);
  }

  #nextPauseMs(): number {
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    return pauseMs * (0.75 + Math.random() / 2);
  }

  #ended(): TidemarkError {
    return new TidemarkError('UNAVAILABLE', `storage node ${this.#nodeId} ended the ${this.#method} stream`, {
      nextStep: 'It is stopping or unreachable; the stream is opened again by itself.',
    });
  }
}
