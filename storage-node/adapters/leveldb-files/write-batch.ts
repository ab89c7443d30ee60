/** One record of LevelDB's write-ahead log: a batch. Its operations have sequence numbers from `sequence` on, dense over all batches of a store. */
import { ByteReader, formatFault } from './byte-reader.ts';

export interface StoredEntry {
  readonly key: Uint8Array;
  /** Of two entries with one key the one with the greater sequence counts. */
  readonly sequence: number;
  /** null: the key was deleted. */
  readonly value: Uint8Array | null;
}

export interface WriteBatch {
  readonly sequence: number;
  readonly entries: readonly StoredEntry[];
}

const DELETION = 0;
const VALUE = 1;

/** Throws CORRUPT. */
export function decodeWriteBatch(data: Uint8Array): WriteBatch {
  const reader = new ByteReader(data);
  const sequence = reader.fixed64();
  const count = reader.fixed32();
  const entries: StoredEntry[] = [];
  while (!reader.isAtEnd) {
    const type = reader.byte();
    if (type !== DELETION && type !== VALUE) throw formatFault(`an operation of unknown type ${type}`);
    const key = reader.string();
    const value = type === VALUE ? reader.string() : null;
    entries.push({ key, sequence: sequence + entries.length, value });
  }
  if (entries.length !== count) throw formatFault(`${entries.length} operations instead of ${count}`);
  return { sequence, entries };
}
