/** What the shell needs of a connection to a volume. The Hrana client is behind it; tests put plain SQLite there. */
import type { ProgramEvent, SqlError, SqlValue } from '../../compute-node/engine/api.ts';

export interface SqlStatement {
  readonly sql: string;
  readonly args?: readonly SqlValue[];
}

export type OnEvent = (event: ProgramEvent) => void | Promise<void>;

export interface SqlClient {
  /**
   * Runs the statements in order on one stream until one fails; those behind it are reported skipped. Each event is awaited before
   * more rows are fetched. Rejects only when the connection itself failed or `interrupt` ended it.
   */
  run(statements: readonly SqlStatement[], onEvent: OnEvent): Promise<void>;
  /** False inside an open transaction, as of the last run. */
  readonly isAutocommit: boolean;
  /** Stops what is running. True when an open transaction was lost with it. */
  interrupt(): boolean;
  close(): void;
}

/** A statement failed; for callers that run one statement for its rows. */
export class StatementError extends Error {
  override readonly name = 'StatementError';
  readonly error: SqlError;
  readonly sql: string;
  constructor(error: SqlError, sql: string) {
    super(error.message);
    this.error = error;
    this.sql = sql;
  }
}

/** Runs one statement and collects its rows: for small results of our own queries. */
export async function query(
  client: SqlClient,
  sql: string,
  args: readonly SqlValue[] = [],
): Promise<readonly (readonly SqlValue[])[]> {
  const collected: (readonly SqlValue[])[] = [];
  await queryEach(client, sql, args, (rows) => {
    collected.push(...rows);
  });
  return collected;
}

/** Runs one statement and hands its rows on as they come. */
export async function queryEach(
  client: SqlClient,
  sql: string,
  args: readonly SqlValue[],
  onRows: (rows: readonly (readonly SqlValue[])[]) => void | Promise<void>,
): Promise<void> {
  let failure: StatementError | null = null;
  await client.run([{ sql, args }], (event) => {
    if (event.kind === 'rows') return onRows(event.rows);
    if (event.kind === 'step-error') failure = new StatementError(event.error, sql);
  });
  if (failure !== null) throw failure;
}
