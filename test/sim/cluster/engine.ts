/**
 * A page-level model of the SQL engine. It has the real parts that decide what a reader may see and when a result may leave: the page cache,
 * the view of the volume that a connection has (locks, read points, overlay, MTRs), the writer lock, and the release of output (ProgramRun).
 * Only SQLite is missing: transactions read and write the objects of objects.ts straight in the pages.
 *
 * A miss ends the attempt; the page is fetched and the attempt begins again at the same read point.
 */
import type { Engine } from '../../../compute-node/engine/api.ts';
import { ProgramRun } from '../../../compute-node/engine/program-run.ts';
import { Output } from '../../../compute-node/engine/worker/output.ts';
import { PageCache } from '../../../compute-node/engine/worker/page-cache.ts';
import { LOCK, VolumeFile, type VolumeView } from '../../../compute-node/engine/worker/volume-file.ts';
import { WriterLock } from '../../../compute-node/engine/worker/writer-lock.ts';
import type { AdministeredVolume, SubmittedMtr } from '../../../compute-node/volume/open-volume.ts';
import { isTidemarkError, TidemarkError } from '../../../src/base/errors.ts';
import { PAGE_SIZE_BYTES } from '../../../src/base/limits.ts';
import { type Lsn, NO_LSN, toLsn, toPageNumber, type VolumeId } from '../../../src/log/lsn.ts';
import type { PageChange } from '../../../src/log/record.ts';
import type { Isolation, MicroOperation } from '../../checkers/history.ts';
import type { Oracle } from '../checks/oracle.ts';
import type { SimProcess } from '../world/process.ts';
import { isWriting, perform, type PlannedOperation } from './objects.ts';

const MAX_OVERLAY_PAGES = 64;
const WRITABLE_TIMEOUT_MS = 2_000;
const REPORT_INTERVAL_MS = 250;

export interface EngineTransaction {
  readonly isolation: Isolation;
  readonly operations: readonly PlannedOperation[];
  /**
   * Like BEGIN without IMMEDIATE: reads first, and asks for the writer lock only when it comes to writing, after `thinkMs`. What it read must still
   * be the newest then.
   */
  readonly isDeferred: boolean;
  readonly thinkMs: number;
  readonly minLsn: Lsn | null;
  /** Told as soon as it is known, whether or not an answer ever gets out. */
  readonly onCommit: (volume: VolumeId, cpl: Lsn) => void;
}

export interface EngineResult {
  readonly lsn: Lsn;
  readonly operations: readonly MicroOperation[];
  /** What it had read was not the newest any more when it came to writing: nothing was changed. */
  readonly isStale: boolean;
}

/** What one client has seen in this engine. */
export interface SessionMemory {
  seenLsn: Lsn;
}

const DONE = { isAutocommit: true, holdsWriterLock: false, error: null, description: null, changeset: null };

/** Thrown, but no error: it costs no stack. */
class PageMiss {
  readonly page: number;
  readonly at: Lsn;

  constructor(page: number, at: Lsn) {
    this.page = page;
    this.at = at;
  }
}

export class ModelEngine {
  readonly volume: AdministeredVolume;
  readonly #process: SimProcess;
  readonly #oracle: Oracle;
  readonly #cache: PageCache;
  readonly #view: VolumeView;
  readonly #lock = new WriterLock<Work>((work) => work.granted());
  readonly #readers = new Set<VolumeFile>();
  readonly #runs = new Set<ProgramRun>();
  readonly #onEnded: (reason: Error) => void;
  readonly #stops: (() => void)[];
  #head: Lsn;
  #ended: TidemarkError | null = null;
  #nextRun = 1;

  constructor(options: {
    readonly volume: AdministeredVolume;
    readonly process: SimProcess;
    readonly oracle: Oracle;
    readonly cachePages: number;
    readonly onEnded: (reason: Error) => void;
  }) {
    const { volume, process, oracle } = options;
    this.volume = volume;
    this.#process = process;
    this.#oracle = oracle;
    this.#onEnded = options.onEnded;
    this.#head = volume.headLsn;
    this.#cache = new PageCache(options.cachePages * PAGE_SIZE_BYTES);
    this.#view = {
      cache: this.#cache,
      source: { read: (page, at) => this.#read(page, at) },
      head: () => this.#head,
      vdl: () => volume.vdl,
      handOver: (changes, frames) => this.#handOver(changes, frames),
      readPointTaken: (file) => this.#readers.add(file),
      readPointLeft: (file) => this.#readers.delete(file),
    };
    const reporting = process.every(REPORT_INTERVAL_MS, () =>
      volume.reportReadPoint(this.#lowestReadPoint()),
    );
    this.#stops = [
      () => reporting.cancel(),
      volume.onVdl((vdl) => {
        oracle.onVdl(volume.volume, volume.epoch, vdl);
        this.#cache.advance(vdl, this.#lowestReadPoint());
      }),
      volume.onDeposed((reason) => this.#end(asTidemark(reason))),
    ];
  }

  get isEnded(): boolean {
    return this.#ended !== null;
  }

  status(): Pick<ReturnType<Engine['status']>, 'connections'> {
    return { connections: this.#runs.size };
  }

  async close(): Promise<void> {
    this.#end(new TidemarkError('UNAVAILABLE', 'the engine was closed'));
  }

  /** Resolves with what may be shown to the client, once it may. */
  async run(transaction: EngineTransaction, session: SessionMemory): Promise<EngineResult> {
    const { minLsn, isolation } = transaction;
    if (isolation === 'session' && minLsn !== null && minLsn > this.volume.vdl) {
      if (minLsn > this.volume.headLsn)
        throw new TidemarkError('BAD_REQUEST', `LSN ${minLsn} was never given out`);
      await this.volume.whenDurable(minLsn);
    }
    if (this.#ended !== null) throw this.#ended;
    const done: MicroOperation[] = [];
    let isStale = false;
    const run = new ProgramRun({
      volume: this.volume,
      isStrong: isolation === 'strong',
      mayCommit: () => transaction.operations.some(isWriting),
      onEvent: null,
      credit: () => {},
      cancel: () => {},
      onDone: () => {},
    });
    this.#runs.add(run);
    const output = new Output(
      (message) => {
        if (message.kind === 'output') run.accept(message, () => this.volume.confirmReadable());
      },
      1,
      this.#nextRun++,
    );
    const work = new Work(this.#view, session, this.#lock, this.#process);
    this.#work(work, transaction, output, done).then(
      (kept) => {
        isStale = !kept;
        work.leave();
        output.post(session.seenLsn, DONE);
      },
      (error: unknown) => {
        work.leave();
        if (isTidemarkError(error)) run.abandon(error);
        else this.#process.world.fail(`the engine of ${this.volume.name}`, error);
      },
    );
    try {
      const { lsn } = await run.finished;
      return { lsn, operations: done, isStale };
    } finally {
      this.#runs.delete(run);
    }
  }

  /** Returns false when it was refused for what it had read being old. */
  async #work(
    work: Work,
    transaction: EngineTransaction,
    output: Output,
    done: MicroOperation[],
  ): Promise<boolean> {
    const { operations, isDeferred, thinkMs, onCommit } = transaction;
    const writes = operations.some(isWriting);
    if (writes && !isDeferred) await this.#becomeWriter(work);
    work.readMode = writes || isDeferred ? 'head' : 'vdl';
    work.file.lockTo(LOCK.shared);
    await this.#retry(work, () => {
      for (const operation of operations)
        if (!isWriting(operation)) perform([operation], readOnly(work), () => {});
    });
    if (thinkMs > 0) await new Promise<void>((resolve) => this.#process.after(thinkMs, resolve));
    if (writes && isDeferred) await this.#becomeWriter(work);
    if (this.#ended !== null) throw this.#ended;
    output.touch();
    if (writes && work.file.lockTo(LOCK.reserved) !== 'ok') return false;
    await this.#retry(work, () => {
      done.length = 0;
      const writesOf = new Map<number, Uint8Array>();
      perform(
        operations,
        { read: (page) => work.read(page), write: (page, bytes) => writesOf.set(page, bytes) },
        (operation) => done.push(operation),
      );
      if (this.#ended !== null) throw this.#ended;
      for (const [page, bytes] of writesOf) work.file.write(bytes, (page - 1) * PAGE_SIZE_BYTES);
    });
    if (!writes) return true;
    work.onCommitted = (cpl) => {
      onCommit(this.volume.volume, cpl);
      output.cover(cpl);
    };
    work.file.commit();
    return true;
  }

  async #becomeWriter(work: Work): Promise<void> {
    await work.acquire();
    if (!this.volume.writable) await this.volume.whenWritable(WRITABLE_TIMEOUT_MS);
    if (this.#ended !== null) throw this.#ended;
  }

  /** Until all pages it wants are at hand. */
  async #retry(work: Work, attempt: () => void): Promise<void> {
    for (;;) {
      try {
        attempt();
        return;
      } catch (error) {
        if (!(error instanceof PageMiss)) throw error;
        await this.#fetch(work, error);
        if (this.#ended !== null) throw this.#ended;
      }
    }
  }

  async #fetch(work: Work, { page, at }: PageMiss): Promise<void> {
    const readAt = toLsn(Math.min(at, this.volume.vdl));
    const wanted = work.readAhead(page).filter((p) => p === page || !this.#cache.has(p, at));
    const versions = await this.volume.readPages(readAt, wanted.map(toPageNumber));
    for (const version of versions.toReversed()) {
      this.#oracle.onRead(this.volume, readAt, version);
      this.#cache.noteVdl(this.volume.vdl);
      const data = version.lsn === NO_LSN ? null : version.data;
      this.#cache.putFetched(version.page, version.lsn, readAt, data, version.page !== page);
    }
  }

  #read(page: number, at: Lsn): Uint8Array {
    const data = this.#cache.get(page, at);
    if (data === null) throw new PageMiss(page, at);
    return data;
  }

  #handOver(changes: readonly PageChange[], frames: readonly Uint8Array[]): Lsn {
    const { volume } = this;
    let submitted: SubmittedMtr;
    try {
      submitted = volume.submit({ changes });
    } catch (error) {
      // The engine's state is ahead of the truth.
      this.#end(asTidemark(error));
      throw error;
    }
    this.#oracle.onSubmitted(volume, submitted, changes, frames);
    for (const [index, change] of changes.entries()) {
      this.#cache.putHandedOver(change.page, submitted.firstLsn + index, frames[index] as Uint8Array);
    }
    this.#head = submitted.cpl;
    return this.#head;
  }

  #lowestReadPoint(): Lsn {
    let lowest = this.volume.vdl;
    for (const file of this.#readers) if (file.readPoint < lowest) lowest = file.readPoint;
    return lowest;
  }

  #end(reason: TidemarkError): void {
    if (this.#ended !== null) return;
    this.#ended = reason;
    for (const stop of this.#stops) stop();
    for (const run of [...this.#runs]) run.abandon(reason);
    this.#onEnded(reason);
  }
}

/** One transaction under way: a connection's view of the volume. */
class Work {
  readonly file: VolumeFile;
  readonly session: SessionMemory;
  readonly #view: VolumeView;
  readonly #lock: WriterLock<Work>;
  readonly #process: SimProcess;
  readonly #pages = new Map<number, Uint8Array>();
  #granted: (() => void) | null = null;
  readMode: 'head' | 'vdl' = 'vdl';
  onCommitted: (cpl: Lsn) => void = () => {};

  constructor(view: VolumeView, session: SessionMemory, lock: WriterLock<Work>, process: SimProcess) {
    this.session = session;
    this.#view = view;
    this.#lock = lock;
    this.#process = process;
    this.file = new VolumeFile(
      view,
      {
        nextReadPoint: () => this.#nextReadPoint(),
        holdsWriterLock: () => lock.owner === this,
        isInterrupted: () => false,
        committed: (cpl) => {
          session.seenLsn = cpl;
          this.onCommitted(cpl);
        },
      },
      { maxOverlayPages: MAX_OVERLAY_PAGES, maxReadAheadPages: 0 },
    );
  }

  /** Each page is read once; SQLite's own cache holds it then. */
  read(page: number): Uint8Array {
    let bytes = this.#pages.get(page);
    if (bytes === undefined) {
      bytes = new Uint8Array(PAGE_SIZE_BYTES);
      this.file.read(bytes, (page - 1) * PAGE_SIZE_BYTES);
      this.#pages.set(page, bytes);
    }
    return bytes;
  }

  acquire(): Promise<void> {
    if (this.#lock.acquire(this, this.#process.now().monotonicMs)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#granted = resolve;
    });
  }

  granted(): void {
    this.#granted?.();
  }

  /** Now and then a neighbour comes along, as SQLite's read-ahead would have it. */
  readAhead(page: number): number[] {
    return page > 1 && page % 3 === 0 ? [page, page + 1] : [page];
  }

  leave(): void {
    this.file.unlockTo(LOCK.none);
    this.#lock.release(this, this.#process.now().monotonicMs);
  }

  /** As worker/sql-handle.ts has it. */
  #nextReadPoint(): Lsn {
    const vdl = this.#view.vdl();
    const { session } = this;
    const point = this.readMode === 'head' || session.seenLsn > vdl ? this.#view.head() : vdl;
    if (point > session.seenLsn) session.seenLsn = point;
    return point;
  }
}

function readOnly(work: Work) {
  return { read: (page: number) => work.read(page), write: () => {} };
}

function asTidemark(error: unknown): TidemarkError {
  return isTidemarkError(error) ? error : new TidemarkError('DEPOSED', String(error), { cause: error });
}
