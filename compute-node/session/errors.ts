/**
 * What a session tells its client when something fails: one shape for SQL errors, errors of the cluster, and errors of the session
 * itself, whatever protocol carries it. Anything else that is thrown is a bug and is reported as INTERNAL, without its details.
 */
import { type ErrorCode, TidemarkError } from '../../src/base/errors.ts';
import { type SqlError, SqlFailure } from '../engine/api.ts';

/** Codes of this layer, beside `ErrorCode` and SQLite's names. Part of the public interface, like those. */
export type SessionErrorCode =
  | ErrorCode
  | 'STREAM_EXPIRED' // idle past the limit; the stream and what was open on it are gone
  | 'STREAM_CLOSED' // a request for a stream that was closed before
  | 'BATON_INVALID' // forged, of another server or another life of it
  | 'BATON_REUSED' // a baton names one request only
  | 'TRANSACTION_TIMEOUT' // an idle write transaction was rolled back
  | 'TRANSACTION_LOST' // the transaction ended with the engine it was open on
  | 'RESPONSE_TOO_LARGE'
  | 'SQL_NOT_STORED' // a sql_id that names no stored text
  | 'SQL_STORE_TOO_MANY'
  | 'SQL_STORE_TOO_LARGE';

export class SessionError extends Error {
  override readonly name = 'SessionError';
  readonly code: SessionErrorCode;
  readonly nextStep: string | undefined;

  constructor(code: SessionErrorCode, message: string, nextStep?: string) {
    super(message);
    this.code = code;
    this.nextStep = nextStep;
  }
}

export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly nextStep: string | null;
  readonly extendedCode: string | null;
  /** Byte offset in the SQL text. */
  readonly offset: number | null;
}

/** True for everything that a network, a disk or a client can cause; false means a bug. */
export function isExpected(error: unknown): error is SessionError | TidemarkError | SqlFailure {
  return error instanceof SessionError || error instanceof TidemarkError || error instanceof SqlFailure;
}

export function reportSqlError(error: SqlError): ErrorReport {
  return {
    code: error.code,
    message: error.message,
    nextStep: error.nextStep ?? null,
    extendedCode: error.extendedCode,
    offset: error.offset,
  };
}

/** Clients show the message alone, so it carries the offset (as libSQL's server does) and the next step. */
export function messageWithNextStep({ message, offset, nextStep }: ErrorReport): string {
  const place = offset === null ? '' : ` (at offset ${offset})`;
  return `${message}${place}${nextStep === null ? '' : `; ${nextStep}`}`;
}

export function reportError(error: unknown): ErrorReport {
  if (error instanceof SqlFailure) return reportSqlError(error.error);
  if (error instanceof SessionError || error instanceof TidemarkError) {
    return {
      code: error.code,
      message: error.message,
      nextStep: error.nextStep ?? null,
      extendedCode: null,
      offset: null,
    };
  }
  return {
    code: 'INTERNAL',
    message: 'an internal error happened',
    nextStep: "see the compute node's log",
    extendedCode: null,
    offset: null,
  };
}
