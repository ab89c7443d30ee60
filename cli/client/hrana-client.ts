/**
 * The shell's client: one Hrana stream over a WebSocket, each run a batch behind a cursor, so that results stream however large they are.
 *
 * A lost connection (the compute node restarted, an interrupt) is made anew by the next run. What was open on it, a transaction
 * above all, is gone then, and `isAutocommit` says so.
 */
import type { Column, ProgramEvent, SqlError, SqlValue } from '../../compute-node/engine/api.ts';
import { TidemarkError } from '../../src/base/errors.ts';
import { HranaResponseError, HranaSocket, type HranaError } from './hrana-socket.ts';
import { fromHrana, toHrana, type HranaValue } from './hrana-values.ts';
import type { OnEvent, SqlClient, SqlStatement } from './sql-client.ts';
import type { Target } from './target.ts';

/** Entries asked for in one fetch; the server may give fewer, bounded by bytes. */
const FETCH_ENTRIES = 1_000;
const STREAM_ID = 1;

type CursorEntry =
  | { readonly type: 'step_begin'; readonly step: number; readonly cols: readonly HranaColumn[] }
  | { readonly type: 'row'; readonly row: readonly HranaValue[] }
  | {
      readonly type: 'step_end';
      readonly affected_row_count: number;
      readonly last_insert_rowid?: string | null;
      readonly rows_read?: number;
      readonly rows_written?: number;
      readonly query_duration_ms?: number;
    }
  | { readonly type: 'step_error'; readonly step: number; readonly error: HranaError }
  | { readonly type: 'error'; readonly error: HranaError };

interface HranaColumn {
  readonly name?: string | null;
  readonly decltype?: string | null;
}

export class HranaSqlClient implements SqlClient {
  private readonly target: Target;
  private socket: HranaSocket | null = null;
  private nextCursorId = 1;
  private autocommit = true;
  private isRunning = false;
  private stopRequested = false;

  private constructor(target: Target) {
    this.target = target;
  }

  /** Connects, so that a wrong URL or volume is known at once. */
  static async open(target: Target): Promise<HranaSqlClient> {
    const client = new HranaSqlClient(target);
    await client.connected();
    return client;
  }

  get isAutocommit(): boolean {
    return this.autocommit;
  }

  async run(statements: readonly SqlStatement[], onEvent: OnEvent): Promise<void> {
    this.stopRequested = false;
    const socket = await this.connected();
    this.isRunning = true;
    try {
      await this.runOn(socket, statements, onEvent);
    } catch (error) {
      // Whatever is not a statement's own error leaves the stream in doubt: the next run begins on a new one.
      socket.close();
      this.autocommit = true;
      throw error;
    } finally {
      this.isRunning = false;
    }
  }

  interrupt(): boolean {
    this.stopRequested = true;
    if (this.socket === null || !this.isRunning) return false;
    const wasInTransaction = !this.autocommit;
    this.socket.abort(new TidemarkError('INTERRUPTED', 'interrupted'));
    this.autocommit = true;
    return wasInTransaction;
  }

  close(): void {
    this.socket?.close();
    this.socket = null;
  }

  private async connected(): Promise<HranaSocket> {
    if (this.socket?.isOpen) return this.socket;
    this.autocommit = true;
    const socket = await HranaSocket.open(this.target);
    await unwrap(socket.request({ type: 'open_stream', stream_id: STREAM_ID }));
    this.socket = socket;
    return socket;
  }

  private async runOn(
    socket: HranaSocket,
    statements: readonly SqlStatement[],
    onEvent: OnEvent,
  ): Promise<void> {
    const cursorId = this.nextCursorId++;
    const steps = statements.map((statement, i) => ({
      condition: i === 0 ? null : { type: 'ok', step: i - 1 },
      stmt: { sql: statement.sql, args: (statement.args ?? []).map(toHrana), want_rows: true },
    }));
    const fetch = { type: 'fetch_cursor', cursor_id: cursorId, max_count: FETCH_ENTRIES };
    const opened = socket.request({
      type: 'open_cursor',
      stream_id: STREAM_ID,
      cursor_id: cursorId,
      batch: { steps },
    });
    let fetched = socket.request(fetch);
    // Both are awaited in turn; neither may count as unhandled meanwhile.
    fetched.catch(() => undefined);
    const reader = new EntryReader(onEvent);
    try {
      await unwrap(opened);
      for (;;) {
        const { entries, done } = (await unwrap(fetched)) as {
          entries: readonly CursorEntry[];
          done: boolean;
        };
        if (!done) {
          fetched = socket.request(fetch);
          fetched.catch(() => undefined);
        }
        await reader.read(entries);
        if (this.stopRequested) throw new TidemarkError('INTERRUPTED', 'interrupted');
        if (done) break;
      }
    } finally {
      if (socket.isOpen) await this.finish(socket, cursorId);
    }
    await reader.finish(statements.length);
  }

  private async finish(socket: HranaSocket, cursorId: number): Promise<void> {
    const closed = socket.request({ type: 'close_cursor', cursor_id: cursorId });
    const asked = socket.request({ type: 'get_autocommit', stream_id: STREAM_ID });
    const [, reply] = await Promise.allSettled([closed, asked]);
    if (reply.status === 'fulfilled') this.autocommit = reply.value.is_autocommit !== false;
    // The stream itself is gone (expired, or its volume was closed): the next run opens another.
    else if (socket.isOpen) {
      this.autocommit = true;
      socket.close();
    }
  }
}

/** Turns a cursor's entries into program events. */
class EntryReader {
  private readonly onEvent: OnEvent;
  private step = -1;

  constructor(onEvent: OnEvent) {
    this.onEvent = onEvent;
  }

  async read(entries: readonly CursorEntry[]): Promise<void> {
    let rows: SqlValue[][] = [];
    for (const entry of entries) {
      if (entry.type === 'row') {
        rows.push(entry.row.map(fromHrana));
        continue;
      }
      if (rows.length > 0) await this.onEvent({ kind: 'rows', rows });
      rows = [];
      await this.onEvent(this.event(entry));
    }
    if (rows.length > 0) await this.onEvent({ kind: 'rows', rows });
  }

  /** Steps after a failed one have no entries of their own. */
  async finish(stepCount: number): Promise<void> {
    for (let step = this.step + 1; step < stepCount; step++)
      await this.onEvent({ kind: 'step-skipped', step });
  }

  private event(entry: Exclude<CursorEntry, { type: 'row' }>): ProgramEvent {
    switch (entry.type) {
      case 'step_begin':
        this.step = entry.step;
        return { kind: 'step-begin', step: entry.step, columns: entry.cols.map(toColumn) };
      case 'step_end':
        return {
          kind: 'step-end',
          step: this.step,
          affectedRows: entry.affected_row_count,
          lastInsertRowid: BigInt(entry.last_insert_rowid ?? 0),
          rowsRead: entry.rows_read ?? 0,
          rowsWritten: entry.rows_written ?? 0,
          durationMs: entry.query_duration_ms ?? 0,
        };
      case 'step_error':
        this.step = entry.step;
        return { kind: 'step-error', step: entry.step, error: toSqlError(entry.error) };
      case 'error':
        throw toError(entry.error);
    }
  }
}

function toColumn(column: HranaColumn): Column {
  return { name: column.name ?? '', declaredType: column.decltype ?? null };
}

export function toSqlError(error: HranaError): SqlError {
  const offset = error.offset ?? null;
  const nextStep = error.next_step ?? undefined;
  // Clients that show the message alone get the offset and the next step in it; the shell shows them in places of their own.
  const said = nextStep === undefined ? error.message : error.message.replace(`; ${nextStep}`, '');
  return {
    code: error.code ?? 'SQLITE_ERROR',
    extendedCode: error.extended_code ?? null,
    message: offset === null ? said : said.replace(` (at offset ${offset})`, ''),
    offset,
    nextStep,
  };
}

function toError(error: HranaError): TidemarkError {
  const nextStep = error.next_step ?? null;
  if (nextStep === null)
    return new TidemarkError((error.code ?? 'INTERNAL') as TidemarkError['code'], error.message);
  const message = error.message.replace(`; ${nextStep}`, '');
  return new TidemarkError((error.code ?? 'INTERNAL') as TidemarkError['code'], message, { nextStep });
}

async function unwrap(response: Promise<Record<string, unknown>>): Promise<Record<string, unknown>> {
  try {
    return await response;
  } catch (error) {
    throw error instanceof HranaResponseError ? toError(error.error) : error;
  }
}
