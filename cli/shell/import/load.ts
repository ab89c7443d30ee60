/**
 * `.import`: rows of a CSV or JSON file into a table, which is created, with columns that hold the values unchanged, when it is missing.
 *
 * The whole file is read and checked before anything is written. Rows then go in by transactions of bounded size: one that fails is
 * rolled back and ends the import, those before it stay, and the error says where it stopped. Inside an open transaction
 * everything belongs to that one.
 */
import type { SqlValue } from '../../../compute-node/engine/api.ts';
import { TidemarkError } from '../../../src/base/errors.ts';
import { StatementError, type SqlClient, type SqlStatement } from '../../client/sql-client.ts';
import { insertableColumns } from '../schema.ts';
import { quoteName } from '../values.ts';
import { fileSize, type FileRow, type Format, readRows } from './records.ts';
import { type Survey, surveyFile } from './survey.ts';

export interface ImportRequest {
  readonly path: string;
  readonly table: string;
  readonly format: Format;
  /** Null: found out. */
  readonly header: boolean | null;
  readonly onProgress: (phase: 'check' | 'load', done: number, total: number) => void;
}

export interface ImportResult {
  readonly rowCount: number;
  readonly isNewTable: boolean;
}

/** Rows of one transaction: large enough to hide a quorum round trip, small enough for any server's transaction limit. */
const TRANSACTION_ROWS = 10_000;
/** Characters of values in one transaction's message. */
const TRANSACTION_CHARS = 4_000_000;
/** Rows and bound values of one INSERT; SQLite takes 32,766 values. */
const STATEMENT_ROWS = 250;
const STATEMENT_VALUES = 30_000;

export async function importRows(client: SqlClient, request: ImportRequest): Promise<ImportResult> {
  const sizeBytes = await fileSize(request.path);
  const existing = await insertableColumns(client, request.table);
  const survey = await surveyFile(request.path, {
    format: request.format,
    header: request.header ?? (existing.length === 0 ? true : { columns: existing }),
    onProgress: (done) => request.onProgress('check', done, sizeBytes),
  });
  const columns = existing.length === 0 ? newColumns(survey) : matchColumns(survey, existing, request);
  const create = existing.length === 0 ? [{ sql: createTable(request.table, columns, survey.types) }] : [];
  const loader = new Loader(client, request.table, columns, create);
  let skipHeader = request.format !== 'json' && survey.names !== null;
  for await (const { rows } of readRows(request.path, request.format)) {
    for (const row of rows) {
      if (skipHeader) skipHeader = false;
      else await loader.add(row, survey);
    }
    request.onProgress('load', loader.loadedRows, survey.rowCount);
  }
  await loader.finish();
  return { rowCount: loader.loadedRows, isNewTable: existing.length === 0 };
}

function newColumns(survey: Survey): readonly string[] {
  return survey.names ?? Array.from({ length: survey.columnCount }, (_, i) => `column${i + 1}`);
}

/** The table's columns in the file's order. */
function matchColumns(
  survey: Survey,
  existing: readonly string[],
  request: ImportRequest,
): readonly string[] {
  if (survey.names === null) {
    if (survey.columnCount === existing.length) return existing;
    throw new TidemarkError(
      'BAD_REQUEST',
      `${request.path} has ${survey.columnCount} fields a row, table ${request.table} has ${existing.length} columns`,
      { nextStep: 'Name the columns in a header row, or import into a new table.' },
    );
  }
  const byName = new Map(existing.map((name) => [name.toLowerCase(), name]));
  const unknown = survey.names.filter((name) => !byName.has(name.toLowerCase()));
  if (unknown.length > 0) {
    throw new TidemarkError(
      'BAD_REQUEST',
      `table ${request.table} has no column ${unknown.map((n) => `"${n}"`).join(', ')}`,
      {
        nextStep: `Its columns are ${existing.join(', ')}.`,
      },
    );
  }
  return survey.names.map((name) => byName.get(name.toLowerCase())!);
}

function createTable(table: string, columns: readonly string[], types: readonly string[]): string {
  const lines = columns.map((name, i) => `  ${quoteName(name)}${types[i] === '' ? '' : ` ${types[i]}`}`);
  return `CREATE TABLE ${quoteName(table)} (\n${lines.join(',\n')}\n)`;
}

class Loader {
  loadedRows = 0;
  private readonly client: SqlClient;
  private readonly insertHead: string;
  private readonly columnCount: number;
  private readonly rowsPerStatement: number;
  private readonly isOwnTransaction: boolean;
  private pendingFirst: readonly SqlStatement[];
  private values: SqlValue[] = [];
  private rowCount = 0;
  private chars = 0;
  private firstLine = 0;
  private lastLine = 0;

  constructor(client: SqlClient, table: string, columns: readonly string[], first: readonly SqlStatement[]) {
    this.client = client;
    this.pendingFirst = first;
    this.columnCount = columns.length;
    this.isOwnTransaction = client.isAutocommit;
    this.insertHead = `INSERT INTO ${quoteName(table)} (${columns.map(quoteName).join(', ')}) VALUES `;
    this.rowsPerStatement = Math.max(
      1,
      Math.min(STATEMENT_ROWS, Math.floor(STATEMENT_VALUES / columns.length)),
    );
  }

  async add(row: FileRow, survey: Survey): Promise<void> {
    if (this.rowCount === 0) this.firstLine = row.line;
    this.lastLine = row.line;
    if (row.names === null) {
      for (const value of row.values) this.push(value);
    } else {
      const given = new Map(row.names.map((name, i) => [name, row.values[i] ?? null]));
      for (const name of survey.names!) this.push(given.get(name) ?? null);
    }
    this.rowCount++;
    if (this.rowCount >= TRANSACTION_ROWS || this.chars >= TRANSACTION_CHARS) await this.flush();
  }

  async finish(): Promise<void> {
    if (this.rowCount > 0 || this.pendingFirst.length > 0) await this.flush();
  }

  private push(value: SqlValue): void {
    this.values.push(value);
    this.chars += typeof value === 'string' ? value.length : 16;
  }

  private async flush(): Promise<void> {
    const statements: SqlStatement[] = [...this.pendingFirst, ...this.inserts()];
    if (this.isOwnTransaction) {
      statements.unshift({ sql: 'BEGIN IMMEDIATE' });
      statements.push({ sql: 'COMMIT' });
    }
    let failure: StatementError | null = null;
    await this.client.run(statements, (event) => {
      if (event.kind === 'step-error')
        failure = new StatementError(event.error, statements[event.step]?.sql ?? '');
    });
    if (failure !== null) await this.fail(failure);
    this.loadedRows += this.rowCount;
    this.pendingFirst = [];
    this.values = [];
    this.rowCount = 0;
    this.chars = 0;
  }

  private inserts(): SqlStatement[] {
    const statements: SqlStatement[] = [];
    const one = `(${Array(this.columnCount).fill('?').join(',')})`;
    const full = this.insertHead + Array(this.rowsPerStatement).fill(one).join(',');
    for (let row = 0; row < this.rowCount; row += this.rowsPerStatement) {
      const count = Math.min(this.rowsPerStatement, this.rowCount - row);
      const sql = count === this.rowsPerStatement ? full : this.insertHead + Array(count).fill(one).join(',');
      statements.push({
        sql,
        args: this.values.slice(row * this.columnCount, (row + count) * this.columnCount),
      });
    }
    return statements;
  }

  private async fail(failure: StatementError): Promise<never> {
    if (this.isOwnTransaction && !this.client.isAutocommit)
      await this.client.run([{ sql: 'ROLLBACK' }], () => {});
    const { error } = failure;
    const code = error.extendedCode ?? error.code;
    throw new TidemarkError(
      'BAD_REQUEST',
      `rows of lines ${this.firstLine} to ${this.lastLine} could not be inserted: ${error.message} (${code})`,
      {
        cause: failure,
        nextStep: this.isOwnTransaction
          ? `The ${this.loadedRows} rows before them are in the table; none of these is.`
          : 'The transaction is still open: ROLLBACK undoes what was inserted before.',
      },
    );
  }
}
