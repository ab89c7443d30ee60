/**
 * What a redo record says of its page: the byte ranges that changed (delta) or the whole page (image). Aurora's redo records carry
 * the difference between the page's before- and after-image (Aurora paper, section 3.2); so do ours.
 *
 * A delta's body is a sequence of ranges, ascending and apart, to its end:
 *
 *     skip (varint): bytes from the end of the range before (or the page's start) to this one
 *     length (varint): 1 … what is left of the page
 *     length bytes: what stands there afterwards
 *
 * varint: 7 bits per byte, low bits first, the top bit set on all but the last; at most two bytes are needed.
 *
 * Invariants
 * 1. applyChange(base, diffPage(page, base, next)) equals next, byte for byte.
 * 2. A delta's body is always shorter than a page; else the change is an image.
 * 3. Nothing returned shares memory with `base` or `next`: records are immutable, the engine's buffers are not.
 */
import { assert } from '../base/assert.ts';
import { TidemarkError } from '../base/errors.ts';
import { PAGE_SIZE_BYTES } from '../base/limits.ts';
import type { PageNumber } from './lsn.ts';
import type { PageChange, RecordKind } from './record.ts';

/**
 * Equal bytes between two changes that are sent along rather than described: a range of its own costs two bytes of header at
 * least, and two header bytes cost more to work through than two bytes of data.
 */
const MERGE_GAP_BYTES = 2;
const WORD_BYTES = 4;
const PAGE_WORDS = PAGE_SIZE_BYTES / WORD_BYTES;

/** Word views need alignment; pages that lack it are copied here first. One thread, no re-entry: shared by all calls. */
const alignedBase = new Int32Array(PAGE_WORDS);
const alignedNext = new Int32Array(PAGE_WORDS);
const bodyScratch = new Uint8Array(PAGE_SIZE_BYTES);

/** null: unchanged. An image when there is no base, or when that is not longer. */
export function diffPage(page: PageNumber, base: Uint8Array | null, next: Uint8Array): PageChange | null {
  assert(next.length === PAGE_SIZE_BYTES, `page ${page} has ${next.length} bytes`);
  if (base === null) return image(page, next);
  assert(base.length === PAGE_SIZE_BYTES, `base of page ${page} has ${base.length} bytes`);

  const bodyBytes = writeRanges(base, next, words(base, alignedBase), words(next, alignedNext));
  if (bodyBytes === 0) return null;
  if (bodyBytes >= PAGE_SIZE_BYTES) return image(page, next);
  return { page, kind: 'delta', body: bodyScratch.slice(0, bodyBytes) };
}

/** The page after `change`, in fresh memory. Throws CORRUPT when the body is malformed or a delta has nothing to stand on. */
export function applyChange(
  base: Uint8Array | null,
  change: { readonly kind: RecordKind; readonly body: Uint8Array },
): Uint8Array {
  const { kind, body } = change;
  checkBody(kind, body);
  if (kind === 'image') return copyOf(body);
  if (base === null) throw new TidemarkError('CORRUPT', 'a delta record has no page to apply to');
  assert(base.length === PAGE_SIZE_BYTES, `base page has ${base.length} bytes`);

  const page = copyOf(base);
  putRanges(page, body);
  return page;
}

/** Applies a run of changes, oldest first, copying the page once. For coalescing and page reads. */
export function applyChanges(
  base: Uint8Array | null,
  changes: readonly { readonly kind: RecordKind; readonly body: Uint8Array }[],
): Uint8Array | null {
  let newestImage = changes.length - 1;
  while (newestImage >= 0 && changes[newestImage]?.kind !== 'image') newestImage -= 1;
  let page: Uint8Array | null = null;
  for (let i = Math.max(newestImage, 0); i < changes.length; i += 1) {
    const change = changes[i] as { readonly kind: RecordKind; readonly body: Uint8Array };
    if (page === null) {
      page = applyChange(base, change);
    } else {
      checkBody(change.kind, change.body);
      putRanges(page, change.body);
    }
  }
  return page ?? base;
}

/** Throws CORRUPT unless `body` is what diffPage could have made for `kind`. */
export function checkBody(kind: RecordKind, body: Uint8Array): void {
  if (kind === 'image') {
    if (body.length !== PAGE_SIZE_BYTES) {
      throw new TidemarkError(
        'CORRUPT',
        `a page image has ${body.length} bytes instead of ${PAGE_SIZE_BYTES}`,
      );
    }
    return;
  }
  if (body.length === 0 || body.length >= PAGE_SIZE_BYTES) {
    throw new TidemarkError('CORRUPT', `a delta's body has ${body.length} bytes`);
  }
  let at = 0;
  let offset = 0;
  while (at < body.length) {
    const skip = varintAt(body, at);
    at += skip < 0x80 ? 1 : 2;
    const length = varintAt(body, at);
    at += length < 0x80 ? 1 : 2;
    offset += skip + length;
    at += length;
    if (length === 0 || offset > PAGE_SIZE_BYTES || at > body.length) {
      throw new TidemarkError('CORRUPT', "a delta's byte range does not fit its page or body");
    }
  }
}

function image(page: PageNumber, next: Uint8Array): PageChange {
  return { page, kind: 'image', body: copyOf(next) };
}

/** A plain Uint8Array, also of a Buffer (whose own slice() shares memory). */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function words(bytes: Uint8Array, scratch: Int32Array): Int32Array {
  if (bytes.byteOffset % WORD_BYTES === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_WORDS);
  new Uint8Array(scratch.buffer).set(bytes);
  return scratch;
}

/** Encodes the differing ranges into bodyScratch. Returns the body's length, PAGE_SIZE_BYTES when an image is no longer. */
function writeRanges(
  base: Uint8Array,
  next: Uint8Array,
  baseWords: Int32Array,
  nextWords: Int32Array,
): number {
  let written = 0;
  let previousEnd = 0;
  let start = -1; // of the range that is open
  let end = 0; // one past its last differing byte
  for (let word = 0; word < PAGE_WORDS; word += 1) {
    if (baseWords[word] === nextWords[word]) continue;
    const wordStart = word * WORD_BYTES;
    for (let at = wordStart; at < wordStart + WORD_BYTES; at += 1) {
      if (base[at] === next[at]) continue;
      if (start >= 0 && at - end > MERGE_GAP_BYTES) {
        written = writeRange(next, written, start - previousEnd, start, end);
        if (written === PAGE_SIZE_BYTES) return PAGE_SIZE_BYTES;
        previousEnd = end;
        start = at;
      } else if (start < 0) {
        start = at;
      }
      end = at + 1;
    }
  }
  return start < 0 ? 0 : writeRange(next, written, start - previousEnd, start, end);
}

function writeRange(next: Uint8Array, written: number, skip: number, start: number, end: number): number {
  const length = end - start;
  // Two headers of at most two bytes each: past this an image is no longer.
  if (written + 4 + length >= PAGE_SIZE_BYTES) return PAGE_SIZE_BYTES;
  let at = writeVarint(written, skip);
  at = writeVarint(at, length);
  // A loop beats a typed-array copy for the few bytes of a typical range.
  if (length <= 32) {
    for (let i = start; i < end; i += 1) bodyScratch[at++] = next[i] as number;
    return at;
  }
  bodyScratch.set(next.subarray(start, end), at);
  return at + length;
}

function writeVarint(at: number, value: number): number {
  if (value < 0x80) {
    bodyScratch[at] = value;
    return at + 1;
  }
  bodyScratch[at] = (value & 0x7f) | 0x80;
  bodyScratch[at + 1] = value >>> 7;
  return at + 2;
}

/**
 * Throws CORRUPT when cut off or not in its shortest form (so that a value's width is known from it). One of more than two bytes comes
 * out past any page, which checkBody refuses.
 */
function varintAt(body: Uint8Array, at: number): number {
  const low = body[at];
  if (low === undefined) throw new TidemarkError('CORRUPT', "a delta's range header is cut off");
  if (low < 0x80) return low;
  const high = body[at + 1];
  if (high === undefined || high === 0) {
    throw new TidemarkError('CORRUPT', "a delta's range header is malformed");
  }
  return (low & 0x7f) | (high << 7);
}

/** The body was checked. */
function putRanges(page: Uint8Array, body: Uint8Array): void {
  let at = 0;
  let offset = 0;
  while (at < body.length) {
    const skip = varintAt(body, at);
    at += skip < 0x80 ? 1 : 2;
    const length = varintAt(body, at);
    at += length < 0x80 ? 1 : 2;
    offset += skip;
    if (length <= 32) {
      for (let i = 0; i < length; i += 1) page[offset + i] = body[at + i] as number;
    } else {
      page.set(body.subarray(at, at + length), offset);
    }
    offset += length;
    at += length;
  }
}
