/**
 * Runs a storage node's core against the real world: events in, effects out (core/effects.ts), nothing decided here that is about the protocol.
 *
 * Invariants
 * 1. The core runs one step at a time; effects of a step are carried out in order before the next event.
 * 2. A persist's home ops go to the journal with its next entry, and to the store's writer at once; `whenDurable` follows when the entry is synced.
 *    So effects that ride on persists leave in the order of the persists.
 * 3. A query reads what every persist and write before it wrote: it waits for the store's writer (store-writer.ts).
 * 4. A failed assertion, disk or store ends the node: nothing is sent any more, `onFatal` or `onStoreFault` is called once. After a failed write
 *    or sync there is no second try.
 * 5. What was found in the store's files is remembered beside them until the core says that all is intact again.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import type { OutgoingReply, RequestId, ServerHandlers } from '../../src/adapters/grpc/server.ts';
import { assertNever } from '../../src/base/assert.ts';
import { type ErrorCode, TidemarkError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/limits.ts';
import type { Clock, KvOp, KvRange, KvStore, Now, Timer, Timers } from '../../src/env/env.ts';
import type { StorageNodeClient } from '../../src/env/transport.ts';
import { NO_LSN, type NodeId } from '../../src/log/lsn.ts';
import type { AppendRequest } from '../../src/messages/messages.ts';
import type { ClusterNode } from '../../src/register/values.ts';
import type { Journal } from '../adapters/journal.ts';
import type {
  CoreEffect,
  CoreEvent,
  DiskRoom,
  DurableOp,
  KeyRange,
  NodeRecovery,
  NodeReply,
  NodeRequest,
  PeerReply,
  StoreQuery,
  StoreResult,
} from '../core/effects.ts';
import type { Gauges } from './gauges.ts';
import { type StoreWriter, sizeOf } from './store-writer.ts';

/** The core as the driver sees it: StorageNodeCore, or a script of a test. */
export interface Core {
  step(event: CoreEvent, now: Now): readonly CoreEffect[];
  /** All of the journal's entries have been admitted again, as far as they were missing. */
  readonly isReady: boolean;
  /** Its peers have answered what it may have forgotten, and nothing that was lost is still being made good. */
  readonly isIntact: boolean;
  readonly incarnation: string;
}

/** The way requests came: where replies go. */
export interface ReplyPort {
  reply(id: RequestId, reply: OutgoingReply): void;
  pauseAppends(): void;
  resumeAppends(): void;
}

/** What was found when the store's files were checked at the start. */
export interface StoreFaults {
  readonly findings: readonly string[];
  /** Remembered, and found again at the next start, until `settle`. */
  readonly doubts: readonly KeyRange[];
  settle(): void;
}

/** The checks of the store's files while it is open (table-scrub.ts). */
export interface TableChecks {
  readonly checkedBytes: number;
  readonly totalBytes: number;
  readonly isRunning: boolean;
  readonly findings: readonly string[];
  checkSoon(): void;
  stop(): void;
}

export interface DriverOptions {
  readonly core: Core;
  readonly journal: Journal;
  readonly store: KvStore;
  readonly storeWriter: StoreWriter;
  /** All that was given to the store's writer so far is durable in the store when this returns. */
  readonly flushStore: () => Promise<void>;
  /** Gives the space of what was deleted in the range back. */
  readonly reclaim: (range: KvRange) => Promise<void>;
  readonly gauges: Pick<Gauges, 'diskBytes' | 'memoryBytes' | 'diskRoom' | 'noteWritten'>;
  readonly peer: (nodeId: NodeId) => StorageNodeClient | null;
  /** Where the nodes of the cluster are, as its register says. */
  readonly learnNodes: (nodes: readonly ClusterNode[]) => void;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly logger: Logger;
  readonly storeFaults: StoreFaults;
  readonly tables: TableChecks;
  readonly onFatal: (error: Error) => void;
  /** As `onFatal`, when it is the store that cannot be read: checked and mended, it can be opened again. */
  readonly onStoreFault: (error: Error) => void;
}

const TICK_MS = 50;
/** A peer answers this in any state, or not at all. Waits in the core are longer. */
const PEER_CALL_TIMEOUT_MS = 2_000;
/** Bytes on their way to the disk at which appends are no longer read, and at which they are again. */
const PAUSE_APPENDS_BYTES = 16 * MIB;
const RESUME_APPENDS_BYTES = 4 * MIB;
/** How long the end of a background write is kept from the core while foreground writes wait: background work is paced by it. */
const BACKGROUND_PAUSE_MS = 5;

export class StorageNodeDriver implements ServerHandlers {
  readonly #options: DriverOptions;
  readonly #core: Core;
  readonly #events: CoreEvent[] = [];
  #isStepping = false;
  #isStopped = false;
  #replies: ReplyPort | null = null;
  #areAppendsPaused = false;
  #isReplayed = false;
  #areFaultsKnown: boolean;
  #diskRoom: DiskRoom = 'enough';
  #ticker: Timer | null = null;

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#core = options.core;
    this.#areFaultsKnown = options.storeFaults.doubts.length > 0;
  }

  start(recovery: NodeRecovery, incarnationSeed: string): void {
    this.#post({ kind: 'start', recovery, incarnationSeed });
    this.#ticker = this.#options.timers.every(TICK_MS, () => this.#onTick());
  }

  /** Requests may come from now on. */
  serve(replies: ReplyPort): void {
    this.#replies = replies;
  }

  onRequest = (id: RequestId, request: NodeRequest): void => {
    const isRoomShort = this.#options.gauges.diskRoom !== 'enough';
    // A take-over's own records come in still: they are few, and without them nobody could even read once the writer is gone.
    if (request.method === 'append' && isRoomShort && !request.body.recovery) {
      this.#reply(id, this.#refuseForSpace(request.body));
      return;
    }
    if (request.method === 'scrub' && request.body.start) this.#options.tables.checkSoon();
    this.#post({ kind: 'request', replyTo: id, request });
  };

  onAbandoned = (id: RequestId): void => {
    this.#post({ kind: 'abandoned', replyTo: id });
  };

  /** No step is made any more; what is on its way to the disk still arrives. */
  stop(): void {
    this.#isStopped = true;
    this.#events.length = 0;
    this.#ticker?.cancel();
    this.#options.tables.stop();
  }

  #post(event: CoreEvent): void {
    if (this.#isStopped) return;
    this.#events.push(event);
    if (!this.#isStepping) this.#step();
  }

  #step(): void {
    this.#isStepping = true;
    try {
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
        const effects = this.#core.step(event, this.#options.clock.now());
        for (const effect of effects) this.#carryOut(effect);
        if (!this.#isReplayed && this.#core.isReady) {
          this.#isReplayed = true;
          this.#options.journal.replayed();
        }
      }
    } catch (error) {
      this.fail(error as Error);
    } finally {
      this.#isStepping = false;
    }
  }

  #carryOut(effect: CoreEffect): void {
    if (this.#isStopped) return;
    switch (effect.kind) {
      case 'persist':
        this.#persist(effect.ops, effect.whenDurable);
        return;
      case 'write':
        this.#options.gauges.noteWritten(sizeOf(effect.ops));
        if (effect.isLasting) void this.#writeDurably(effect.ops, effect.token);
        else this.#options.storeWriter.put(effect.ops, () => this.#onBackgroundWritten(effect.token));
        return;
      case 'query':
        this.#options.storeWriter.whenWritten(() => void this.#query(effect.token, effect.queries));
        return;
      case 'reply':
        this.#reply(effect.to, effect.reply);
        return;
      case 'call':
        void this.#call(effect);
        return;
      case 'log':
        this.#options.logger.log(effect.level, effect.message, effect.fields);
        return;
      case 'nodes':
        this.#options.learnNodes(effect.nodes);
        return;
      case 'reclaim':
        this.#options.storeWriter.whenWritten(() => void this.#reclaim(effect.ranges));
        return;
      case 'suspect-store':
        this.#options.tables.checkSoon();
        return;
      case 'fatal':
        this.fail(new TidemarkError(effect.code as ErrorCode, effect.message));
        return;
      default:
        assertNever(effect, 'effect');
    }
  }

  #persist(ops: readonly DurableOp[], whenDurable: readonly CoreEffect[]): void {
    const { storeWriter, journal, gauges } = this.#options;
    const home = homeOps(ops);
    gauges.noteWritten(sizeOf(home));
    storeWriter.put(home);
    journal.append(ops, () => this.#onDurable(whenDurable));
    this.#updateBackpressure();
  }

  #onDurable(effects: readonly CoreEffect[]): void {
    try {
      for (const effect of effects) this.#carryOut(effect);
    } catch (error) {
      this.fail(error as Error);
    }
    if (this.#areAppendsPaused) this.#updateBackpressure();
  }

  #onBackgroundWritten(token: number): void {
    const isBusy = this.#options.journal.queuedBytes > 0;
    if (!isBusy) this.#post({ kind: 'written', token });
    else this.#options.timers.after(BACKGROUND_PAUSE_MS, () => this.#post({ kind: 'written', token }));
  }

  async #writeDurably(ops: readonly KvOp[], token: number): Promise<void> {
    try {
      this.#options.storeWriter.put(ops);
      await this.#options.flushStore();
      this.#post({ kind: 'written', token });
    } catch (error) {
      this.fail(error as Error);
    }
  }

  async #reclaim(ranges: readonly KvRange[]): Promise<void> {
    try {
      for (const range of ranges) {
        if (this.#isStopped) return;
        await this.#options.reclaim(range);
      }
    } catch (error) {
      this.failStore(error as Error);
    }
  }

  async #query(token: number, queries: readonly StoreQuery[]): Promise<void> {
    try {
      const results = await Promise.all(queries.map((query) => this.#read(query)));
      this.#post({ kind: 'query-result', token, results });
    } catch (error) {
      this.failStore(error as Error);
    }
  }

  async #read(query: StoreQuery): Promise<StoreResult> {
    const { store } = this.#options;
    if (query.kind === 'getMany') return { kind: 'getMany', values: await store.getMany(query.keys) };
    return { kind: 'range', entries: await store.range(query) };
  }

  #reply(id: RequestId, reply: NodeReply): void {
    if (reply.method === 'status') this.#replies?.reply(id, this.#withGauges(reply));
    else if (reply.method === 'scrub') this.#replies?.reply(id, this.#withTables(reply));
    else this.#replies?.reply(id, reply);
  }

  #withTables({ body }: Extract<NodeReply, { method: 'scrub' }>): NodeReply {
    const { checkedBytes, totalBytes, isRunning, findings } = this.#options.tables;
    const running = body.running || (isRunning && body.startedMicros > 0);
    const all = [...findings, ...body.findings];
    return { method: 'scrub', body: { ...body, running, checkedBytes, totalBytes, findings: all } };
  }

  #withGauges(reply: Extract<NodeReply, { method: 'status' }>): NodeReply {
    const { diskBytes, memoryBytes } = this.#options.gauges;
    return { method: 'status', body: { ...reply.body, diskBytes, memoryBytes } };
  }

  async #call({ peer, token, request }: Extract<CoreEffect, { kind: 'call' }>): Promise<void> {
    const client = this.#options.peer(peer);
    if (client === null) {
      // In a later turn: an event must not come from within the step that caused it.
      queueMicrotask(() =>
        this.#post({
          kind: 'peer-failed',
          token,
          message: `storage node ${peer} is not in the configuration`,
        }),
      );
      return;
    }
    try {
      const body = await client.call(request.method, request.body, { timeoutMs: PEER_CALL_TIMEOUT_MS });
      this.#post({ kind: 'peer-reply', token, reply: { method: request.method, body } as PeerReply });
    } catch (error) {
      this.#post({ kind: 'peer-failed', token, message: (error as Error).message });
    }
  }

  #onTick(): void {
    this.#post({ kind: 'tick' });
    this.#updateBackpressure();
    this.#forgetHealedFaults();
    this.#reportDisk();
  }

  #updateBackpressure(): void {
    const { journal, storeWriter } = this.#options;
    const queuedBytes = Math.max(journal.queuedBytes, storeWriter.queuedBytes);
    if (!this.#areAppendsPaused && queuedBytes > PAUSE_APPENDS_BYTES) {
      this.#areAppendsPaused = true;
      this.#replies?.pauseAppends();
    } else if (this.#areAppendsPaused && queuedBytes < RESUME_APPENDS_BYTES) {
      this.#areAppendsPaused = false;
      this.#replies?.resumeAppends();
    }
  }

  #forgetHealedFaults(): void {
    if (!this.#areFaultsKnown || !this.#core.isReady || !this.#core.isIntact) return;
    this.#areFaultsKnown = false;
    this.#options.storeFaults.settle();
    this.#options.logger.log('info', 'the damage found in the store is healed');
  }

  #reportDisk(): void {
    const { diskRoom } = this.#options.gauges;
    if (diskRoom === this.#diskRoom) return;
    this.#diskRoom = diskRoom;
    this.#post({ kind: 'disk', room: diskRoom });
    const { logger } = this.#options;
    if (diskRoom === 'enough') logger.log('info', 'the disk has room again: appends are taken');
    else logger.log('error', 'the disk is nearly full: appends are refused', { room: diskRoom });
  }

  #refuseForSpace({ volume, pg, epoch }: AppendRequest): NodeReply {
    const refusal = {
      code: 'DISK_FULL',
      message: 'the disk of this storage node is nearly full',
      promised: null,
    } as const;
    const { incarnation } = this.#core;
    return {
      method: 'append',
      body: { volume, pg, epoch, scl: NO_LSN, incarnation, refusal, hydrated: false, configVersion: 0 },
    };
  }

  fail(error: Error): void {
    this.#end(() => this.#options.onFatal(error));
  }

  failStore(error: Error): void {
    this.#end(() => this.#options.onStoreFault(error));
  }

  #end(report: () => void): void {
    if (this.#isStopped) return;
    this.stop();
    this.#options.journal.abandon();
    report();
  }
}

function homeOps(ops: readonly DurableOp[]): readonly KvOp[] {
  return ops
    .filter((op) => op.kind === 'home')
    .map(({ key, value }) => (value === null ? { type: 'del', key } : { type: 'put', key, value }));
}
