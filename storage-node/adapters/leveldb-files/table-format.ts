/**
 * LevelDB's immutable tables (google/leveldb, doc/table_format.md):
 *
 *     data block … data block | filter block | metaindex block | index block | footer (48 bytes)
 *
 * Each block is followed by its compression (1 byte) and a checksum of both (4 bytes). The index names every data block with a key at or
 * above its last one. LevelDB checks none of these checksums when it reads; a damaged filter alone hides the newest version of a key.
 *
 * The blocks lie without a gap from byte 0 to the footer. That is checked too, so that no flipped bit in an index or the footer can point elsewhere
 * unseen.
 */
import { isTidemarkError } from '../../../src/base/errors.ts';
import { ByteReader, formatFault } from './byte-reader.ts';
import { maskedCrc32c } from './crc32c.ts';
import { uncompressSnappy } from './snappy.ts';
import { KEY_TRAILER_BYTES } from './version-edits.ts';
import type { StoredEntry } from './write-batch.ts';

const FOOTER_BYTES = 48;
const TRAILER_BYTES = 5;
const HANDLES_BYTES = 40;
const MAGIC_LOW = 0x8b80_fb57;
const MAGIC_HIGH = 0xdb47_7524;
const UNCOMPRESSED = 0;
const SNAPPY = 1;
const VALUE = 1;

interface BlockHandle {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** User keys above `afterKey` (null: from the table's first) up to `throughKey`, both included to be safe. */
export interface LostKeys {
  readonly fromKey: Uint8Array | null;
  readonly throughKey: Uint8Array;
}

export type TableVerdict =
  | { readonly kind: 'intact'; readonly index: readonly IndexEntry[] }
  /** `lost` is empty when only what helps to find keys is damaged. */
  | {
      readonly kind: 'damaged';
      readonly why: string;
      readonly lost: readonly LostKeys[];
      readonly index: readonly IndexEntry[];
    }
  | { readonly kind: 'unreadable'; readonly why: string };

export interface IndexEntry {
  readonly handle: BlockHandle;
  /** At or above the block's last key. */
  readonly upToKey: Uint8Array;
  readonly isIntact: boolean;
}

export function inspectTable(bytes: Uint8Array): TableVerdict {
  try {
    return inspect(bytes);
  } catch (error) {
    if (!isTidemarkError(error, 'CORRUPT')) throw error;
    return { kind: 'unreadable', why: error.message };
  }
}

function inspect(bytes: Uint8Array): TableVerdict {
  const { metaindex, index } = readFooter(bytes);
  if (!isBlockIntact(bytes, index)) throw formatFault('the index block is damaged');
  const entries = [...blockEntries(blockOf(bytes, index))].map(({ key, value }): IndexEntry => {
    const handle = readHandle(new ByteReader(value));
    return { handle, upToKey: splitKey(key).key, isIntact: isBlockIntact(bytes, handle) };
  });
  const lost: LostKeys[] = [];
  let endsAt = 0;
  for (const [at, entry] of entries.entries()) {
    if (entry.handle.offset !== endsAt) throw formatFault('the index leaves a gap between blocks');
    endsAt = entry.handle.offset + entry.handle.sizeBytes + TRAILER_BYTES;
    if (!entry.isIntact) lost.push({ fromKey: entries[at - 1]?.upToKey ?? null, throughKey: entry.upToKey });
  }
  if (lost.length > 0) {
    return { kind: 'damaged', why: `${lost.length} of ${entries.length} blocks`, lost, index: entries };
  }
  const helpers = whyHelpersDamaged(bytes, endsAt, metaindex, index);
  if (helpers !== null) return { kind: 'damaged', why: helpers, lost, index: entries };
  return { kind: 'intact', index: entries };
}

/** Filter and metaindex: needed to find keys, not to know them. */
function whyHelpersDamaged(
  bytes: Uint8Array,
  dataEndsAt: number,
  metaindex: BlockHandle,
  index: BlockHandle,
): string | null {
  if (!isBlockIntact(bytes, metaindex)) return 'the metaindex block';
  let endsAt = dataEndsAt;
  for (const { value } of blockEntries(blockOf(bytes, metaindex))) {
    const filter = readHandle(new ByteReader(value));
    if (filter.offset !== endsAt || !isBlockIntact(bytes, filter)) return 'the filter block';
    endsAt = filter.offset + filter.sizeBytes + TRAILER_BYTES;
  }
  if (metaindex.offset !== endsAt) return 'the place of the metaindex block';
  if (index.offset !== metaindex.offset + metaindex.sizeBytes + TRAILER_BYTES)
    return 'the place of the index block';
  return index.offset + index.sizeBytes + TRAILER_BYTES + FOOTER_BYTES === bytes.length
    ? null
    : 'the length of the file';
}

/** All entries of the intact blocks, in LevelDB's order: by key, newest first. */
export function* tableEntries(bytes: Uint8Array, index: readonly IndexEntry[]): Generator<StoredEntry> {
  for (const { handle, isIntact } of index) {
    if (!isIntact) continue;
    for (const { key, value } of blockEntries(blockOf(bytes, handle))) {
      const { key: user, sequence, type } = splitKey(key);
      yield { key: user, sequence, value: type === VALUE ? value : null };
    }
  }
}

function readFooter(bytes: Uint8Array): { readonly metaindex: BlockHandle; readonly index: BlockHandle } {
  if (bytes.length < FOOTER_BYTES) throw formatFault('the file is too short for a table');
  const start = bytes.length - FOOTER_BYTES;
  const magic = new ByteReader(bytes, start + HANDLES_BYTES);
  if (magic.fixed32() !== MAGIC_LOW || magic.fixed32() !== MAGIC_HIGH) {
    throw formatFault('the footer is damaged');
  }
  const handles = new ByteReader(bytes, start, start + HANDLES_BYTES);
  return { metaindex: readHandle(handles), index: readHandle(handles) };
}

function readHandle(reader: ByteReader): BlockHandle {
  return { offset: reader.varint(), sizeBytes: reader.varint() };
}

function isBlockIntact(bytes: Uint8Array, { offset, sizeBytes }: BlockHandle): boolean {
  const end = offset + sizeBytes;
  if (end + TRAILER_BYTES > bytes.length) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return maskedCrc32c(bytes, offset, end + 1) === view.getUint32(end + 1, true);
}

function blockOf(bytes: Uint8Array, { offset, sizeBytes }: BlockHandle): Uint8Array {
  const block = bytes.subarray(offset, offset + sizeBytes);
  const compression = bytes[offset + sizeBytes];
  if (compression === UNCOMPRESSED) return block;
  if (compression === SNAPPY) return uncompressSnappy(block);
  throw formatFault(`a block with unknown compression ${compression}`);
}

/** Keys share prefixes with those before them; restart points at the end of the block help to find one, and are passed over. */
function* blockEntries(
  block: Uint8Array,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
  if (block.length < 4) throw formatFault('a block without restart points');
  const restarts = new DataView(block.buffer, block.byteOffset, block.byteLength).getUint32(
    block.length - 4,
    true,
  );
  const end = block.length - 4 - restarts * 4;
  if (end < 0) throw formatFault('a block with too many restart points');
  const reader = new ByteReader(block, 0, end);
  let before = new Uint8Array(0);
  while (!reader.isAtEnd) {
    const shared = reader.varint();
    const own = reader.varint();
    const valueBytes = reader.varint();
    if (shared > before.length) throw formatFault('a key shares more than there is');
    const key = new Uint8Array(shared + own);
    key.set(before.subarray(0, shared));
    key.set(reader.take(own), shared);
    before = key;
    yield { key, value: reader.take(valueBytes) };
  }
}

function splitKey(internal: Uint8Array): {
  readonly key: Uint8Array;
  readonly sequence: number;
  readonly type: number;
} {
  const end = internal.length - KEY_TRAILER_BYTES;
  if (end < 0) throw formatFault('a key without a sequence');
  const view = new DataView(internal.buffer, internal.byteOffset, internal.byteLength);
  // 56 bits of sequence over 8 of type: 2^53 are more than will ever be written.
  const sequence = view.getUint32(end + 4, true) * 2 ** 24 + (view.getUint32(end, true) >>> 8);
  return { key: internal.subarray(0, end), sequence, type: internal[end] as number };
}
