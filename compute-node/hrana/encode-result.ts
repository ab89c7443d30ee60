/** JSON texts of Hrana's results, from the engine's events. Fields that Hrana does not know (statistics, offsets) come last; clients ignore them. */
import type { Column, ProgramEvent, StatementDescription } from '../engine/api.ts';
import { type ErrorReport, messageWithNextStep, reportSqlError } from '../session/errors.ts';
import { encodeRow } from './encode-value.ts';

type StepEnd = Extract<ProgramEvent, { kind: 'step-end' }>;

export function encodeColumns(columns: readonly Column[]): string {
  let text = '[';
  for (let i = 0; i < columns.length; i++) {
    const { name, declaredType } = columns[i]!;
    text += `${i === 0 ? '' : ','}{"name":${JSON.stringify(name)},"decltype":${
      declaredType === null ? 'null' : JSON.stringify(declaredType)
    }}`;
  }
  return `${text}]`;
}

export function encodeStepEnd(end: StepEnd): string {
  return (
    `"affected_row_count":${end.affectedRows},"last_insert_rowid":"${end.lastInsertRowid}",` +
    `"rows_read":${end.rowsRead},"rows_written":${end.rowsWritten},"query_duration_ms":${end.durationMs}`
  );
}

export function encodeStmtResult(columns: string, rows: string, end: StepEnd): string {
  return `{"cols":${columns},"rows":[${rows}],${encodeStepEnd(end)}}`;
}

export function encodeError(error: ErrorReport): string {
  let text = `{"message":${JSON.stringify(messageWithNextStep(error))},"code":${JSON.stringify(error.code)}`;
  if (error.extendedCode !== null) text += `,"extended_code":${JSON.stringify(error.extendedCode)}`;
  if (error.offset !== null) text += `,"offset":${error.offset}`;
  if (error.nextStep !== null) text += `,"next_step":${JSON.stringify(error.nextStep)}`;
  return `${text}}`;
}

export function encodeDescription(description: StatementDescription): string {
  const params = description.parameters.map(({ name }) => `{"name":${JSON.stringify(name)}}`).join(',');
  return (
    `{"params":[${params}],"cols":${encodeColumns(description.columns)},` +
    `"is_explain":${description.isExplain},"is_readonly":${description.isReadonly}}`
  );
}

/** Hrana 3 cursor entries of one event, each given to `emit`. */
export function encodeCursorEntries(event: ProgramEvent, emit: (entry: string) => void): void {
  switch (event.kind) {
    case 'step-begin':
      emit(`{"type":"step_begin","step":${event.step},"cols":${encodeColumns(event.columns)}}`);
      break;
    case 'rows':
      for (const row of event.rows) emit(`{"type":"row","row":${encodeRow(row)}}`);
      break;
    case 'step-end':
      emit(`{"type":"step_end",${encodeStepEnd(event)}}`);
      break;
    case 'step-error':
      emit(`{"type":"step_error","step":${event.step},"error":${encodeError(reportSqlError(event.error))}}`);
      break;
    case 'step-skipped':
      break;
  }
}
