/** The ways in which a program can reach a volume, behind one interface, so that each workload is written once. */

export type Arg = string | number;

export interface SqlStatement {
  readonly sql: string;
  readonly args: readonly Arg[];
}

/** `read` takes no locks that hold others up. */
export type Mode = 'read' | 'write';

export function beginSql(mode: Mode): string {
  return mode === 'write' ? 'BEGIN IMMEDIATE' : 'BEGIN TRANSACTION READONLY';
}

/** One client: asks one thing at a time. */
export interface SqlClient {
  /** One statement, a transaction of its own. Resolves to the number of rows that came back. */
  run(sql: string, args: readonly Arg[]): Promise<number>;
  /** All of them in one transaction, sent as one request. */
  batch(statements: readonly SqlStatement[], mode: Mode): Promise<void>;
  /** A transaction of one request after another, as `work` makes them; committed when it resolves, rolled back when it rejects. */
  transaction(work: (run: SqlClient['run']) => Promise<void>, mode: Mode): Promise<void>;
  close(): Promise<void> | void;
}

export interface SqlWay {
  readonly name: string;
  connect(): Promise<SqlClient>;
  /** So many at once, for ways that share something between them. */
  close(): Promise<void>;
}
