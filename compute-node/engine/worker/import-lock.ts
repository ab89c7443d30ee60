/**
 * The worker's part of an import: hold the writer lock over an empty database, while the main thread hands the file's pages to the volume.
 * The lock stays with the import's connection until `import-end`.
 */
import type { FromWorker } from '../worker-messages.ts';
import type { Connection } from './connection.ts';
import type { Work } from './scheduler.ts';
import { asSqlFailure } from './sql-errors.ts';
import { u32 } from '../sqlite-header.ts';
import type { WriterLock } from './writer-lock.ts';

type ImportReady = Extract<FromWorker, { readonly kind: 'import-ready' }>;

const CHANGE_COUNTER_AT = 24;
const SCHEMA_COOKIE_AT = 40;

export function* beginImport(
  connection: Connection,
  writerLock: WriterLock<Connection>,
  nowMs: () => number,
  report: (message: ImportReady) => void,
): Work {
  const refuse = (code: NonNullable<ImportReady['error']>['code'], message: string): void => {
    writerLock.release(connection, nowMs());
    report({ kind: 'import-ready', error: { code, message }, changeCounter: 0, schemaCookie: 0 });
  };
  try {
    const handle = connection.handle();
    const deadlineMs = nowMs() + handle.settings.busyTimeoutMs;
    while (!writerLock.acquire(connection, nowMs())) {
      const wake = yield { kind: 'event', deadlineMs };
      if (wake === 'late' && !connection.holdsWriterLock()) {
        return refuse('OVERLOADED', 'another connection holds the writer lock; import when nobody writes');
      }
    }
    handle.setReadMode('head');
    if (handle.queryNumber('SELECT count(*) FROM sqlite_schema') > 0) {
      return refuse('NOT_EMPTY', 'the volume has tables already; import into a new volume');
    }
    // What earlier tables left behind (free pages) would be written over before the end: get rid of it first.
    if (handle.queryNumber('PRAGMA page_count') > 1) {
      handle.setVacuuming(true);
      handle.execute('VACUUM');
      handle.setVacuuming(false);
    }
    const header = new Uint8Array(100);
    handle.file.read(header, 0);
    report({
      kind: 'import-ready',
      error: null,
      changeCounter: u32(header, CHANGE_COUNTER_AT),
      schemaCookie: u32(header, SCHEMA_COOKIE_AT),
    });
  } catch (thrown) {
    const { error } = asSqlFailure(thrown);
    refuse('UNAVAILABLE', `the volume could not be prepared: ${error.message}`);
  }
}
