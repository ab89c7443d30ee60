/**
 * One long-lived stream to a storage node, as src/adapters/grpc/client-stream.ts keeps it: it connects, again after every loss, and messages
 * arrive in order or not at all. On a link that is cut they wait as TCP's do, until the link is whole again or keepalive ends the connection.
 *
 * Handlers are called as (onUp (onReply | onDrain)* onDown)*, never from within openStream, send or close.
 */
import type { IncomingRequest, OutgoingReply } from '../../../src/adapters/grpc/server.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import type { ClientStream, StreamHandlers } from '../../../src/env/transport.ts';
import type { NodeId } from '../../../src/log/lsn.ts';
import type { AppendRequest, StorageNodeMethods, StreamMethod } from '../../../src/messages/messages.ts';
import type { Host, Tap } from './client.ts';
import type { Link, Links, Watcher } from './links.ts';
import type { SimProcess } from './process.ts';
import type { AppendSource, SimServer } from './server.ts';

const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** When keepalive finds a dead connection (src/adapters/grpc/channel-options.ts). */
const KEEPALIVE_MIN_MS = 3_000;
const KEEPALIVE_MAX_MS = 5_000;
/** What a connection takes before `send` says to hold. */
const BUFFER_BYTES = 64 * 1024;
const MESSAGE_BYTES = 120;

interface StreamOptions<M extends StreamMethod> {
  readonly method: M;
  readonly handlers: StreamHandlers<M>;
  readonly nodeId: NodeId;
  readonly caller: SimProcess;
  readonly host: Host;
  readonly links: Links;
  readonly tap: Tap;
}

type State = 'connecting' | 'up' | 'pausing' | 'closed';

export class SimStream<M extends StreamMethod> implements ClientStream<M> {
  readonly #options: StreamOptions<M>;
  #state: State = 'pausing';
  #connection: Connection | null = null;
  #attempt = 0;
  #pauseMs = MIN_PAUSE_MS;

  constructor(options: StreamOptions<M>) {
    this.#options = options;
    this.#connect();
  }

  get isUp(): boolean {
    return this.#state === 'up';
  }

  send(request: StorageNodeMethods[M]['request']): boolean {
    const { method, nodeId } = this.#options;
    if (this.#state !== 'up' || this.#connection === null)
      throw new TidemarkError('UNAVAILABLE', `the ${method} stream to storage node ${nodeId} is down`);
    return this.#connection.toServer({ method, body: request } as IncomingRequest);
  }

  close(): void {
    this.#state = 'closed';
    this.#attempt += 1;
    this.#connection?.finish();
    this.#connection = null;
  }

  #connect(): void {
    const { caller, host, links } = this.#options;
    const attempt = ++this.#attempt;
    this.#state = 'connecting';
    const outward = links.between(caller.name, host.process.name);
    const inward = links.between(host.process.name, caller.name);
    const isMine = (): boolean => this.#attempt === attempt && this.#state === 'connecting';
    const refused = (): void => caller.later(0.5, 'refused', () => isMine() && this.#pause());
    caller.after(CONNECT_TIMEOUT_MS, () => isMine() && this.#pause());
    if (outward.cuts > 0) return;
    links.world.after(links.delayMs(outward, 0), null, 'connect', () => {
      const { server, process } = host;
      if (!isMine()) return;
      if (server === null) {
        if (inward.cuts === 0) refused();
        return;
      }
      process.later(0, 'accept', () => {
        if (inward.cuts > 0 || host.server !== server) return;
        caller.later(links.delayMs(inward, 0), 'connected', () => {
          if (isMine()) this.#up(server, outward, inward);
        });
      });
    });
  }

  #up(server: SimServer, outward: Link, inward: Link): void {
    const { caller, host, handlers, links, tap, method } = this.#options;
    if (host.server !== server) {
      this.#pause();
      return;
    }
    this.#pauseMs = MIN_PAUSE_MS;
    this.#state = 'up';
    const connection: Connection = new Connection(
      { caller, host, server, links, outward, inward, tap, method },
      {
        onReply: (reply) => handlers.onReply(reply.body as StorageNodeMethods[M]['reply']),
        onDrain: () => handlers.onDrain(),
        onBroken: () => {
          if (this.#connection !== connection || this.#state !== 'up') return;
          this.#connection = null;
          this.#pause();
          handlers.onDown(new TidemarkError('UNAVAILABLE', `the stream to ${this.#options.nodeId} broke`));
        },
      },
    );
    this.#connection = connection;
    handlers.onUp();
  }

  #pause(): void {
    const { caller, links } = this.#options;
    this.#state = 'pausing';
    const attempt = ++this.#attempt;
    const pauseMs = this.#pauseMs * (0.75 + links.between01() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
    caller.after(pauseMs, () => {
      if (this.#attempt === attempt && this.#state === 'pausing') this.#connect();
    });
  }
}

interface ConnectionPlace {
  readonly caller: SimProcess;
  readonly host: Host;
  readonly server: SimServer;
  readonly links: Links;
  readonly outward: Link;
  readonly inward: Link;
  readonly tap: Tap;
  readonly method: StreamMethod;
}

interface ConnectionHandlers {
  readonly onReply: (reply: OutgoingReply) => void;
  readonly onDrain: () => void;
  readonly onBroken: () => void;
}

/** A connection that is up. Broken once, and for good. */
class Connection implements AppendSource, Watcher {
  readonly #place: ConnectionPlace;
  readonly #handlers: ConnectionHandlers;
  readonly #toServer: Lane;
  readonly #toClient: Lane;
  readonly #unanswered = new Set<number>();
  /** Read by the server's machine, not yet by the server. */
  #held: IncomingRequest[] = [];
  #bufferedBytes = 0;
  #isClogged = false;
  #isBroken = false;
  #isFinished = false;
  #isSuspected = false;
  readonly #forgetServer: () => void;

  constructor(place: ConnectionPlace, handlers: ConnectionHandlers) {
    this.#place = place;
    this.#handlers = handlers;
    const { links, outward, inward, host, caller, server } = place;
    this.#toServer = new Lane(links, outward, host.process);
    this.#toClient = new Lane(links, inward, caller);
    links.watchers.add(this);
    server.joinAppends(this);
    this.#forgetServer = server.onClosed(() => this.#breakAtClient(links.delayMs(inward, 0)));
  }

  toServer(message: IncomingRequest): boolean {
    const sizeBytes = sizeOf(message);
    this.#bufferedBytes += sizeBytes;
    this.#toServer.send(sizeBytes, message.method, () => {
      this.#drain(sizeBytes);
      this.#arrive(message);
    });
    if (this.#bufferedBytes <= BUFFER_BYTES) return true;
    this.#isClogged = true;
    return false;
  }

  onAppendsResumed(): void {
    const held = this.#held;
    this.#held = [];
    for (const message of held) this.#arrive(message);
  }

  /** The client closes: what it sent still arrives, nothing comes back to it. */
  finish(): void {
    this.#isFinished = true;
    this.#toServer.send(0, 'finish', () => this.#leaveServer());
    this.#toClient.stop(0);
    this.#place.links.watchers.delete(this);
  }

  /** Both ends lose it. Of what is on its way a part arrives: what had reached the other machine. */
  #breakNow(): void {
    if (this.#isBroken) return;
    const { links, inward, host } = this.#place;
    this.#toServer.stop(links.between01());
    if (inward.cuts === 0) this.#breakAtClient(links.delayMs(inward, 0));
    else this.#breakAtClient(KEEPALIVE_MIN_MS);
    host.process.later(links.delayMs(inward, 0), 'stream-lost', () => this.#leaveServer());
  }

  onLinksChanged(): void {
    const { outward, inward } = this.#place;
    const isCut = (): boolean => outward.cuts > 0 || inward.cuts > 0;
    if (isCut()) this.#suspect(isCut);
    this.#toServer.flush();
    this.#toClient.flush();
  }

  onStopped(process: SimProcess): void {
    if (process === this.#place.host.process || process === this.#place.caller)
      this.#suspect(() => process.isStopped);
  }

  /** The other end is told by the caller's machine, if anything arrives from there. */
  onEnded(process: SimProcess): void {
    const { caller, links, outward, host } = this.#place;
    if (process !== caller) return;
    links.watchers.delete(this);
    const afterMs = outward.cuts > 0 ? KEEPALIVE_MAX_MS : links.delayMs(outward, 0);
    host.process.later(afterMs, 'stream-lost', () => this.#leaveServer());
  }

  onReset(one: string, other: string): void {
    const { caller, host } = this.#place;
    const names = [caller.name, host.process.name];
    if (names.includes(one) && names.includes(other)) this.#breakNow();
  }

  /** What keepalive finds out, unless it passes before. */
  #suspect(isStill: () => boolean): void {
    const { links } = this.#place;
    if (this.#isSuspected) return;
    this.#isSuspected = true;
    const afterMs = KEEPALIVE_MIN_MS + links.between01() * (KEEPALIVE_MAX_MS - KEEPALIVE_MIN_MS);
    links.world.after(afterMs, null, 'keepalive', () => {
      this.#isSuspected = false;
      if (!this.#isBroken && !this.#isFinished && isStill()) this.#breakNow();
    });
  }

  #arrive(message: IncomingRequest): void {
    const { server, host, tap, caller } = this.#place;
    if (host.server !== server) return;
    if (message.method === 'append' && server.areAppendsPaused) {
      this.#held.push(message);
      return;
    }
    tap(caller.name, host.process.name, message.method, 'request');
    if (host.server !== server) return;
    let id = 0;
    const respond = (reply: OutgoingReply): void => {
      this.#unanswered.delete(id);
      this.#toClient.send(sizeOf(reply), message.method, () => {
        tap(host.process.name, caller.name, message.method, 'reply');
        if (!this.#isBroken && !this.#isFinished) this.#handlers.onReply(reply);
      });
    };
    server.receive(message, respond, (given) => {
      id = given;
      this.#unanswered.add(given);
    });
  }

  #drain(sizeBytes: number): void {
    this.#bufferedBytes -= sizeBytes;
    if (!this.#isClogged || this.#bufferedBytes > BUFFER_BYTES / 2) return;
    this.#isClogged = false;
    this.#place.caller.later(0, 'drain', () => {
      if (!this.#isBroken && !this.#isFinished) this.#handlers.onDrain();
    });
  }

  #breakAtClient(delayMs: number): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.#toClient.stop(0);
    this.#place.links.watchers.delete(this);
    this.#place.caller.later(delayMs, 'broken', () => {
      if (!this.#isFinished) this.#handlers.onBroken();
    });
  }

  #leaveServer(): void {
    const { server, host } = this.#place;
    this.#forgetServer();
    server.leaveAppends(this);
    if (host.server !== server) return;
    for (const id of this.#unanswered) server.abandon(id);
    this.#unanswered.clear();
  }
}

/** One direction: in order, one arrival not before the last. */
class Lane {
  readonly #links: Links;
  readonly #link: Link;
  readonly #receiver: SimProcess;
  #parked: (() => void)[] = [];
  #isFlushing = false;
  #lastAtMs = 0;
  #sent = 0;
  #arrived = 0;
  #stopAfter = Number.POSITIVE_INFINITY;

  constructor(links: Links, link: Link, receiver: SimProcess) {
    this.#links = links;
    this.#link = link;
    this.#receiver = receiver;
  }

  send(sizeBytes: number, what: string, arrive: () => void): void {
    const { world } = this.#links;
    const atMs = Math.max(this.#lastAtMs, world.nowMs + this.#links.delayMs(this.#link, sizeBytes));
    this.#lastAtMs = atMs;
    this.#sent += 1;
    const life = this.#receiver.life;
    world.after(atMs - world.nowMs, life, what, () => this.#arriveOrPark(arrive));
  }

  /** Of what is under way the share `part` still arrives. */
  stop(part: number): void {
    const underWay = this.#sent - this.#arrived;
    this.#stopAfter = Math.min(this.#stopAfter, this.#arrived + Math.floor(part * (underWay + 1)));
  }

  /** TCP sends again after a while what had to wait. */
  flush(): void {
    if (this.#parked.length === 0 || this.#isBlocked || this.#isFlushing) return;
    this.#isFlushing = true;
    const againMs = 1 + this.#links.between01() * 100;
    this.#links.world.after(againMs, this.#receiver.life, 'resend', () => {
      this.#isFlushing = false;
      if (this.#isBlocked) return;
      const parked = this.#parked;
      this.#parked = [];
      for (const arrive of parked) this.#arrive(arrive);
    });
  }

  get #isBlocked(): boolean {
    return this.#link.cuts > 0 || this.#link.stalls > 0;
  }

  #arriveOrPark(arrive: () => void): void {
    if (this.#isBlocked || this.#parked.length > 0) this.#parked.push(arrive);
    else this.#arrive(arrive);
  }

  #arrive(arrive: () => void): void {
    this.#arrived += 1;
    if (this.#arrived <= this.#stopAfter) arrive();
  }
}

function sizeOf(message: IncomingRequest | OutgoingReply): number {
  return message.method === 'append'
    ? MESSAGE_BYTES + ((message.body as Partial<AppendRequest>).boxcar?.length ?? 0)
    : MESSAGE_BYTES;
}
