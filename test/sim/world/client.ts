/**
 * The calling end: `StorageNodeClient` over the simulated network. Unary calls may be lost either way, delivered twice, overtaken, and arrive
 * long after their caller gave up; streams (stream.ts) keep their order or break.
 */
import type { IncomingRequest, OutgoingReply } from '../../../src/adapters/grpc/server.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { ClientStream, StorageNodeClient, StreamHandlers } from '../../../src/env/transport.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { StorageNodeMethods, StreamMethod, UnaryMethod } from '../../../src/messages/messages.ts';
import type { Link, Links } from './links.ts';
import type { SimProcess } from './process.ts';
import type { SimServer } from './server.ts';
import { SimStream } from './stream.ts';

/** A storage node as seen from outside. */
export interface Host {
  readonly process: SimProcess;
  /** null while it does not listen. */
  readonly server: SimServer | null;
}

/** Looks at every message before it is delivered; may make something happen first. */
export type Tap = (from: string, to: string, method: string, phase: 'request' | 'reply') => void;

/** What a connection to a process that does not run costs before it is refused. */
const REFUSED_AFTER_MS = 0.5;

export class SimClient implements StorageNodeClient {
  readonly nodeId: NodeId;
  readonly #caller: SimProcess;
  readonly #host: Host;
  readonly #links: Links;
  readonly #tap: Tap;
  readonly #outward: Link;
  readonly #inward: Link;
  readonly #streams = new Set<{ close(): void }>();
  #isClosed = false;

  constructor(options: {
    readonly nodeId: NodeId;
    readonly caller: SimProcess;
    readonly host: Host;
    readonly links: Links;
    readonly tap: Tap;
  }) {
    this.nodeId = options.nodeId;
    this.#caller = options.caller;
    this.#host = options.host;
    this.#links = options.links;
    this.#tap = options.tap;
    this.#outward = options.links.between(options.caller.name, options.host.process.name);
    this.#inward = options.links.between(options.host.process.name, options.caller.name);
  }

  call<M extends UnaryMethod>(
    method: M,
    request: StorageNodeMethods[M]['request'],
    { timeoutMs }: { readonly timeoutMs: number },
  ): Promise<StorageNodeMethods[M]['reply']> {
    if (this.#isClosed) return Promise.reject(this.#unavailable('the client is closed'));
    return new Promise((resolve, reject) => {
      let isOver = false;
      let cancel: (() => void) | null = null;
      const deadline = this.#caller.after(timeoutMs, () => {
        if (isOver) return;
        isOver = true;
        cancel?.();
        reject(
          new TidemarkError('TIMEOUT', `storage node ${this.nodeId} did not answer within ${timeoutMs} ms`),
        );
      });
      const answer = (reply: OutgoingReply | null): void => {
        if (isOver) return;
        isOver = true;
        deadline.cancel();
        if (reply === null) reject(this.#unavailable('it is not reachable'));
        else resolve(reply.body as StorageNodeMethods[M]['reply']);
      };
      const message = { method, body: request } as IncomingRequest;
      cancel = this.#deliver(message, answer);
      if (this.#links.duplicates(this.#outward)) this.#deliver(message, () => {});
    });
  }

  openStream<M extends StreamMethod>(method: M, handlers: StreamHandlers<M>): ClientStream<M> {
    const stream = new SimStream<M>({
      method,
      handlers,
      nodeId: this.nodeId,
      caller: this.#caller,
      host: this.#host,
      links: this.#links,
      tap: this.#tap,
    });
    this.#streams.add(stream);
    return stream;
  }

  close(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) stream.close();
  }

  /** Returns what to do when the caller gives up. */
  #deliver(message: IncomingRequest, answer: (reply: OutgoingReply | null) => void): () => void {
    const { world } = this.#links;
    const caller = this.#caller.life;
    const backToCaller = (reply: OutgoingReply | null): void => {
      const link = this.#inward;
      if (this.#links.loses(link)) return;
      const delayMs = reply === null ? REFUSED_AFTER_MS : this.#links.delayMs(link, 200);
      world.after(delayMs, caller, message.method, () => {
        this.#tap(this.#host.process.name, this.#caller.name, message.method, 'reply');
        if (caller?.isOver !== true) answer(reply);
      });
    };
    let delivered: { readonly server: SimServer; readonly id: number } | null = null;
    const link = this.#outward;
    if (!this.#links.loses(link)) {
      world.after(this.#links.delayMs(link, 200), null, message.method, () => {
        const { process, server } = this.#host;
        if (server === null) {
          backToCaller(null);
          return;
        }
        // The connection, and with it the call, dies with the process; until then it waits for a process that is stopped.
        const forget = server.onClosed(() => backToCaller(null));
        process.later(0, message.method, () => {
          this.#tap(this.#caller.name, process.name, message.method, 'request');
          if (this.#host.server !== server) return;
          const respond = (reply: OutgoingReply): void => {
            forget();
            backToCaller(reply);
          };
          server.receive(message, respond, (id) => {
            delivered = { server, id };
          });
        });
      });
    }
    return () => {
      if (delivered === null || this.#links.loses(this.#outward)) return;
      const { server, id } = delivered;
      this.#host.process.later(this.#links.delayMs(this.#outward, 0), 'abandoned', () => {
        if (this.#host.server === server) server.abandon(id);
      });
    };
  }

  #unavailable(why: string): TidemarkError {
    return new TidemarkError('UNAVAILABLE', `storage node ${this.nodeId}: ${why}`);
  }
}
