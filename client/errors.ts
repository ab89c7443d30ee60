/** Errors as `@libsql/client` has them: SQLite's base names, or codes of Tidemark, in `code`; the same words in the message. */
import { AssertionError } from '../src/base/assert.ts';
import {
  type ErrorReport,
  isExpected,
  messageWithNextStep,
  reportError,
} from '../compute-node/session/errors.ts';

export class LibsqlError extends Error {
  /** `SQLITE_CONSTRAINT`, `NO_QUORUM` … */
  code: string;
  /** `SQLITE_CONSTRAINT_UNIQUE`, where it says more. */
  extendedCode?: string;
  /** SQLite's number: never known here. */
  rawCode?: number;

  constructor(message: string, code: string, extendedCode?: string, rawCode?: number, cause?: Error) {
    super(`${code}: ${message}`, { cause });
    this.name = 'LibsqlError';
    this.code = code;
    if (extendedCode !== undefined) this.extendedCode = extendedCode;
    if (rawCode !== undefined) this.rawCode = rawCode;
  }
}

export class LibsqlBatchError extends LibsqlError {
  /** Of the statement that failed, from 0. */
  statementIndex: number;

  constructor(
    message: string,
    statementIndex: number,
    code: string,
    extendedCode?: string,
    rawCode?: number,
    cause?: Error,
  ) {
    super(message, code, extendedCode, rawCode, cause);
    this.name = 'LibsqlBatchError';
    this.statementIndex = statementIndex;
  }
}

/**
 * What a call rejects with. A failed assertion ends the process, as it does everywhere: its memory cannot be trusted any more. Errors of the caller's
 * own (RangeError for a number that does not fit) stay what they are.
 */
export function toClientError(error: unknown): unknown {
  if (error instanceof LibsqlError || error instanceof RangeError || error instanceof TypeError) return error;
  if (error instanceof AssertionError) {
    setImmediate(() => {
      throw error;
    });
  }
  return libsqlError(reportError(error), isExpected(error) || error instanceof Error ? error : undefined);
}

export function libsqlError(report: ErrorReport, cause?: Error): LibsqlError {
  return new LibsqlError(
    messageWithNextStep(report),
    report.code,
    report.extendedCode ?? undefined,
    undefined,
    cause,
  );
}

export function batchError(report: ErrorReport, statementIndex: number): LibsqlBatchError {
  return new LibsqlBatchError(
    messageWithNextStep(report),
    statementIndex,
    report.code,
    report.extendedCode ?? undefined,
  );
}
