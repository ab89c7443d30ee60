/** A side of a comparison over an open read point: pages from its log client, SQL through a connection of its engine. */
import type { Lsn } from '../../src/log/lsn.ts';
import { toPageNumber } from '../../src/log/lsn.ts';
import type { PageVersion } from '../../src/messages/messages.ts';
import {
  type Engine,
  type EngineConnection,
  type ProgramEvent,
  SqlFailure,
  type Step,
} from '../engine/api.ts';
import type { DiffSide, Query, Row } from './side.ts';

/** What is needed of a volume at a fixed read point. */
export interface PointLog {
  readonly vdl: Lsn;
  readPages(at: Lsn, pages: readonly ReturnType<typeof toPageNumber>[]): Promise<readonly PageVersion[]>;
}

export class EngineSide implements DiffSide {
  readonly #log: PointLog;
  readonly #connection: EngineConnection;

  private constructor(log: PointLog, connection: EngineConnection) {
    this.#log = log;
    this.#connection = connection;
  }

  static async open(log: PointLog, engine: Engine): Promise<EngineSide> {
    return new EngineSide(log, await engine.connect({ readonly: true }));
  }

  async readPages(pages: readonly number[]): Promise<readonly (Uint8Array | null)[]> {
    const versions = await this.#log.readPages(this.#log.vdl, pages.map(toPageNumber));
    return versions.map(({ data }) => (data.length === 0 ? null : data));
  }

  query(statements: readonly Query[]): Promise<readonly (readonly Row[])[]> {
    return runQueries(this.#connection, statements);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

/** The rows of each statement; stops at the first that fails. */
export async function runQueries(
  connection: EngineConnection,
  statements: readonly Query[],
): Promise<readonly (readonly Row[])[]> {
  const results: Row[][] = statements.map(() => []);
  let failure: SqlFailure | null = null;
  let current = 0;
  const onEvent = (event: ProgramEvent): void => {
    if (event.kind === 'step-begin') current = event.step;
    else if (event.kind === 'rows') results[current]?.push(...event.rows);
    else if (event.kind === 'step-error') failure ??= new SqlFailure(event.error);
  };
  const steps = statements.map(({ sql, args }, index): Step => {
    const condition = index === 0 ? null : ({ kind: 'ok', step: index - 1 } as const);
    return { statement: { sql, args, namedArgs: [], wantRows: true }, condition };
  });
  await connection.run(steps, { onEvent, consistency: 'strong' });
  if (failure !== null) throw failure;
  return results;
}
