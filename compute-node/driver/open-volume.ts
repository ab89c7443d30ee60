/**
 * One open volume of this process: the writer core (volume/writer.ts), the page reader, the read lease and the floor, joined to the streams
 * and the clock. Effects of the core become messages; messages and ticks become its events; promises live here alone.
 *
 * MTRs handed over in one turn are flushed together in a microtask at its end, so the first goes out at once and nothing waits for a timer.
 */
import type { Logger } from '../../src/adapters/logger.ts';
import { assertNever } from '../../src/base/assert.ts';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import { DEFAULT_COMMIT_TIMEOUT_MS } from '../../src/base/limits.ts';
import type { Clock, Crc32, Random, Timer, Timers } from '../../src/env/env.ts';
import { compareEpochs, type Epoch, formatEpoch, sameEpoch } from '../../src/log/epoch.ts';
import {
  type Lsn,
  NO_LSN,
  type NodeId,
  type PageNumber,
  toPgIndex,
  type VolumeId,
} from '../../src/log/lsn.ts';
import type { Mtr } from '../../src/log/record.ts';
import type { HeartbeatGrant, HeartbeatVolume, PageVersion } from '../../src/messages/messages.ts';
import { placeOf, type RegisterPlace } from '../../src/register/place.ts';
import type { ClusterValue } from '../../src/register/values.ts';
import { foundPoint, planTime } from '../../src/timeline/resolve-moment.ts';
import type {
  AdministeredVolume,
  OpenVolumeStatus,
  SubmittedMtr,
  VolumeMembers,
  VolumePast,
} from '../volume/open-volume.ts';
import { readPointAt } from '../volume/read-point.ts';
import type { TakenOver } from '../volume/taken-over.ts';
import { VolumeWriter } from '../volume/writer.ts';
import { deposedError, volumeDropped } from '../volume/writer-errors.ts';
import type { WriterEffect, WriterEvent, WriterLimits } from '../volume/writer-types.ts';
import { readClocks } from './clock-readings.ts';
import { DurabilityWaiters } from './durability-waiters.ts';
import { findCommit } from './find-commit.ts';
import { FloorKeeper } from './floor-keeper.ts';
import type { SentHeartbeat } from './heartbeats.ts';
import { commitManifest } from './manifest-commit.ts';
import { PageReader } from './page-reader.ts';
import { pause } from './pause.ts';
import { ReadConfirmation } from './read-confirmation.ts';
import { moveRegisters } from './register-mover.ts';
import { Registers } from './registers.ts';
import type { StorageLinks } from './storage-links.ts';

/** The lease rests on it. */
const PG_0 = toPgIndex(0);
const TICK_MS = 50;
/** An install's acknowledgement may be held for a lease term by a node that promised it to another epoch. */
const INSTALL_TIMEOUT_MS = 5_000;
const CONFIRM_TIMEOUT_MS = 5_000;
/** How long a closing waits for the nodes to take their promises back. */
const RELEASE_TIMEOUT_MS = 300;
const RELEASE_POLL_MS = 5;
/** Nodes hear of the VDL with the next heartbeat in any case. */
const ANNOUNCE_TIMEOUT_MS = 500;

export interface OpenVolumeOptions {
  readonly takenOver: TakenOver;
  /** As it is known when asked: nodes come and go. */
  readonly cluster: () => ClusterValue;
  readonly links: StorageLinks;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly crc32: Crc32;
  readonly logger: Logger;
  readonly commitTimeoutMs?: number;
  readonly readTimeoutMs?: number;
  readonly writerLimits?: Partial<WriterLimits>;
}

export function openVolume(options: OpenVolumeOptions): AdministeredVolume {
  return WrittenVolume.open(options);
}

interface WritableWaiter {
  readonly deadlineMs: number;
  readonly timeoutMs: number;
  readonly resolve: () => void;
  readonly reject: (error: TidemarkError) => void;
}

class WrittenVolume implements AdministeredVolume {
  readonly volume: VolumeId;
  readonly name: string;
  readonly epoch: Epoch;
  readonly #options: OpenVolumeOptions;
  readonly #writer: VolumeWriter;
  readonly #reader: PageReader;
  readonly #confirmation: ReadConfirmation;
  readonly #registers: Registers;
  readonly #floor: FloorKeeper;
  readonly #durability: DurabilityWaiters;
  readonly #vdlListeners = new Set<(vdl: Lsn) => void>();
  readonly #deposedListeners = new Set<(reason: Error) => void>();
  #writableWaiters: WritableWaiter[] = [];
  #isFlushDue = false;
  #isReleasing = false;
  /** Under way. */
  #announcements = 0;
  /** Nodes that have answered a heartbeat that gave their promise back. */
  readonly #released = new Set<NodeId>();
  #firstReleaseSequence = 0;
  /** Newest heartbeat that each node has answered well. */
  readonly #answered = new Map<NodeId, number>();
  #ended: TidemarkError | null = null;
  #closing: Promise<void> | null = null;
  #leave: (() => void)[] = [];
  #timer: Timer | null = null;

  static open(options: OpenVolumeOptions): WrittenVolume {
    const opened = new WrittenVolume(options);
    opened.#start();
    return opened;
  }

  private constructor(options: OpenVolumeOptions) {
    const { takenOver, cluster, links, clock, timers, random, crc32, logger, writerLimits } = options;
    const { manifest, name } = takenOver;
    this.#options = options;
    this.volume = manifest.volume;
    this.name = name.name;
    this.epoch = takenOver.epoch;
    this.#writer = new VolumeWriter({
      takenOver,
      cluster,
      crc32,
      ...(writerLimits === undefined ? {} : { limits: writerLimits }),
    });
    this.#reader = new PageReader({
      source: this.#writer,
      links,
      clock,
      timers,
      ...(options.readTimeoutMs === undefined ? {} : { timeoutMs: options.readTimeoutMs }),
    });
    this.#confirmation = new ReadConfirmation({
      epoch: this.epoch,
      quorum: () => this.#writer.quorumOf(PG_0),
      leaseTermMs: cluster().constants.leaseTermMs,
      heartbeats: links.heartbeats,
      readClocks: () => readClocks(clock),
      timeoutMs: CONFIRM_TIMEOUT_MS,
    });
    this.#durability = new DurabilityWaiters(options.commitTimeoutMs ?? DEFAULT_COMMIT_TIMEOUT_MS);
    const { clusterId } = cluster();
    this.#registers = new Registers({ clients: links.clients, clusterId, random, clock, timers });
    this.#floor = new FloorKeeper({
      registers: this.#registers,
      name,
      retention: takenOver.retention,
      openedAtLsn: takenOver.closedAtLsn,
      nowMs: this.#nowMs(),
      logger,
      newestAt: (micros) => this.#newestAt(micros),
      onCommitted: (bytes) => this.#writer.setRetention(bytes),
      onDropped: () => this.#end(volumeDropped(this.name)),
    });
  }

  #start(): void {
    const { links } = this.#options;
    this.#leave = [
      links.joinAppend({
        volume: this.volume,
        onAppendUp: (node) => this.#step({ kind: 'node-up', node }),
        onAppendDown: (node) => this.#step({ kind: 'node-down', node }),
        onAppendFull: (node) => this.#step({ kind: 'node-full', node }),
        onAppendDrained: (node) => this.#step({ kind: 'node-drained', node }),
        onAppendReply: (node, reply) => this.#step({ kind: 'append-reply', node, reply }),
      }),
      links.heartbeats.join({
        volume: this.volume,
        heartbeatFor: (node, sequence) => this.#heartbeatFor(node, sequence),
        onGrant: (node, sent, incarnation, grant) => this.#onGrant(node, sent, incarnation, grant),
      }),
    ];
    this.#timer = this.#options.timers.every(TICK_MS, () => this.#tick());
  }

  get headLsn(): Lsn {
    return this.#writer.headLsn;
  }

  get vdl(): Lsn {
    return this.#writer.vdl;
  }

  get writable(): boolean {
    return this.#ended === null && this.#closing === null && this.#writer.isWritable;
  }

  submit(mtr: Mtr): SubmittedMtr {
    if (this.#ended !== null) throw this.#ended;
    if (this.#closing !== null) throw closedError(this.name);
    const submitted = this.#writer.submit(mtr, this.#options.clock.now());
    if (!this.#isFlushDue) {
      this.#isFlushDue = true;
      queueMicrotask(() => {
        this.#isFlushDue = false;
        this.#step({ kind: 'flush' });
      });
    }
    return submitted;
  }

  whenWritable(timeoutMs: number): Promise<void> {
    if (this.writable) return Promise.resolve();
    const reason = this.#ended ?? (this.#closing === null ? null : closedError(this.name));
    if (reason !== null) return Promise.reject(reason);
    return new Promise((resolve, reject) => {
      const deadlineMs = this.#nowMs() + timeoutMs;
      this.#writableWaiters.push({ deadlineMs, timeoutMs, resolve, reject });
    });
  }

  whenDurable(lsn: Lsn): Promise<void> {
    if (lsn <= this.#writer.vdl) return Promise.resolve();
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return this.#durability.wait(lsn, this.#nowMs());
  }

  confirmReadable(): Promise<void> {
    return this.#confirmation.confirm();
  }

  readPages(at: Lsn, pages: readonly PageNumber[]): Promise<readonly PageVersion[]> {
    return this.#reader.readPages(at, pages);
  }

  reportReadPoint(lowest: Lsn): void {
    this.#floor.reportReadPoint(readPointAt(this.#writer.manifest, lowest)?.lsn ?? NO_LSN);
  }

  onVdl(listener: (vdl: Lsn) => void): () => void {
    this.#vdlListeners.add(listener);
    return () => this.#vdlListeners.delete(listener);
  }

  onDeposed(listener: (reason: Error) => void): () => void {
    const reason = this.#ended;
    if (reason !== null) {
      if (isForGood(reason)) queueMicrotask(() => listener(reason));
      return () => {};
    }
    this.#deposedListeners.add(listener);
    return () => this.#deposedListeners.delete(listener);
  }

  get past(): VolumePast {
    return {
      manifest: this.#writer.manifest,
      lastCommitMicros: this.#writer.lastCommitMicros,
      requiredScl: (pg, at) => this.#writer.requiredScl(pg, at),
      holdReadPoint: (holder, lsn, forMs) => this.#floor.holdReadPoint(holder, lsn, this.#nowMs() + forMs),
      announce: () => this.#announce(),
      noteRetention: (committed) => this.#floor.noteWindow(committed.windowMs, this.#nowMs()),
    };
  }

  get members(): VolumeMembers {
    return {
      pgs: this.#writer.manifest.pgs,
      changes: this.#writer.memberChanges,
      propose: (pg, proposed) => this.#changeMembers(() => this.#writer.proposeMembers(pg, proposed)),
      revert: (pg) => this.#changeMembers(() => this.#writer.revertMembers(pg)),
      registers: this.#writer.registerPlace,
      moveRegisters: (six) => this.#moveRegisters(six),
    };
  }

  async #moveRegisters(members: readonly NodeId[]): Promise<RegisterPlace> {
    const { takenOver, clock, timers } = this.#options;
    const place = await moveRegisters(
      {
        registers: this.#registers,
        volume: this.volume,
        from: placeOf(takenOver.name),
        manifestPlace: () => {
          if (this.#ended !== null) throw this.#ended;
          return this.#writer.registerPlace;
        },
        moveManifest: (to) => this.#changeMembers(() => this.#writer.moveRegister(to)),
        clock,
        timers,
      },
      members,
    );
    this.#floor.setPlace(place);
    return place;
  }

  #changeMembers(ask: () => void): void {
    if (this.#ended !== null) throw this.#ended;
    if (this.#closing !== null) throw closedError(this.name);
    ask();
    this.#step({ kind: 'flush' });
  }

  status(): OpenVolumeStatus {
    const { cluster, links } = this.#options;
    const nodes = [...this.#writer.links].map((link) => {
      const config = cluster().nodes.find(({ nodeId }) => nodeId === link.nodeId);
      return {
        nodeId: link.nodeId,
        az: config?.az ?? '',
        address: config?.address ?? '',
        connected: links.isConnected(link.nodeId),
        lagRecords: link.lanes.reduce((sum, lane) => sum + lane.unackedRecords, 0),
        queuedBytes: link.unackedBytes,
        ackLatencyMs: link.ackLatencyMs,
        readLatencyMs: this.#reader.readLatencyMs(link.nodeId),
        scls: link.lanes.map((lane) => ({ pg: lane.pgIndex, scl: lane.scl })),
      };
    });
    return {
      volume: this.volume,
      name: this.name,
      epoch: this.epoch,
      vcl: this.#writer.vcl,
      vdl: this.#writer.vdl,
      headLsn: this.#writer.headLsn,
      floor: this.#floor.floor,
      hasReadLease: this.#confirmation.hasLease,
      pgCount: this.#writer.pgCount(),
      redoBytes: this.#writer.redoBytes,
      nodes,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#ended === null) await this.#drain();
    if (this.#ended === null) await this.#giveBackPromises();
    this.#end(closedError(this.name));
  }

  /** Waits, no longer than a commit would, for what was handed over. Its own waiters are told whichever way it ends. */
  async #drain(): Promise<void> {
    this.#step({ kind: 'flush' });
    if (this.#writer.vdl >= this.#writer.headLsn) return;
    try {
      await this.#durability.wait(this.#writer.headLsn, this.#nowMs());
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      this.#options.logger.log('warn', 'closing a volume whose last commits no quorum confirmed', {
        name: this.name,
        error,
      });
    }
  }

  /** So that the next writer need not wait for them to run out. Nothing is served under them any more. */
  async #giveBackPromises(): Promise<void> {
    const { heartbeats } = this.#options.links;
    this.#confirmation.end(closedError(this.name));
    this.#isReleasing = true;
    this.#firstReleaseSequence = heartbeats.lastSequence + 1;
    heartbeats.requestRound();
    const untilMs = this.#nowMs() + RELEASE_TIMEOUT_MS;
    const isOver = (): boolean =>
      this.#ended !== null ||
      this.#nowMs() >= untilMs ||
      this.#connectedNodes().every((node) => this.#released.has(node));
    while (!isOver()) await pause(this.#options.timers, RELEASE_POLL_MS);
  }

  async #announce(): Promise<void> {
    const { heartbeats } = this.#options.links;
    const after = heartbeats.lastSequence;
    this.#announcements += 1;
    heartbeats.requestRound();
    const untilMs = this.#nowMs() + ANNOUNCE_TIMEOUT_MS;
    const hasHeard = (node: NodeId): boolean => (this.#answered.get(node) ?? 0) > after;
    const isTold = (): boolean =>
      this.#writer.manifest.pgs.every(({ pg }) => this.#writer.quorumOf(pg).isWriteQuorum(hasHeard));
    while (this.#ended === null && this.#nowMs() < untilMs && !isTold())
      await pause(this.#options.timers, RELEASE_POLL_MS);
    this.#announcements -= 1;
  }

  #connectedNodes(): NodeId[] {
    const nodes = [...this.#writer.links].map((link) => link.nodeId);
    return nodes.filter((node) => this.#options.links.isConnected(node));
  }

  /** Everything that waits is told, everything that runs is stopped. Idempotent. */
  #end(reason: TidemarkError): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    this.#confirmation.end(reason);
    this.#reader.stop(reason);
    this.#durability.rejectAll(isForGood(reason) ? reason : unknownAtClose(this.name));
    for (const waiter of this.#takeWritableWaiters()) waiter.reject(reason);
    this.#writer.step({ kind: 'close' }, this.#options.clock.now());
    for (const leave of this.#leave) leave();
    this.#timer?.cancel();
    this.#vdlListeners.clear();
    const listeners = [...this.#deposedListeners];
    this.#deposedListeners.clear();
    if (isForGood(reason)) for (const listener of listeners) listener(reason);
  }

  #step(event: WriterEvent): void {
    if (this.#ended !== null) return;
    const effects = this.#writer.step(event, this.#options.clock.now());
    for (const effect of effects) this.#execute(effect);
    if (this.#writableWaiters.length > 0 && this.#writer.isWritable) {
      for (const waiter of this.#takeWritableWaiters()) waiter.resolve();
    }
  }

  #execute(effect: WriterEffect): void {
    switch (effect.kind) {
      case 'append':
        this.#options.links.sendAppend(effect.node, effect.request);
        return;
      case 'install':
        this.#install(effect);
        return;
      case 'commit-manifest':
        this.#commitManifest(effect);
        return;
      case 'durable':
        this.#floor.onDurable(effect.vdl, this.#nowMs());
        this.#durability.advance(effect.vdl);
        for (const listener of this.#vdlListeners) listener(effect.vdl);
        return;
      case 'deposed':
        this.#options.logger.log('warn', 'deposed: a newer epoch is promised', {
          name: this.name,
          epoch: formatEpoch(this.epoch),
          by: formatEpoch(effect.by),
          how: effect.how,
        });
        this.#end(deposedError(this.epoch, effect.by));
        return;
      case 'dropped':
        this.#options.logger.log('warn', 'the volume was dropped', { name: this.name });
        this.#end(volumeDropped(this.name));
        return;
      case 'log':
        this.#options.logger.log(effect.level, effect.message, { name: this.name, ...effect.fields });
        return;
      default:
        assertNever(effect, 'writer effect');
    }
  }

  #install({ node, version, request }: Extract<WriterEffect, { kind: 'install' }>): void {
    const { pg } = request;
    const client = this.#options.links.clients.get(node);
    if (client === undefined) {
      // Of a node that this process has not heard of yet.
      this.#options.timers.soon(() => this.#step({ kind: 'install-failed', node, pg, version }));
      return;
    }
    client.call('install', request, { timeoutMs: INSTALL_TIMEOUT_MS }).then(
      (reply) => this.#step({ kind: 'install-reply', node, pg, version, reply }),
      (error: unknown) => {
        if (!isTidemarkError(error)) throw error;
        this.#step({ kind: 'install-failed', node, pg, version });
      },
    );
  }

  #commitManifest(proposal: Extract<WriterEffect, { kind: 'commit-manifest' }>): void {
    const { links, cluster, logger } = this.#options;
    const { clients } = links;
    const { version } = proposal;
    const { clusterId } = cluster();
    void commitManifest({ clients, clusterId, epoch: this.epoch, proposal }).then((outcome) => {
      switch (outcome.kind) {
        case 'committed':
          this.#step({ kind: 'manifest-committed', version });
          return;
        case 'refused':
          this.#step({ kind: 'manifest-refused', promised: outcome.promised });
          return;
        case 'failed':
          logger.log('warn', 'too few storage nodes took the next manifest; proposed again', {
            name: this.name,
            version,
          });
          this.#step({ kind: 'manifest-failed', version });
          return;
        default:
          assertNever(outcome, 'manifest outcome');
      }
    });
  }

  /** What a reader saw as the newest at a time of the past. */
  async #newestAt(micros: number): Promise<Lsn> {
    const { manifest } = this.#writer;
    const bounds = planTime(manifest.runs, this.vdl, micros);
    if (bounds === null) return NO_LSN;
    const { clients, clusterId } = this.#options.links;
    const { clock, timers } = this.#options;
    const commit = await findCommit({ clients, clusterId, clock, timers }, manifest, bounds, (pg) =>
      this.#writer.requiredScl(pg, bounds.throughLsn),
    );
    return foundPoint(manifest, bounds, commit?.lsn ?? null).lsn;
  }

  #heartbeatFor(node: NodeId, sequence: number): HeartbeatVolume | null {
    const retention = this.#floor.retentionFor(node, sequence);
    const keep = this.#isReleasing || this.#announcements > 0;
    return this.#writer.heartbeatFor(node, this.#isReleasing, retention, keep);
  }

  #onGrant(node: NodeId, sent: SentHeartbeat, incarnation: string, grant: HeartbeatGrant): void {
    if (!sameEpoch(grant.epoch, this.epoch)) return;
    if (grant.refusal === null) {
      this.#answered.set(node, sent.sequence);
      if (this.#isReleasing && sent.sequence >= this.#firstReleaseSequence) this.#released.add(node);
      this.#floor.onHeartbeatAnswered(node, sent.sequence);
    } else if (this.#isReleasing && !isHigher(grant.refusal.promised, this.epoch)) this.#released.add(node);
    this.#confirmation.onGrant(node, sent, grant);
    this.#step({ kind: 'heartbeat-reply', node, incarnation, grant });
  }

  #tick(): void {
    const nowMs = this.#nowMs();
    this.#step({ kind: 'tick' });
    if (this.#ended !== null) return;
    this.#durability.expire(nowMs);
    this.#confirmation.expire(nowMs);
    this.#expireWritable(nowMs);
    void this.#floor.tick(this.#options.clock.now());
  }

  #expireWritable(nowMs: number): void {
    if (this.#writableWaiters.every((waiter) => waiter.deadlineMs > nowMs)) return;
    const waiters = this.#takeWritableWaiters();
    this.#writableWaiters = waiters.filter((waiter) => waiter.deadlineMs > nowMs);
    for (const waiter of waiters) {
      if (waiter.deadlineMs > nowMs) continue;
      waiter.reject(
        new TidemarkError(
          'NO_QUORUM',
          `${this.name} took no writes for ${waiter.timeoutMs} ms: ${this.headLsn - this.vdl} records wait for a write quorum`,
          { nextStep: 'Check with `tidemark status` that four storage nodes of six are up, then retry.' },
        ),
      );
    }
  }

  #takeWritableWaiters(): WritableWaiter[] {
    const waiters = this.#writableWaiters;
    this.#writableWaiters = [];
    return waiters;
  }

  #nowMs(): number {
    return this.#options.clock.now().monotonicMs;
  }
}

/** The term was ended by others: the engine's state may be ahead of the truth. */
function isForGood({ code }: TidemarkError): boolean {
  return code === 'DEPOSED' || code === 'VOLUME_DROPPED';
}

function isHigher(promised: Epoch | null, epoch: Epoch): boolean {
  return promised !== null && compareEpochs(promised, epoch) > 0;
}

function closedError(name: string): TidemarkError {
  return new TidemarkError('UNAVAILABLE', `volume ${name} is closed on this compute node`, {
    nextStep: 'Open it again, or retry once the compute node is back.',
  });
}

function unknownAtClose(name: string): TidemarkError {
  return new TidemarkError(
    'OUTCOME_UNKNOWN',
    `volume ${name} was closed before a write quorum confirmed this commit`,
    {
      nextStep: 'Open the volume again and read whether the change is there before repeating it.',
    },
  );
}
