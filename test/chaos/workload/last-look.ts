/** The look at everything when the clients have ended: one strong transaction, in the history like any other, and SQLite's own check. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HistoryRecorder } from '../../checkers/history.ts';
import { Connection } from './connection.ts';
import { brokenBodies, LAST_LOOK, lastLookOperations } from './objects.ts';

/** At the compute nodes in turn: a while after the last fault, one of them serves. */
const ATTEMPTS = 60;
const RETRY_MS = 250;
const TIMEOUT_MS = 60_000;

export interface LookOptions {
  readonly urls: readonly string[];
  readonly recorder: HistoryRecorder;
  /** Keys of all lists and registers that clients named. */
  readonly touched: { readonly lists: Iterable<string>; readonly registers: Iterable<string> };
  readonly report: (violation: string) => void;
}

export async function lookAtEverything(options: LookOptions): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const url = options.urls[attempt % options.urls.length] as string;
    const connection = new Connection({ url, timeoutMs: TIMEOUT_MS });
    try {
      await lookThrough(connection, `last look at ${url}`, options);
      return;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await sleep(RETRY_MS);
    } finally {
      connection.close();
    }
  }
}

async function lookThrough(
  connection: Connection,
  process: string,
  { recorder, touched, report }: LookOptions,
): Promise<void> {
  const start = { process, session: process, isolation: 'strong', invokedAt: performance.now() } as const;
  const results = await connection.within(connection.db.batch([...LAST_LOOK], 'read'));
  const noted = recorder.begin(start);
  for (const operation of lastLookOperations(results, touched)) noted.did(operation);
  if (connection.lsn !== null) noted.at(connection.lsn);
  noted.end('ok', performance.now());
  const broken = brokenBodies(results);
  if (broken > 0) report(`${broken} rows have another body than was written with them`);
  const { rows } = await connection.within(connection.db.execute('PRAGMA integrity_check'));
  for (const row of rows) if (row.integrity_check !== 'ok') report(`integrity: ${row.integrity_check}`);
}
