/**
 * The SQL engine of one open volume, on the main thread: a worker with SQLite in it, the connections in front of it, the volume behind it.
 *
 * Messages to the worker are posted once per turn of the event loop; those of the worker are handled in order: an MTR is with the volume
 * before any output that depends on it is looked at.
 *
 * When the writer's term is over, or anything breaks, the engine is over: its state may be ahead of the truth. All programs under way end with
 * the reason; the owner opens the volume anew.
 */
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { isTidemarkError, TidemarkError } from '../../src/base/errors.ts';
import type { Lsn } from '../../src/log/lsn.ts';
import { toLsn } from '../../src/log/lsn.ts';
import type { OpenVolume } from '../volume/open-volume.ts';
import type {
  Engine,
  EngineConnection,
  EngineLimits,
  EngineStatus,
  MergeConnection,
  TransferProgress,
} from './api.ts';
import { ClientConnection, type ConnectionLink } from './client-connection.ts';
import { type EngineWorkers, startEngineWorker } from './engine-workers.ts';
import { exportPages } from './export-database.ts';
import { handOverPages, openImport, type PresentHeader } from './import-database.ts';
import { closedError, MtrIntake } from './mtr-intake.ts';
import { outcomeUnknown } from './outcome.ts';
import { PageService } from './page-service.ts';
import { SharedState } from './shared-state.ts';
import type { FromWorker, ToWorker, WorkerSetup } from './worker-messages.ts';

export interface OpenEngineOptions {
  readonly volume: OpenVolume;
  /** The built worker/main.js. */
  readonly workerUrl: URL;
  /** Where the thread comes from; absent: one is started. */
  readonly workers?: EngineWorkers;
  readonly limits: EngineLimits;
  /** Why nothing can be written through this engine: told to who tries. Absent: it can. */
  readonly readonlyReason?: string;
  /** The engine broke, or the writer's term is over: throw it away. Called at most once, not after `close`. */
  readonly onEnded?: (reason: TidemarkError) => void;
}

/** How often the lowest read point is told to the volume. */
const REPORT_INTERVAL_MS = 500;
/** How long closing waits for the connections. */
const CLOSE_TIMEOUT_MS = 2_000;
/** How long an import waits for the MTRs before it. */
const IMPORT_DRAIN_TIMEOUT_MS = 30_000;
const MAX_RUN = 0x7fff_ffff;

export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const engine = new VolumeEngine(options);
  await engine.ready;
  return engine;
}

interface Import {
  readonly onReady: (present: PresentHeader) => void;
  readonly onRefused: (error: TidemarkError) => void;
  onEnded: () => void;
}

class VolumeEngine implements Engine {
  readonly ready: Promise<void>;
  readonly #volume: OpenVolume;
  readonly #limits: EngineLimits;
  readonly #readonlyReason: string | null;
  readonly #workerUrl: URL;
  readonly #onEnded: ((reason: TidemarkError) => void) | undefined;
  readonly #shared: SharedState;
  readonly #worker: Worker;
  readonly #pagePort: MessagePort;
  readonly #intake: MtrIntake;
  readonly #pageService: PageService;
  readonly #connections = new Map<number, ClientConnection>();
  readonly #freeSlots: number[] = [];
  readonly #exports = new Set<Lsn>();
  readonly #leave: (() => void)[] = [];
  readonly #link: ConnectionLink;
  #outbox: ToWorker[] = [];
  #flushHandle: NodeJS.Immediate | null = null;
  #lastConnection = 0;
  #lastSlot = 0;
  #lastRun = 0;
  #lastReported = -1;
  #import: Import | null = null;
  #ended: TidemarkError | null = null;
  /** Why nothing begins any more, while what was begun comes to its end. */
  #leaving: TidemarkError | null = null;
  #closing: Promise<void> | null = null;
  #onReady!: () => void;
  #onBroken!: (reason: TidemarkError) => void;

  constructor({ volume, workerUrl, workers, limits, readonlyReason, onEnded }: OpenEngineOptions) {
    this.#volume = volume;
    this.#limits = limits;
    this.#readonlyReason = readonlyReason ?? null;
    this.#workerUrl = workerUrl;
    this.#onEnded = onEnded;
    this.#shared = SharedState.create(limits.maxConnections + 1);
    this.#shared.set('vdl', volume.vdl);
    this.#shared.set('lowestReadPoint', volume.vdl);
    this.#shared.setFlag('writable', volume.writable ? 1 : 0);
    this.ready = new Promise((resolve, reject) => {
      this.#onReady = resolve;
      this.#onBroken = reject;
    });
    const { port1, port2 } = new MessageChannel();
    this.#pagePort = port1;
    this.#pagePort.unref();
    const setup: WorkerSetup = {
      shared: this.#shared.buffers,
      pagePort: port2,
      headLsn: volume.headLsn,
      limits,
      databaseName: volume.name,
      readonlyReason: this.#readonlyReason,
    };
    this.#worker = workers?.take() ?? startEngineWorker(workerUrl);
    this.#worker.postMessage(setup, [port2]);
    this.#intake = new MtrIntake(volume, this.#shared, {
      onNews: () => this.#tellNews(),
      onRefused: (error) => this.#end(error),
    });
    this.#pageService = new PageService(volume, port1, this.#shared);
    this.#link = {
      volume,
      send: (message) => this.#send(message),
      nextRun: () => {
        this.#lastRun = this.#lastRun === MAX_RUN ? 1 : this.#lastRun + 1;
        return this.#lastRun;
      },
      interrupt: (slot, run) => this.#shared.interrupt(slot, run),
      ended: () => this.#ended ?? this.#leaving,
      closed: (connection) => {
        if (this.#connections.delete(connection.id)) this.#freeSlots.push(connection.slot);
      },
    };
    this.#listen();
  }

  connect(options: { readonly readonly: boolean }): Promise<EngineConnection> {
    return this.#connect(options);
  }

  connectToMerge(): Promise<MergeConnection> {
    return this.#connect({ readonly: false });
  }

  async #connect({ readonly }: { readonly readonly: boolean }): Promise<ClientConnection> {
    this.#refuseEnded();
    if (this.#connections.size >= this.#limits.maxConnections) {
      throw new TidemarkError(
        'OVERLOADED',
        `volume '${this.#volume.name}' has ${this.#connections.size} connections, its limit`,
        {
          nextStep: 'Close connections that are not used, or raise the limit.',
        },
      );
    }
    this.#lastConnection += 1;
    let slot = this.#freeSlots.pop();
    if (slot === undefined) {
      this.#lastSlot += 1;
      slot = this.#lastSlot;
    }
    const connection = new ClientConnection(this.#link, this.#lastConnection, slot);
    this.#connections.set(connection.id, connection);
    const isReadonly = readonly || this.#readonlyReason !== null;
    this.#send({ kind: 'connect', connection: connection.id, slot, readonly: isReadonly });
    return connection;
  }

  async *exportDatabase(
    onProgress: (progress: TransferProgress) => void = () => {},
  ): AsyncGenerator<Uint8Array> {
    this.#refuseEnded();
    const at = this.#volume.vdl;
    this.#exports.add(at);
    try {
      await this.#volume.confirmReadable();
      yield* exportPages(this.#volume, at, onProgress);
    } finally {
      this.#exports.delete(at);
    }
  }

  async importDatabase(
    filePath: string,
    onProgress: (progress: TransferProgress) => void = () => {},
  ): Promise<{ readonly pages: number; readonly lsn: Lsn }> {
    this.#refuseEnded();
    if (this.#readonlyReason !== null) throw new TidemarkError('UNSUPPORTED', this.#readonlyReason);
    if (this.#import !== null) {
      throw new TidemarkError('OVERLOADED', `an import into volume '${this.#volume.name}' is under way`, {
        nextStep: 'Wait for its end.',
      });
    }
    const source = await openImport(filePath, this.#workerUrl);
    try {
      const present = await this.#beginImport();
      try {
        await this.#intake.drain(IMPORT_DRAIN_TIMEOUT_MS);
        const lsn = await handOverPages(this.#volume, source, present, onProgress);
        await this.#volume.whenDurable(lsn).catch((error: unknown) => {
          throw outcomeUnknown(error);
        });
        return { pages: source.pages, lsn };
      } finally {
        await this.#endImport();
      }
    } finally {
      await source.close();
    }
  }

  status(): EngineStatus {
    const shared = this.#shared;
    return {
      connections: this.#connections.size,
      openTransactions: shared.get('openTransactions'),
      pageCache: {
        pages: shared.get('cachePages'),
        bytes: shared.get('cacheBytes'),
        limitBytes: this.#limits.pageCacheBytes,
        hits: shared.get('cacheHits'),
        misses: shared.get('cacheMisses'),
      },
      databasePages: shared.get('databasePages'),
      statements: shared.get('statements'),
      commits: shared.get('commits'),
    };
  }

  close(reason?: TidemarkError): Promise<void> {
    this.#closing ??= reason === undefined ? this.#close() : this.#leaveWith(reason);
    return this.#closing;
  }

  async #leaveWith(reason: TidemarkError): Promise<void> {
    this.#leaving = reason;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    await Promise.race([this.#handedOverIsDurable(), late]);
    clearTimeout(timer);
    this.#end(reason);
    await this.#worker.terminate();
  }

  /** And told to those who wait for it. */
  async #handedOverIsDurable(): Promise<void> {
    await this.#volume.whenDurable(this.#volume.headLsn).catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async #close(): Promise<void> {
    if (this.#ended === null) {
      const all = [...this.#connections.values()].map((connection) => connection.close());
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      });
      await Promise.race([Promise.all(all), late]);
      clearTimeout(timer);
    }
    this.#end(closedError());
    await this.#worker.terminate();
  }

  #listen(): void {
    const worker = this.#worker;
    worker.on('message', (messages: readonly FromWorker[]) => this.#receive(messages));
    worker.on('error', (error) => this.#end(brokenError(error)));
    worker.on('exit', () => this.#end(brokenError(new Error('the SQL worker has stopped'))));
    const timer = setInterval(() => this.#report(), REPORT_INTERVAL_MS);
    timer.unref();
    this.#leave.push(
      this.#volume.onVdl((vdl) => this.#onVdl(vdl)),
      this.#volume.onDeposed((reason) => this.#end(asDeposed(reason))),
      () => clearInterval(timer),
    );
  }

  #receive(messages: readonly FromWorker[]): void {
    if (this.#ended !== null) return;
    let confirmation: Promise<void> | null = null;
    const confirm = (): Promise<void> => {
      confirmation ??= this.#volume.confirmReadable();
      return confirmation;
    };
    let hasMtrs = false;
    for (const message of messages) {
      hasMtrs ||= message.kind === 'mtr';
      this.#handle(message, confirm);
      if (this.#ended !== null) return;
    }
    if (!hasMtrs) return;
    this.#intake.updateWritable();
    this.#tellNewsIfWanted();
  }

  #handle(message: FromWorker, confirm: () => Promise<void>): void {
    switch (message.kind) {
      case 'mtr':
        this.#intake.take(message.cpl, message.changes);
        return;
      case 'output':
        this.#connections.get(message.connection)?.onOutput(message, confirm);
        return;
      case 'fetch':
        void this.#pageService.serve(message.request, message.at, message.pages);
        return;
      case 'ready':
        this.#onReady();
        return;
      case 'disconnected':
        this.#connections.get(message.connection)?.onDisconnected();
        return;
      case 'transaction-lost':
        this.#connections.get(message.connection)?.onTransactionLost();
        return;
      case 'import-ready':
        if (message.error === null) this.#import?.onReady(message);
        else this.#import?.onRefused(new TidemarkError(message.error.code, message.error.message));
        return;
      case 'import-ended':
        this.#import?.onEnded();
        return;
      case 'failed': {
        const cause = new Error(message.message);
        if (message.stack !== null) cause.stack = message.stack;
        this.#end(brokenError(cause));
        return;
      }
      default:
        message satisfies never;
    }
  }

  #send(message: ToWorker): void {
    this.#outbox.push(message);
    this.#flushHandle ??= setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushHandle = null;
    const messages = this.#outbox;
    this.#outbox = [];
    if (this.#ended !== null) return;
    // What was acknowledged before these programs were called must be visible to them.
    this.#shared.set('vdl', this.#volume.vdl);
    this.#worker.postMessage(messages);
  }

  #onVdl(vdl: Lsn): void {
    this.#shared.set('vdl', vdl);
    this.#intake.updateWritable();
    this.#tellNewsIfWanted();
  }

  #tellNewsIfWanted(): void {
    if (this.#shared.flag('wantsNews') === 1) this.#tellNews();
  }

  #tellNews(): void {
    if (this.#ended !== null) return;
    this.#shared.setFlag('wantsNews', 0);
    this.#send({ kind: 'news' });
  }

  /** The volume keeps history from the lowest read point that anyone here still reads at. */
  #report(): void {
    this.#intake.updateWritable();
    const vdl = this.#volume.vdl;
    const inWorker = this.#shared.get('lowestReadPoint');
    const lowest = Math.min(vdl, inWorker, ...this.#exports);
    if (lowest > this.#lastReported) {
      this.#lastReported = lowest;
      this.#volume.reportReadPoint(toLsn(lowest));
    } else if (inWorker < vdl) {
      // An idle worker's word is as old as its last work: have it looked at again.
      this.#tellNews();
    }
  }

  #beginImport(): Promise<PresentHeader> {
    return new Promise((resolve, reject) => {
      this.#import = {
        onReady: resolve,
        onRefused: (error) => {
          this.#import = null;
          reject(error);
        },
        onEnded: () => {},
      };
      this.#send({ kind: 'import-begin' });
    });
  }

  /** The worker may go on once all that was handed over is durable: its cache does not hold it. */
  async #endImport(): Promise<void> {
    while (this.#ended === null) {
      const head = this.#volume.headLsn;
      try {
        await this.#volume.whenDurable(head);
      } catch (error) {
        if (isTidemarkError(error, 'OUTCOME_UNKNOWN')) continue;
        this.#end(isTidemarkError(error) ? error : brokenError(error));
        break;
      }
      const ended = new Promise<void>((resolve) => {
        if (this.#import !== null) this.#import.onEnded = resolve;
      });
      this.#send({ kind: 'import-end', headLsn: head });
      await ended;
      break;
    }
    this.#import = null;
  }

  #refuseEnded(): void {
    if (this.#ended !== null) throw this.#ended;
    if (this.#closing !== null) throw this.#leaving ?? closedError();
  }

  #end(reason: TidemarkError): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    this.#shared.setFlag('closed', 1);
    this.#shared.announcePageAnswer();
    this.#intake.close();
    for (const leave of this.#leave) leave();
    if (this.#flushHandle !== null) clearImmediate(this.#flushHandle);
    for (const connection of [...this.#connections.values()]) connection.end(reason);
    this.#import?.onRefused(reason);
    this.#import?.onEnded();
    this.#onBroken(reason);
    void this.#worker.terminate();
    this.#pagePort.close();
    if (this.#closing === null) this.#onEnded?.(reason);
  }
}

function brokenError(cause: unknown): TidemarkError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new TidemarkError('UNAVAILABLE', `the SQL engine broke: ${message}`, {
    cause,
    nextStep: 'Connect again: the volume is opened anew. Please report it with the log.',
  });
}

function asDeposed(reason: Error): TidemarkError {
  return isTidemarkError(reason)
    ? reason
    : new TidemarkError('DEPOSED', 'a newer writer took over the volume', { cause: reason });
}
