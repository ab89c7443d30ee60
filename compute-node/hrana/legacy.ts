/**
 * The oldest HTTP interface of libSQL's server: `{"statements": [sql | {"q", "params"}]}` → `[{"results": {columns, rows}} | {"error"} | null]`.
 * Statements run one after another until one fails; values are plain JSON, blobs `{"base64"}`.
 */
import type { ProgramEvent, SqlValue, Statement, Step } from '../engine/api.ts';
import { reportSqlError, SessionError } from '../session/errors.ts';
import type { CollectOptions } from './collect-result.ts';
import { decodeBlob } from './decode-value.ts';
import { encodeError } from './encode-result.ts';
import { encodeBase64, encodeFloat } from './encode-value.ts';
import { asArray, asObject, asString } from './json-read.ts';
import { MalformedError } from './protocol-error.ts';

export function decodeLegacyStatements(json: unknown): readonly Statement[] {
  return asArray(json, 'statements').map((entry, i) => {
    const what = `statements[${i}]`;
    if (typeof entry === 'string') return { sql: entry, args: [], namedArgs: [], wantRows: true };
    const object = asObject(entry, what);
    const sql = asString(object.q, `${what}.q`);
    const { params } = object;
    if (params == null) return { sql, args: [], namedArgs: [], wantRows: true };
    if (Array.isArray(params)) {
      return { sql, args: params.map((value) => legacyValue(value, what)), namedArgs: [], wantRows: true };
    }
    const namedArgs = Object.entries(asObject(params, `${what}.params`)).map(([name, value]) => ({
      name,
      value: legacyValue(value, what),
    }));
    return { sql, args: [], namedArgs, wantRows: true };
  });
}

function legacyValue(json: unknown, what: string): SqlValue {
  switch (typeof json) {
    case 'string':
      return json;
    case 'boolean':
      return json ? 1n : 0n;
    case 'number':
      if (Number.isSafeInteger(json)) return BigInt(json);
      if (Number.isFinite(json)) return json;
      break;
    case 'object':
      if (json === null) return null;
      if (!Array.isArray(json) && 'base64' in json) return decodeBlob(json.base64);
      break;
  }
  throw new MalformedError(
    `a parameter of ${what} is no SQL value`,
    'use null, a boolean, a finite number, a string or {"base64": …}',
  );
}

/** Each step needs the one before; a transaction left open by a failure is rolled back. */
export function legacySteps(statements: readonly Statement[]): readonly Step[] {
  const steps: Step[] = statements.map((statement, i) => ({
    statement,
    condition: i === 0 ? null : { kind: 'ok', step: i - 1 },
  }));
  steps.push({
    statement: { sql: 'ROLLBACK', args: [], namedArgs: [], wantRows: false },
    condition: {
      kind: 'and',
      conds: [
        { kind: 'not', cond: { kind: 'ok', step: statements.length - 1 } },
        { kind: 'not', cond: { kind: 'is-autocommit' } },
      ],
    },
  });
  return steps;
}

export class LegacyCollector {
  readonly #options: CollectOptions;
  readonly #texts: string[] = [];
  #columns = '';
  #rows = '';
  #bytes = 0;
  #refusal: SessionError | null = null;

  constructor(options: CollectOptions) {
    this.#options = options;
  }

  get refusal(): SessionError | null {
    return this.#refusal;
  }

  readonly onEvent = (event: ProgramEvent): void => {
    switch (event.kind) {
      case 'step-begin':
        this.#columns = event.columns.map(({ name }) => JSON.stringify(name)).join(',');
        this.#rows = '';
        break;
      case 'rows':
        for (const row of event.rows) this.#takeRow(row);
        break;
      case 'step-end':
        this.#texts[event.step] =
          `{"results":{"columns":[${this.#columns}],"rows":[${this.#rows}],"rows_read":${event.rowsRead},` +
          `"rows_written":${event.rowsWritten},"query_duration_ms":${event.durationMs}}}`;
        break;
      case 'step-error':
        this.#texts[event.step] = `{"error":${encodeError(reportSqlError(event.error))}}`;
        break;
      case 'step-skipped':
        break;
    }
  };

  body(count: number): string {
    if (this.#refusal !== null) throw this.#refusal;
    let text = '';
    for (let i = 0; i < count; i++) text += `${i === 0 ? '' : ','}${this.#texts[i] ?? 'null'}`;
    return `[${text}]`;
  }

  #takeRow(row: readonly SqlValue[]): void {
    if (this.#refusal !== null) return;
    const text = `[${row.map(legacyJson).join(',')}]`;
    this.#rows += this.#rows === '' ? text : `,${text}`;
    this.#bytes += text.length;
    const { account, maxBytes, stop } = this.#options;
    if (this.#bytes <= maxBytes && account.grow(this.#bytes)) return;
    this.#refusal = new SessionError(
      'RESPONSE_TOO_LARGE',
      `the results are larger than this compute node can collect (${maxBytes} bytes for one response)`,
      'read them in parts with LIMIT, or through /v3/cursor',
    );
    stop();
  }
}

function legacyJson(value: SqlValue): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') return encodeFloat(value);
  if (value === null) return 'null';
  return `{"base64":"${encodeBase64(value)}"}`;
}
