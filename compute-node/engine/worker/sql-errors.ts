/** The SQL engine's own errors, in the form of SQLite's. */
import { isTidemarkError } from '../../../src/base/errors.ts';
import { type SqlError, SqlFailure } from '../api.ts';

/**
 * Codes beside SQLite's: libSQL's server names the first three so, and its clients know them. A statement also fails with an
 * ErrorCode (NO_QUORUM, GONE, …) when storage is the reason.
 */
export type EngineSqlCode =
  | 'SQL_NO_STATEMENT'
  | 'SQL_MANY_STATEMENTS'
  | 'ARGS_INVALID'
  /** The transaction was open for too long and was rolled back. */
  | 'TRANSACTION_TIMEOUT';

export function failure(
  code: EngineSqlCode | (string & {}),
  message: string,
  more: { readonly extendedCode?: string; readonly offset?: number } = {},
): SqlFailure {
  const error: SqlError = {
    code,
    extendedCode: more.extendedCode ?? null,
    message,
    offset: more.offset ?? null,
  };
  return new SqlFailure(error);
}

/** What a program may report to its client; a bug is thrown on. */
export function asSqlFailure(thrown: unknown): SqlFailure {
  if (thrown instanceof SqlFailure) return thrown;
  if (isTidemarkError(thrown)) return failure(thrown.code, thrown.message);
  throw thrown;
}
