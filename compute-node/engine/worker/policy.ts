/**
 * What clients may not do, whatever SQLite could: reach other files, turn off what keeps a database whole, or change what this storage
 * engine decides. Asked by SQLite's authorizer at every prepare, and by the VFS for PRAGMAs.
 */
import type { PragmaAnswer } from './vfs.ts';

const ACTION = {
  createTempIndex: 3,
  createTempTable: 4,
  createTempTrigger: 5,
  createTempView: 6,
  pragma: 19,
  attach: 24,
  detach: 25,
  createVirtualTable: 29,
  function: 31,
} as const;

export type Verdict =
  | { readonly kind: 'allowed' }
  /** Allowed, but leaves a trace in the connection: it is not handed to another client afterwards. */
  | { readonly kind: 'leaves-trace' }
  | { readonly kind: 'denied'; readonly reason: string };

const ALLOWED: Verdict = { kind: 'allowed' };
const LEAVES_TRACE: Verdict = { kind: 'leaves-trace' };

const DENIED_PRAGMAS: ReadonlySet<string> = new Set([
  'writable_schema',
  'temp_store_directory',
  'data_store_directory',
  'hard_heap_limit',
  'soft_heap_limit',
]);

/** PRAGMAs with an argument that change nothing in the connection (or nothing at all). */
const TRACELESS_PRAGMAS: ReadonlySet<string> = new Set([
  'application_id',
  'auto_vacuum',
  'busy_timeout',
  'cache_size',
  'cache_spill',
  'default_cache_size',
  'foreign_key_check',
  'foreign_key_list',
  'incremental_vacuum',
  'index_info',
  'index_list',
  'index_xinfo',
  'integrity_check',
  'journal_mode',
  'locking_mode',
  'mmap_size',
  'optimize',
  'page_size',
  'quick_check',
  'synchronous',
  'table_info',
  'table_list',
  'table_xinfo',
  'user_version',
  'wal_checkpoint',
]);

/** Actions that `authorize` has an opinion on. The names of others are not even read. */
export function isJudged(action: number): boolean {
  return (
    action === ACTION.pragma ||
    action === ACTION.attach ||
    action === ACTION.detach ||
    action === ACTION.function ||
    action === ACTION.createVirtualTable ||
    (action >= ACTION.createTempIndex && action <= ACTION.createTempView)
  );
}

/** `vacuuming`: SQLite itself attaches a nameless temporary database while it vacuums. */
export function authorize(
  action: number,
  first: string | null,
  second: string | null,
  database: string | null,
  vacuuming: boolean,
): Verdict {
  switch (action) {
    case ACTION.attach:
      if (vacuuming && first === '') return ALLOWED;
      return {
        kind: 'denied',
        reason: vacuuming
          ? 'VACUUM INTO is not available: a volume has no file system; use tidemark export'
          : 'ATTACH is not available: a connection sees one volume',
      };
    case ACTION.detach:
      return { kind: 'denied', reason: 'DETACH is not available: a connection sees one volume' };
    case ACTION.function:
      return second?.toLowerCase() === 'load_extension'
        ? { kind: 'denied', reason: 'load_extension() is not available' }
        : ALLOWED;
    case ACTION.pragma: {
      const name = (first ?? '').toLowerCase();
      if (DENIED_PRAGMAS.has(name)) return { kind: 'denied', reason: `PRAGMA ${name} is not available` };
      return second === null || TRACELESS_PRAGMAS.has(name) ? ALLOWED : LEAVES_TRACE;
    }
    case ACTION.createVirtualTable:
      return database === 'temp' ? LEAVES_TRACE : ALLOWED;
    default:
      return LEAVES_TRACE;
  }
}

export interface PragmaSettings {
  busyTimeoutMs: number;
  readonly maxBusyTimeoutMs: number;
}

/**
 * PRAGMAs about files and journals. The log is the database here, so each has one value; like SQLite itself where it cannot follow,
 * setting another one answers with the value in force. null: SQLite's own handling.
 */
export function answerPragma(
  name: string,
  argument: string | null,
  settings: PragmaSettings,
): PragmaAnswer | null {
  switch (name) {
    case 'journal_mode':
      return { kind: 'value', value: 'memory' };
    case 'locking_mode':
      return { kind: 'value', value: 'normal' };
    case 'mmap_size':
      return { kind: 'value', value: '0' };
    case 'synchronous':
      return { kind: 'value', value: argument === null ? '2' : null };
    case 'page_size':
      if (argument === null || argument.trim() === '4096') return null;
      return { kind: 'refused', message: 'page_size is always 4096 here' };
    case 'cache_size':
    case 'cache_spill':
    case 'default_cache_size':
      // The page cache is the engine's, not the connection's.
      return argument === null ? null : { kind: 'value', value: null };
    case 'busy_timeout': {
      if (argument !== null) {
        const wanted = Number.parseInt(argument, 10);
        settings.busyTimeoutMs = Number.isFinite(wanted)
          ? Math.max(0, Math.min(wanted, settings.maxBusyTimeoutMs))
          : 0;
      }
      return { kind: 'value', value: String(settings.busyTimeoutMs) };
    }
    default:
      return null;
  }
}
