/**
 * Collects a program's events into the JSON of an `execute` or `batch` response. Bounded: a result that grows past the limit of one response,
 * or of all responses of the process, stops its program and fails; a cursor has no such limit.
 */
import type { ProgramEvent } from '../engine/api.ts';
import { reportSqlError, SessionError } from '../session/errors.ts';
import { SqlFailure } from '../engine/api.ts';
import { encodeColumns, encodeError, encodeStmtResult } from './encode-result.ts';
import { encodeRow } from './encode-value.ts';
import type { ResponseAccount } from './response-budget.ts';

export interface CollectOptions {
  readonly account: ResponseAccount;
  readonly maxBytes: number;
  /** Stops the program whose result is refused. */
  readonly stop: () => void;
}

export class ResultCollector {
  readonly #options: CollectOptions;
  /** JSON texts by step; holes: skipped, or never come to. */
  readonly #results: string[] = [];
  readonly #errors: string[] = [];
  #columns = '[]';
  #rows = '';
  #doneBytes = 0;
  #firstFailure: SqlFailure | null = null;
  #refusal: SessionError | null = null;

  constructor(options: CollectOptions) {
    this.#options = options;
  }

  /** Set when the result was too large: whatever the program's own outcome says is its consequence. */
  get refusal(): SessionError | null {
    return this.#refusal;
  }

  readonly onEvent = (event: ProgramEvent): void => {
    switch (event.kind) {
      case 'step-begin':
        this.#columns = encodeColumns(event.columns);
        this.#rows = '';
        break;
      case 'rows':
        if (this.#refusal === null) this.#takeRows(event.rows);
        break;
      case 'step-end':
        this.#keep(this.#results, event.step, encodeStmtResult(this.#columns, this.#rows, event));
        this.#rows = '';
        break;
      case 'step-error':
        this.#firstFailure ??= new SqlFailure(event.error);
        this.#keep(this.#errors, event.step, encodeError(reportSqlError(event.error)));
        this.#rows = '';
        break;
      case 'step-skipped':
        break;
    }
  };

  /** The `StmtResult` of a program of one step. */
  stmtResult(): string {
    if (this.#refusal !== null) throw this.#refusal;
    if (this.#firstFailure !== null) throw this.#firstFailure;
    return this.#results[0] ?? '{"cols":[],"rows":[],"affected_row_count":0,"last_insert_rowid":null}';
  }

  /** The `BatchResult` of a program of `stepCount` steps. */
  batchResult(stepCount: number): string {
    if (this.#refusal !== null) throw this.#refusal;
    let results = '';
    let errors = '';
    for (let step = 0; step < stepCount; step++) {
      const comma = step === 0 ? '' : ',';
      results += comma + (this.#results[step] ?? 'null');
      errors += comma + (this.#errors[step] ?? 'null');
    }
    return `{"step_results":[${results}],"step_errors":[${errors}]}`;
  }

  #takeRows(rows: Extract<ProgramEvent, { kind: 'rows' }>['rows']): void {
    let text = this.#rows;
    for (const row of rows) text += text === '' ? encodeRow(row) : `,${encodeRow(row)}`;
    this.#rows = text;
    this.#checkSize(this.#doneBytes + text.length);
  }

  #keep(texts: string[], step: number, text: string): void {
    texts[step] = text;
    this.#doneBytes += text.length;
    this.#checkSize(this.#doneBytes);
  }

  #checkSize(bytes: number): void {
    const { account, maxBytes, stop } = this.#options;
    if (this.#refusal !== null || (bytes <= maxBytes && account.grow(bytes))) return;
    this.#refusal = new SessionError(
      'RESPONSE_TOO_LARGE',
      bytes > maxBytes
        ? `the result is larger than ${maxBytes} bytes, the limit of one response`
        : 'the results that this compute node holds for its clients have reached their limit',
      'read it through a cursor, or in parts with LIMIT; a statement that writes was interrupted',
    );
    this.#rows = '';
    this.#results.length = 0;
    stop();
  }
}
