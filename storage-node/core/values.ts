/**
 * Values of the store and of the guard, all in the envelope of src/base/envelope.ts. Store values are bound to their key: the checksum is
 * seeded with it, so that an intact value found under another page, LSN or volume fails. Chunks, manifests and retention values have
 * their own codecs (src/log, src/register).
 */
import { TidemarkError } from '../../src/base/errors.ts';
import { type Format, openEnvelope, sealEnvelope } from '../../src/base/envelope.ts';
import { PAGE_SIZE_BYTES } from '../../src/base/limits.ts';
import { packStrict, unpackStrict } from '../../src/base/strict-msgpack.ts';
import type { Crc32 } from '../../src/env/env.ts';
import type { Epoch } from '../../src/log/epoch.ts';
import { type Lsn, NO_LSN, type PageNumber } from '../../src/log/lsn.ts';
import type { PageCursor } from '../../src/messages/messages.ts';

const BUNDLE_FORMAT: Format = { what: 'page bundle', tag: 0x41, version: 1 };
const IMAGE_FORMAT: Format = { what: 'page image', tag: 0x42, version: 1 };
const PROGRESS_FORMAT: Format = { what: 'segment progress', tag: 0x43, version: 1 };
const ROUND_FORMAT: Format = { what: 'coalescing round', tag: 0x44, version: 1 };
const COMMITS_FORMAT: Format = { what: 'commit index entry', tag: 0x45, version: 1 };
const CHANGES_FORMAT: Format = { what: 'change index entry', tag: 0x47, version: 1 };
const HYDRATION_FORMAT: Format = { what: 'hydration', tag: 0x46, version: 1 };

const IS_RECORD = 1;
const IS_KEPT = 2;

/** Delta records of one page that were coalesced together, oldest first: all of the page's from the first to the last. */
export interface Bundle {
  /** LSN of the page's record before the first, over all runs in LSN order; NO_LSN when there was none. */
  readonly prevLsn: Lsn;
  readonly records: readonly { readonly lsn: Lsn; readonly body: Uint8Array }[];
}

/** The whole page as it was after its record at the key's LSN. */
export interface PageImage {
  /** It is an image record itself, not made from others; then `prevLsn` is as in Bundle. */
  readonly isRecord: boolean;
  /** Not to be thinned out: enough deltas lie between it and the kept image before. */
  readonly isKept: boolean;
  readonly prevLsn: Lsn;
  /** Bytes of deltas since the last kept image or image record, this image's own included; 0 when it is one. */
  readonly sinceKeptBytes: number;
  readonly data: Uint8Array;
}

export interface Progress {
  readonly vdl: Lsn;
  readonly tail: Lsn;
  /** History below the floor is collected up to here. */
  readonly collected: Lsn;
  readonly storedBytes: number;
  /** About so many bytes are in page form. */
  readonly pageBytes: number;
  /** No page above it has entries in the store. */
  readonly highestPage: number;
  /** Where the oldest remembered coalescing round began: the chain of rounds is unbroken only if it starts there. */
  readonly roundsFrom: Lsn;
  /** Where the newest round ended: should its mark be gone, what it wrote is known to be left over. */
  readonly roundsThrough: Lsn;
}

/** When the MTR that ends at `lsn` was committed, by its writer's stamp. */
export interface Commit {
  readonly lsn: Lsn;
  readonly commitTimeMicros: number;
}

/** That the page has records in a round: the first and the last of them. */
export interface PageSpan {
  readonly page: PageNumber;
  readonly firstLsn: Lsn;
  readonly lastLsn: Lsn;
}

/** The pages of one coalescing round, which its key says the end of. */
export interface RoundChanges {
  /** Where the round began: the end of the one before. */
  readonly fromLsn: Lsn;
  /** Ascending. */
  readonly spans: readonly PageSpan[];
}

/** How far a hydration has come: written with the pages it speaks of, so that it is never ahead of them. */
export interface HydrationProgress {
  /** Names the hydration: one that is over says nothing of the next. */
  readonly id: string;
  /** The pages as of here are copied. */
  readonly throughLsn: Lsn;
  /** Everything up to here is copied; null: nothing yet. */
  readonly cursor: PageCursor | null;
  readonly highestPage: number;
  readonly copiedBytes: number;
  /** All is: the log goes on from throughLsn. */
  readonly isCopied: boolean;
}

export class ValueCodec {
  private readonly crc32: Crc32;

  constructor(crc32: Crc32) {
    this.crc32 = crc32;
  }

  encodeBundle(key: Uint8Array, bundle: Bundle): Uint8Array {
    const fields: unknown[] = [bundle.prevLsn];
    let before = 0;
    for (const { lsn, body } of bundle.records) {
      fields.push(lsn - before, body);
      before = lsn;
    }
    return sealEnvelope(BUNDLE_FORMAT, fields, this.boundTo(key));
  }

  decodeBundle(key: Uint8Array, value: Uint8Array): Bundle {
    const fields = arrayField(openEnvelope(BUNDLE_FORMAT, value, this.boundTo(key)), BUNDLE_FORMAT);
    if (fields.length < 3 || fields.length % 2 !== 1) throw malformed(BUNDLE_FORMAT);
    const records: { lsn: Lsn; body: Uint8Array }[] = [];
    let before = 0;
    for (let at = 1; at < fields.length; at += 2) {
      const lsn = (before + numberField(fields[at], BUNDLE_FORMAT)) as Lsn;
      if (lsn <= before) throw malformed(BUNDLE_FORMAT);
      records.push({ lsn, body: bytesField(fields[at + 1], BUNDLE_FORMAT) });
      before = lsn;
    }
    return { prevLsn: numberField(fields[0], BUNDLE_FORMAT) as Lsn, records };
  }

  encodeImage(key: Uint8Array, image: PageImage): Uint8Array {
    const flags = (image.isRecord ? IS_RECORD : 0) | (image.isKept ? IS_KEPT : 0);
    const fields = [flags, image.prevLsn, image.sinceKeptBytes, image.data];
    return sealEnvelope(IMAGE_FORMAT, fields, this.boundTo(key));
  }

  decodeImage(key: Uint8Array, value: Uint8Array): PageImage {
    const fields = arrayField(openEnvelope(IMAGE_FORMAT, value, this.boundTo(key)), IMAGE_FORMAT);
    const flags = numberField(fields[0], IMAGE_FORMAT);
    const data = bytesField(fields[3], IMAGE_FORMAT);
    if (data.length !== PAGE_SIZE_BYTES) throw malformed(IMAGE_FORMAT);
    return {
      isRecord: (flags & IS_RECORD) !== 0,
      isKept: (flags & IS_KEPT) !== 0,
      prevLsn: numberField(fields[1], IMAGE_FORMAT) as Lsn,
      sinceKeptBytes: numberField(fields[2], IMAGE_FORMAT),
      data,
    };
  }

  encodeProgress(key: Uint8Array, progress: Progress): Uint8Array {
    const { vdl, tail, collected, storedBytes, highestPage, roundsFrom, pageBytes, roundsThrough } = progress;
    const fields = [vdl, tail, collected, storedBytes, highestPage, roundsFrom, pageBytes, roundsThrough];
    return sealEnvelope(PROGRESS_FORMAT, fields, this.boundTo(key));
  }

  decodeProgress(key: Uint8Array, value: Uint8Array): Progress {
    const fields = arrayField(openEnvelope(PROGRESS_FORMAT, value, this.boundTo(key)), PROGRESS_FORMAT);
    const at = (index: number) => numberField(fields[index], PROGRESS_FORMAT);
    return {
      vdl: at(0) as Lsn,
      tail: at(1) as Lsn,
      collected: at(2) as Lsn,
      storedBytes: at(3),
      highestPage: at(4),
      roundsFrom: at(5) as Lsn,
      pageBytes: at(6),
      roundsThrough: at(7) as Lsn,
    };
  }

  /** A round's key says where it ended; its value where it began: the end of the round before. */
  encodeRound(key: Uint8Array, fromLsn: Lsn): Uint8Array {
    return sealEnvelope(ROUND_FORMAT, [fromLsn], this.boundTo(key));
  }

  decodeRound(key: Uint8Array, value: Uint8Array): Lsn {
    const fields = arrayField(openEnvelope(ROUND_FORMAT, value, this.boundTo(key)), ROUND_FORMAT);
    return numberField(fields[0], ROUND_FORMAT) as Lsn;
  }

  /** Commits in LSN order, at least one; differences, so that one takes about five bytes. */
  encodeCommits(key: Uint8Array, commits: readonly Commit[]): Uint8Array {
    const fields: number[] = [];
    let before: Commit = { lsn: NO_LSN, commitTimeMicros: 0 };
    for (const commit of commits) {
      fields.push(commit.lsn - before.lsn, commit.commitTimeMicros - before.commitTimeMicros);
      before = commit;
    }
    return sealEnvelope(COMMITS_FORMAT, fields, this.boundTo(key));
  }

  decodeCommits(key: Uint8Array, value: Uint8Array): readonly Commit[] {
    const fields = arrayField(openEnvelope(COMMITS_FORMAT, value, this.boundTo(key)), COMMITS_FORMAT);
    if (fields.length < 2 || fields.length % 2 !== 0) throw malformed(COMMITS_FORMAT);
    const commits: Commit[] = [];
    let lsn: number = NO_LSN;
    let commitTimeMicros = 0;
    for (let at = 0; at < fields.length; at += 2) {
      lsn += numberField(fields[at], COMMITS_FORMAT);
      commitTimeMicros += numberField(fields[at + 1], COMMITS_FORMAT);
      commits.push({ lsn: lsn as Lsn, commitTimeMicros });
    }
    return commits;
  }

  /** Differences, so that a page takes about six bytes. */
  encodeChanges(key: Uint8Array, { fromLsn, spans }: RoundChanges): Uint8Array {
    const fields: number[] = [fromLsn];
    let before = 0;
    for (const { page, firstLsn, lastLsn } of spans) {
      fields.push(page - before, firstLsn - fromLsn, lastLsn - firstLsn);
      before = page;
    }
    return sealEnvelope(CHANGES_FORMAT, fields, this.boundTo(key));
  }

  decodeChanges(key: Uint8Array, value: Uint8Array): RoundChanges {
    const fields = arrayField(openEnvelope(CHANGES_FORMAT, value, this.boundTo(key)), CHANGES_FORMAT);
    if (fields.length % 3 !== 1) throw malformed(CHANGES_FORMAT);
    const at = (index: number) => numberField(fields[index], CHANGES_FORMAT);
    const fromLsn = at(0) as Lsn;
    const spans: PageSpan[] = [];
    let page = 0;
    for (let i = 1; i < fields.length; i += 3) {
      page += at(i);
      const firstLsn = (fromLsn + at(i + 1)) as Lsn;
      spans.push({ page: page as PageNumber, firstLsn, lastLsn: (firstLsn + at(i + 2)) as Lsn });
    }
    return { fromLsn, spans };
  }

  encodeHydration(key: Uint8Array, progress: HydrationProgress): Uint8Array {
    const { id, throughLsn, cursor, highestPage, copiedBytes, isCopied } = progress;
    const at = cursor === null ? [] : [cursor.page, cursor.lsn, cursor.image];
    const fields = [encodeText(id), throughLsn, highestPage, copiedBytes, isCopied, ...at];
    return sealEnvelope(HYDRATION_FORMAT, fields, this.boundTo(key));
  }

  decodeHydration(key: Uint8Array, value: Uint8Array): HydrationProgress {
    const fields = arrayField(openEnvelope(HYDRATION_FORMAT, value, this.boundTo(key)), HYDRATION_FORMAT);
    const at = (index: number) => numberField(fields[index], HYDRATION_FORMAT);
    const cursor: PageCursor | null =
      fields.length === 5
        ? null
        : { page: at(5) as PageNumber, lsn: at(6) as Lsn, image: fields[7] === true };
    return {
      id: decodeText(bytesField(fields[0], HYDRATION_FORMAT)),
      throughLsn: at(1) as Lsn,
      highestPage: at(2),
      copiedBytes: at(3),
      isCopied: fields[4] === true,
      cursor,
    };
  }

  private boundTo(key: Uint8Array): Crc32 {
    return (bytes, seed) => this.crc32(bytes, this.crc32(key, seed));
  }
}

/** Guard values: the journal checks them; here only their form is. */
export function encodeEpoch(epoch: Epoch): Uint8Array {
  return packStrict([epoch.number, epoch.writerId]);
}

export function decodeEpoch(bytes: Uint8Array): Epoch {
  const [number, writerId] = guardArray(bytes);
  if (typeof number !== 'number' || typeof writerId !== 'string') throw malformedGuard();
  return { number, writerId };
}

export function encodeLsns(...lsns: readonly Lsn[]): Uint8Array {
  return packStrict(lsns);
}

export function decodeLsns(bytes: Uint8Array): readonly Lsn[] {
  const lsns = guardArray(bytes);
  if (!lsns.every((lsn) => Number.isSafeInteger(lsn))) throw malformedGuard();
  return lsns as Lsn[];
}

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder();

export function encodeText(text: string): Uint8Array {
  return textEncoder.encode(text);
}

export function decodeText(bytes: Uint8Array): string {
  return textDecoder.decode(bytes);
}

function guardArray(bytes: Uint8Array): readonly unknown[] {
  const value = unpackStrict(bytes);
  if (!Array.isArray(value)) throw malformedGuard();
  return value;
}

function arrayField(value: unknown, format: Format): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(format);
  return value;
}

function numberField(value: unknown, format: Format): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw malformed(format);
  return value;
}

function bytesField(value: unknown, format: Format): Uint8Array {
  if (!(value instanceof Uint8Array)) throw malformed(format);
  return value;
}

function malformed(format: Format): TidemarkError {
  return new TidemarkError('CORRUPT', `malformed ${format.what}`);
}

function malformedGuard(): TidemarkError {
  return new TidemarkError('CORRUPT', 'malformed guard value');
}
