/**
 * LevelDB's MANIFEST: a log of version edits (google/leveldb, db/version_edit.cc). Replayed they say which tables and which write-ahead logs
 * make up the store.
 */
import { ByteReader, formatFault } from './byte-reader.ts';

export interface TableRef {
  readonly number: number;
  readonly level: number;
  readonly sizeBytes: number;
  /** User keys. */
  readonly smallest: Uint8Array;
  readonly largest: Uint8Array;
}

export interface StoreVersion {
  readonly tables: readonly TableRef[];
  /** Write-ahead logs from this number on, and `previousLog`, are not in tables yet. */
  readonly firstLog: number;
  readonly previousLog: number;
}

const COMPARATOR = 1;
const LOG_NUMBER = 2;
const NEXT_FILE = 3;
const LAST_SEQUENCE = 4;
const COMPACT_POINTER = 5;
const DELETED_FILE = 6;
const NEW_FILE = 7;
const PREVIOUS_LOG = 9;
/** An internal key's sequence and type. */
export const KEY_TRAILER_BYTES = 8;

/** Throws CORRUPT. */
export function replayVersionEdits(edits: readonly Uint8Array[]): StoreVersion {
  const tables = new Map<number, TableRef>();
  let firstLog: number | null = null;
  let previousLog = 0;
  for (const edit of edits) {
    const reader = new ByteReader(edit);
    const added: TableRef[] = [];
    const removed: number[] = [];
    while (!reader.isAtEnd) {
      const tag = reader.varint();
      switch (tag) {
        case COMPARATOR:
          reader.string();
          break;
        case LOG_NUMBER:
          firstLog = reader.varint();
          break;
        case PREVIOUS_LOG:
          previousLog = reader.varint();
          break;
        case NEXT_FILE:
        case LAST_SEQUENCE:
          reader.varint();
          break;
        case COMPACT_POINTER:
          reader.varint();
          reader.string();
          break;
        case DELETED_FILE:
          reader.varint();
          removed.push(reader.varint());
          break;
        case NEW_FILE: {
          const level = reader.varint();
          const number = reader.varint();
          const sizeBytes = reader.varint();
          const smallest = userKey(reader.string());
          const largest = userKey(reader.string());
          added.push({ number, level, sizeBytes, smallest, largest });
          break;
        }
        default:
          throw formatFault(`a version edit with the unknown field ${tag}`);
      }
    }
    for (const number of removed) tables.delete(number);
    for (const table of added) tables.set(table.number, table);
  }
  if (firstLog === null) throw formatFault('no version edit names a log');
  return { tables: [...tables.values()], firstLog, previousLog };
}

function userKey(internal: Uint8Array): Uint8Array {
  if (internal.length < KEY_TRAILER_BYTES) throw formatFault('a key without a sequence');
  return internal.subarray(0, internal.length - KEY_TRAILER_BYTES);
}
