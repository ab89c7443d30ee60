/**
 * A cluster of real storage-node cores on test disks and a test network, in one thread and without a clock of its own: what the cores
 * wait for lies in a list of tasks, and a test takes them in order or, from a seed, in any order that a driver could produce. Links can be cut,
 * nodes crashed and started anew.
 */
import { nodeCrc32 } from '../../src/adapters/crc32.ts';
import type { KvEntry, Now } from '../../src/env/env.ts';
import type { NodeId } from '../../src/log/lsn.ts';
import type {
  ExchangeMemoryReply,
  StorageNodeMethod,
  StorageNodeMethods,
} from '../../src/messages/messages.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type {
  CoreEffect,
  CoreEvent,
  JournalRecovery,
  KeyRange,
  NodeReply,
  NodeRequest,
} from '../../storage-node/core/effects.ts';
import type { CoreLimits } from '../../storage-node/core/limits.ts';
import { StorageNodeCore } from '../../storage-node/core/node.ts';
import { type CrashOptions, TestDisk } from './storage-disk.ts';

export const TEST_CLUSTER = 'testcluster00001';
export const TEST_NODES: readonly ClusterNode[] = ['az1-a', 'az1-b', 'az2-a', 'az2-b', 'az3-a', 'az3-b'].map(
  (nodeId) => ({ nodeId: nodeId as NodeId, az: nodeId.slice(0, 3), address: `${nodeId}:7100` }),
);

export interface ClusterOptions {
  /** In [0, 1), for the order of tasks; without it they run in the order they came. */
  readonly chance?: () => number;
  readonly limits?: Partial<CoreLimits>;
  readonly leaseTermMs?: number;
  readonly ringEntries?: number;
  readonly nodes?: readonly ClusterNode[];
  /** Those that everybody knows from the start; all when not given. */
  readonly bootstrap?: readonly ClusterNode[];
  /** Disks to start from, instead of empty ones; what they hold is copied. */
  readonly disks?: ReadonlyMap<NodeId, TestDisk>;
  /** Not started yet: `startFrom` does. */
  readonly absent?: readonly NodeId[];
  /** Told everything that a node gives to its disk, in order. */
  readonly onDisk?: (nodeId: NodeId, effect: Extract<CoreEffect, { kind: 'persist' | 'write' }>) => void;
}

interface Task {
  readonly node: TestStorageNode;
  readonly life: number;
  readonly kind: 'durable' | 'query' | 'write' | 'deliver';
  readonly run: () => void;
}

export interface FoundDisk {
  readonly entries: readonly KvEntry[];
  readonly recovery: JournalRecovery;
  readonly storeDoubts: readonly KeyRange[];
}

export interface LogLine {
  readonly node: NodeId;
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

interface TestStorageNode {
  readonly nodeId: NodeId;
  disk: TestDisk;
  core: StorageNodeCore | null;
  /** Raised by every crash: tasks of an earlier life are void. */
  life: number;
  starts: number;
  readonly toSync: (readonly CoreEffect[])[];
}

/** Nodes that a manifest names and the test leaves out have nothing to say of those that are there. */
const REMEMBERS_NOTHING: ExchangeMemoryReply = {
  incarnation: '1.absent',
  asks: null,
  recalls: { incarnation: '', segments: [], registers: [], after: '', through: '', done: true },
  refusal: null,
};
const NO_DAMAGE: JournalRecovery = { guard: new Map(), entries: [], damaged: false, findings: [] };
/** A pump that does not come to rest by then goes round in circles. */
const MAX_TASKS = 200_000;

export class StorageCluster {
  readonly logs: LogLine[] = [];
  /** Calls between nodes so far, by method. */
  readonly callCounts = new Map<string, number>();
  nowMs = 1_000;
  /** Nodes that persists of are held up: journal writes neither finish nor fail. */
  readonly stalledDisks = new Set<NodeId>();
  private readonly options: ClusterOptions;
  private readonly nodes = new Map<NodeId, TestStorageNode>();
  private readonly cutLinks = new Set<string>();
  private tasks: Task[] = [];
  private nextReplyTo = 1;
  private readonly awaited = new Map<number, (reply: NodeReply) => void>();
  /** Calls between nodes without an answer, by the id of their reply: they fail when the one who was asked goes down. */
  private readonly callsTo = new Map<
    number,
    { readonly target: TestStorageNode; readonly fail: () => void }
  >();

  constructor(options: ClusterOptions = {}) {
    this.options = options;
    for (const { nodeId } of options.nodes ?? TEST_NODES) {
      const image = options.disks?.get(nodeId);
      const disk = image?.copy() ?? new TestDisk(options.ringEntries);
      const node: TestStorageNode = { nodeId, disk, core: null, life: 0, starts: 0, toSync: [] };
      this.nodes.set(nodeId, node);
      if (options.absent?.includes(nodeId) === true) continue;
      this.boot(node, image === undefined ? NO_DAMAGE : disk.crash({ chance: () => 0 }));
    }
    this.pump();
  }

  get nodeIds(): readonly NodeId[] {
    return [...this.nodes.keys()];
  }

  /** For assertions on state; null while crashed. */
  core(nodeId: NodeId): StorageNodeCore | null {
    return this.node(nodeId).core;
  }

  disk(nodeId: NodeId): TestDisk {
    return this.node(nodeId).disk;
  }

  /** Sends a request; the reply, if and when there is one, goes to `onReply`. Returns its id for `abandon`. */
  send<M extends StorageNodeMethod>(
    nodeId: NodeId,
    method: M,
    body: StorageNodeMethods[M]['request'],
    onReply: (reply: StorageNodeMethods[M]['reply']) => void,
  ): number {
    const to = this.nextReplyTo++;
    const node = this.node(nodeId);
    this.awaited.set(to, (reply) => onReply(reply.body as StorageNodeMethods[M]['reply']));
    this.task(node, 'deliver', () => {
      this.step(node, { kind: 'request', replyTo: to, request: { method, body } as NodeRequest });
    });
    return to;
  }

  /** Sends and runs everything; null when no reply has come by then (held, or the node is down). */
  call<M extends StorageNodeMethod>(
    nodeId: NodeId,
    method: M,
    body: StorageNodeMethods[M]['request'],
  ): StorageNodeMethods[M]['reply'] | null {
    let answer: StorageNodeMethods[M]['reply'] | null = null;
    this.send(nodeId, method, body, (reply) => {
      answer = reply;
    });
    this.pump();
    return answer;
  }

  /** As call, but there must be a reply. */
  ask<M extends StorageNodeMethod>(
    nodeId: NodeId,
    method: M,
    body: StorageNodeMethods[M]['request'],
  ): StorageNodeMethods[M]['reply'] {
    const reply = this.call(nodeId, method, body);
    if (reply === null) throw new Error(`${nodeId} did not answer ${method}`);
    return reply;
  }

  /** An event of the driver's own making. */
  tell(nodeId: NodeId, event: Extract<CoreEvent, { kind: 'disk' }>): void {
    this.step(this.node(nodeId), event);
  }

  /** Runs tasks until none can run. */
  pump(): void {
    for (let count = 0; this.runOne(); count += 1) {
      if (count > MAX_TASKS) throw new Error('the cluster does not come to rest');
    }
  }

  /** Runs one task; false when there is none. */
  runOne(): boolean {
    const runnable = this.tasks.filter(
      (task) => task.kind !== 'durable' || !this.stalledDisks.has(task.node.nodeId),
    );
    if (runnable.length === 0) return false;
    const { chance } = this.options;
    const task = runnable[chance === undefined ? 0 : Math.floor(chance() * runnable.length)] as Task;
    this.tasks.splice(this.tasks.indexOf(task), 1);
    if (task.life === task.node.life) task.run();
    return true;
  }

  get hasTasks(): boolean {
    return this.tasks.length > 0;
  }

  /** Lets time go by in ticks; with `pump` false tasks stay for `runOne`. */
  advance(ms: number, { pump = true }: { readonly pump?: boolean } = {}): void {
    const tickMs = 50;
    for (let passed = 0; passed < ms; passed += tickMs) {
      this.nowMs += Math.min(tickMs, ms - passed);
      for (const node of this.nodes.values()) if (node.core !== null) this.step(node, { kind: 'tick' });
      if (pump) this.pump();
    }
  }

  cut(a: NodeId, b: NodeId): void {
    this.cutLinks.add(link(a, b));
  }

  heal(): void {
    this.cutLinks.clear();
  }

  crash(nodeId: NodeId): void {
    const node = this.node(nodeId);
    node.core = null;
    node.life += 1;
    node.toSync.length = 0;
    for (const [to, { target, fail }] of this.callsTo) {
      if (target !== node) continue;
      this.callsTo.delete(to);
      fail();
    }
  }

  /** Starts a crashed node on what its disk kept; by default all of it. */
  restart(
    nodeId: NodeId,
    {
      storeDoubts = [],
      ...crash
    }: Partial<CrashOptions> & { readonly storeDoubts?: readonly KeyRange[] } = {},
  ): void {
    const node = this.node(nodeId);
    if (node.core !== null) this.crash(nodeId);
    this.boot(node, node.disk.crash({ chance: () => 0, ...crash }), storeDoubts);
  }

  /** Starts a node from what was found on a disk of another kind: the real files of one, say. */
  startFrom(nodeId: NodeId, found: FoundDisk): void {
    const node = this.node(nodeId);
    this.crash(nodeId);
    node.disk = TestDisk.of(found.entries, found.recovery);
    this.boot(node, found.recovery, found.storeDoubts);
  }

  /** Starts a node on an empty disk: everything it had is lost. */
  wipe(nodeId: NodeId): void {
    this.putBack(nodeId, new TestDisk(this.options.ringEntries));
  }

  /** Crashes the node and starts it on an old image of its disk. */
  putBack(nodeId: NodeId, image: TestDisk): void {
    this.crash(nodeId);
    this.node(nodeId).disk = image.copy();
    this.restart(nodeId);
  }

  private node(nodeId: NodeId): TestStorageNode {
    const node = this.nodes.get(nodeId);
    if (node === undefined) throw new Error(`no node ${nodeId}`);
    return node;
  }

  private boot(
    node: TestStorageNode,
    recovery: JournalRecovery,
    storeDoubts: readonly KeyRange[] = [],
  ): void {
    const { leaseTermMs = 500, limits = {}, nodes = TEST_NODES } = this.options;
    const az = nodes.find((member) => member.nodeId === node.nodeId)?.az ?? '';
    node.starts += 1;
    node.core = new StorageNodeCore({
      nodeId: node.nodeId,
      az,
      peers: this.options.bootstrap ?? nodes,
      leaseTermMs,
      limits,
      crc32: nodeCrc32,
      buildVersion: 'test',
    });
    const incarnationSeed = `${node.nodeId}.${node.starts}`;
    this.step(node, { kind: 'start', recovery: { ...recovery, storeDoubts }, incarnationSeed });
  }

  private now(): Now {
    return { monotonicMs: this.nowMs, wallMicros: this.nowMs * 1_000 };
  }

  private step(node: TestStorageNode, event: CoreEvent): void {
    if (node.core === null) return;
    for (const effect of node.core.step(event, this.now())) this.carry(node, effect);
  }

  private carry(node: TestStorageNode, effect: CoreEffect): void {
    switch (effect.kind) {
      case 'persist':
        this.options.onDisk?.(node.nodeId, effect);
        node.disk.persist(effect);
        node.toSync.push(effect.whenDurable);
        this.task(node, 'durable', () => {
          node.disk.syncOne();
          for (const after of node.toSync.shift() ?? []) this.carry(node, after);
        });
        return;
      case 'write':
        this.options.onDisk?.(node.nodeId, effect);
        this.task(node, 'write', () => {
          node.disk.write(effect.ops);
          if (effect.isLasting) node.disk.sync();
          this.step(node, { kind: 'written', token: effect.token });
        });
        return;
      case 'query':
        this.task(node, 'query', () => {
          const results = node.disk.query(effect.queries);
          this.step(node, { kind: 'query-result', token: effect.token, results });
        });
        return;
      case 'reply': {
        const onReply = this.awaited.get(effect.to);
        this.awaited.delete(effect.to);
        onReply?.(effect.reply);
        return;
      }
      case 'call':
        this.callPeer(node, effect);
        return;
      case 'log':
        this.logs.push({
          node: node.nodeId,
          level: effect.level,
          message: effect.message,
          fields: effect.fields ?? {},
        });
        return;
      case 'reclaim':
      case 'nodes':
        return;
      case 'fatal':
        throw new Error(`${node.nodeId}: ${effect.code} ${effect.message}`);
    }
  }

  private callPeer(node: TestStorageNode, effect: Extract<CoreEffect, { kind: 'call' }>): void {
    const { token, peer, request } = effect;
    this.callCounts.set(request.method, (this.callCounts.get(request.method) ?? 0) + 1);
    const fail = () => {
      this.task(node, 'deliver', () =>
        this.step(node, { kind: 'peer-failed', token, message: 'not reached' }),
      );
    };
    const target = this.nodes.get(peer);
    if (target === undefined && request.method === 'exchangeMemory') {
      const body = REMEMBERS_NOTHING;
      this.task(node, 'deliver', () =>
        this.step(node, { kind: 'peer-reply', token, reply: { method: 'exchangeMemory', body } }),
      );
      return;
    }
    if (target === undefined || target.core === null || this.cutLinks.has(link(node.nodeId, peer))) {
      fail();
      return;
    }
    const to = this.nextReplyTo++;
    this.callsTo.set(to, { target, fail });
    this.awaited.set(to, (reply) => {
      this.callsTo.delete(to);
      this.task(node, 'deliver', () => {
        if (this.cutLinks.has(link(node.nodeId, peer))) {
          this.step(node, { kind: 'peer-failed', token, message: 'lost' });
        } else {
          this.step(node, { kind: 'peer-reply', token, reply: reply as never });
        }
      });
    });
    this.task(target, 'deliver', () => this.step(target, { kind: 'request', replyTo: to, request }));
  }

  private task(node: TestStorageNode, kind: Task['kind'], run: () => void): void {
    this.tasks.push({ node, life: node.life, kind, run });
  }
}

function link(a: NodeId, b: NodeId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
