/**
 * One of the two read points that are compared, as the comparison sees it: its pages, and SQLite over them. Both show the same for ever.
 */
import type { SqlValue } from '../engine/api.ts';

export interface DiffSide {
  /** In the order asked; null for a page that was never written there. */
  readPages(pages: readonly number[]): Promise<readonly (Uint8Array | null)[]>;
  /** Runs read-only statements, one after the other; the rows of each. Rejects with the first one's failure. */
  query(statements: readonly Query[]): Promise<readonly (readonly Row[])[]>;
}

export interface Query {
  readonly sql: string;
  readonly args: readonly SqlValue[];
}

export type Row = readonly SqlValue[];

export async function queryOne(
  side: DiffSide,
  sql: string,
  args: readonly SqlValue[] = [],
): Promise<readonly Row[]> {
  const [rows] = await side.query([{ sql, args }]);
  return rows ?? [];
}

/** As an identifier in SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
