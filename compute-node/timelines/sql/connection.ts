/**
 * A connection that knows the statements about timelines (statement.ts), in front of one that knows SQL. A program or script with such statements
 * runs in pieces: what SQLite knows goes to SQLite, in order, under the conditions that it came with.
 *
 * Invariants
 * 1. Inside a transaction none of them runs: what they do cannot be rolled back with it.
 * 2. After a backtrack or a drop of its own volume the connection behind is given up: the next statement gets one of what the volume is now.
 */
import { isTidemarkError, TidemarkError } from '../../../src/base/errors.ts';
import { type Lsn, NO_LSN } from '../../../src/log/lsn.ts';
import type {
  Column,
  EngineConnection,
  ProgramResult,
  RunOptions,
  SqlValue,
  Statement,
  StatementDescription,
  Step,
} from '../../engine/api.ts';
import { SqlFailure } from '../../engine/api.ts';
import { holds, rebase, type StepOutcome } from './conditions.ts';
import { type ScriptPart, splitScript, timelineStatementKind } from './find.ts';
import { parseTimelineStatement, timelineParameters } from './parse.ts';
import { runTimelineStatement, type TimelineContext, timelineColumns } from './results.ts';
import type { TimelineStatement } from './statement.ts';
import { sqlFailure } from './tokens.ts';

interface Answer {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly SqlValue[])[];
}

/** No statement of ours needs more; names and moments are short. */
const MAX_STATEMENT_CHARS = 4_096;

export class TimelineConnection implements EngineConnection {
  readonly #connect: () => Promise<EngineConnection>;
  readonly #context: TimelineContext;
  #inner: EngineConnection | null;
  #isClosed = false;

  /** Connects at once, so that whoever cannot be connected learns it now. */
  static async open(
    connect: () => Promise<EngineConnection>,
    context: TimelineContext,
  ): Promise<TimelineConnection> {
    return new TimelineConnection(connect, context, await connect());
  }

  private constructor(
    connect: () => Promise<EngineConnection>,
    context: TimelineContext,
    inner: EngineConnection,
  ) {
    this.#connect = connect;
    this.#context = context;
    this.#inner = inner;
  }

  get isAutocommit(): boolean {
    return this.#inner?.isAutocommit ?? true;
  }

  get hasEnded(): boolean {
    return this.#inner?.hasEnded ?? false;
  }

  get holdsWriterLock(): boolean {
    return this.#inner?.holdsWriterLock ?? false;
  }

  interrupt(): void {
    this.#inner?.interrupt();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#giveUp();
  }

  run(steps: readonly Step[], options: RunOptions): Promise<ProgramResult> {
    const isPlain = steps.every(({ statement }) => timelineStatementKind(statement.sql) === null);
    if (isPlain && this.#inner !== null) return this.#inner.run(steps, options);
    return isPlain
      ? this.#connected().then((inner) => inner.run(steps, options))
      : this.#runInPieces(steps, options);
  }

  async runScript(sql: string, options: Omit<RunOptions, 'onEvent'>): Promise<ProgramResult> {
    const parts = splitScript(sql);
    if (parts === null) return (await this.#connected()).runScript(sql, options);
    let lsn: Lsn = NO_LSN;
    for (const part of parts) {
      const partLsn = await this.#runPart(part, options);
      if (partLsn > lsn) lsn = partLsn;
    }
    return { lsn, isAutocommit: this.isAutocommit };
  }

  async describe(sql: string): Promise<StatementDescription> {
    const kind = timelineStatementKind(sql);
    if (kind === null) return (await this.#connected()).describe(sql);
    return {
      parameters: timelineParameters(sql).map((name) => ({ name: name === '?' ? null : name })),
      columns: timelineColumns(kind),
      isExplain: false,
      isReadonly: kind === 'show-volumes' || kind === 'show-snapshots',
    };
  }

  async #runInPieces(steps: readonly Step[], options: RunOptions): Promise<ProgramResult> {
    const outcomes: StepOutcome[] = [];
    let lsn: Lsn = NO_LSN;
    for (let from = 0; from < steps.length; from = outcomes.length) {
      if (options.signal?.aborted === true) throw new TidemarkError('INTERRUPTED', 'interrupted');
      const step = steps[from]!;
      if (timelineStatementKind(step.statement.sql) !== null) {
        outcomes.push(await this.#step(from, step, outcomes, options.onEvent));
        continue;
      }
      const result = await this.#piece(steps, from, outcomes, options);
      if (result.lsn > lsn) lsn = result.lsn;
    }
    return { lsn, isAutocommit: this.isAutocommit };
  }

  /** The steps from `from` up to the next of ours. Adds their outcomes. */
  async #piece(
    steps: readonly Step[],
    from: number,
    outcomes: StepOutcome[],
    options: RunOptions,
  ): Promise<ProgramResult> {
    const next = steps.findIndex(
      ({ statement }, i) => i > from && timelineStatementKind(statement.sql) !== null,
    );
    const to = next < 0 ? steps.length : next;
    const piece = steps.slice(from, to).map(({ statement, condition }) => ({
      statement,
      condition: condition === null ? null : rebase(condition, from, outcomes),
    }));
    const came: StepOutcome[] = piece.map(() => 'skipped');
    const inner = await this.#connected();
    const result = await inner.run(piece, {
      ...options,
      onEvent: (event) => {
        if (event.kind === 'rows') return options.onEvent(event);
        if (event.kind === 'step-end') came[event.step] = 'ok';
        if (event.kind === 'step-error') came[event.step] = 'error';
        return options.onEvent({ ...event, step: event.step + from });
      },
    });
    outcomes.push(...came);
    return result;
  }

  /** One of ours. */
  async #step(
    index: number,
    { statement, condition }: Step,
    outcomes: readonly StepOutcome[],
    onEvent: RunOptions['onEvent'],
  ): Promise<StepOutcome> {
    if (condition !== null && !holds(condition, outcomes, this.isAutocommit)) {
      await onEvent({ kind: 'step-skipped', step: index });
      return 'skipped';
    }
    const startedMs = performance.now();
    let done: Answer;
    try {
      done = await this.#perform(statement);
    } catch (error) {
      if (!(error instanceof SqlFailure)) throw error;
      await onEvent({ kind: 'step-error', step: index, error: error.error });
      return 'error';
    }
    await onEvent({ kind: 'step-begin', step: index, columns: done.columns });
    if (statement.wantRows && done.rows.length > 0) await onEvent({ kind: 'rows', rows: done.rows });
    await onEvent({
      kind: 'step-end',
      step: index,
      affectedRows: 0,
      lastInsertRowid: 0n,
      rowsRead: 0,
      rowsWritten: 0,
      durationMs: performance.now() - startedMs,
    });
    return 'ok';
  }

  async #runPart(part: ScriptPart, options: Omit<RunOptions, 'onEvent'>): Promise<Lsn> {
    try {
      if (part.kind === 'sql') return (await (await this.#connected()).runScript(part.text, options)).lsn;
      await this.#perform({ sql: part.text, args: [], namedArgs: [], wantRows: false });
      return NO_LSN;
    } catch (error) {
      if (!(error instanceof SqlFailure) || error.error.offset === null) throw error;
      throw new SqlFailure({ ...error.error, offset: error.error.offset + part.offset });
    }
  }

  /** Rejects with a SqlFailure for whatever a client, or the cluster, can cause. */
  async #perform(statement: Statement): Promise<Answer> {
    if (statement.sql.length > MAX_STATEMENT_CHARS) {
      throw sqlFailure('TOO_LARGE', `the statement is longer than ${MAX_STATEMENT_CHARS} characters`);
    }
    const parsed = parseTimelineStatement(statement);
    if (!this.isAutocommit) {
      throw sqlFailure('SQLITE_ERROR', `cannot ${wordsOf(parsed)} from within a transaction`, {
        nextStep: 'COMMIT or ROLLBACK first: it could not be rolled back with the rest.',
      });
    }
    try {
      const rows = await runTimelineStatement(parsed, this.#context);
      if (endsVolumeAsItWas(parsed, this.#context)) await this.#giveUp();
      return { columns: timelineColumns(parsed.kind), rows };
    } catch (error) {
      if (!isTidemarkError(error)) throw error;
      throw sqlFailure(error.code, error.message, { nextStep: error.nextStep });
    }
  }

  async #connected(): Promise<EngineConnection> {
    if (this.#inner !== null) return this.#inner;
    const inner = await this.#connect();
    if (this.#isClosed) {
      await inner.close();
      throw new TidemarkError('INTERRUPTED', 'the connection was closed');
    }
    this.#inner = inner;
    return inner;
  }

  async #giveUp(): Promise<void> {
    const inner = this.#inner;
    this.#inner = null;
    await inner?.close();
  }
}

function wordsOf({ kind }: TimelineStatement): string {
  return kind.toUpperCase().replace('-', ' ');
}

/** Invariant 2. A moment of the past stays what it was. */
function endsVolumeAsItWas(statement: TimelineStatement, { volume, moment }: TimelineContext): boolean {
  if (moment !== null) return false;
  if (statement.kind === 'backtrack') return (statement.volume ?? volume) === volume;
  return statement.kind === 'drop-volume' && statement.name === volume;
}
