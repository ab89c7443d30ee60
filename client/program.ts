/** Runs a program on a session's stream and keeps what came of each step. */
import type { Column, ProgramEvent, SqlValue, Step } from '../compute-node/engine/api.ts';
import type { Consistency } from '../compute-node/session/consistency.ts';
import { type ErrorReport, reportSqlError } from '../compute-node/session/errors.ts';
import type { SessionStream } from '../compute-node/session/session-stream.ts';
import type { Lsn } from '../src/log/lsn.ts';
import { makeRows } from './rows.ts';
import type { IntMode, ResultSet, Row, Value } from './types.ts';

export type StepOutcome =
  | {
      readonly kind: 'done';
      readonly columns: readonly Column[];
      readonly rows: readonly (readonly SqlValue[])[];
      readonly affectedRows: number;
      readonly lastInsertRowid: bigint;
    }
  | { readonly kind: 'failed'; readonly error: ErrorReport };

export interface ProgramOutcome {
  /** By step; a hole: skipped, or never come to. */
  readonly steps: readonly (StepOutcome | undefined)[];
  readonly lsn: Lsn;
  readonly isAutocommit: boolean;
}

export async function runProgram(
  stream: SessionStream,
  steps: readonly Step[],
  consistency: Consistency,
): Promise<ProgramOutcome> {
  const outcomes: StepOutcome[] = [];
  let columns: readonly Column[] = [];
  let rows: (readonly SqlValue[])[] = [];
  const onEvent = (event: ProgramEvent): void => {
    switch (event.kind) {
      case 'step-begin':
        ({ columns } = event);
        rows = [];
        break;
      case 'rows':
        for (const row of event.rows) rows.push(row);
        break;
      case 'step-end': {
        const { affectedRows, lastInsertRowid } = event;
        outcomes[event.step] = { kind: 'done', columns, rows, affectedRows, lastInsertRowid };
        break;
      }
      case 'step-error':
        outcomes[event.step] = { kind: 'failed', error: reportSqlError(event.error) };
        break;
      case 'step-skipped':
        break;
    }
  };
  const { lsn, isAutocommit } = await stream.run({ steps, onEvent, consistency });
  return { steps: outcomes, lsn, isAutocommit };
}

export function resultSetOf(outcome: Extract<StepOutcome, { kind: 'done' }>, intMode: IntMode): ResultSet {
  const columns = outcome.columns.map(({ name }) => name);
  return new PlainResultSet(
    columns,
    outcome.columns.map(({ declaredType }) => declaredType ?? ''),
    makeRows(columns, outcome.rows, intMode),
    outcome.affectedRows,
    outcome.lastInsertRowid,
  );
}

class PlainResultSet implements ResultSet {
  columns: string[];
  columnTypes: string[];
  rows: Row[];
  rowsAffected: number;
  lastInsertRowid: bigint | undefined;

  constructor(
    columns: string[],
    columnTypes: string[],
    rows: Row[],
    rowsAffected: number,
    lastInsertRowid: bigint | undefined,
  ) {
    this.columns = columns;
    this.columnTypes = columnTypes;
    this.rows = rows;
    this.rowsAffected = rowsAffected;
    this.lastInsertRowid = lastInsertRowid;
  }

  toJSON(): unknown {
    const { columns, columnTypes, rows, rowsAffected, lastInsertRowid } = this;
    return {
      columns,
      columnTypes,
      rows: rows.map((row) => Array.prototype.map.call(row, jsonValue as (value: unknown) => unknown)),
      rowsAffected,
      lastInsertRowid: lastInsertRowid === undefined ? null : String(lastInsertRowid),
    };
  }
}

function jsonValue(value: Value): unknown {
  if (typeof value === 'bigint') return String(value);
  return value instanceof ArrayBuffer ? Buffer.from(value).toString('base64') : value;
}
