/**
 * This process's streams to the storage nodes: per node one for appends, one for page reads (so that pages never hold up
 * acknowledgements) and one for heartbeats, shared by all volumes that are open here.
 */
import type { Clock, Timers } from '../../src/env/env.ts';
import type { ClientStream, StorageNodeClient } from '../../src/env/transport.ts';
import type { NodeId, VolumeId } from '../../src/log/lsn.ts';
import type {
  AppendReply,
  AppendRequest,
  ReadPagesReply,
  ReadPagesRequest,
} from '../../src/messages/messages.ts';
import { readClocks } from './clock-readings.ts';
import { Heartbeats } from './heartbeats.ts';

/** An open volume, as the append streams see it. */
export interface AppendMember {
  readonly volume: VolumeId;
  onAppendUp(node: NodeId): void;
  onAppendDown(node: NodeId): void;
  onAppendFull(node: NodeId): void;
  onAppendDrained(node: NodeId): void;
  onAppendReply(node: NodeId, reply: AppendReply): void;
}

/** An open volume, as the page streams see it. */
export interface ReadMember {
  onReadUp(node: NodeId): void;
  onReadDown(node: NodeId): void;
}

export interface StorageLinksOptions {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  /** Stable name of this compute node, and where clients reach it. */
  readonly computeId: string;
  readonly computeUrl: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly heartbeatIntervalMs?: number;
}

interface ReadLink {
  readonly stream: ClientStream<'readPages'>;
  readonly unanswered: Map<number, (reply: ReadPagesReply) => void>;
}

export class StorageLinks {
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  readonly clusterId: string;
  readonly heartbeats: Heartbeats;
  readonly #appendStreams = new Map<NodeId, ClientStream<'append'>>();
  readonly #readLinks = new Map<NodeId, ReadLink>();
  readonly #appendMembers = new Set<AppendMember>();
  readonly #readMembers = new Set<ReadMember>();
  #nextRequestId = 1;
  #appendsSent = 0;

  static open(options: StorageLinksOptions): StorageLinks {
    return new StorageLinks(options);
  }

  private constructor(options: StorageLinksOptions) {
    const { clients, clock, timers, heartbeatIntervalMs } = options;
    this.clients = clients;
    this.clusterId = options.clusterId;
    for (const [node, client] of clients) {
      this.#appendStreams.set(node, this.#openAppend(node, client));
      this.#readLinks.set(node, this.#openRead(node, client));
    }
    this.heartbeats = Heartbeats.open({
      clients,
      clusterId: options.clusterId,
      computeId: options.computeId,
      computeUrl: options.computeUrl,
      readClocks: () => readClocks(clock),
      timers,
      ...(heartbeatIntervalMs === undefined ? {} : { intervalMs: heartbeatIntervalMs }),
    });
  }

  /** Another node, or another way to one that is known. */
  connect(client: StorageNodeClient): void {
    const node = client.nodeId;
    const append = this.#appendStreams.get(node);
    const read = this.#readLinks.get(node);
    if (append?.isUp === true) this.#tellAppend((member) => member.onAppendDown(node));
    if (read?.stream.isUp === true) this.#tellRead((member) => member.onReadDown(node));
    append?.close();
    read?.stream.close();
    this.#appendStreams.set(node, this.#openAppend(node, client));
    this.#readLinks.set(node, this.#openRead(node, client));
    this.heartbeats.connect(client);
  }

  /** The member hears of every node that is up already, then of what happens. */
  joinAppend(member: AppendMember): () => void {
    this.#appendMembers.add(member);
    for (const [node, stream] of this.#appendStreams) if (stream.isUp) member.onAppendUp(node);
    return () => this.#appendMembers.delete(member);
  }

  joinRead(member: ReadMember): () => void {
    this.#readMembers.add(member);
    for (const [node, { stream }] of this.#readLinks) if (stream.isUp) member.onReadUp(node);
    return () => this.#readMembers.delete(member);
  }

  /** Append messages so far, to all nodes together. */
  get appendsSent(): number {
    return this.#appendsSent;
  }

  isConnected(node: NodeId): boolean {
    return this.#appendStreams.get(node)?.isUp ?? false;
  }

  /** Sends, if the stream is up; if not, its going down has been or will be told. */
  sendAppend(node: NodeId, request: AppendRequest): void {
    const stream = this.#appendStreams.get(node);
    if (stream === undefined || !stream.isUp) return;
    this.#appendsSent += 1;
    if (!stream.send(request)) for (const member of this.#appendMembers) member.onAppendFull(node);
  }

  /** Returns the request's id, or null when the stream is down. Without an answer until the stream goes down: members hear onReadDown. */
  sendRead(
    node: NodeId,
    request: Omit<ReadPagesRequest, 'requestId' | 'clusterId'>,
    onReply: (reply: ReadPagesReply) => void,
  ): number | null {
    const link = this.#readLinks.get(node);
    if (link === undefined || !link.stream.isUp) return null;
    const requestId = this.#nextRequestId++;
    link.unanswered.set(requestId, onReply);
    // The router bounds what is on the way, so the transport's wish to pause needs no queue here.
    link.stream.send({ ...request, requestId, clusterId: this.clusterId });
    return requestId;
  }

  close(): void {
    this.heartbeats.close();
    for (const stream of this.#appendStreams.values()) stream.close();
    for (const { stream } of this.#readLinks.values()) stream.close();
  }

  #openAppend(node: NodeId, client: StorageNodeClient): ClientStream<'append'> {
    return client.openStream('append', {
      onUp: () => this.#tellAppend((member) => member.onAppendUp(node)),
      onDown: () => this.#tellAppend((member) => member.onAppendDown(node)),
      onDrain: () => this.#tellAppend((member) => member.onAppendDrained(node)),
      onReply: (reply) => {
        for (const member of this.#appendMembers) {
          if (member.volume === reply.volume) member.onAppendReply(node, reply);
        }
      },
    });
  }

  #openRead(node: NodeId, client: StorageNodeClient): ReadLink {
    const unanswered: ReadLink['unanswered'] = new Map();
    const stream = client.openStream('readPages', {
      onUp: () => this.#tellRead((member) => member.onReadUp(node)),
      onDown: () => {
        unanswered.clear();
        this.#tellRead((member) => member.onReadDown(node));
      },
      onDrain: () => {},
      onReply: (reply) => {
        const onReply = unanswered.get(reply.requestId);
        unanswered.delete(reply.requestId);
        onReply?.(reply);
      },
    });
    return { stream, unanswered };
  }

  #tellAppend(tell: (member: AppendMember) => void): void {
    for (const member of [...this.#appendMembers]) tell(member);
  }

  #tellRead(tell: (member: ReadMember) => void): void {
    for (const member of [...this.#readMembers]) tell(member);
  }
}
