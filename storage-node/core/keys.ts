/**
 * Keys of the store and of the journal's guard. Store keys order as bytes: one letter for the kind, the volume id, a zero byte, the PG
 * (4 bytes, big-endian), then what the kind adds; LSNs are 8 bytes, big-endian, so that key order is LSN order.
 *
 *     M  installed manifest                R  retention value
 *     S  progress of the segment           C  + LSN               coalescing round that ended there
 *     H  progress of its hydration
 *     L  + last LSN                        chunk of the log
 *     P  + page + LSN + 0                  bundle of a page's records, by its first LSN
 *     P  + page + LSN + 1                  page image at that LSN
 *     G  + LSN + page                      history of the page before that LSN may be collectable
 *     T  + LSN                             commits of a coalescing round, by the last one's LSN
 *     D  + LSN                             pages changed in the coalescing round that ended there
 *
 * One segment's keys of one kind are a contiguous range; a page's versions and records are too, in the order of time.
 */
import { assert } from '../../src/base/assert.ts';
import type { KvRange } from '../../src/env/env.ts';
import type { KeyRange } from './effects.ts';
import type { Lsn, PageNumber, PgIndex, VolumeId } from '../../src/log/lsn.ts';

export const KIND = {
  manifest: 0x4d,
  retention: 0x52,
  progress: 0x53,
  hydration: 0x48,
  round: 0x43,
  chunk: 0x4c,
  page: 0x50,
  garbage: 0x47,
  commits: 0x54,
  changes: 0x44,
} as const;
export type KeyKind = keyof typeof KIND;
const KIND_OF_BYTE = new Map<number, KeyKind>(
  Object.entries(KIND).map(([kind, byte]) => [byte, kind as KeyKind]),
);

export const BUNDLE = 0;
export const IMAGE = 1;

/** Stands for the commit index where pages are copied or doubted: behind all of them. */
export const COMMIT_INDEX = 0xffff_ffff as PageNumber;
/** No page is above it. */
export const LAST_PAGE = (COMMIT_INDEX - 1) as PageNumber;
const MAX_LSN = Number.MAX_SAFE_INTEGER as Lsn;
/** Of a page entry: page, LSN, kind. */
const LONGEST_SUFFIX_BYTES = 13;
const TWO_32 = 2 ** 32;

/** The keys of one segment. */
export class SegmentKeys {
  private readonly prefixes: Readonly<Record<KeyKind, Uint8Array>>;

  constructor(volume: VolumeId, pg: PgIndex) {
    const prefix = (kind: KeyKind) => segmentPrefix(KIND[kind], volume, pg);
    this.prefixes = {
      manifest: prefix('manifest'),
      retention: prefix('retention'),
      progress: prefix('progress'),
      hydration: prefix('hydration'),
      round: prefix('round'),
      chunk: prefix('chunk'),
      page: prefix('page'),
      garbage: prefix('garbage'),
      commits: prefix('commits'),
      changes: prefix('changes'),
    };
  }

  get manifest(): Uint8Array {
    return this.prefixes.manifest;
  }
  get retention(): Uint8Array {
    return this.prefixes.retention;
  }
  get progress(): Uint8Array {
    return this.prefixes.progress;
  }

  get hydration(): Uint8Array {
    return this.prefixes.hydration;
  }

  /** Every key of the segment, kind by kind; the manifest last. */
  all(): readonly KvRange[] {
    const { manifest, ...others } = this.prefixes;
    return [...Object.values(others), manifest].map((prefix) => ({ gte: prefix, lt: endOf(prefix) }));
  }

  chunk(lastLsn: Lsn): Uint8Array {
    return withLsn(this.prefixes.chunk, lastLsn);
  }

  /** Chunks whose last LSN is in (afterLsn, throughLsn]. */
  chunksAfter(afterLsn: Lsn, throughLsn: Lsn = MAX_LSN): KvRange {
    return { gte: this.chunk((afterLsn + 1) as Lsn), lt: after(this.chunk(throughLsn)) };
  }

  round(lastLsn: Lsn): Uint8Array {
    return withLsn(this.prefixes.round, lastLsn);
  }

  rounds(): KvRange {
    return { gte: this.round(0 as Lsn), lt: after(this.round(MAX_LSN)) };
  }

  bundle(page: PageNumber, firstLsn: Lsn): Uint8Array {
    return this.pageEntry(page, firstLsn, BUNDLE);
  }

  image(page: PageNumber, lsn: Lsn): Uint8Array {
    return this.pageEntry(page, lsn, IMAGE);
  }

  /** A page's entries with fromLsn ≤ key LSN ≤ toLsn. */
  pageEntries(page: PageNumber, fromLsn: Lsn, toLsn: Lsn): KvRange {
    return { gte: this.bundle(page, fromLsn), lt: after(this.image(page, toLsn)) };
  }

  /** All entries of pages first … last. */
  pagesBetween(first: PageNumber, last: PageNumber): KvRange {
    return { gte: this.bundle(first, 0 as Lsn), lt: after(this.image(last, MAX_LSN)) };
  }

  garbage(lsn: Lsn, page: PageNumber): Uint8Array {
    const key = extend(withLsn(this.prefixes.garbage, lsn), 4);
    new DataView(key.buffer).setUint32(key.length - 4, page);
    return key;
  }

  garbageBelow(lsn: Lsn): KvRange {
    return { gte: withLsn(this.prefixes.garbage, 0 as Lsn), lt: withLsn(this.prefixes.garbage, lsn) };
  }

  commits(lastLsn: Lsn): Uint8Array {
    return withLsn(this.prefixes.commits, lastLsn);
  }

  /** Entries of the commit index whose last commit is at fromLsn ≤ LSN ≤ toLsn. */
  commitsBetween(fromLsn: Lsn, toLsn: Lsn = MAX_LSN): KvRange {
    return { gte: this.commits(fromLsn), lt: after(this.commits(toLsn)) };
  }

  changes(lastLsn: Lsn): Uint8Array {
    return withLsn(this.prefixes.changes, lastLsn);
  }

  /** Entries of the change index of rounds that ended at fromLsn ≤ LSN ≤ toLsn. */
  changesBetween(fromLsn: Lsn, toLsn: Lsn = MAX_LSN): KvRange {
    return { gte: this.changes(fromLsn), lt: after(this.changes(toLsn)) };
  }

  /** Whether any key of this kind lies in `range`. */
  touches(kind: KeyKind, { gte, lt }: KeyRange): boolean {
    const prefix = this.prefixes[kind];
    return compareKeys(gte, lastWith(prefix)) <= 0 && compareKeys(lt, prefix) > 0;
  }

  /** The pages whose entries may lie in `range`; its ends may be shortened keys. */
  pagesIn(range: KeyRange): { readonly first: PageNumber; readonly last: PageNumber } | null {
    if (!this.touches('page', range)) return null;
    const prefix = this.prefixes.page;
    const isInside = (key: Uint8Array) => compareKeys(key.subarray(0, prefix.length), prefix) === 0;
    const page = (key: Uint8Array, padding: number) => {
      const digits = [0, 1, 2, 3].map((i) => key[prefix.length + i] ?? padding);
      return digits.reduce((sum, digit) => sum * 256 + digit, 0) as PageNumber;
    };
    return {
      first: isInside(range.gte) ? page(range.gte, 0) : (0 as PageNumber),
      last: isInside(range.lt) ? page(range.lt, 0xff) : LAST_PAGE,
    };
  }

  private pageEntry(page: PageNumber, lsn: Lsn, kind: number): Uint8Array {
    const prefix = this.prefixes.page;
    const key = extend(prefix, 13);
    const view = new DataView(key.buffer);
    view.setUint32(prefix.length, page);
    setLsn(view, prefix.length + 4, lsn);
    key[prefix.length + 12] = kind;
    return key;
  }
}

/** All keys of one kind, of every segment. */
export function allOfKind(kind: KeyKind): KvRange {
  return { gte: Uint8Array.of(KIND[kind]), lt: Uint8Array.of(KIND[kind] + 1) };
}

export interface ParsedKey {
  readonly kind: KeyKind;
  readonly volume: VolumeId;
  readonly pg: PgIndex;
}

/** Whose key this is; null for one that no build of this format makes. */
export function parseKey(key: Uint8Array): ParsedKey | null {
  const kind = KIND_OF_BYTE.get(key[0] ?? 0);
  const end = key.indexOf(0, 1);
  if (kind === undefined || end < 2 || key.length < end + 5) return null;
  const volume = String.fromCharCode(...key.subarray(1, end)) as VolumeId;
  return { kind, volume, pg: viewOf(key).getUint32(end + 1) as PgIndex };
}

/** The LSN that ends a chunk's or a round's key. */
export function trailingLsn(key: Uint8Array): Lsn {
  return getLsn(viewOf(key), key.length - 8);
}

export interface PageEntryKey {
  readonly page: PageNumber;
  readonly lsn: Lsn;
  readonly kind: typeof BUNDLE | typeof IMAGE;
}

export function parsePageKey(key: Uint8Array): PageEntryKey {
  const view = viewOf(key);
  const at = key.length - 13;
  return {
    page: view.getUint32(at) as PageNumber,
    lsn: getLsn(view, at + 4),
    kind: key[at + 12] === IMAGE ? IMAGE : BUNDLE,
  };
}

export function parseGarbageKey(key: Uint8Array): { readonly lsn: Lsn; readonly page: PageNumber } {
  const view = viewOf(key);
  return { lsn: getLsn(view, key.length - 12), page: view.getUint32(key.length - 4) as PageNumber };
}

/** The smallest key greater than `key` that has it not as a prefix of a longer one of ours: keys of a kind have one length. */
export function after(key: Uint8Array): Uint8Array {
  return extend(key, 1);
}

/** Not below any key of ours that starts with `prefix`. */
function lastWith(prefix: Uint8Array): Uint8Array {
  const last = new Uint8Array(prefix.length + 16).fill(0xff);
  last.set(prefix);
  return last;
}

export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    if (a[i] !== b[i]) return (a[i] as number) - (b[i] as number);
  }
  return a.length - b.length;
}

export const GUARD = {
  clusterId: 'node/cluster-id',
  incarnation: 'node/incarnation',
  registerPrefix: 'register/',
  segmentPrefix: 'segment/',
  /** What was accepted of a register here and is gone (registers.ts). */
  lostPrefix: 'lost/',
  /** What is remembered of the other nodes: `peer/NODE`, `peer/NODE/ITEM`. */
  peerPrefix: 'peer/',
  /** Why this node may have forgotten something it had promised or acknowledged; gone when that is made good. */
  doubt: 'node/doubt',
} as const;

/**
 * Guard keys of one segment. `marks`: SCL watermark, VDL and its tail. `distrust`: why the segment does not trust itself any more.
 * `hydration`: which hydration it needs before it is whole. `left`: the configuration that has no segment here any more.
 * `doubts`: pages to be copied from peers (page-doubts.ts).
 */
export type SegmentGuard = 'promise' | 'installed' | 'marks' | 'distrust' | 'hydration' | 'left' | 'doubts';

export function segmentGuardKey(volume: VolumeId, pg: PgIndex, what: SegmentGuard): string {
  return `${GUARD.segmentPrefix}${volume}/${pg}/${what}`;
}

export function parseSegmentGuardKey(
  key: string,
): { readonly volume: VolumeId; readonly pg: PgIndex; readonly what: string } | null {
  if (!key.startsWith(GUARD.segmentPrefix)) return null;
  const [volume, pg, what, ...rest] = key.slice(GUARD.segmentPrefix.length).split('/');
  if (volume === undefined || pg === undefined || what === undefined || rest.length > 0) return null;
  return { volume: volume as VolumeId, pg: Number(pg) as PgIndex, what };
}

/** `volume/pg`. */
export function parseSegmentName(name: string): { readonly volume: VolumeId; readonly pg: PgIndex } | null {
  const [volume, pg, ...rest] = name.split('/');
  if (volume === undefined || pg === undefined || rest.length > 0) return null;
  return { volume: volume as VolumeId, pg: Number(pg) as PgIndex };
}

/** Above every key that a segment makes of the prefix. */
function endOf(prefix: Uint8Array): Uint8Array {
  const end = extend(prefix, LONGEST_SUFFIX_BYTES + 1);
  return end.fill(0xff, prefix.length);
}

function segmentPrefix(kind: number, volume: VolumeId, pg: PgIndex): Uint8Array {
  const key = new Uint8Array(volume.length + 6);
  key[0] = kind;
  for (let i = 0; i < volume.length; i += 1) {
    const code = volume.charCodeAt(i);
    assert(code > 0x20 && code < 0x7f, 'volume ids are printable ASCII');
    key[i + 1] = code;
  }
  new DataView(key.buffer).setUint32(volume.length + 2, pg);
  return key;
}

function withLsn(prefix: Uint8Array, lsn: Lsn): Uint8Array {
  const key = extend(prefix, 8);
  setLsn(new DataView(key.buffer), prefix.length, lsn);
  return key;
}

function extend(prefix: Uint8Array, byBytes: number): Uint8Array {
  const key = new Uint8Array(prefix.length + byBytes);
  key.set(prefix);
  return key;
}

function setLsn(view: DataView, at: number, lsn: Lsn): void {
  view.setUint32(at, Math.floor(lsn / TWO_32));
  view.setUint32(at + 4, lsn % TWO_32);
}

function getLsn(view: DataView, at: number): Lsn {
  return (view.getUint32(at) * TWO_32 + view.getUint32(at + 4)) as Lsn;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
