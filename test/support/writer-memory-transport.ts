/**
 * StorageNodeClients over a cluster of real storage-node cores in memory (storage-cluster.ts), in real time: for tests of the compute
 * node's drivers. A node can be cut off, or crash and start anew, while streams go down and come back as the port promises.
 */
import { nodeClock } from '../../src/adapters/clock.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import type { ClientStream, StorageNodeClient, StreamHandlers } from '../../src/env/transport.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type { StorageNodeMethods, StreamMethod, UnaryMethod } from '../../src/messages/messages.ts';
import { StorageCluster, TEST_NODES } from './storage-cluster.ts';

const TICK_MS = 20;

interface OpenStream {
  readonly node: NodeId;
  goUp(): void;
  goDown(): void;
}

export class MemoryTransport {
  readonly cluster = new StorageCluster();
  readonly clients: ReadonlyMap<NodeId, StorageNodeClient>;
  private readonly unreachable = new Set<NodeId>();
  private readonly streams = new Set<OpenStream>();
  private readonly ticking: NodeJS.Timeout;
  private isPumpDue = false;

  constructor() {
    this.syncTime();
    this.clients = new Map(TEST_NODES.map(({ nodeId }) => [nodeId, this.clientOf(nodeId)]));
    this.ticking = setInterval(() => {
      this.syncTime();
      this.cluster.advance(1);
    }, TICK_MS);
  }

  close(): void {
    clearInterval(this.ticking);
    for (const stream of this.streams) stream.goDown();
  }

  /** Nobody reaches it any more; it runs on. */
  cutOff(node: NodeId): void {
    this.unreachable.add(node);
    for (const { nodeId } of TEST_NODES) if (nodeId !== node) this.cluster.cut(node, nodeId);
    for (const stream of this.streams) if (stream.node === node) stream.goDown();
  }

  crash(node: NodeId): void {
    this.unreachable.add(node);
    for (const stream of this.streams) if (stream.node === node) stream.goDown();
    this.cluster.crash(node);
  }

  /** Starts it when it has crashed; reachable again either way. */
  bringBack(node: NodeId): void {
    this.unreachable.delete(node);
    this.cluster.heal();
    for (const other of this.unreachable) {
      for (const { nodeId } of TEST_NODES) if (nodeId !== other) this.cluster.cut(other, nodeId);
    }
    if (this.cluster.core(node) === null) this.cluster.restart(node);
    for (const stream of this.streams) if (stream.node === node) stream.goUp();
  }

  private clientOf(nodeId: NodeId): StorageNodeClient {
    return {
      nodeId,
      call: (method, request, { timeoutMs }) => this.call(nodeId, method, request, timeoutMs),
      openStream: (method, handlers) => this.openStream(nodeId, method, handlers),
      close: () => {},
    };
  }

  private call<M extends UnaryMethod>(
    node: NodeId,
    method: M,
    request: StorageNodeMethods[M]['request'],
    timeoutMs: number,
  ): Promise<StorageNodeMethods[M]['reply']> {
    return new Promise((resolve, reject) => {
      if (this.unreachable.has(node)) {
        setImmediate(() => reject(new TidemarkError('UNAVAILABLE', `${node} is not reached`)));
        return;
      }
      const timer = setTimeout(
        () => reject(new TidemarkError('TIMEOUT', `${node} did not answer ${method}`)),
        timeoutMs,
      );
      this.send(node, method, request, (reply) => {
        if (this.unreachable.has(node)) return;
        clearTimeout(timer);
        resolve(reply);
      });
    });
  }

  private openStream<M extends StreamMethod>(
    node: NodeId,
    method: M,
    handlers: StreamHandlers<M>,
  ): ClientStream<M> {
    let generation = 0;
    let isUp = false;
    let isClosed = false;
    const stream: OpenStream = {
      node,
      goUp: () => {
        if (isUp || isClosed || this.unreachable.has(node)) return;
        isUp = true;
        handlers.onUp();
      },
      goDown: () => {
        generation += 1;
        if (!isUp) return;
        isUp = false;
        if (!isClosed) handlers.onDown(new TidemarkError('UNAVAILABLE', `${node} went away`));
      },
    };
    this.streams.add(stream);
    setImmediate(() => stream.goUp());
    return {
      get isUp() {
        return isUp;
      },
      send: (request) => {
        if (!isUp) throw new TidemarkError('UNAVAILABLE', `the ${method} stream to ${node} is down`);
        const sentIn = generation;
        this.send(node, method, request, (reply) => {
          if (sentIn === generation && !isClosed) handlers.onReply(reply);
        });
        return true;
      },
      close: () => {
        isClosed = true;
        isUp = false;
        this.streams.delete(stream);
      },
    };
  }

  private send<M extends UnaryMethod | StreamMethod>(
    node: NodeId,
    method: M,
    request: StorageNodeMethods[M]['request'],
    onReply: (reply: StorageNodeMethods[M]['reply']) => void,
  ): void {
    this.syncTime();
    this.cluster.send(node, method, request, (reply) => setImmediate(() => onReply(reply)));
    if (this.isPumpDue) return;
    this.isPumpDue = true;
    setImmediate(() => {
      this.isPumpDue = false;
      this.cluster.pump();
    });
  }

  private syncTime(): void {
    this.cluster.nowMs = Math.max(this.cluster.nowMs, nodeClock.now().monotonicMs);
  }
}
