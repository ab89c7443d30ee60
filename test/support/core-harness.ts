/**
 * The SQL engine's core in this thread, over a MemoryVolume: no worker, no timers, a clock the test moves. Page misses are answered on the
 * spot; outputs are collected per program.
 */
import type { EngineLimits, ProgramEvent, SqlError, SqlValue, Step } from '../../compute-node/engine/api.ts';
import { unpackChanges } from '../../compute-node/engine/mtr-packing.ts';
import { avoidWasmInliningBug } from '../../compute-node/engine/v8-flags.ts';
import { EngineCore } from '../../compute-node/engine/worker/core.ts';
import type { Host } from '../../compute-node/engine/worker/host.ts';
import { SqliteLibrary } from '../../compute-node/engine/worker/sqlite-library.ts';
import type {
  FromWorker,
  PageAnswer,
  ProgramDone,
  ProgramSource,
} from '../../compute-node/engine/worker-messages.ts';
import { assert } from '../../src/base/assert.ts';
import { KIB, MIB } from '../../src/base/limits.ts';
import { toPageNumber } from '../../src/log/lsn.ts';
import { MemoryVolume } from './memory-volume.ts';

export const testLimits: EngineLimits = {
  pageCacheBytes: 16 * MIB,
  maxTransactionBytes: 64 * MIB,
  statementTimeoutMs: 0,
  busyTimeoutMs: 1_000,
  writableTimeoutMs: 5_000,
  transactionTimeoutMs: 60_000,
  maxRowBytes: 16 * MIB,
  maxSqlBytes: MIB,
  maxConnections: 1_000,
};

export interface ProgramOutput {
  readonly events: ProgramEvent[];
  lsn: number;
  needsConfirmation: boolean[];
  /** Posted and not given out. */
  bytes: number;
  done: ProgramDone | null;
}

export interface StepResult {
  readonly rows: SqlValue[][];
  readonly error: SqlError | null;
  readonly affectedRows: number;
  readonly columns: readonly string[];
  readonly skipped: boolean;
}

export class CoreHarness {
  readonly volume: MemoryVolume;
  readonly core: EngineCore;
  readonly messages: FromWorker[] = [];
  readonly outputs = new Map<number, ProgramOutput>();
  readonly interrupted = new Map<number, number>();
  nowMs = 0;
  /** Added to the clock at each look: time passes while SQLite works. */
  tickMs = 0;
  writable = true;
  newsWanted = false;
  pageError: { readonly code: 'NO_QUORUM' | 'GONE'; readonly message: string } | null = null;
  /** Before every answer to a page request. */
  onFetch: () => void = () => {};
  #answers: PageAnswer[] = [];
  #mtrBytes = 0;
  readonly #runConnections = new Map<number, number>();
  #lastRun = 0;
  #lastConnection = 0;

  private constructor(lib: SqliteLibrary, volume: MemoryVolume, limits: EngineLimits) {
    this.volume = volume;
    const host: Host = {
      nowMs: () => {
        this.nowMs += this.tickMs;
        return this.nowMs;
      },
      vdl: () => volume.vdl,
      isWritable: () => this.writable,
      mtrBytesTaken: () => this.#mtrBytes,
      wantNews: () => {
        this.newsWanted = true;
      },
      isInterrupted: (slot, run) => this.interrupted.get(slot) === run,
      post: (message) => this.#take(message),
      flush: () => {},
      nextPageAnswer: () => this.#answers.shift() ?? null,
    };
    this.core = new EngineCore(lib, host, {
      limits,
      headLsn: volume.headLsn,
      databaseName: 'test',
      readonlyReason: null,
    });
  }

  static async create(
    options: { readonly limits?: Partial<EngineLimits>; readonly volume?: MemoryVolume } = {},
  ): Promise<CoreHarness> {
    avoidWasmInliningBug();
    const lib = await SqliteLibrary.load();
    return new CoreHarness(lib, options.volume ?? new MemoryVolume(), { ...testLimits, ...options.limits });
  }

  connect(readonly = false): number {
    this.#lastConnection += 1;
    this.core.accept({
      kind: 'connect',
      connection: this.#lastConnection,
      slot: this.#lastConnection,
      readonly,
    });
    return this.#lastConnection;
  }

  /** Queues a program without giving it a turn. */
  start(connection: number, source: ProgramSource): number {
    this.#lastRun += 1;
    this.outputs.set(this.#lastRun, { events: [], lsn: 0, needsConfirmation: [], bytes: 0, done: null });
    this.#runConnections.set(this.#lastRun, connection);
    this.core.accept({ kind: 'run', connection, run: this.#lastRun, source });
    return this.#lastRun;
  }

  turn(): void {
    do this.core.turn(1_000);
    while (this.core.hasReady);
    const failed = this.messages.find((m) => m.kind === 'failed');
    assert(failed === undefined, `the core failed: ${failed?.kind === 'failed' ? failed.stack : ''}`);
  }

  output(run: number): ProgramOutput {
    const output = this.outputs.get(run);
    assert(output !== undefined, `no program ${run}`);
    return output;
  }

  isDone(run: number): boolean {
    return this.output(run).done !== null;
  }

  /** Runs statements as one program to its end; the clock is moved when it waits. */
  run(
    connection: number,
    ...statements: readonly (string | readonly [string, ...SqlValue[]])[]
  ): StepResult[] {
    const run = this.startSteps(connection, ...statements);
    this.finish(run);
    return resultsOf(this.output(run), statements.length);
  }

  startSteps(
    connection: number,
    ...statements: readonly (string | readonly [string, ...SqlValue[]])[]
  ): number {
    return this.start(connection, { kind: 'steps', steps: statements.map((s) => stepOf(s)) });
  }

  finish(run: number): void {
    this.turn();
    for (let i = 0; i < 1_000 && !this.isDone(run); i += 1) {
      const { bytes } = this.output(run);
      if (bytes > 0) {
        this.output(run).bytes = 0;
        this.core.accept({ kind: 'credit', connection: this.#runConnections.get(run) ?? 0, run, bytes });
        this.turn();
        continue;
      }
      const next = this.core.nextDeadlineMs;
      assert(next !== null, 'the program waits for something that will not come');
      this.nowMs = Math.max(this.nowMs, next);
      this.turn();
    }
  }

  /** The rows of one statement that must succeed. */
  rows(connection: number, sql: string, ...args: readonly SqlValue[]): SqlValue[][] {
    const [result] = this.run(connection, [sql, ...args]);
    assert(result !== undefined && result.error === null, `${sql}: ${result?.error?.message}`);
    return result.rows;
  }

  ok(connection: number, ...statements: readonly (string | readonly [string, ...SqlValue[]])[]): void {
    for (const { error } of this.run(connection, ...statements)) {
      assert(error === null, `${error?.code}: ${error?.message}`);
    }
  }

  errorOf(connection: number, sql: string, ...args: readonly SqlValue[]): SqlError | null {
    return this.run(connection, [sql, ...args])[0]?.error ?? null;
  }

  script(connection: number, sql: string): SqlError | null {
    const run = this.start(connection, { kind: 'script', sql });
    this.finish(run);
    return this.output(run).done?.error ?? null;
  }

  disconnect(connection: number): void {
    this.core.accept({ kind: 'disconnect', connection });
    this.turn();
  }

  get cplsSubmitted(): readonly number[] {
    return this.volume.mtrs.map(({ cpl }) => cpl);
  }

  #take(message: FromWorker): void {
    switch (message.kind) {
      case 'mtr': {
        const { cpl } = this.volume.submit({ changes: unpackChanges(message.changes) });
        assert(cpl === message.cpl, `the core counted on CPL ${message.cpl}, the volume gave ${cpl}`);
        this.#mtrBytes += message.changes.length;
        return;
      }
      case 'output': {
        const output = this.output(message.run);
        output.events.push(...message.events);
        output.bytes += message.bytes;
        output.lsn = message.lsn;
        output.needsConfirmation.push(message.needsConfirmation);
        output.done = message.done;
        return;
      }
      case 'fetch':
        this.onFetch();
        this.#answers.push(this.#answer(message));
        return;
      default:
        this.messages.push(message);
    }
  }

  #answer({ request, at, pages }: Extract<FromWorker, { readonly kind: 'fetch' }>): PageAnswer {
    if (this.pageError !== null) return { request, error: this.pageError };
    assert(at <= this.volume.vdl, `a fetch at ${at}, above VDL ${this.volume.vdl}`);
    this.volume.readRequests.push({ at, pages: pages.map(toPageNumber) });
    this.volume.pagesRead += pages.length;
    const versions = pages.map((page) => this.volume.pageAt(toPageNumber(page), at));
    const data = new Uint8Array(versions.reduce((sum, v) => sum + v.data.length, 0));
    let offset = 0;
    for (const version of versions) {
      data.set(version.data, offset);
      offset += version.data.length;
    }
    return { request, error: null, at, pages, lsns: versions.map((v) => v.lsn), data };
  }
}

export function stepOf(statement: string | readonly [string, ...SqlValue[]]): Step {
  const [sql, ...args] = typeof statement === 'string' ? [statement] : statement;
  return { statement: { sql, args, namedArgs: [], wantRows: true }, condition: null };
}

export function resultsOf(output: ProgramOutput, count: number): StepResult[] {
  const results = Array.from({ length: count }, () => ({
    rows: [] as SqlValue[][],
    error: null as SqlError | null,
    affectedRows: 0,
    columns: [] as readonly string[],
    skipped: false,
  }));
  let current = results[0];
  for (const event of output.events) {
    switch (event.kind) {
      case 'step-begin':
        current = results[event.step];
        if (current !== undefined) current.columns = event.columns.map((c) => c.name);
        break;
      case 'rows':
        for (const row of event.rows) current?.rows.push([...row]);
        break;
      case 'step-end': {
        const result = results[event.step];
        if (result !== undefined) result.affectedRows = event.affectedRows;
        break;
      }
      case 'step-error': {
        const result = results[event.step];
        if (result !== undefined) result.error = event.error;
        break;
      }
      case 'step-skipped': {
        const result = results[event.step];
        if (result !== undefined) result.skipped = true;
        break;
      }
      default:
        event satisfies never;
    }
  }
  return results;
}

export const SMALL_LIMITS = { pageCacheBytes: 64 * KIB } as const;
